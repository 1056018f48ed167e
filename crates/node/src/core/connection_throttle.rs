//! `connection_throttle_*`: a bucket of tokens that handshakes take from. When it is empty for long,
//! handshakes may be dropped by chance before they get that far, so that a storm of reconnections
//! spreads out.
//!
//! Source: operations reference, 1.5; the algorithm is that of Apache's `BlueThrottle`.

use oxikeeper_proto::SessionId;
use tracing::warn;

use crate::config::ConnectionThrottle;
use crate::time::Now;

/// Milliseconds between two lines about refusals.
const LINE_INTERVAL_MS: u128 = 10_000;

/// How often handshakes were refused since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ConnectionThrottleStats {
    /// Refused for want of tokens.
    pub rejected: u64,
    /// Dropped by chance.
    pub dropped: u64,
    /// How likely a handshake is dropped now: 0 to 1.
    pub drop_chance: f64,
    /// Tokens that the bucket lacks.
    pub deficit: u32,
}

/// See the module's head. Without settings it lets everybody in.
#[derive(Debug)]
pub(super) struct Bucket {
    settings: Option<ConnectionThrottle>,
    tokens: u32,
    filled: Now,
    looked: Now,
    random: u64,
    stats: ConnectionThrottleStats,
    /// Refusals when the last line was written, and when that was.
    told: u64,
    told_at: Option<Now>,
}

impl Bucket {
    pub fn new(settings: Option<ConnectionThrottle>, seed: u64, now: Now) -> Bucket {
        Bucket {
            tokens: settings.as_ref().map_or(0, |settings| settings.tokens_max),
            settings,
            filled: now,
            looked: now,
            random: seed,
            stats: ConnectionThrottleStats::default(),
            told: 0,
            told_at: None,
        }
    }

    pub fn stats(&self) -> ConnectionThrottleStats {
        ConnectionThrottleStats { deficit: self.deficit(), ..self.stats }
    }

    /// Tokens that it lacks.
    pub fn deficit(&self) -> u32 {
        self.settings.as_ref().map_or(0, |settings| settings.tokens_max - self.tokens)
    }

    /// Begins to count refusals anew.
    pub fn reset_stats(&mut self) {
        let drop_chance = self.stats.drop_chance;
        self.stats = ConnectionThrottleStats { drop_chance, ..ConnectionThrottleStats::default() };
        self.told = 0;
    }

    /// Whether a handshake may go on, for a new session or for one to be resumed.
    pub fn admits(&mut self, session: SessionId, now: Now) -> bool {
        let Some(settings) = &self.settings else { return true };
        let since_ms = |then| u64::try_from(now.since(then).as_millis()).unwrap_or(u64::MAX);
        let waited_ms = since_ms(self.filled);
        if waited_ms >= settings.fill_time_ms {
            let fills = waited_ms / settings.fill_time_ms;
            let came = fills.saturating_mul(settings.fill_count.into());
            let held = u64::from(self.tokens).saturating_add(came).min(settings.tokens_max.into());
            self.tokens = u32::try_from(held).expect("at most tokens_max");
            // What is left of a fill counts for the next one.
            let left_ms = waited_ms % settings.fill_time_ms;
            self.filled = Now::from_micros(now.micros() - left_ms * 1000);
        }
        if let Some(freeze_ms) = settings.freeze_time_ms {
            if since_ms(self.looked) >= freeze_ms {
                self.looked = now;
                let used = f64::from(settings.tokens_max - self.tokens);
                let chance = &mut self.stats.drop_chance;
                if self.tokens == 0 {
                    *chance = (*chance + settings.drop_increase).min(1.0);
                } else if used <= f64::from(settings.tokens_max) * settings.decrease_ratio {
                    *chance = (*chance - settings.drop_decrease).max(0.0);
                }
            }
            if fraction(&mut self.random) < self.stats.drop_chance {
                self.stats.dropped += 1;
                return false;
            }
        }
        let weight = match session {
            SessionId::NONE => settings.new_session_weight,
            _ => settings.renewed_session_weight,
        };
        let Some(left) = self.tokens.checked_sub(weight) else {
            self.stats.rejected += 1;
            return false;
        };
        self.tokens = left;
        true
    }

    /// Writes a line if handshakes were refused since the last one, and that one is old enough.
    pub fn tell(&mut self, now: Now) {
        let refused = self.stats.rejected + self.stats.dropped;
        let is_due = self.told_at.is_none_or(|at| now.since(at).as_millis() >= LINE_INTERVAL_MS);
        if refused > self.told && is_due {
            let count = refused - self.told;
            warn!(count, "throttled: handshakes were refused, see connection_throttle_tokens");
            self.told = refused;
            self.told_at = Some(now);
        }
    }
}

/// The next number of a sequence, 0 to 1 (SplitMix64).
fn fraction(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: SessionId = SessionId(5);

    fn settings() -> ConnectionThrottle {
        ConnectionThrottle {
            tokens_max: 6,
            fill_time_ms: 100,
            fill_count: 2,
            freeze_time_ms: None,
            drop_increase: 0.5,
            drop_decrease: 0.25,
            decrease_ratio: 0.5,
            new_session_weight: 3,
            renewed_session_weight: 2,
        }
    }

    fn at(ms: u64) -> Now {
        Now::from_millis(ms)
    }

    #[test]
    fn without_settings_everybody_is_let_in() {
        let mut bucket = Bucket::new(None, 1, at(0));
        assert!((0..10_000).all(|_| bucket.admits(SessionId::NONE, at(0))));
        assert_eq!(bucket.stats(), ConnectionThrottleStats::default());
    }

    #[test]
    fn tokens_go_by_weight_and_come_back_with_time() {
        let mut bucket = Bucket::new(Some(settings()), 1, at(0));
        assert!(bucket.admits(SessionId::NONE, at(0)));
        assert!(bucket.admits(OLD, at(10)));
        assert!(!bucket.admits(OLD, at(20)), "one token is left");
        assert_eq!((bucket.stats().rejected, bucket.stats().deficit), (1, 5));
        assert!(bucket.admits(SessionId::NONE, at(100)), "two have come");
        assert!(!bucket.admits(OLD, at(199)));
        assert!(bucket.admits(OLD, at(200)));
        // It never holds more than its size, however long nobody comes.
        assert!(bucket.admits(SessionId::NONE, at(1_000_000)));
        assert!(bucket.admits(SessionId::NONE, at(1_000_000)));
        assert!(!bucket.admits(SessionId::NONE, at(1_000_000)));
    }

    #[test]
    fn an_empty_bucket_drops_by_chance_until_it_is_filled_again() {
        let settings = ConnectionThrottle {
            tokens_max: 2,
            freeze_time_ms: Some(10),
            new_session_weight: 1,
            fill_time_ms: 1_000_000,
            ..settings()
        };
        let mut bucket = Bucket::new(Some(settings), 1, at(0));
        assert!(bucket.admits(SessionId::NONE, at(0)));
        assert!(bucket.admits(SessionId::NONE, at(1)));
        assert!(!bucket.admits(SessionId::NONE, at(10)));
        assert_eq!(bucket.stats().drop_chance, 0.5);
        assert!(!bucket.admits(SessionId::NONE, at(20)));
        assert_eq!(bucket.stats().drop_chance, 1.0);
        assert_eq!(bucket.stats().rejected + bucket.stats().dropped, 2);
        let dropped = bucket.stats().dropped;
        assert!(!bucket.admits(SessionId::NONE, at(25)));
        assert_eq!(bucket.stats().dropped, dropped + 1, "every one is dropped");
        // Filled again: the chance falls each time it is looked at, and somebody gets in.
        let mut ms = 3_000_000;
        while bucket.stats().drop_chance > 0.0 {
            bucket.admits(SessionId::NONE, at(ms));
            ms += 1_000_000;
            assert!(ms < 100_000_000, "it does not fall: {:?}", bucket.stats());
        }
        assert!(bucket.admits(SessionId::NONE, at(ms)));
    }
}
