//! `server_stats`, `stats`, `connections`.

use std::path::Path;
use std::sync::atomic::Ordering;

use oxikeeper_node::command::ClientLine;
use oxikeeper_node::histogram::Histogram;
use oxikeeper_proto::OpCode;

use super::State;
use super::commands::{Fields, fields_of};
use super::facts::Facts;
use super::json::Json;
use crate::clock;
use crate::commands::Want;
use crate::ensemble::Mode;

/// `server_stats`, or with the connections `stats`.
pub async fn server_stats(state: &State, with_clients: bool) -> Fields {
    let want = if with_clients { Want::Clients } else { Want::Counters };
    let facts = state.gather(Some(want)).await?;
    let mut fields = fields_of([
        ("version", Json::text(crate::version())),
        ("read_only", Json::Bool(state.shared.mode() == Mode::ReadOnly)),
        ("server_stats", counters(state, &facts)),
        ("client_response", responses(&facts)),
        ("node_count", Json::int(facts.node_count)),
    ]);
    if with_clients {
        fields.extend(clients(state, &facts, false));
    }
    Ok(fields)
}

/// `connections`.
pub async fn connections(state: &State) -> Fields {
    let facts = state.gather(Some(Want::Clients)).await?;
    Ok(clients(state, &facts, true))
}

fn counters(state: &State, facts: &Facts) -> Json {
    let stats = &facts.stats;
    let slow = state.shared.counters.fsync_slow.load(Ordering::Relaxed);
    Json::object([
        ("packets_sent", Json::int(stats.sent)),
        ("packets_received", Json::int(stats.received)),
        ("fsync_threshold_exceed_count", Json::int(slow)),
        ("client_response_stats", responses(facts)),
        ("data_dir_size", Json::int(dir_bytes(state.dirs.data()))),
        ("log_dir_size", Json::int(dir_bytes(state.dirs.log()))),
        ("provider_null", Json::Bool(false)),
        ("last_processed_zxid", Json::Int(facts.zxid.to_wire())),
        ("outstanding_requests", Json::int(facts.outstanding)),
        ("server_state", Json::text(state.shared.mode().text())),
        ("avg_latency", Json::Float(avg_latency_ms(facts))),
        ("max_latency", Json::int(stats.latency_us_max / 1000)),
        ("min_latency", Json::int(stats.latency_us_min / 1000)),
        ("num_alive_client_connections", Json::int(facts.connections)),
        ("auth_failed_count", Json::Int(0)),
        ("non_mtlsremote_conn_count", Json::Int(0)),
        ("non_mtlslocal_conn_count", Json::Int(0)),
        ("uptime", Json::int(state.clock.now().millis())),
    ])
}

fn responses(facts: &Facts) -> Json {
    let Histogram { count, min, max, .. } = facts.stats.response_bytes;
    // Before the first reply Apache shows -1.
    let bytes = |bytes: u64| if count == 0 { Json::Int(-1) } else { Json::int(bytes) };
    Json::object([
        ("last_buffer_size", bytes(facts.stats.last_response_bytes)),
        ("min_buffer_size", bytes(min)),
        ("max_buffer_size", bytes(max)),
    ])
}

/// The mean latency of requests in milliseconds, to four decimals.
pub fn avg_latency_ms(facts: &Facts) -> f64 {
    let stats = &facts.stats;
    if stats.answered == 0 {
        return 0.0;
    }
    four_decimals(stats.latency_us_sum as f64 / stats.answered as f64 / 1000.0)
}

/// Rounded as Apache shows averages.
pub fn four_decimals(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}

fn clients(state: &State, facts: &Facts, full: bool) -> Vec<(String, Json)> {
    let now = state.clock.now();
    // Where the monotonic clock stands is known only to us: the wall clock tells when it began.
    let began_ms = clock::wall().0 - i64::try_from(now.millis()).unwrap_or(0);
    let client = |client: &ClientLine| {
        let mut fields = fields_of([
            ("remote_socket_address", Json::text(client.remote.to_string())),
            ("interest_ops", Json::Int(i64::from(client.is_open))),
            ("outstanding_requests", Json::int(client.queued)),
            ("packets_received", Json::int(client.received)),
            ("packets_sent", Json::int(client.sent)),
        ]);
        if full {
            let did = &client.activity;
            let average = did.latency_us_sum.checked_div(did.answered).unwrap_or(0);
            fields.extend(fields_of([
                ("session_id", Json::Int(client.session.0)),
                ("last_operation", Json::text(short_name(did.last_op))),
                ("established", Json::Int(began_ms + client.since.millis() as i64)),
                ("session_timeout", Json::int(client.timeout_ms)),
                ("last_cxid", Json::int(did.last_cxid)),
                ("last_zxid", Json::Int(did.last_zxid.to_wire())),
                ("last_response_time", Json::int(did.last_answer.millis())),
                ("last_latency", Json::int(did.latency_us_last / 1000)),
                ("min_latency", Json::int(did.latency_us_min / 1000)),
                ("avg_latency", Json::int(average / 1000)),
                ("max_latency", Json::int(did.latency_us_max / 1000)),
            ]));
        }
        Json::Object(fields)
    };
    fields_of([
        ("connections", Json::List(facts.clients.iter().map(client).collect())),
        ("secure_connections", Json::List(Vec::new())),
    ])
}

/// An operation as Apache abbreviates it.
fn short_name(op: i32) -> &'static str {
    let Some(op) = OpCode::from_wire(op) else { return "NA" };
    match op {
        OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => "CREA",
        OpCode::Delete | OpCode::DeleteContainer => "DELE",
        OpCode::Exists => "EXIS",
        OpCode::GetData => "GETD",
        OpCode::SetData => "SETD",
        OpCode::GetAcl => "GETA",
        OpCode::SetAcl => "SETA",
        OpCode::GetChildren | OpCode::GetChildren2 => "GETC",
        OpCode::Sync => "SYNC",
        OpCode::Ping => "PING",
        OpCode::Check => "CHEC",
        OpCode::Multi => "MULT",
        OpCode::MultiRead => "MLTR",
        OpCode::Reconfig => "RECO",
        OpCode::CheckWatches => "CHKW",
        OpCode::RemoveWatches => "REMW",
        OpCode::Auth => "AUTH",
        OpCode::Sasl => "SASL",
        OpCode::SetWatches => "SETW",
        OpCode::SetWatches2 => "STW2",
        OpCode::AddWatch => "ADDW",
        OpCode::GetEphemerals => "GETE",
        OpCode::GetAllChildrenNumber => "GETACN",
        OpCode::WhoAmI => "HOMI",
        OpCode::CreateSession => "SESS",
        OpCode::CloseSession => "CLOS",
    }
}

/// The bytes of the files in a directory; what cannot be read counts nothing.
pub fn dir_bytes(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    let files = entries.flatten().filter_map(|entry| entry.metadata().ok());
    files.filter(|metadata| metadata.is_file()).map(|metadata| metadata.len()).sum()
}
