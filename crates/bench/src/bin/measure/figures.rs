//! The rows of the comparison, what is wanted of them, and the table that comes out.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::server::Side;

/// What a row must show.
#[derive(Clone, Copy, Debug)]
pub enum Wanted {
    /// Ours divided by Apache's is at least this.
    RatioAtLeast(f64),
    /// Ours divided by Apache's is at most this.
    RatioAtMost(f64),
    /// Ours is at most this.
    AtMost(f64),
    /// Ours is at least this.
    AtLeast(f64),
    /// For information.
    Nothing,
}

/// A row.
pub struct Row {
    /// For the command line; rows with a common beginning are chosen together.
    pub name: &'static str,
    /// For people.
    pub title: &'static str,
    /// Unit of the figures.
    pub unit: &'static str,
    /// What is wanted.
    pub wanted: Wanted,
}

const fn row(name: &'static str, title: &'static str, unit: &'static str, wanted: Wanted) -> Row {
    Row { name, title, unit, wanted }
}

use Wanted::{AtLeast, AtMost, Nothing, RatioAtLeast, RatioAtMost};

/// Every row, in the order of the table.
pub const ROWS: &[Row] = &[
    row("reads-50x16", "reads, 50 connections x 16 in flight", "/s", RatioAtLeast(12.0)),
    row("writes-50x16", "writes, 50 x 16", "/s", RatioAtLeast(5.0)),
    row("mixed-50x16", "90 % reads, 10 % writes, 50 x 16", "/s", RatioAtLeast(6.0)),
    row("reads-50x1", "reads, 50 x 1", "/s", Nothing),
    row("writes-50x1", "writes, 50 x 1", "/s", RatioAtLeast(2.0)),
    row("fill", "filling a million znodes, single creates, 50 x 16", "znodes/s", RatioAtLeast(5.0)),
    row("cpu-reads-50x1", "server CPU per read, 50 x 1", "us", RatioAtMost(0.25)),
    row("cpu-reads-50x16", "server CPU per read, 50 x 16", "us", Nothing),
    row("cpu-writes-50x16", "server CPU per write, 50 x 16", "us", RatioAtMost(1.0 / 6.0)),
    row("latency-write-p50", "one client, one write at a time, p50", "us", RatioAtMost(0.7)),
    row("latency-write-p99", "one client, one write at a time, p99", "us", Nothing),
    row("latency-disk-p50", "the disk: 512 bytes over zeros and fdatasync, p50", "us", Nothing),
    row("latency-read-p50", "one client, one read at a time, p50", "us", Nothing),
    row("open-reads-p99", "reads at half of Apache's maximum, p99", "us", RatioAtMost(1.0 / 3.0)),
    row("open-reads-worst", "the same, largest p99 of a second", "us", Nothing),
    row("open-writes-p99", "writes at half of Apache's maximum, p99", "us", RatioAtMost(1.0 / 3.0)),
    row("open-writes-worst", "the same, largest p99 of a second", "us", Nothing),
    row("snapshot-quiet-p99", "writes at that rate beside a million znodes, p99", "us", Nothing),
    row("snapshot-p99", "the same while a snapshot is written, p99", "us", Nothing),
    row("snapshot-ratio", "snapshot p99 divided by quiet p99", "", AtMost(2.0)),
    row("snapshot-worst", "worst second divided by the mean, snapshots running", "", AtLeast(0.7)),
    row("memory-idle", "RSS of an idle server", "MB", AtMost(10.0)),
    row("memory-znode", "RSS per znode of a million", "bytes", AtMost(220.0)),
    row("memory-session", "RSS per idle session of 10,000, after a ping", "bytes", AtMost(2048.0)),
    row("memory-watch", "RSS per watch, 50 connections x 20,000 nodes", "bytes", AtMost(60.0)),
    row(
        "memory-shared-watch",
        "RSS per watch, 1,000 connections on the same 1,000 nodes",
        "bytes",
        AtMost(16.0),
    ),
    row("start-empty", "start to serving, empty", "ms", AtMost(50.0)),
    row("start-million", "start to serving, a million znodes", "ms", AtMost(1500.0)),
    row("syscalls-read", "system calls per getData, 10 x 1", "", AtMost(2.2)),
    row("ensemble-writes-50x16", "three servers: writes, 50 x 16, spread", "/s", RatioAtLeast(4.0)),
    row("ensemble-writes-p99", "the same, p99", "us", RatioAtMost(0.25)),
    row("ensemble-writes-50x1", "three servers: writes, 50 x 1, spread", "/s", RatioAtLeast(2.5)),
    row(
        "ensemble-write-p50-leader",
        "one write at a time at the leader, p50",
        "us",
        RatioAtMost(0.6),
    ),
    row(
        "ensemble-write-p50-follower",
        "one write at a time at a follower, p50",
        "us",
        RatioAtMost(0.6),
    ),
    row("ensemble-reads-48x16", "three servers: reads, 48 x 16, spread", "/s", RatioAtLeast(10.0)),
    row("ensemble-mixed-50x16", "three servers: 90/10, 50 x 16, spread", "/s", RatioAtLeast(6.0)),
    row("ensemble-failover-p50", "leader killed: to the next write, median", "ms", AtMost(150.0)),
    row("ensemble-failover-worst", "the same, worst", "ms", AtMost(500.0)),
    row(
        "rejoin-quiet-p99",
        "three servers, a million znodes: writes at the leader, p99",
        "us",
        Nothing,
    ),
    row("rejoin-diff-ms", "a follower away for 100,000 writes: start to in step", "ms", Nothing),
    row("rejoin-diff-p99", "the leader's p99 meanwhile", "us", Nothing),
    row("rejoin-diff-ratio", "the same divided by quiet p99", "", AtMost(3.0)),
    row("rejoin-snap-ms", "a follower without data: start to in step", "ms", Nothing),
    row("rejoin-snap-p99", "the leader's p99 meanwhile", "us", Nothing),
    row("rejoin-snap-ratio", "the same divided by quiet p99", "", AtMost(3.0)),
    row(
        "rejoin-failover-p50",
        "leader killed beside a million znodes, median",
        "ms",
        AtMost(150.0),
    ),
    row("rejoin-failover-worst", "the same, worst", "ms", AtMost(500.0)),
    row(
        "metrics-cost",
        "a scrape per second: its CPU time, of that of full load",
        "%",
        AtMost(2.0),
    ),
    row("instructions-read", "instructions of the process per getData, 1 x 16", "", AtMost(2100.0)),
    row(
        "instructions-write",
        "instructions of the process per setData, 1 x 16",
        "",
        AtMost(11700.0),
    ),
];

/// Figures of all rounds.
#[derive(Default)]
pub struct Figures {
    values: BTreeMap<(&'static str, &'static str), Vec<f64>>,
}

impl Figures {
    /// Adds a figure of a round.
    pub fn add(&mut self, side: Side, name: &'static str, value: f64) {
        assert!(ROWS.iter().any(|row| row.name == name), "{name} is no row");
        eprintln!("  {:<10}{name} {value:.1}", side.name());
        self.values.entry((name, side.name())).or_default().push(value);
    }

    /// Median over the rounds; for an even number the smaller of the two in the middle.
    pub fn median(&self, side: Side, name: &'static str) -> Option<f64> {
        let mut values = self.values.get(&(name, side.name()))?.clone();
        values.sort_by(f64::total_cmp);
        values.get((values.len() - 1) / 2).copied()
    }

    /// What came out for the rows that were measured on this side, and whether it is as wanted.
    pub fn verdicts(&self, side: Side) -> impl Iterator<Item = (&'static Row, f64, Option<bool>)> {
        ROWS.iter().filter_map(move |row| {
            let value = self.median(side, row.name)?;
            Some((row, value, holds(row.wanted, Some(value), None)))
        })
    }

    /// The table.
    pub fn markdown(&self) -> String {
        let mut text = String::from(
            "| what | Apache 3.9.5 | Oxikeeper | ratio | wanted | |\n|---|---|---|---|---|---|\n",
        );
        for row in ROWS {
            let [apache, ours] = Side::BOTH.map(|side| self.median(side, row.name));
            if apache.is_none() && ours.is_none() {
                continue;
            }
            let ratio = ours.zip(apache).map(|(ours, apache)| ours / apache);
            let verdict = match holds(row.wanted, ours, ratio) {
                Some(true) => "holds",
                Some(false) => "**does not hold**",
                None => "",
            };
            let cell = |value: Option<f64>| value.map_or("-".to_owned(), |v| number(v, row.unit));
            writeln!(
                text,
                "| {} | {} | {} | {} | {} | {verdict} |",
                row.title,
                cell(apache),
                cell(ours),
                ratio.map_or("-".to_owned(), |ratio| format!("{}x", short(ratio))),
                wanted(row),
            )
            .expect("strings take everything");
        }
        text
    }
}

fn holds(wanted: Wanted, ours: Option<f64>, ratio: Option<f64>) -> Option<bool> {
    Some(match wanted {
        RatioAtLeast(bound) => ratio? >= bound,
        RatioAtMost(bound) => ratio? <= bound,
        AtMost(bound) => ours? <= bound,
        AtLeast(bound) => ours? >= bound,
        Nothing => return None,
    })
}

/// The bound, for people.
pub fn wanted(row: &Row) -> String {
    match row.wanted {
        RatioAtLeast(bound) => format!("at least {}x", short(bound)),
        RatioAtMost(bound) => format!("at most {}x", short(bound)),
        AtMost(bound) => format!("at most {}", number(bound, row.unit)),
        AtLeast(bound) => format!("at least {}", number(bound, row.unit)),
        Nothing => String::new(),
    }
}

/// A figure with its unit, for people.
pub fn number(value: f64, unit: &str) -> String {
    let spaced =
        if unit.is_empty() || unit.starts_with('/') { unit.to_owned() } else { format!(" {unit}") };
    format!("{}{spaced}", short(value))
}

/// Three digits that mean something, thousands apart.
fn short(value: f64) -> String {
    if value != 0.0 && value.abs() < 0.1 {
        return format!("{value:.3}");
    }
    if value.abs() < 10.0 {
        return format!("{value:.2}");
    }
    if value.abs() < 100.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0
            && (digits.len() - index) % 3 == 0
            && digit.is_ascii_digit()
            && !text.ends_with('-')
        {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!(short(1_234_567.0), "1,234,567");
        assert_eq!(short(123.4), "123");
        assert_eq!(short(-1234.0), "-1,234");
        assert_eq!(short(0.253), "0.25");
        assert_eq!(short(0.0047), "0.005");
        assert_eq!(number(10.0, "MB"), "10.0 MB");
    }

    #[test]
    fn a_losing_row_says_so() {
        let mut figures = Figures::default();
        for value in [10.0, 30.0, 20.0] {
            figures.add(Side::Apache, "fill", value);
            figures.add(Side::Ours, "fill", value * 4.0);
        }
        figures.add(Side::Ours, "memory-idle", 3.0);
        assert_eq!(figures.median(Side::Apache, "fill"), Some(20.0));
        let text = figures.markdown();
        assert!(
            text.contains(
                "| 20.0 znodes/s | 80.0 znodes/s | 4.00x | at least 5.00x | **does not hold** |"
            ),
            "{text}"
        );
        assert!(text.contains("| - | 3.00 MB | - | at most 10.0 MB | holds |"), "{text}");
    }
}
