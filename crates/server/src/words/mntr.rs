//! `mntr`: one `zk_<name><TAB><value>` a line. Some readers give the whole answer up over one line of
//! another form.

use std::fmt::Write;

use super::summary::decimal;
use crate::metrics::{ADVANCED, BASIC, COUNTERS, GAUGES, Snapshot, Summary, Value};

/// The answer.
pub fn text(snapshot: &Snapshot) -> String {
    let mut text =
        format!("zk_version\t{}\nzk_server_state\t{}\n", crate::version(), snapshot.mode());
    for name in GAUGES {
        match snapshot.gauge(name) {
            Value::Whole(value) => line(&mut text, name, &value.to_string()),
            Value::Decimal(value) => line(&mut text, name, &decimal(value)),
        }
    }
    for (name, value) in snapshot.of_ensemble() {
        line(&mut text, name, &value.to_string());
    }
    for name in COUNTERS {
        line(&mut text, name, &snapshot.counter(name).to_string());
    }
    for name in BASIC {
        summary(&mut text, name, &snapshot.summary(name));
    }
    for name in ADVANCED {
        let values = snapshot.summary(name);
        summary(&mut text, name, &values);
        for (statistic, share) in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("p999", 0.999)] {
            line(&mut text, &format!("{statistic}_{name}"), &values.quantile(share).to_string());
        }
    }
    for (set, key, values) in snapshot.by_namespace() {
        summary(&mut text, &format!("{}_{set}", one_word(key)), &values);
    }
    text
}

fn line(text: &mut String, name: &str, value: &str) {
    writeln!(text, "zk_{name}\t{value}").expect("a string takes everything");
}

fn summary(text: &mut String, name: &str, values: &Summary) {
    line(text, &format!("avg_{name}"), &decimal(values.average()));
    line(text, &format!("min_{name}"), &values.min().to_string());
    line(text, &format!("max_{name}"), &values.max().to_string());
    line(text, &format!("cnt_{name}"), &values.count().to_string());
    line(text, &format!("sum_{name}"), &values.sum().to_string());
}

/// A node's name as part of a metric's, in the characters that readers know. Apache prints it as it is, and
/// over one name with a blank in it they give up the whole answer.
fn one_word(name: &str) -> String {
    name.replace(|c: char| !c.is_ascii_alphanumeric() && !"_.-".contains(c), "_")
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
        assert_eq!(one_word("my-app é"), "my-app__");
        assert!(text.contains("\nzk_avg_latency\t0.0\n"));
        assert!(text.contains("\nzk_p999_readlatency\t0\n"));
    }
}
