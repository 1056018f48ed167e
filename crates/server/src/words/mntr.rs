//! `mntr`: one `zk_<name><TAB><value>` a line. Some readers give the whole answer up over one line of
//! another form.

use std::fmt::Write;

use super::summary::decimal;
use crate::metrics::{ADVANCED, BASIC, COUNTERS, GAUGES, Snapshot, Value};

/// The answer.
pub fn text(snapshot: &Snapshot) -> String {
    let mut text =
        format!("zk_version\t{}\nzk_server_state\t{}\n", crate::version(), snapshot.mode());
    let mut line = |name: &str, value: &str| {
        writeln!(text, "zk_{name}\t{value}").expect("a string takes everything");
    };
    for name in GAUGES {
        match snapshot.gauge(name) {
            Value::Whole(value) => line(name, &value.to_string()),
            Value::Decimal(value) => line(name, &decimal(value)),
        }
    }
    for (name, value) in snapshot.of_ensemble() {
        line(name, &value.to_string());
    }
    for name in COUNTERS {
        line(name, &snapshot.counter(name).to_string());
    }
    let percentiles = [("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("p999", 0.999)];
    for (names, percentiles) in [(BASIC, &[][..]), (ADVANCED, &percentiles[..])] {
        for name in names {
            let summary = snapshot.summary(name);
            line(&format!("avg_{name}"), &decimal(summary.average()));
            line(&format!("min_{name}"), &summary.min().to_string());
            line(&format!("max_{name}"), &summary.max().to_string());
            line(&format!("cnt_{name}"), &summary.count().to_string());
            line(&format!("sum_{name}"), &summary.sum().to_string());
            for (statistic, share) in percentiles {
                line(&format!("{statistic}_{name}"), &summary.quantile(*share).to_string());
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
