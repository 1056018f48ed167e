//! `snapshot`, `restore`, `last_snapshot`.

use std::fs::File;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::StatusCode;
use tokio::time::{Instant, sleep};
use tracing::warn;

use super::State;
use super::body::AnswerBody;
use super::commands::{Answer, Caller, envelope, fields_of};
use super::json::Json;
use crate::shared::LastSnapshot;

/// How long a snapshot may take that somebody waits for.
const PATIENCE: Duration = Duration::from_secs(600);
/// How often it is looked whether it is there.
const LOOK_REST: Duration = Duration::from_millis(20);

/// Runs one of the two, for a caller who may.
pub async fn run(state: &State, name: &str, caller: &Caller) -> Answer {
    let refuse = |status, error| envelope(status, Vec::new(), name, error);
    if caller.is_post != (name == "restore") {
        let method = if name == "restore" { "POST" } else { "GET" };
        let error = Json::text(format!("This command is asked for with {method}"));
        return refuse(StatusCode::METHOD_NOT_ALLOWED, error);
    }
    if name == "restore" {
        if !state.settings.admin.restore_enabled {
            return refuse(StatusCode::SERVICE_UNAVAILABLE, Json::Null);
        }
        if !state.restores.take(state.clock) {
            return refuse(StatusCode::TOO_MANY_REQUESTS, Json::Null);
        }
        let error = "This server does not restore while it runs: end it, put the snapshot into an \
                     empty dataDir, and start it with snapshot.trust.empty=true";
        return refuse(StatusCode::SERVICE_UNAVAILABLE, Json::text(error));
    }
    if !state.settings.admin.snapshot_enabled {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, Json::Null);
    }
    if !state.snapshots.take(state.clock) {
        return refuse(StatusCode::TOO_MANY_REQUESTS, Json::Null);
    }
    match take(state).await {
        Ok((last, file, bytes)) => {
            let is_streamed = !caller
                .query
                .iter()
                .any(|(key, value)| key == "streaming" && !value.eq_ignore_ascii_case("true"));
            let mut answer = refuse(StatusCode::OK, Json::Null);
            answer.headers =
                vec![("last_zxid", last.zxid.to_string()), ("snapshot_size", bytes.to_string())];
            if is_streamed {
                answer.body = AnswerBody::File(file, bytes);
            }
            answer
        }
        Err(error) => {
            warn!(%error, "no snapshot for an operator");
            refuse(StatusCode::INTERNAL_SERVER_ERROR, Json::Null)
        }
    }
}

/// Has a snapshot written that shows at least what is applied now.
async fn take(state: &State) -> Result<(LastSnapshot, File, u64), String> {
    let counters = &state.shared.counters;
    let is_newer = |before: &Option<LastSnapshot>| {
        counters
            .last_snapshot
            .lock()
            .clone()
            .filter(|last| before.as_ref().is_none_or(|before| before.number != last.number))
    };
    let wanted = state.shared.tree.read().last_zxid();
    let before = counters.last_snapshot.lock().clone();
    let errors = counters.snapshot_errors.load(Ordering::Relaxed);
    state.look_at_core(|machine, _| machine.core().want_snapshot_now()).await?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        // One that was under way may show less than is wanted: then the next one is waited for.
        if let Some(last) = is_newer(&before).filter(|last| last.zxid >= wanted) {
            let file = File::open(&last.path).map_err(|error| error.to_string())?;
            let bytes = file.metadata().map_err(|error| error.to_string())?.len();
            return Ok((last, file, bytes));
        }
        if counters.snapshot_errors.load(Ordering::Relaxed) > errors {
            return Err("it could not be written".to_owned());
        }
        if Instant::now() > deadline {
            return Err(format!("it was not there after {} s", PATIENCE.as_secs()));
        }
        sleep(LOOK_REST).await;
    }
}

/// `last_snapshot`.
pub fn last(state: &State) -> Vec<(String, Json)> {
    let last = state.shared.counters.last_snapshot.lock();
    let (zxid, seconds) = last.as_ref().map_or(("-1".to_owned(), -1), |last| {
        (format!("{:x}", last.zxid.to_wire()), last.at.0 / 1000)
    });
    fields_of([("zxid", Json::Text(zxid)), ("timestamp", Json::Int(seconds))])
}
