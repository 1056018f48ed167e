//! Four-letter words: the text interface on the client port.
//!
//! Source: operations reference, 2.

use std::fmt::Write;
use std::net::SocketAddr;

use oxikeeper_proto::Zxid;

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

/// What the words tell, gathered by the shell from all its threads.
#[derive(Clone, Debug, Default)]
pub struct ServerView {
    /// `3.9.5-oxikeeper-..., built on ...`.
    pub version: String,
    /// `standalone`, `leader`, ...
    pub mode: &'static str,
    /// The last transaction applied.
    pub zxid: Zxid,
    /// Nodes as Apache counts them.
    pub node_count: usize,
    /// Open connections, the asking one included.
    pub connections: usize,
    /// Requests taken and not answered.
    pub outstanding: usize,
    /// Sums over all Fronts.
    pub stats: FrontStats,
    /// One line per connection.
    pub clients: Vec<ClientLine>,
    /// `key=value` of `envi`, in Apache's order.
    pub environment: Vec<(&'static str, String)>,
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
        self.received += other.received;
        self.sent += other.sent;
        self.throttled.merge(&other.throttled);
    }
}

/// The answer to an allowed word.
pub fn answer(word: FourLetterWord, view: &ServerView) -> String {
    match word.0 {
        "ruok" => "imok".to_owned(),
        "isro" => "rw".to_owned(),
        "envi" => {
            let line = |(key, value): &(&str, String)| format!("{key}={value}\n");
            let lines: String = view.environment.iter().map(line).collect();
            format!("Environment:\n{lines}")
        }
        "srvr" => format!("Zookeeper version: {}\n{}", view.version, summary(view)),
        "stat" => {
            let mut text = format!("Zookeeper version: {}\nClients:\n", view.version);
            for client in &view.clients {
                writeln!(
                    text,
                    " /{}[{}](queued={},recved={},sent={})",
                    client.remote,
                    u8::from(client.is_open),
                    client.queued,
                    client.received,
                    client.sent
                )
                .expect("a string takes everything");
            }
            text.push('\n');
            text.push_str(&summary(view));
            text
        }
        other => format!("{other} is not available in this version.\n"),
    }
}

fn summary(view: &ServerView) -> String {
    let stats = &view.stats;
    let average = match stats.answered {
        0 => "0.0".to_owned(),
        count => decimal(stats.latency_us_sum as f64 / count as f64 / 1000.0),
    };
    format!(
        "Latency min/avg/max: {}/{average}/{}\nReceived: {}\nSent: {}\nConnections: {}\n\
         Outstanding: {}\nZxid: {}\nMode: {}\nNode count: {}\n",
        stats.latency_us_min / 1000,
        stats.latency_us_max / 1000,
        stats.received,
        stats.sent,
        view.connections,
        view.outstanding,
        view.zxid,
        view.mode,
        view.node_count,
    )
}

/// Up to four decimals, at least one.
fn decimal(value: f64) -> String {
    let text = format!("{value:.4}");
    let trimmed = text.trim_end_matches('0');
    if trimmed.ends_with('.') { format!("{trimmed}0") } else { trimmed.to_owned() }
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

    #[test]
    fn srvr_is_apaches_to_the_character() {
        let view = ServerView {
            version: "3.9.5-x, built on 2026-02-11 20:18 UTC".into(),
            mode: "standalone",
            zxid: Zxid::new(0x1_0000_0007),
            node_count: 9,
            connections: 2,
            outstanding: 0,
            stats: FrontStats {
                received: 22,
                sent: 25,
                answered: 13,
                latency_us_sum: 110_000,
                latency_us_min: 1_400,
                latency_us_max: 24_900,
                throttled: ThrottleStats::default(),
            },
            ..ServerView::default()
        };
        let expected = "Zookeeper version: 3.9.5-x, built on 2026-02-11 20:18 UTC\n\
                        Latency min/avg/max: 1/8.4615/24\nReceived: 22\nSent: 25\n\
                        Connections: 2\nOutstanding: 0\nZxid: 0x100000007\n\
                        Mode: standalone\nNode count: 9\n";
        assert_eq!(answer(FourLetterWord("srvr"), &view), expected);
        assert_eq!(decimal(0.0), "0.0");
        assert_eq!(decimal(2.5), "2.5");
    }
}
