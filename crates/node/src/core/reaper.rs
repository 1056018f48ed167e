//! Which containers and TTL nodes to remove, and at what pace.
//!
//! Source: client-protocol reference, 9.5; Apache's `ContainerManager`.

use std::collections::VecDeque;
use std::time::Duration;

use oxikeeper_proto::stat::{NodeKind, StatPersisted};

use crate::config::NodeConfig;
use crate::time::Now;

/// The candidates of one round, and when the next may go.
#[derive(Debug)]
pub(super) struct Reaper {
    interval: Duration,
    spacing: Duration,
    next_round: Now,
    next_removal: Now,
    candidates: VecDeque<String>,
}

impl Reaper {
    /// The first round comes after one interval.
    pub fn new(config: &NodeConfig, now: Now) -> Reaper {
        let interval = Duration::from_millis(u64::from(config.container_check_interval_ms.max(1)));
        let spacing = Duration::from_secs(60) / config.container_max_per_minute.max(1);
        let next_round = now.after(interval);
        Reaper { interval, spacing, next_round, next_removal: now, candidates: VecDeque::new() }
    }

    /// Begins a round if it is time and the last one is through.
    pub fn collect(&mut self, now: Now, candidates: impl FnOnce() -> Vec<String>) {
        if now >= self.next_round && self.candidates.is_empty() {
            self.next_round = now.after(self.interval);
            self.next_removal = now;
            self.candidates = candidates().into();
        }
    }

    /// The next candidate whose turn has come.
    pub fn next_due(&mut self, now: Now) -> Option<String> {
        if now < self.next_removal {
            return None;
        }
        let path = self.candidates.pop_front()?;
        self.next_removal = self.next_removal.after(self.spacing);
        Some(path)
    }
}

/// Whether a childless node with this stat is due at this wall time.
pub(super) fn is_due(
    kind: NodeKind,
    stat: &StatPersisted,
    wall_ms: i64,
    never_used_ms: i64,
) -> bool {
    let idle_ms = wall_ms.saturating_sub(stat.mtime);
    match kind {
        NodeKind::Container if stat.cversion > 0 => true,
        NodeKind::Container => never_used_ms != 0 && idle_ms > never_used_ms,
        NodeKind::Ttl(ttl_ms) => idle_ms > ttl_ms,
        NodeKind::Persistent | NodeKind::Ephemeral(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_go_at_the_configured_pace() {
        let config = NodeConfig {
            container_check_interval_ms: 1000,
            container_max_per_minute: 600,
            ..NodeConfig::default()
        };
        let at = Now::from_millis;
        let mut reaper = Reaper::new(&config, at(0));
        reaper.collect(at(999), || vec!["/early".to_owned()]);
        assert_eq!(reaper.next_due(at(999)), None);
        reaper.collect(at(1000), || vec!["/a".to_owned(), "/b".to_owned()]);
        assert_eq!(reaper.next_due(at(1000)).as_deref(), Some("/a"));
        assert_eq!(reaper.next_due(at(1099)), None);
        assert_eq!(reaper.next_due(at(1100)).as_deref(), Some("/b"));
        assert_eq!(reaper.next_due(at(5000)), None);
    }

    #[test]
    fn who_is_due() {
        let is_due = |(kind, cversion), wall_ms, never_used_ms| {
            let stat = StatPersisted { mtime: 1000, cversion, ..StatPersisted::default() };
            is_due(kind, &stat, wall_ms, never_used_ms)
        };
        assert!(is_due((NodeKind::Container, 1), 0, 0));
        assert!(!is_due((NodeKind::Container, 0), i64::MAX, 0));
        assert!(is_due((NodeKind::Container, 0), 1101, 100));
        assert!(!is_due((NodeKind::Ttl(50), 0), 1050, 0));
        assert!(is_due((NodeKind::Ttl(50), 0), 1051, 0));
        assert!(!is_due((NodeKind::Persistent, 1), i64::MAX, 1));
    }
}
