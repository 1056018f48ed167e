//! The commands of the AdminServer: names, order of the checks, and the short ones.
//!
//! An answer ends with `command` and `error`; an error that a command sets itself comes first, as
//! with Apache. Source: operations reference, 3.

use std::net::IpAddr;
use std::sync::atomic::Ordering;

use hyper::StatusCode;
use oxikeeper_proto::id::ServerId;
use oxikeeper_proto::{SessionId, Zxid};

use super::body::AnswerBody;
use super::json::Json;
use super::{State, access, metrics, snapshot, stats};
use crate::commands::Want;
use crate::config::{Role, ServerAddress, ServerLine};
use crate::ensemble::Mode;
use crate::environment;

/// Who asks, and how.
pub struct Caller {
    /// From where.
    pub remote: IpAddr,
    /// By POST instead of GET.
    pub is_post: bool,
    /// The header of that name.
    pub authorization: Option<String>,
    /// Parameters.
    pub query: Vec<(String, String)>,
}

/// What a command answers.
pub struct Answer {
    /// 200 also for errors, but for what needs authentication.
    pub status: StatusCode,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
    /// JSON, or a snapshot.
    pub body: AnswerBody,
}

/// Fields of an answer, before those that every answer ends with; or an error.
pub type Fields = Result<Vec<(String, Json)>, String>;

/// How the digests are computed, as snapshots and log records name it.
const DIGEST_VERSION: i64 = 2;

/// Primary names with their aliases, in the order of the list.
const COMMANDS: &[(&str, &[&str])] = &[
    ("configuration", &["conf", "config"]),
    ("connection_stat_reset", &["crst"]),
    ("connections", &["cons"]),
    ("dirs", &[]),
    ("dump", &[]),
    ("environment", &["env", "envi"]),
    ("get_trace_mask", &["gtmk"]),
    ("hash", &[]),
    ("initial_configuration", &["icfg"]),
    ("is_read_only", &["isro"]),
    ("last_snapshot", &["lsnp"]),
    ("leader", &["lead"]),
    ("monitor", &["mntr"]),
    ("observer_connection_stat_reset", &["orst"]),
    ("observers", &["obsr"]),
    ("restore", &["rest"]),
    ("ruok", &[]),
    ("server_stats", &["srvr"]),
    ("set_trace_mask", &["stmk"]),
    ("snapshot", &["snap"]),
    ("stat_reset", &["srst"]),
    ("stats", &["stat"]),
    ("system_properties", &["sysp"]),
    ("voting_view", &[]),
    ("watch_summary", &["wchs"]),
    ("watches", &["wchc"]),
    ("watches_by_path", &["wchp"]),
    ("zabstate", &[]),
];

/// The primary names, in the order of the list.
pub fn names() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().map(|(name, _)| *name)
}

/// Runs the command of this name or alias.
pub async fn run(state: &State, typed: &str, caller: &Caller) -> Answer {
    let is_called = |command: &&(&str, &[&str])| command.0 == typed || command.1.contains(&typed);
    let Some((name, _)) = COMMANDS.iter().find(is_called) else {
        let error = Json::text(format!("Unknown command: {typed}"));
        return envelope(StatusCode::OK, Vec::new(), typed, error);
    };
    if matches!(*name, "snapshot" | "restore") {
        if let Err((status, error)) = access::check(state, caller) {
            // Here the name is echoed as it was typed.
            return envelope(status, Vec::new(), typed, Json::text(error));
        }
        return snapshot::run(state, name, caller).await;
    }
    if caller.is_post {
        let error = Json::text("This command is asked for with GET");
        return envelope(StatusCode::METHOD_NOT_ALLOWED, Vec::new(), name, error);
    }
    match fields(state, name, caller).await {
        Ok(fields) => envelope(StatusCode::OK, fields, name, Json::Null),
        Err(error) => {
            // Set by the command: it stands before its name.
            let fields = vec![("error".to_owned(), Json::Text(error))];
            let fields = fields.into_iter().chain([("command".to_owned(), Json::text(*name))]);
            json(StatusCode::OK, fields.collect())
        }
    }
}

/// An answer that ends as all do.
pub fn envelope(
    status: StatusCode,
    mut fields: Vec<(String, Json)>,
    name: &str,
    error: Json,
) -> Answer {
    fields.push(("command".to_owned(), Json::text(name)));
    fields.push(("error".to_owned(), error));
    json(status, fields)
}

fn json(status: StatusCode, fields: Vec<(String, Json)>) -> Answer {
    let body = AnswerBody::text(Json::Object(fields).to_text());
    Answer { status, headers: Vec::new(), body }
}

async fn fields(state: &State, name: &str, caller: &Caller) -> Fields {
    match name {
        "configuration" => Ok(configuration(state)),
        "connections" => stats::connections(state).await,
        "connection_stat_reset" => {
            state.ask(Some(Want::ResetConnections)).await.map(|()| Vec::new())
        }
        "stat_reset" => {
            let asked = state.ask(Some(Want::ResetServer)).await;
            state.commands.reset_counters(&state.shared);
            asked.map(|()| Vec::new())
        }
        "dirs" => Ok(dirs(state)),
        "dump" => dump(state).await,
        "environment" => Ok(environment::lines()
            .into_iter()
            .map(|(key, value)| (key.to_owned(), Json::Text(value)))
            .collect()),
        "get_trace_mask" => Ok(one("tracemask", trace_mask(state))),
        "set_trace_mask" => set_trace_mask(state, caller),
        "hash" => hash(state).await,
        "initial_configuration" => {
            Ok(one("initial_configuration", Json::text(&state.settings.text)))
        }
        "is_read_only" => Ok(one("read_only", Json::Bool(state.shared.mode() == Mode::ReadOnly))),
        "last_snapshot" => Ok(snapshot::last(state)),
        "leader" => leader(state),
        "monitor" => metrics::monitor(state).await,
        "observers" => {
            let synced = state.shared.standing.lock().synced_observers();
            Ok(fields_of([
                ("synced_observers", Json::int(synced)),
                ("observers", Json::List(Vec::new())),
            ]))
        }
        "server_stats" => stats::server_stats(state, false).await,
        "stats" => stats::server_stats(state, true).await,
        "system_properties" => Ok(system_properties()),
        "voting_view" => Ok(one("current_config", voting_view(state))),
        "watch_summary" => watched(state, Watched::Summary).await,
        "watches" => watched(state, Watched::BySession).await,
        "watches_by_path" => watched(state, Watched::ByPath).await,
        "zabstate" => Ok(zab_state(state)),
        // ruok and observer_connection_stat_reset have nothing to tell.
        _ => Ok(Vec::new()),
    }
}

/// `zabstate`: whether this server votes, and how far it has come.
fn zab_state(state: &State) -> Vec<(String, Json)> {
    let (votes, text) = match state.shared.mode() {
        Mode::Standalone => (false, ""),
        Mode::Looking | Mode::ReadOnly => (true, "election"),
        Mode::Observer => (false, "broadcast"),
        Mode::Leader | Mode::Follower => (true, "broadcast"),
    };
    fields_of([("voting", Json::Bool(votes)), ("zabstate", Json::text(text))])
}

/// `leader`: who it is, as far as this server knows.
fn leader(state: &State) -> Result<Vec<(String, Json)>, String> {
    let standing = state.shared.standing.lock().clone();
    let (Some(members), Some(leader)) = (&standing.members, standing.leader) else {
        return Err("server is not initialized".to_owned());
    };
    let address = members.servers.get(&leader).and_then(|line| line.addresses.first());
    Ok(fields_of([
        ("is_leader", Json::Bool(standing.mode == Mode::Leader)),
        ("leader_id", Json::Int(leader.0)),
        ("leader_ip", Json::text(address.map_or("", |address| &address.host))),
    ]))
}

/// `voting_view`: the servers that vote, by id.
fn voting_view(state: &State) -> Json {
    let members = state.shared.standing.lock().members.clone();
    let servers = members.iter().flat_map(|members| &members.servers);
    let voters = servers.filter(|(_, line)| line.role == Role::Participant);
    let view = |(id, line): (&ServerId, &ServerLine)| {
        let addresses = |port: fn(&ServerAddress) -> u16| {
            let text =
                |address: &ServerAddress| Json::text(format!("{}:{}", address.host, port(address)));
            Json::List(line.addresses.iter().map(text).collect())
        };
        let client = line.client.as_ref().map_or(String::new(), |client| {
            format!("{}:{}", client.host.as_deref().unwrap_or("0.0.0.0"), client.port)
        });
        let fields = fields_of([
            ("server_addresses", addresses(|address| address.quorum_port)),
            ("election_addresses", addresses(|address| address.election_port)),
            ("client_address", Json::Text(client)),
            ("learner_type", Json::text("participant")),
        ]);
        (id.to_string(), Json::Object(fields))
    };
    Json::Object(voters.map(view).collect())
}

/// Fields in this order.
pub fn fields_of<const N: usize>(fields: [(&str, Json); N]) -> Vec<(String, Json)> {
    fields.map(|(key, value)| (key.to_owned(), value)).into()
}

fn one(key: &str, value: Json) -> Vec<(String, Json)> {
    fields_of([(key, value)])
}

fn configuration(state: &State) -> Vec<(String, Json)> {
    let ensemble = state.shared.ensemble.as_ref();
    let settings = &state.settings;
    let path = |path: &std::path::Path| Json::text(path.display().to_string());
    fields_of([
        ("client_port", state.shared.client_port.number().map_or(Json::Int(-1), Json::int)),
        ("data_dir", path(state.dirs.data())),
        ("data_log_dir", path(state.dirs.log())),
        ("tick_time", Json::int(settings.node.tick_ms)),
        ("max_client_cnxns", Json::int(settings.connections_per_ip_max)),
        ("min_session_timeout", Json::int(settings.node.session_timeout_ms_min)),
        ("max_session_timeout", Json::int(settings.node.session_timeout_ms_max)),
        // A server that serves alone is 0 here.
        ("server_id", Json::Int(ensemble.and_then(|ensemble| ensemble.my_id).unwrap_or(0))),
        ("client_port_listen_backlog", Json::int(settings.listen_backlog)),
    ])
}

fn dirs(state: &State) -> Vec<(String, Json)> {
    fields_of([
        ("datadir_size", Json::int(stats::dir_bytes(state.dirs.data()))),
        ("logdir_size", Json::int(stats::dir_bytes(state.dirs.log()))),
    ])
}

fn trace_mask(state: &State) -> Json {
    Json::Int(state.commands.trace_mask.load(Ordering::Relaxed))
}

fn set_trace_mask(state: &State, caller: &Caller) -> Fields {
    let given = caller.query.iter().find(|(name, _)| name == "traceMask");
    let Some(mask) = given.and_then(|(_, value)| value.parse().ok()) else {
        return Err("setTraceMask requires long traceMask argument".to_owned());
    };
    state.commands.trace_mask.store(mask, Ordering::Relaxed);
    Ok(one("tracemask", trace_mask(state)))
}

/// The digests of every 128th transaction.
async fn hash(state: &State) -> Fields {
    let digests = state.look_at_core(|machine, _| machine.core().digest_log()).await?;
    let entry = |(zxid, digest): &(Zxid, u64)| {
        Json::object([
            ("zxid", Json::Int(zxid.to_wire())),
            ("digest", Json::Int(*digest as i64)),
            ("digest_version", Json::Int(DIGEST_VERSION)),
        ])
    };
    Ok(one("digests", Json::List(digests.iter().map(entry).collect())))
}

fn id(session: SessionId) -> Json {
    Json::Int(session.0)
}

async fn dump(state: &State) -> Fields {
    let expiries = state.look_at_core(|machine, _| machine.core().session_expiries()).await?;
    let mut by_time: Vec<(String, Json)> = Vec::new();
    for (when, session) in expiries {
        let when = when.millis().to_string();
        match by_time.last_mut() {
            Some((last, Json::List(ids))) if *last == when => ids.push(id(session)),
            _ => by_time.push((when, Json::List(vec![id(session)]))),
        }
    }
    let tree = state.shared.tree.read();
    let mut sessions = tree.ephemeral_sessions();
    sessions.sort_unstable();
    let ephemerals = sessions.into_iter().map(|session| {
        let paths = tree.ephemerals(session).into_iter().map(Json::Text).collect();
        (session.0.to_string(), Json::List(paths))
    });
    let ephemerals = Json::Object(ephemerals.collect());
    Ok(fields_of([
        ("expiry_time_to_session_ids", Json::Object(by_time)),
        ("session_id_to_ephemeral_paths", ephemerals),
    ]))
}

/// What the process is, under the names that a JVM has for it.
fn system_properties() -> Vec<(String, Json)> {
    let mut properties = environment::lines();
    properties.extend([
        ("file.encoding", "UTF-8".to_owned()),
        ("file.separator", "/".to_owned()),
        ("line.separator", "\n".to_owned()),
        ("path.separator", ":".to_owned()),
    ]);
    properties.retain(|(key, _)| !key.starts_with("zookeeper.") && !key.starts_with("os.memory"));
    properties.sort_unstable();
    properties.into_iter().map(|(key, value)| (key.to_owned(), Json::Text(value))).collect()
}

enum Watched {
    Summary,
    BySession,
    ByPath,
}

async fn watched(state: &State, how: Watched) -> Fields {
    let mut watched = state.gather(Some(Want::WatchedPaths)).await?.watched;
    watched.sort_unstable();
    if let Watched::BySession = how {
        let sessions = watched.into_iter().map(|(session, paths)| {
            (session.0.to_string(), Json::List(paths.into_iter().map(Json::Text).collect()))
        });
        return Ok(one("session_id_to_watched_paths", Json::Object(sessions.collect())));
    }
    let connections = watched.len();
    let pairs = watched
        .into_iter()
        .flat_map(|(session, paths)| paths.into_iter().map(move |path| (path, session)));
    let mut pairs: Vec<(String, SessionId)> = pairs.collect();
    pairs.sort_unstable();
    let total = pairs.len();
    let mut by_path: Vec<(String, Json)> = Vec::new();
    for (path, session) in pairs {
        match by_path.last_mut() {
            Some((last, Json::List(ids))) if *last == path => ids.push(id(session)),
            _ => by_path.push((path, Json::List(vec![id(session)]))),
        }
    }
    Ok(match how {
        Watched::Summary => fields_of([
            ("num_connections", Json::int(connections)),
            ("num_paths", Json::int(by_path.len())),
            ("num_total_watches", Json::int(total)),
        ]),
        _ => one("path_to_session_ids", Json::Object(by_path)),
    })
}
