//! Probes that mean what they say.
//!
//! `/livez`: every thread that serves clients comes round. A process that fails it for long will not
//! recover by itself. `/readyz`: it also takes writes, so a full disk or one that stands still fails
//! it; the body says why.

use std::time::Duration;

use hyper::{Response, StatusCode};

use super::State;
use super::body::AnswerBody;
use super::http::plain;
use crate::commands::Want;
use crate::ensemble::Mode;

/// A log writer that is at one batch for longer than this has a disk that stands still.
const WRITE_TIME_MAX: Duration = Duration::from_secs(5);

/// Answers `/livez`.
pub async fn live(state: &State) -> Response<AnswerBody> {
    match state.ask(Some(Want::Counters)).await.and(state.look_at_core(|_, _| ()).await) {
        Ok(()) => plain(StatusCode::OK, "ok\n"),
        Err(stuck) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("{stuck}\n")),
    }
}

/// Answers `/readyz`.
pub async fn ready(state: &State) -> Response<AnswerBody> {
    match why_not(state).await {
        None => plain(StatusCode::OK, "ok\n"),
        Some(reason) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

async fn why_not(state: &State) -> Option<String> {
    if state.shared.is_stopping() {
        return Some("the server is ending".to_owned());
    }
    if state.shared.mode() == Mode::Looking {
        return Some("there is no leader: nobody is served".to_owned());
    }
    if let Err(stuck) = state.ask(Some(Want::Counters)).await {
        return Some(stuck);
    }
    match state.look_at_core(|machine, writing| (machine.core().is_log_full(), writing)).await {
        Err(stuck) => Some(stuck),
        Ok((true, _)) => {
            Some("the log's disk is full: writes are refused, reads are served".to_owned())
        }
        Ok((_, Some(writing))) if writing > WRITE_TIME_MAX => {
            Some(format!("the log's disk has been at one write for {} ms", writing.as_millis()))
        }
        Ok(_) => None,
    }
}
