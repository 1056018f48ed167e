//! The texts of the four-letter words, to the character.
//!
//! Source: operations reference, 2; Apache's `server.command` classes.

mod connections;
mod mntr;
mod summary;
mod watches;

use std::fmt::Write;
use std::path::{Path, PathBuf};

use oxikeeper_proto::id::ServerId;
use oxikeeper_storage::Dirs;

use crate::commands::Commands;
use crate::config::{Role, ServerAddress};
use crate::ensemble::Mode;
use crate::environment;
use crate::metrics::Snapshot;
use crate::shared::{FrontReport, Shared};

/// What `conf` and `dirs` tell of the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the files are.
    pub dirs: Dirs,
    /// Milliseconds.
    pub tick_ms: u64,
    /// `maxClientCnxns`.
    pub connections_per_ip_max: usize,
    /// Milliseconds.
    pub session_timeout_ms_min: i32,
    /// Milliseconds.
    pub session_timeout_ms_max: i32,
    /// `clientPortListenBacklog`.
    pub listen_backlog: i32,
}

/// What most words answer while there is no leader.
const NOT_SERVING: &str = "This ZooKeeper instance is not currently serving requests\n";

/// The answer to a word.
pub fn answer(word: &str, report: &FrontReport, commands: &Commands, shared: &Shared) -> String {
    let serves = serves_clients(shared);
    match word {
        "ruok" => "imok".to_owned(),
        "isro" if shared.mode() == Mode::ReadOnly => "ro".to_owned(),
        "isro" if serves => "rw".to_owned(),
        "isro" => "null".to_owned(),
        "envi" => {
            let line = |(key, value): (&str, String)| format!("{key}={value}\n");
            let lines: String = environment::lines().into_iter().map(line).collect();
            format!("Environment:\n{lines}")
        }
        "hash" if !serves => NOT_SERVING.trim_end().to_owned(),
        _ if !serves => NOT_SERVING.to_owned(),
        "conf" => configuration(&commands.settings, shared),
        "dirs" => {
            let (data, log) = sizes(&commands.settings.dirs);
            format!("datadir_size: {data}\nlogdir_size: {log}\n")
        }
        "srvr" => summary::server(report, shared),
        "stat" => summary::status(report, shared),
        "mntr" => mntr::text(&Snapshot::gather(report, commands, shared)),
        "srst" => {
            commands.reset_counters(shared);
            "Server stats reset.\n".to_owned()
        }
        "crst" => "Connection stats reset.\n".to_owned(),
        "cons" => connections::details(report, commands.clock),
        "dump" => connections::dump(report, commands, shared),
        "wchs" => watches::summary(&report.watched),
        "wchc" => watches::by_session(&report.watched),
        "wchp" => watches::by_path(&report.watched),
        "hash" => {
            let digests = shared.engine.with_core(shared, |core| core.digest_log());
            let line = |(zxid, digest): (oxikeeper_proto::Zxid, u64)| {
                format!("{:x}: {}\n", zxid.raw(), digest as i64)
            };
            digests.into_iter().map(line).collect()
        }
        other => format!("{other} is not available in this version.\n"),
    }
}

/// A leader with `leaderServes=no` says on its client port what one without a leader says.
fn serves_clients(shared: &Shared) -> bool {
    match shared.mode() {
        Mode::Looking => false,
        Mode::Leader => shared.ensemble.as_ref().is_none_or(|ensemble| ensemble.leader_serves),
        _ => true,
    }
}

fn configuration(settings: &Settings, shared: &Shared) -> String {
    let ensemble = shared.ensemble.as_ref();
    let members = shared.standing.lock().members.clone();
    let (data_size, log_size) = sizes(&settings.dirs);
    let mut text = String::new();
    let mut line = |key: &str, value: &dyn std::fmt::Display| {
        writeln!(text, "{key}={value}").expect("a string takes everything");
    };
    line("clientPort", &shared.client_port.number().map_or(-1, i32::from));
    line("secureClientPort", &-1);
    line("dataDir", &absolute(settings.dirs.data()).display());
    line("dataDirSize", &data_size);
    line("dataLogDir", &absolute(settings.dirs.log()).display());
    line("dataLogSize", &log_size);
    line("tickTime", &settings.tick_ms);
    line("maxClientCnxns", &settings.connections_per_ip_max);
    line("minSessionTimeout", &settings.session_timeout_ms_min);
    line("maxSessionTimeout", &settings.session_timeout_ms_max);
    line("clientPortListenBacklog", &settings.listen_backlog);
    // Apache takes no number from `myid` for a server that serves alone.
    let my_id = ensemble.and_then(|ensemble| ensemble.my_id);
    line("serverId", &my_id.unwrap_or(0));
    let (Some(ensemble), Some(members)) = (ensemble, members) else { return text };
    let mine = my_id.and_then(|id| members.servers.get(&ServerId(id)));
    let port = |of: fn(&ServerAddress) -> u16| {
        mine.and_then(|line| line.addresses.first()).map_or(-1, |address| i32::from(of(address)))
    };
    line("initLimit", &ensemble.init_limit);
    line("syncLimit", &ensemble.sync_limit);
    line("electionAlg", &3);
    line("electionPort", &port(|address| address.election_port));
    line("quorumPort", &port(|address| address.quorum_port));
    line("peerType", &i32::from(mine.is_some_and(|mine| mine.role == Role::Observer)));
    // As Apache's: a blank behind the sign, and no end of line behind the last.
    text.push_str("membership: \n");
    text.push_str(&members.to_string());
    text
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Bytes in the files of both directories.
pub(crate) fn sizes(dirs: &Dirs) -> (u64, u64) {
    let size = |dir: &Path| {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        // A file may go while they are counted.
        entries.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
    };
    (size(dirs.data()), size(dirs.log()))
}
