//! Who may run the commands that take or replace data, and how often.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::StatusCode;
use oxikeeper_node::time::Now;
use oxikeeper_proto::acl::perms;
use oxikeeper_proto::path::ROOT;
use parking_lot::Mutex;

use super::State;
use super::commands::Caller;
use crate::clock::Clock;

/// One run in each interval.
pub struct RateLimit {
    interval: Duration,
    last: Mutex<Option<Now>>,
    refused: AtomicU64,
}

impl RateLimit {
    /// With this interval.
    pub fn new(interval: Duration) -> RateLimit {
        RateLimit { interval, last: Mutex::new(None), refused: AtomicU64::new(0) }
    }

    /// Whether it is time again; if so, it is used up.
    pub fn take(&self, clock: Clock) -> bool {
        let now = clock.now();
        let mut last = self.last.lock();
        let may = last.is_none_or(|last| now.since(last) >= self.interval);
        if may {
            *last = Some(now);
        } else {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        may
    }

    /// How often it was not time.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

/// Whether the caller has all rights on the root.
///
/// # Errors
/// The status and the words of a refusal.
pub fn check(state: &State, caller: &Caller) -> Result<(), (StatusCode, &'static str)> {
    let header = caller.authorization.as_deref().unwrap_or_default();
    if header.is_empty() {
        return Err((StatusCode::UNAUTHORIZED, "Auth info is missing for the command"));
    }
    let unknown = (StatusCode::UNAUTHORIZED, "Not authenticated");
    let (scheme, credentials) = match header.split(' ').collect::<Vec<_>>()[..] {
        [scheme] => (scheme, None),
        [scheme, credentials] => (scheme, Some(credentials.as_bytes())),
        _ => return Err(unknown),
    };
    let mut ids = Vec::new();
    let auth = &state.settings.node.auth;
    if !auth.authenticate(scheme, credentials, caller.remote, &mut ids) {
        return Err(unknown);
    }
    let tree = state.shared.tree.read();
    let acl = tree.node(ROOT).map(|root| root.acl().to_vec()).unwrap_or_default();
    drop(tree);
    let all = [perms::READ, perms::WRITE, perms::CREATE, perms::DELETE, perms::ADMIN];
    if all.iter().all(|wanted| auth.permits(&acl, *wanted, &ids)) {
        Ok(())
    } else {
        Err((StatusCode::FORBIDDEN, "Not authorized"))
    }
}
