//! Memory and time of a large tree: `cargo run --release -p oxikeeper-tree --example footprint`.
//!
//! Makes a million znodes (or as many as the first argument says), a thousand under each parent,
//! with names of ten characters and 100 bytes of data, and prints what the process grew by.
//! Resident memory is what Linux says in `/proc/self/statm`.

use std::hint::black_box;
use std::time::Instant;

use oxikeeper_proto::txn::{CreateTxn, DeleteTxn, SetDataTxn};
use oxikeeper_proto::{Acl, SessionId, Txn, TxnHeader, Zxid};
use oxikeeper_tree::{ChangeList, Tree, TreeOptions};

/// As in the server.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FANOUT: usize = 1000;
const NAME_BYTES: usize = 10;
const DATA_BYTES: usize = 100;
const PAGE_BYTES: usize = 4096;

/// The tree, and the transaction that it stands at.
struct Load {
    tree: Tree,
    zxid: u64,
    changes: ChangeList,
}

impl Load {
    fn apply(&mut self, txn: &Txn<'_>) {
        self.zxid += 1;
        let header = TxnHeader {
            session: SessionId(0x0100_0011_30ac_0000),
            cxid: 0,
            // An epoch of its own, as in an ensemble: zxids are long numbers there.
            zxid: Zxid::from_parts(3, self.zxid as u32),
            time_ms: 1_750_000_000_000 + self.zxid as i64,
            kind: txn.kind(),
        };
        self.changes.clear();
        black_box(self.tree.apply(&header, txn, &mut self.changes));
    }

    fn create(&mut self, path: &str, data: &[u8]) {
        self.apply(&Txn::Create(CreateTxn {
            path: path.into(),
            data: Some(data),
            acl: vec![Acl::open()],
            ephemeral: false,
            parent_cversion: -1,
        }));
    }
}

/// The path of a leaf, and of its parent.
fn path(leaf: usize) -> String {
    format!("/p{:09}/n{:09}", leaf / FANOUT, leaf)
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux has /proc");
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.expect("statm holds numbers") * PAGE_BYTES
}

/// Processor time that this process has used, in the 10 ms steps of Linux.
fn cpu_ms() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux has /proc");
    // The second field is a name in parentheses; user and system time are the 14th and 15th.
    let (_, fields) = stat.rsplit_once(") ").expect("stat holds a name");
    let ticks = fields.split(' ').skip(11).take(2);
    ticks.map(|ticks| ticks.parse::<u64>().expect("times are numbers") * 10).sum()
}

/// Runs a step, says what processor time an item took, and the longest one by the clock.
fn timed(what: &str, items: usize, mut step: impl FnMut(usize)) {
    let mut longest = std::time::Duration::ZERO;
    let began_ms = cpu_ms();
    let mut last = Instant::now();
    for item in 0..items {
        step(item);
        let now = Instant::now();
        longest = longest.max(now - last);
        last = now;
    }
    let each = (cpu_ms() - began_ms) * 1_000_000 / items as u64;
    println!("{what:<28} {each:>6} ns each, longest {longest:?}");
}

fn main() {
    let count = std::env::args().nth(1).map_or(1_000_000, |count| {
        count.parse::<usize>().expect("the argument is a number of znodes")
    });
    let empty = resident_bytes();
    let tree = Tree::new(TreeOptions { hash_seed: 7, ..TreeOptions::default() });
    let mut load = Load { tree, zxid: 0, changes: ChangeList::default() };
    let data = [7; DATA_BYTES];
    timed("create", count, |leaf| {
        if leaf % FANOUT == 0 {
            let path = path(leaf);
            load.create(&path[..path.rfind('/').expect("it has a parent")], b"");
        }
        load.create(&path(leaf), &data);
    });
    let znodes = load.tree.node_count();
    report("after create", &load, empty, znodes);
    // A stride coprime to the count visits every leaf once, far from the one before.
    let scattered = |step: usize| step * 1_000_003 % count;
    let hot: Vec<String> = (0..64).map(path).collect();
    timed("nothing", count, |step| {
        black_box(step);
    });
    timed("node, the same 64", count, |step| {
        let node = load.tree.node(&hot[step % 64]).expect("it was created");
        black_box((node.data(), node.stat()));
    });
    timed("node, scattered", count, |step| {
        let node = load.tree.node(&path(scattered(step))).expect("it was created");
        black_box(node.stat());
    });
    timed("node, absent", count, |step| {
        assert!(load.tree.node(&path(count + scattered(step))).is_none());
    });
    timed("set data, scattered", count, |step| {
        let path = path(scattered(step));
        let txn = SetDataTxn { path: path.as_str().into(), data: Some(&data), version: 1 };
        load.apply(&Txn::SetData(txn));
    });
    report("after every one was set", &load, empty, znodes);
    let mut walk = load.tree.begin_snapshot();
    let (mut bytes, mut total) = (Vec::new(), 0);
    let began = Instant::now();
    let mut longest = std::time::Duration::ZERO;
    loop {
        bytes.clear();
        let held = Instant::now();
        let done = load.tree.walk_snapshot(&mut walk, &mut bytes, 1024);
        longest = longest.max(held.elapsed());
        total += bytes.len();
        if done {
            break;
        }
    }
    load.tree.end_snapshot(walk);
    let took = began.elapsed();
    println!("snapshot: {total} bytes in {took:?}, longest hold of 1024 nodes {longest:?}");
    timed("delete", count, |leaf| {
        let path = path(leaf);
        load.apply(&Txn::Delete(DeleteTxn { path: path.as_str().into() }));
    });
    report("after every leaf went", &load, empty, znodes);
}

fn report(when: &str, load: &Load, empty: usize, znodes: usize) {
    let each = (resident_bytes() - empty) as f64 / znodes as f64;
    let overhead = each - (NAME_BYTES + DATA_BYTES) as f64;
    println!(
        "{when}: {} znodes, {each:.1} bytes each, {overhead:.1} over name and data; digest {:x}",
        load.tree.node_count(),
        load.tree.digest()
    );
}
