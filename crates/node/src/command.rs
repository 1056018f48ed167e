//! Four-letter words: the text interface on the client port.
//!
//! Source: operations reference, 2.

use std::net::SocketAddr;

use oxikeeper_proto::SessionId;
use oxikeeper_proto::watch::EventType;

use crate::front::Activity;
use crate::histogram::Histogram;
use crate::time::Now;

use crate::front::throttle::ThrottleStats;

/// A word that a connection may begin with instead of a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FourLetterWord(pub &'static str);

/// Every word of 3.9.
const WORDS: &[&str] = &[
    "conf", "cons", "crst", "dirs", "dump", "envi", "gtmk", "ruok", "stmk", "srst", "srvr", "stat",
    "wchc", "wchp", "wchs", "mntr", "isro", "hash",
];

impl FourLetterWord {
    /// The word of these bytes, if it is one.
    pub fn from_bytes(bytes: [u8; 4]) -> Option<FourLetterWord> {
        WORDS.iter().find(|word| word.as_bytes() == bytes).map(|word| FourLetterWord(word))
    }

    /// Whether a whitelist lets it run. `srvr` always does.
    pub fn is_allowed(self, whitelist: &[String]) -> bool {
        self.0 == "srvr" || whitelist.iter().any(|word| word == "*" || word == self.0)
    }

    /// What a word is answered that the whitelist lacks.
    pub fn refusal(self) -> String {
        format!("{} is not executed because it is not in the whitelist.\n", self.0)
    }
}

/// A word that a connection asks for and may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The word.
    pub word: FourLetterWord,
    /// What came behind it: only `stmk` has something, a mask.
    pub mask: Option<i64>,
}

/// A connection, for `stat`.
#[derive(Clone, Debug)]
pub struct ClientLine {
    /// Its address.
    pub remote: SocketAddr,
    /// Requests of it that are not answered.
    pub queued: usize,
    /// Packets received from it.
    pub received: u64,
    /// Packets sent to it.
    pub sent: u64,
    /// Whether it has shaken hands: Apache shows the selector's interest here.
    pub is_open: bool,
    /// Its session; none before the handshake.
    pub session: SessionId,
    /// The session's timeout in force, milliseconds.
    pub timeout_ms: i32,
    /// When it was accepted.
    pub since: Now,
    /// Its requests.
    pub activity: Activity,
}

/// Counters of one Front.
#[derive(Clone, Copy, Debug, Default)]
pub struct FrontStats {
    /// Packets received.
    pub received: u64,
    /// Packets sent.
    pub sent: u64,
    /// Requests answered.
    pub answered: u64,
    /// Sum of their latencies, in microseconds.
    pub latency_us_sum: u64,
    /// The shortest of them.
    pub latency_us_min: u64,
    /// The longest of them.
    pub latency_us_max: u64,
    /// How often limits were met.
    pub throttled: ThrottleStats,
    /// Latencies of what was answered by a Front.
    pub reads: Histogram,
    /// Latencies of what was answered by the Core.
    pub updates: Histogram,
    /// Bytes of the replies, without what stands before each frame.
    pub response_bytes: Histogram,
    /// Bytes of the last reply.
    pub last_response_bytes: u64,
    /// Bytes of the replies before `response_bytes` was counted anew.
    pub response_bytes_before: u64,
    /// Bytes received, with what stands before each frame.
    pub received_bytes: u64,
    /// Handshakes received.
    pub handshakes: u64,
    /// Connections that their peers ended.
    pub dropped: u64,
    /// Bytes of watch events, without what stands before each frame.
    pub watch_bytes: u64,
    /// How many watchers each event had.
    pub fired: Fired,
}

/// How many watchers at one Front the events of each kind had that had any.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fired {
    /// A node came to be.
    pub created: Histogram,
    /// A node was deleted.
    pub deleted: Histogram,
    /// A node's data was set.
    pub changed: Histogram,
    /// A node's children came or went.
    pub children: Histogram,
}

impl Fired {
    /// Counts an event with so many watchers.
    pub fn count(&mut self, event: EventType, watchers: u64) {
        match event {
            EventType::NodeCreated => self.created.count(watchers),
            EventType::NodeDeleted => self.deleted.count(watchers),
            EventType::NodeDataChanged => self.changed.count(watchers),
            EventType::NodeChildrenChanged => self.children.count(watchers),
        }
    }

    fn merge(&mut self, other: &Fired) {
        self.created.merge(&other.created);
        self.deleted.merge(&other.deleted);
        self.changed.merge(&other.changed);
        self.children.merge(&other.children);
    }
}

/// Who answered a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// A Front.
    Read,
    /// The Core.
    Update,
}

impl FrontStats {
    /// Counts one answered request.
    pub fn count_latency(&mut self, latency_us: u64) {
        self.latency_us_min = match self.answered {
            0 => latency_us,
            _ => self.latency_us_min.min(latency_us),
        };
        self.latency_us_max = self.latency_us_max.max(latency_us);
        self.latency_us_sum += latency_us;
        self.answered += 1;
    }

    /// Counts one answered request and its reply.
    pub fn count_answer(&mut self, what: Answered, bytes: usize, latency_us: u64) {
        self.count_latency(latency_us);
        match what {
            Answered::Read => self.reads.count(latency_us),
            Answered::Update => self.updates.count(latency_us),
        }
        self.last_response_bytes = bytes as u64;
        self.response_bytes.count(self.last_response_bytes);
    }

    /// Counts the traffic and latencies of the server anew, and keeps everything else.
    pub fn reset_gauges(&mut self) {
        *self = FrontStats {
            response_bytes_before: self.response_bytes_before + self.response_bytes.sum,
            throttled: self.throttled,
            reads: self.reads,
            updates: self.updates,
            received_bytes: self.received_bytes,
            handshakes: self.handshakes,
            dropped: self.dropped,
            watch_bytes: self.watch_bytes,
            fired: self.fired,
            ..FrontStats::default()
        };
    }

    /// Adds another Front's counters.
    pub fn merge(&mut self, other: &FrontStats) {
        if other.answered > 0 {
            self.latency_us_min = match self.answered {
                0 => other.latency_us_min,
                _ => self.latency_us_min.min(other.latency_us_min),
            };
        }
        self.latency_us_max = self.latency_us_max.max(other.latency_us_max);
        self.latency_us_sum += other.latency_us_sum;
        self.answered += other.answered;
        self.reads.merge(&other.reads);
        self.updates.merge(&other.updates);
        self.response_bytes.merge(&other.response_bytes);
        if other.last_response_bytes > 0 {
            self.last_response_bytes = other.last_response_bytes;
        }
        self.received += other.received;
        self.sent += other.sent;
        self.throttled.merge(&other.throttled);
        self.response_bytes_before += other.response_bytes_before;
        self.received_bytes += other.received_bytes;
        self.handshakes += other.handshakes;
        self.dropped += other.dropped;
        self.watch_bytes += other.watch_bytes;
        self.fired.merge(&other.fired);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_whitelist() {
        let word = |bytes| FourLetterWord::from_bytes(bytes);
        assert_eq!(word(*b"ruok"), Some(FourLetterWord("ruok")));
        assert_eq!(word(*b"RUOK"), None);
        let ruok = FourLetterWord("ruok");
        assert!(!ruok.is_allowed(&[]));
        assert!(ruok.is_allowed(&["*".into()]));
        assert!(ruok.is_allowed(&["ruok".into()]));
        assert!(FourLetterWord("srvr").is_allowed(&[]));
        let text = "ruok is not executed because it is not in the whitelist.\n";
        assert_eq!(ruok.refusal(), text);
    }
}
