//! What time brings about: sessions expire, containers and TTL nodes go, readers are served.

use std::sync::Arc;

use oxikeeper_proto::{SessionId, Xid};
use oxikeeper_tree::Tree;
use tracing::{info, warn};

use super::{Core, STALL_MS, TICK_INTERVAL_MS, reaper};
use crate::mutation::{Mutation, mutated};
use crate::time::{Now, WallTime};

impl Core {
    pub(super) fn on_tick(&mut self, now: Now, wall: WallTime, tree: &Tree) {
        let pause = now.since(self.now).as_millis() as u64;
        if pause > TICK_INTERVAL_MS + STALL_MS && !mutated(Mutation::GrantNoStall) {
            warn!(pause_ms = pause, "this process did not run; every session is granted the time");
            self.sessions.grant(self.now, now, TICK_INTERVAL_MS);
        }
        self.now = now.max(self.now);
        self.wall = wall;
        self.bucket.tell(self.now);
        let heard = self.heard_until.iter().copied().min().unwrap_or(self.now);
        // While the log is full nobody expires: who comes back before there is room has lost nothing.
        // In an ensemble the leader alone expires sessions, but for those that only their server knows.
        let leads = self.is_leading() && !self.log_full;
        if leads || (self.config.local_sessions && !self.is_leading()) {
            for session in self.sessions.expired(heard.min(self.now)) {
                self.stats.expired += 1;
                let is_local = self.sessions.get(session).is_some_and(|tracked| tracked.is_local);
                if is_local {
                    self.expire_local(session);
                } else if leads {
                    info!(%session, "session expired");
                    self.stats.requests += 1;
                    self.close_session(session, None, Xid::INTERNAL, tree);
                }
            }
        }
        if leads {
            self.reap(tree);
        }
        self.serve_readers(tree);
    }

    /// Removes containers and TTL nodes that are due, a few at a time.
    fn reap(&mut self, tree: &Tree) {
        let (wall_ms, never_used_ms) = (self.wall.0, self.config.container_max_never_used_ms);
        self.reaper.collect(self.now, || tree.reapable(wall_ms, never_used_ms));
        while let Some(path) = self.reaper.next_due(self.now) {
            let config = Arc::clone(&self.config);
            let due = |kind, stat: &_| reaper::is_due(kind, stat, wall_ms, never_used_ms);
            let txn = self.prep(&config, tree, SessionId::NONE, &[]).delete_container(&path, due);
            if let Some(txn) = txn {
                self.propose(None, SessionId::NONE, Xid::INTERNAL, &txn);
            }
        }
    }
}
