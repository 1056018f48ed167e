//! `cons` and `dump`: who is connected, and until when.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use oxikeeper_node::command::ClientLine;
use oxikeeper_node::time::Now;
use oxikeeper_proto::SessionId;
use oxikeeper_proto::time::java_date;

use crate::clock::{self, Clock};
use crate::commands::Commands;
use crate::shared::{FrontReport, Shared};

/// Connections without a session are given so long, and all are looked at so often.
const CONNECTION_INTERVAL_MS: u64 = 10_000;

/// The beginning of a connection's line, up to where a bracket closes it.
pub(super) fn brief(client: &ClientLine) -> String {
    format!(
        " {}[{}](queued={},recved={},sent={}",
        java_address(client.remote),
        u8::from(client.is_open),
        client.queued,
        client.received,
        client.sent
    )
}

/// `cons`.
pub fn details(report: &FrontReport, clock: Clock) -> String {
    let mut text = String::new();
    for client in &report.clients {
        text.push_str(&brief(client));
        if client.session != SessionId::NONE {
            let activity = &client.activity;
            write!(
                text,
                ",sid={},lop={},est={},to={}",
                client.session,
                operation(activity.last_op),
                wall_ms(client.since, clock),
                client.timeout_ms
            )
            .expect("a string takes everything");
            if activity.last_cxid >= 0 {
                write!(text, ",lcxid=0x{:x}", activity.last_cxid).expect("as above");
            }
            let average = activity.latency_us_sum.checked_div(activity.answered).unwrap_or(0);
            write!(
                text,
                ",lzxid=0x{:x},lresp={},llat={},minlat={},avglat={},maxlat={}",
                activity.last_zxid.raw(),
                activity.last_answer.millis(),
                activity.latency_us_last / 1000,
                activity.latency_us_min / 1000,
                average / 1000,
                activity.latency_us_max / 1000
            )
            .expect("as above");
        }
        text.push_str(")\n");
    }
    text.push('\n');
    text
}

/// `dump`.
pub fn dump(report: &FrontReport, commands: &Commands, shared: &Shared) -> String {
    let clock = commands.clock;
    let mut sessions: BTreeMap<Now, Vec<String>> = BTreeMap::new();
    for (when, session) in shared.engine.with_core(shared, |core| core.session_expiries()) {
        sessions.entry(when).or_default().push(format!("\t{session}\n"));
    }
    let mut text = "SessionTracker dump:\nSession ".to_owned();
    put_sets(&sessions, clock, &mut text);
    {
        let tree = shared.tree.read();
        let owners = tree.ephemeral_sessions();
        let count = owners.len();
        text.push_str(&format!("ephemeral nodes dump:\nSessions with Ephemerals ({count}):\n"));
        for session in owners {
            text.push_str(&format!("{session}:\n"));
            for path in tree.ephemerals(session) {
                text.push_str(&format!("\t{path}\n"));
            }
        }
    }
    let mut connections: BTreeMap<Now, Vec<String>> = BTreeMap::new();
    for client in &report.clients {
        let patience = match client.session {
            SessionId::NONE => CONNECTION_INTERVAL_MS,
            _ => client.timeout_ms.max(0) as u64,
        };
        let silent_since = client.since.max(client.activity.last_answer).millis();
        let bucket = (silent_since + patience) / CONNECTION_INTERVAL_MS + 1;
        let line =
            format!("\tip: {} sessionId: 0x{:x}\n", java_address(client.remote), client.session.0);
        let when = Now::from_millis(bucket * CONNECTION_INTERVAL_MS);
        connections.entry(when).or_default().push(line);
    }
    text.push_str("Connections dump:\nConnections ");
    put_sets(&connections, clock, &mut text);
    text
}

/// Apache's `ExpiryQueue.dump`, without its empty sets.
fn put_sets(sets: &BTreeMap<Now, Vec<String>>, clock: Clock, text: &mut String) {
    let members: usize = sets.values().map(Vec::len).sum();
    text.push_str(&format!("Sets ({})/({members}):\n", sets.len()));
    for (when, lines) in sets {
        let date = java_date(wall_ms(*when, clock));
        text.push_str(&format!("{} expire at {date}:\n", lines.len()));
        lines.iter().for_each(|line| text.push_str(line));
    }
}

/// The wall time of a moment, milliseconds.
fn wall_ms(moment: Now, clock: Clock) -> i64 {
    clock::wall().0 - clock.now().millis() as i64 + moment.millis() as i64
}

/// Apache's names of operations, as `Request.op2String` shortens them.
fn operation(op: i32) -> &'static str {
    match op {
        -10 => "SESS",
        -11 => "CLOS",
        1 | 15 | 19 | 21 => "CREA",
        2 | 20 => "DELE",
        3 => "EXIS",
        4 => "GETD",
        5 => "SETD",
        6 => "GETA",
        7 => "SETA",
        8 | 12 => "GETC",
        9 => "SYNC",
        11 => "PING",
        13 => "CHEC",
        14 => "MULT",
        16 => "RECO",
        17 => "CHKW",
        18 => "REMW",
        22 => "MLTR",
        101 => "SETW",
        103 => "GETE",
        104 => "GETACN",
        105 => "STW2",
        106 => "ADDW",
        107 => "HOMI",
        _ => "NA",
    }
}

/// An address as Java's `InetSocketAddress` prints it.
fn java_address(address: SocketAddr) -> String {
    match address.ip() {
        IpAddr::V4(ip) => format!("/{ip}:{}", address.port()),
        IpAddr::V6(ip) => {
            let groups = ip.segments().map(|group| format!("{group:x}")).join(":");
            format!("/[{groups}]:{}", address.port())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_as_java_prints_them() {
        let address = |text: &str| java_address(text.parse().unwrap());
        assert_eq!(address("127.0.0.1:5"), "/127.0.0.1:5");
        assert_eq!(address("[::1]:5"), "/[0:0:0:0:0:0:0:1]:5");
    }
}
