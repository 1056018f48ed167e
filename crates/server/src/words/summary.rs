//! `srvr` and `stat`.

use std::fmt::Write;

use crate::shared::{FrontReport, Shared};

use super::connections::brief;

/// `srvr`.
pub fn server(report: &FrontReport, shared: &Shared) -> String {
    format!("Zookeeper version: {}\n{}", crate::version(), numbers(report, &State::of(shared)))
}

/// `stat`: the same with the clients.
pub fn status(report: &FrontReport, shared: &Shared) -> String {
    let mut text = format!("Zookeeper version: {}\nClients:\n", crate::version());
    for client in &report.clients {
        writeln!(text, "{})", brief(client)).expect("a string takes everything");
    }
    text.push('\n');
    text.push_str(&numbers(report, &State::of(shared)));
    text
}

/// What is told of the tree.
struct State {
    zxid: oxikeeper_proto::Zxid,
    nodes: usize,
}

impl State {
    fn of(shared: &Shared) -> State {
        let tree = shared.tree.read();
        // Apache counts the root twice: once as "", once as "/".
        State { zxid: tree.last_zxid(), nodes: tree.node_count() + 1 }
    }
}

fn numbers(report: &FrontReport, state: &State) -> String {
    let stats = &report.stats;
    let average = match stats.answered {
        0 => "0.0".to_owned(),
        count => decimal(stats.latency_us_sum as f64 / count as f64 / 1000.0),
    };
    format!(
        "Latency min/avg/max: {}/{average}/{}\nReceived: {}\nSent: {}\nConnections: {}\n\
         Outstanding: {}\nZxid: {}\nMode: standalone\nNode count: {}\n",
        stats.latency_us_min / 1000,
        stats.latency_us_max / 1000,
        stats.received,
        stats.sent,
        report.connections,
        report.outstanding,
        state.zxid,
        state.nodes,
    )
}

/// Up to four decimals, at least one.
pub(crate) fn decimal(value: f64) -> String {
    let text = format!("{value:.4}");
    let trimmed = text.trim_end_matches('0');
    if trimmed.ends_with('.') { format!("{trimmed}0") } else { trimmed.to_owned() }
}

#[cfg(test)]
mod tests {
    use oxikeeper_node::command::FrontStats;
    use oxikeeper_proto::Zxid;

    use super::*;

    #[test]
    fn srvr_is_apaches_to_the_character() {
        let stats = FrontStats {
            received: 22,
            sent: 25,
            answered: 13,
            latency_us_sum: 110_000,
            latency_us_min: 1_400,
            latency_us_max: 24_900,
            ..FrontStats::default()
        };
        let report = FrontReport { stats, connections: 2, ..FrontReport::default() };
        let expected = "Latency min/avg/max: 1/8.4615/24\nReceived: 22\nSent: 25\n\
                        Connections: 2\nOutstanding: 0\nZxid: 0x100000007\n\
                        Mode: standalone\nNode count: 9\n";
        let state = State { zxid: Zxid::new(0x1_0000_0007), nodes: 9 };
        assert_eq!(numbers(&report, &state), expected);
        assert_eq!(decimal(0.0), "0.0");
        assert_eq!(decimal(2.5), "2.5");
    }
}
