//! Every metric of 3.9.5 by its name, for `/metrics` and for `monitor`.
//!
//! Dashboards and rules name them, so each has to be there; those that count what this server does
//! not have, or does not count yet, are 0 (docs/COMPATIBILITY.md lists them). Values are gathered
//! when they are asked for. Source: operations reference, 4.

use std::fmt::Write;
use std::sync::atomic::Ordering;

use hyper::{Response, StatusCode};
use oxikeeper_node::histogram::Histogram;

use super::body::AnswerBody;
use super::commands::Fields;
use super::facts::Facts;
use super::http::{parse_query, plain, typed};
use super::json::Json;
use super::stats::{avg_latency_ms, four_decimals};
use super::{State, process};
use crate::clock;
use crate::commands::Want;
use crate::metrics::ensemble_gauges;
use crate::metrics::{ADVANCED, BASIC, COUNTERS, GAUGES};

/// One metric.
enum Value {
    Whole(u64),
    Broken(f64),
}

/// A summary in the unit it is shown in.
struct Summary {
    spread: Histogram,
    /// Counted units per unit shown: 1000 for microseconds that are shown as milliseconds.
    scale: f64,
}

impl Summary {
    fn shown(&self, counted: u64) -> f64 {
        counted as f64 / self.scale
    }
}

fn gauge(name: &str, state: &State, facts: &Facts) -> Value {
    let stats = &facts.stats;
    Value::Whole(match name {
        "approximate_data_size" => facts.data_size,
        "avg_latency" => return Value::Broken(avg_latency_ms(facts)),
        "connection_drop_probability" => return Value::Broken(facts.throttle.drop_chance),
        "ephemerals_count" => facts.ephemerals as u64,
        "global_sessions" => facts.sessions as u64,
        "last_client_response_size" => stats.last_response_bytes,
        "max_client_response_size" => stats.response_bytes.max,
        "min_client_response_size" => stats.response_bytes.min,
        "max_file_descriptor_count" => process::open_files_max(),
        "open_file_descriptor_count" => process::open_files(),
        "max_latency" => stats.latency_us_max / 1000,
        "min_latency" => stats.latency_us_min / 1000,
        "num_alive_connections" => facts.connections as u64,
        "outstanding_requests" => facts.outstanding as u64,
        "packets_received" => stats.received,
        "packets_sent" => stats.sent,
        "uptime" => state.clock.now().millis(),
        "watch_count" => facts.watches as u64,
        "znode_count" => facts.node_count as u64,
        _ => 0,
    })
}

fn counter(name: &str, state: &State, facts: &Facts) -> u64 {
    let throttled = &facts.stats.throttled;
    match name {
        "connection_rejected" => state.limits.refused() + facts.throttle.rejected,
        "connection_drop_count" => facts.throttle.dropped,
        "large_requests_rejected" => throttled.large_requests,
        "request_throttle_wait_count" => throttled.outstanding,
        "response_bytes" => facts.stats.response_bytes.sum,
        "sessionless_connections_expired" => throttled.no_handshake,
        "snapshot_error_count" => state.shared.counters.snapshot_errors.load(Ordering::Relaxed),
        "snapshot_rate_limited_count" => state.snapshots.refused(),
        "restore_rate_limited_count" => state.restores.refused(),
        _ => 0,
    }
}

fn summary(name: &str, state: &State, facts: &Facts) -> Summary {
    let counters = &state.shared.counters;
    let micros = |spread: Histogram| Summary { spread, scale: 1000.0 };
    let plain = |spread: Histogram| Summary { spread, scale: 1.0 };
    let once = |value: u64| {
        let mut spread = Histogram::default();
        spread.count(value);
        spread
    };
    match name {
        "fsynctime" => micros(*counters.fsync_us.lock()),
        "sync_processor_batch_size" => plain(*counters.batch_txns.lock()),
        "snapshottime" => micros(*counters.snapshot_us.lock()),
        "dbinittime" => micros(once(counters.load_us.load(Ordering::Relaxed))),
        "startup_txns_loaded" => plain(once(counters.load_txns.load(Ordering::Relaxed))),
        "readlatency" => micros(facts.stats.reads),
        "updatelatency" => micros(facts.stats.updates),
        _ => plain(Histogram::default()),
    }
}

/// `monitor`: every name, without `zk_`.
pub async fn monitor(state: &State) -> Fields {
    let facts = state.gather(Some(Want::Counters)).await?;
    let mut fields = vec![
        ("version".to_owned(), Json::text(crate::version())),
        ("server_state".to_owned(), Json::text(state.shared.mode().text())),
    ];
    for name in GAUGES {
        let value = match gauge(name, state, &facts) {
            Value::Whole(value) => Json::int(value),
            Value::Broken(value) => Json::Float(value),
        };
        fields.push(((*name).to_owned(), value));
    }
    let standing = state.shared.standing.lock().clone();
    for (name, value) in ensemble_gauges(&standing, state.clock.now().millis()) {
        fields.push((name.to_owned(), Json::int(value)));
    }
    for name in COUNTERS {
        fields.push(((*name).to_owned(), Json::int(counter(name, state, &facts))));
    }
    for (names, is_advanced) in [(BASIC, false), (ADVANCED, true)] {
        for name in names {
            let summary = summary(name, state, &facts);
            let Histogram { count, sum, min, max, .. } = summary.spread;
            let whole = |counted| Json::Int(summary.shown(counted) as i64);
            let average = summary.shown(sum) / count.max(1) as f64;
            fields.extend([
                (format!("avg_{name}"), Json::Float(four_decimals(average))),
                (format!("min_{name}"), whole(min)),
                (format!("max_{name}"), whole(max)),
                (format!("cnt_{name}"), Json::int(count)),
                (format!("sum_{name}"), whole(sum)),
            ]);
            if is_advanced {
                for (label, share) in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("p999", 0.999)]
                {
                    let value = summary.spread.quantile(share).unwrap_or(0);
                    fields.push((format!("{label}_{name}"), whole(value)));
                }
            }
        }
    }
    Ok(fields)
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
    let mut out = Exposition { text: String::with_capacity(32 * 1024), wanted };
    for name in GAUGES {
        let value = match gauge(name, state, facts) {
            Value::Whole(value) => value as f64,
            Value::Broken(value) => value,
        };
        out.family(name, "gauge", &[("", "", value)]);
    }
    let standing = state.shared.standing.lock().clone();
    for (name, value) in ensemble_gauges(&standing, state.clock.now().millis()) {
        out.family(name, "gauge", &[("", "", value as f64)]);
    }
    for name in COUNTERS {
        out.family(name, "counter", &[("", "", counter(name, state, facts) as f64)]);
    }
    let quantiles = [
        ("{quantile=\"0.5\",}", 0.5),
        ("{quantile=\"0.9\",}", 0.9),
        ("{quantile=\"0.99\",}", 0.99),
    ];
    for (names, quantiles) in [(BASIC, &quantiles[..1]), (ADVANCED, &quantiles[..])] {
        for name in names {
            let summary = summary(name, state, facts);
            let at = |share| {
                let value = summary.spread.quantile(share);
                value.map_or(f64::NAN, |value| summary.shown(value))
            };
            let mut samples: Vec<(&str, &str, f64)> =
                quantiles.iter().map(|(label, share)| ("", *label, at(*share))).collect();
            samples.push(("_count", "", summary.spread.count as f64));
            samples.push(("_sum", "", summary.shown(summary.spread.sum)));
            out.family(name, "summary", &samples);
        }
    }
    if state.settings.export_process {
        process_families(state, &mut out);
    }
    out.text
}

/// The process, as the client libraries of Prometheus name it.
fn process_families(state: &State, out: &mut Exposition<'_>) {
    let (resident, size) = process::memory_bytes();
    let started_ms = clock::wall().0 as f64 - state.clock.now().millis() as f64;
    for (name, kind, value) in [
        ("process_cpu_seconds_total", "counter", process::cpu_seconds()),
        ("process_start_time_seconds", "gauge", started_ms / 1000.0),
        ("process_open_fds", "gauge", process::open_files() as f64),
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
