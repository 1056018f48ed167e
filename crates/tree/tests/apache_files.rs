//! Logs and snapshots that Apache wrote: after each logged transaction the digest is the one in the
//! record, and a snapshot of ours holds what Apache's holds.
//!
//! The crate knows nothing of files; what the test needs of their framing stands here.

mod support;

use std::path::{Path, PathBuf};

use oxikeeper_proto::txn::decode_payload;
use oxikeeper_proto::{Reader, SessionId, Zxid};
use oxikeeper_tree::{ChangeList, Tree, TreeOptions};
use serde_json::Value;

use support::compare::{assert_same_changes, assert_same_nodes};
use support::image::Image;
use support::model::Model;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/datadir")
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Payloads of a log's records up to its padding: checksum 8, length 4, payload, end mark 1.
fn payloads(log: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut reader = Reader::new(log);
    assert_eq!(reader.take(16).unwrap()[..4], *b"ZKLG");
    std::iter::from_fn(move || {
        let checksum: i64 = reader.get().ok()?;
        let payload = reader.buffer().ok()??;
        if checksum == 0 && payload.is_empty() {
            return None;
        }
        assert_eq!(reader.take(1), Ok(&b"B"[..]));
        Some(payload)
    })
}

/// Files of a directory that begin with this, by zxid.
fn files(dir: &str, prefix: &str) -> Vec<(u64, PathBuf)> {
    let dir = fixtures().join(dir).join("version-2");
    let entries = std::fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut files: Vec<(u64, PathBuf)> = entries
        .filter_map(|entry| {
            let path = entry.unwrap().path();
            let hex = path.file_name()?.to_str()?.strip_prefix(prefix)?.to_owned();
            Some((u64::from_str_radix(&hex, 16).ok()?, path))
        })
        .collect();
    files.sort();
    files
}

fn expected(dir: &str) -> Value {
    let text = read(&fixtures().join(format!("{dir}.expected.json")));
    serde_json::from_slice(&text).expect("expectations are JSON")
}

fn hex(text: &str) -> u64 {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).expect("hex digits")
}

const DIRS: [&str; 8] = [
    "apache-3.8.0/plain",
    "apache-3.9.5/plain",
    "apache-3.9.5/gz",
    "apache-3.9.5/snappy",
    "apache-3.9.5/mini",
    "apache-3.9.5/fuzzy",
    "apache-3.9.5/quorum-server1",
    "apache-3.9.5/quorum-server3",
];

#[test]
fn after_every_logged_transaction_the_digest_is_apaches() {
    for dir in DIRS {
        let mut tree = Tree::new(TreeOptions::default());
        let mut model = Model::new();
        let (mut changes, mut compared) = (ChangeList::default(), 0);
        for (_, log) in files(dir, "log.") {
            let log = read(&log);
            for payload in payloads(&log) {
                let (header, txn, digest) = decode_payload(payload).expect("Apache's record");
                let zxid = header.zxid;
                changes.clear();
                let applied = tree.apply(&header, &txn, &mut changes);
                let mut told = Vec::new();
                assert_eq!(applied.outcome, model.apply(&header, &txn, &mut told), "{dir} {zxid}");
                assert_same_changes(&changes, &told);
                if let Some(digest) = digest {
                    assert_eq!(applied.digest, digest.tree_digest as u64, "{dir} {zxid}");
                    compared += 1;
                }
            }
        }
        tree.check_invariants();
        assert_same_nodes(&tree, &model);
        let expected = expected(dir);
        assert_eq!(tree.last_zxid().raw(), hex(expected["lastZxid"].as_str().unwrap()), "{dir}");
        assert_eq!(tree.digest().to_string(), expected["treeDigest"].as_str().unwrap(), "{dir}");
        assert_eq!(tree.node_count() as u64, expected["nodeCount"].as_u64().unwrap(), "{dir}");
        let sessions = expected["sessions"].as_object().unwrap().iter();
        let mut sessions: Vec<(SessionId, i32)> = sessions
            .map(|(id, ms)| (SessionId(hex(id) as i64), ms.as_i64().unwrap() as i32))
            .collect();
        sessions.sort_unstable();
        assert_eq!(tree.sessions(), sessions, "{dir}");
        assert!(compared >= 9, "{dir}: {compared} digests compared");
        println!("{dir}: {compared} digests");
    }
}

/// Sections 5 to 8 begin behind the nodes: the digest follows the first seal.
fn digest_section(rest: &[u8]) -> Option<(Zxid, u64)> {
    let mut reader = Reader::new(rest);
    reader.take(13).ok()?;
    let zxid = reader.get().ok()?;
    assert_eq!(reader.get(), Ok(2i32));
    Some((zxid, reader.get::<i64>().ok()? as u64))
}

#[test]
fn our_snapshot_of_a_tree_holds_what_apaches_does() {
    let mut count = 0;
    for dir in DIRS {
        for (zxid, file) in files(dir, "snapshot.") {
            let name = file.display();
            let bytes = read(&file);
            let (apaches, rest) = Image::parse_front(&bytes);
            let mut tree = apaches.load(Zxid::new(zxid));
            tree.check_invariants();
            match digest_section(rest) {
                Some((at, digest)) if at.raw() == zxid && zxid != 0 => {
                    assert_eq!(tree.digest(), digest, "{name}");
                }
                _ => {}
            }
            let mut walk = tree.begin_snapshot();
            let mut ours = Vec::new();
            while !tree.walk_snapshot(&mut walk, &mut ours, 5) {}
            tree.end_snapshot(walk);
            let ours = Image::parse(&ours);
            assert_eq!(ours.by_path(), apaches.by_path(), "{name}");
            let sorted = |image: &Image| {
                let mut sessions = image.sessions.clone();
                sessions.sort_unstable();
                sessions
            };
            assert_eq!(sorted(&ours), sorted(&apaches), "{name}");
            count += 1;
        }
    }
    assert!(count >= 10, "{count} snapshots");
}
