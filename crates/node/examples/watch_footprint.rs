//! What watches cost: bytes each, in resident memory, and the time to tell a herd.
//! `cargo run --release -p oxikeeper-node --example watch_footprint -- single` (or `shared`, `herd`)

use std::time::Instant;

use oxikeeper_node::front::watch_table::{DATA, WatchTable};
use oxikeeper_tree::ChangeKind;

/// Resident memory of this process in bytes, with pages of 4 KiB.
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: usize = statm.split(' ').nth(1).and_then(|n| n.parse().ok()).expect("a number");
    pages * 4096
}

/// Fills a table with one-shot data watches: `paths` nodes with `watchers` each.
fn measure(paths: u32, watchers: u32) {
    let before = resident_bytes();
    let start = Instant::now();
    let mut table = WatchTable::new(1);
    for path in 0..paths {
        let path = format!("/services/node-{path:010}");
        for slot in 0..watchers {
            // One watcher per node: spread over connections.
            let slot = if watchers == 1 { (table.len() % 1000) as u32 } else { slot };
            table.add(slot, &path, DATA);
        }
    }
    let count = table.len();
    let bytes = resident_bytes().saturating_sub(before);
    let filled = start.elapsed();
    let start = Instant::now();
    let mut told = 0;
    for path in 0..paths {
        let path = format!("/services/node-{path:010}");
        table.trigger(ChangeKind::DataChanged, &path, |_, _, _, _| told += 1);
    }
    assert_eq!(told, count);
    assert!(table.is_empty());
    println!(
        "{paths} nodes, {watchers} watchers each: {} bytes per watch, filled in {filled:?}, \
         told in {:?}",
        bytes / count,
        start.elapsed()
    );
}

fn main() {
    // One per process: memory that one gives back, the next takes again, and would not show.
    match std::env::args().nth(1).as_deref() {
        Some("shared") => measure(1000, 1000),
        Some("herd") => measure(1, 100_000),
        Some("single") => measure(1_000_000, 1),
        _ => println!("say which: single (node has one watcher), shared (a thousand), herd"),
    }
}
