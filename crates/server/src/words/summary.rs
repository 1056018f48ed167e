//! `srvr` and `stat`.

use std::fmt::Write;

use crate::ensemble::{Mode, Standing};
use crate::shared::{FrontReport, Shared};

use super::connections::brief;

/// `srvr`.
pub fn server(report: &FrontReport, shared: &Shared) -> String {
    let state = State::of(shared);
    format!("{}{}", heading(&state), numbers(report, &state))
}

/// `stat`: the same with the clients.
pub fn status(report: &FrontReport, shared: &Shared) -> String {
    let state = State::of(shared);
    let mut text = format!("{}Clients:\n", heading(&state));
    for client in &report.clients {
        writeln!(text, "{})", brief(client)).expect("a string takes everything");
    }
    text.push('\n');
    text.push_str(&numbers(report, &state));
    text
}

fn heading(state: &State) -> String {
    let read_only = match state.standing.mode {
        Mode::ReadOnly => "READ-ONLY mode; serving only read-only clients\n",
        _ => "",
    };
    format!("Zookeeper version: {}\n{read_only}", crate::version())
}

/// What is told of the tree.
struct State {
    zxid: oxikeeper_proto::Zxid,
    nodes: usize,
    standing: Standing,
}

impl State {
    fn of(shared: &Shared) -> State {
        let tree = shared.tree.read();
        // Apache counts the root twice: once as "", once as "/".
        let (zxid, nodes) = (tree.last_zxid(), tree.node_count() + 1);
        drop(tree);
        State { zxid, nodes, standing: shared.standing.lock().clone() }
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
         Outstanding: {}\nZxid: {}\nMode: {}\nNode count: {}\n{}",
        stats.latency_us_min / 1000,
        stats.latency_us_max / 1000,
        stats.received,
        stats.sent,
        report.connections,
        report.outstanding,
        state.zxid,
        state.standing.mode.text(),
        state.nodes,
        proposals(&state.standing),
    )
}

/// A leader's last line.
fn proposals(standing: &Standing) -> String {
    let Standing { mode, proposal_bytes, last_proposal_bytes, .. } = standing;
    match (mode, proposal_bytes.count) {
        (Mode::Leader, 0) => "Proposal sizes last/min/max: -1/-1/-1\n".to_owned(),
        (Mode::Leader, _) => {
            let (min, max) = (proposal_bytes.min, proposal_bytes.max);
            format!("Proposal sizes last/min/max: {last_proposal_bytes}/{min}/{max}\n")
        }
        _ => String::new(),
    }
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
        let standing = Standing::new(None);
        let state = State { zxid: Zxid::new(0x1_0000_0007), nodes: 9, standing };
        assert_eq!(numbers(&report, &state), expected);
        assert_eq!(decimal(0.0), "0.0");
        assert_eq!(decimal(2.5), "2.5");
    }
}
