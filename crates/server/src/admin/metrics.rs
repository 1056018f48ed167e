//! Every metric of 3.9.5 by its name, for `/metrics` and for `monitor`.
//!
//! Dashboards and rules name them, so each has to be there; those that count what this server does
//! not have are 0 (docs/COMPATIBILITY.md lists them). Values are gathered when they are asked for.
//! Source: operations reference, 4.

use std::collections::BTreeMap;
use std::fmt::Write;

use hyper::{Response, StatusCode};

use super::body::AnswerBody;
use super::commands::Fields;
use super::facts::Facts;
use super::http::{parse_query, plain, typed};
use super::json::Json;
use super::stats::four_decimals;
use super::{State, process};
use crate::clock;
use crate::commands::Want;
use crate::metrics::{
    ADVANCED, BASIC, COUNTERS, GAUGES, Gathered, Snapshot, Summary, Value, open_files,
};

fn snapshot(state: &State, facts: &Facts) -> Snapshot {
    let gathered = Gathered {
        stats: facts.stats,
        connections: facts.connections,
        outstanding: facts.outstanding,
        watches: facts.watches,
        core: facts.core.clone(),
        stages: facts.stages.clone(),
        reads: facts.reads.clone(),
        sessions: facts.sessions,
        uptime_ms: state.clock.now().millis(),
        refused: state.limits.refused_newly(),
    };
    Snapshot::of(gathered, &state.shared)
}

/// What only the AdminServer counts, and else what everybody knows.
fn counter(name: &str, state: &State, snapshot: &Snapshot) -> u64 {
    match name {
        "snapshot_rate_limited_count" => state.snapshots.refused(),
        "restore_rate_limited_count" => state.restores.refused(),
        _ => snapshot.counter(name),
    }
}

/// `monitor`: every name, without `zk_`.
pub async fn monitor(state: &State) -> Fields {
    let snapshot = snapshot(state, &state.gather(Some(Want::Counters)).await?);
    let mut fields = vec![
        ("version".to_owned(), Json::text(crate::version())),
        ("server_state".to_owned(), Json::text(snapshot.mode())),
    ];
    for name in GAUGES {
        let value = match snapshot.gauge(name) {
            Value::Whole(value) => Json::Int(value),
            Value::Decimal(value) => Json::Float(four_decimals(value)),
        };
        fields.push(((*name).to_owned(), value));
    }
    for (name, value) in snapshot.of_ensemble() {
        fields.push((name.to_owned(), Json::int(value)));
    }
    for name in COUNTERS {
        fields.push(((*name).to_owned(), Json::int(counter(name, state, &snapshot))));
    }
    for name in BASIC {
        fields.extend(summary_fields(name, &snapshot.summary(name)));
    }
    for name in ADVANCED {
        let summary = snapshot.summary(name);
        fields.extend(summary_fields(name, &summary));
        for (label, share) in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("p999", 0.999)] {
            fields.push((format!("{label}_{name}"), Json::int(summary.quantile(share))));
        }
    }
    for (set, key, summary) in snapshot.by_namespace() {
        fields.extend(summary_fields(&format!("{key}_{set}"), &summary));
    }
    Ok(fields)
}

fn summary_fields(name: &str, summary: &Summary) -> [(String, Json); 5] {
    [
        (format!("avg_{name}"), Json::Float(four_decimals(summary.average()))),
        (format!("min_{name}"), Json::int(summary.min())),
        (format!("max_{name}"), Json::int(summary.max())),
        (format!("cnt_{name}"), Json::int(summary.count())),
        (format!("sum_{name}"), Json::int(summary.sum())),
    ]
}

/// `GET /metrics`.
pub async fn scrape(state: &State, query: &str) -> Response<AnswerBody> {
    let facts = match state.gather(Some(Want::Counters)).await {
        Ok(facts) => facts,
        Err(stuck) => return plain(StatusCode::SERVICE_UNAVAILABLE, format!("{stuck}\n")),
    };
    let wanted: Vec<String> = parse_query(query)
        .into_iter()
        .filter_map(|(name, value)| (name == "name[]").then_some(value))
        .collect();
    let text = exposition(state, &facts, &wanted);
    typed(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text)
}

/// The text format of Prometheus, 0.0.4: families of samples.
struct Exposition<'w> {
    text: String,
    /// Names of samples to show; none is all.
    wanted: &'w [String],
}

impl Exposition<'_> {
    fn is_wanted(&self, sample: &str) -> bool {
        self.wanted.is_empty() || self.wanted.iter().any(|wanted| wanted == sample)
    }

    fn family(&mut self, name: &str, kind: &str, samples: &[(&str, &str, f64)]) {
        let mut is_begun = false;
        for (suffix, labels, value) in samples {
            let sample = format!("{name}{suffix}");
            if !self.is_wanted(&sample) {
                continue;
            }
            if !is_begun {
                is_begun = true;
                self.line(format_args!("# HELP {name} {name}\n# TYPE {name} {kind}"));
            }
            self.line(format_args!("{sample}{labels} {}", java_double(*value)));
        }
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.text, "{line}").expect("a string takes everything");
    }
}

fn exposition(state: &State, facts: &Facts, wanted: &[String]) -> String {
    let snapshot = snapshot(state, facts);
    let mut out = Exposition { text: String::with_capacity(32 * 1024), wanted };
    for name in GAUGES {
        let value = match snapshot.gauge(name) {
            Value::Whole(value) => value as f64,
            Value::Decimal(value) => value,
        };
        out.family(name, "gauge", &[("", "", value)]);
    }
    for (name, value) in snapshot.of_ensemble() {
        out.family(name, "gauge", &[("", "", value as f64)]);
    }
    for name in COUNTERS {
        out.family(name, "counter", &[("", "", counter(name, state, &snapshot) as f64)]);
    }
    let quantiles = [
        ("{quantile=\"0.5\",}", 0.5),
        ("{quantile=\"0.9\",}", 0.9),
        ("{quantile=\"0.99\",}", 0.99),
    ];
    for (names, quantiles) in [(BASIC, &quantiles[..1]), (ADVANCED, &quantiles[..])] {
        for name in names {
            let summary = snapshot.summary(name);
            let at = |share| summary.exact_quantile(share).unwrap_or(f64::NAN);
            let mut samples: Vec<(&str, &str, f64)> =
                quantiles.iter().map(|(label, share)| ("", *label, at(*share))).collect();
            samples.push(("_count", "", summary.count() as f64));
            samples.push(("_sum", "", summary.exact_sum()));
            out.family(name, "summary", &samples);
        }
    }
    namespace_families(&snapshot, &mut out);
    if state.settings.export_process {
        process_families(state, &mut out);
    }
    out.text
}

/// One family for each set, with the node as the label `key`.
fn namespace_families(snapshot: &Snapshot, out: &mut Exposition<'_>) {
    let mut sets: BTreeMap<&str, Vec<(&str, String, f64)>> = BTreeMap::new();
    for (set, key, summary) in snapshot.by_namespace() {
        let key = key.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let median = summary.exact_quantile(0.5).unwrap_or(f64::NAN);
        sets.entry(set).or_default().extend([
            ("", format!("{{key=\"{key}\",quantile=\"0.5\",}}"), median),
            ("_count", format!("{{key=\"{key}\",}}"), summary.count() as f64),
            ("_sum", format!("{{key=\"{key}\",}}"), summary.exact_sum()),
        ]);
    }
    for (set, samples) in &sets {
        let samples: Vec<(&str, &str, f64)> =
            samples.iter().map(|(suffix, labels, value)| (*suffix, &**labels, *value)).collect();
        out.family(set, "summary", &samples);
    }
}

/// The process, as the client libraries of Prometheus name it.
fn process_families(state: &State, out: &mut Exposition<'_>) {
    let (resident, size) = process::memory_bytes();
    let started_ms = clock::wall().0 as f64 - state.clock.now().millis() as f64;
    for (name, kind, value) in [
        ("process_cpu_seconds_total", "counter", process::cpu_seconds()),
        ("process_start_time_seconds", "gauge", started_ms / 1000.0),
        ("process_open_fds", "gauge", open_files() as f64),
        ("process_max_fds", "gauge", process::open_files_max() as f64),
        ("process_resident_memory_bytes", "gauge", resident as f64),
        ("process_virtual_memory_bytes", "gauge", size as f64),
    ] {
        out.family(name, kind, &[("", "", value)]);
    }
}

/// A number as Java writes it, since Apache's are read by tools that grep.
fn java_double(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    let size = value.abs();
    if size != 0.0 && !(1e-3..1e7).contains(&size) {
        let text = format!("{value:E}");
        let (digits, exponent) = text.split_once('E').unwrap_or((&text, "0"));
        let point = if digits.contains('.') { "" } else { ".0" };
        return format!("{digits}{point}E{exponent}");
    }
    format!("{value:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_java_writes_them() {
        let cases = [
            (0.0, "0.0"),
            (2.0, "2.0"),
            (0.0001, "1.0E-4"),
            (9_999_999.0, "9999999.0"),
            (12_345_678.0, "1.2345678E7"),
            (f64::NAN, "NaN"),
        ];
        for (value, text) in cases {
            assert_eq!(java_double(value), text);
        }
    }
}
