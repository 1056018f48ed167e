//! `mntr`: one `zk_<name><TAB><value>` a line. Some readers give the whole answer up over one line of
//! another form.

use std::fmt::Write;

use super::summary::decimal;
use crate::metrics::{ADVANCED, BASIC, COUNTERS, GAUGES, Snapshot, Value};

/// The answer.
pub fn text(snapshot: &Snapshot) -> String {
    let mut text = format!("zk_version\t{}\nzk_server_state\tstandalone\n", crate::version());
    let mut line = |name: &str, value: &str| {
        writeln!(text, "zk_{name}\t{value}").expect("a string takes everything");
    };
    for name in GAUGES {
        match snapshot.gauge(name) {
            Value::Whole(value) => line(name, &value.to_string()),
            Value::Decimal(value) => line(name, &decimal(value)),
        }
    }
    for name in COUNTERS {
        line(name, &snapshot.counter(name).to_string());
    }
    // No summary is counted yet: all are as with Apache before the first value.
    for (names, percentiles) in [(BASIC, &[][..]), (ADVANCED, &["p50", "p95", "p99", "p999"])] {
        for name in names {
            line(&format!("avg_{name}"), "0.0");
            for statistic in ["min", "max", "cnt", "sum"].iter().chain(percentiles) {
                line(&format!("{statistic}_{name}"), "0");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_has_the_form_that_collectors_ask_for() {
        let text = text(&Snapshot::default());
        assert_eq!(text.lines().count(), 2 + 24 + 51 + 42 * 5 + 23 * 9);
        for line in text.lines().skip(1) {
            let (name, value) = line.split_once('\t').expect("one tab");
            assert!(name.starts_with("zk_"), "{line}");
            assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'), "{line}");
            let is_value = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            assert!(!value.is_empty() && value.chars().all(is_value), "{line}");
        }
        assert!(text.contains("\nzk_avg_latency\t0.0\n"));
        assert!(text.contains("\nzk_p999_readlatency\t0\n"));
    }
}
