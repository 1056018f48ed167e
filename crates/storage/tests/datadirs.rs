//! Every data directory under `fixtures/datadir`: our verdict, and the tree, node by node.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::prelude::{BASE64_STANDARD, Engine};
use oxikeeper_proto::stat::NodeKind;
use oxikeeper_storage::{Dirs, RealDisk, RecoverOptions, Recovered, StorageError, recover};
use oxikeeper_tree::{Restore, Tree, TreeOptions};
use serde_json::Value;
use sha2::{Digest, Sha256};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/datadir")
}

struct Outcome {
    recovered: Recovered,
    tree: Tree,
    mismatches: u64,
}

fn open(dir: &Path, trust_empty: bool) -> Result<Outcome, StorageError> {
    let mut restore = Restore::new(TreeOptions::default());
    let options = RecoverOptions { trust_empty, ..RecoverOptions::default() };
    let recovered = recover(&RealDisk, &Dirs::new(dir, dir), &options, &mut restore)?;
    let mismatches = restore.digest_mismatches().map_or(0, |(count, _)| count);
    let tree = restore.into_tree();
    assert_eq!(tree.last_zxid(), recovered.last_zxid);
    tree.check_invariants();
    Ok(Outcome { recovered, tree, mismatches })
}

fn expected(dir: &str) -> Value {
    let path = fixtures().join(format!("{dir}.expected.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
    serde_json::from_str(&text).expect("expectations are JSON")
}

fn hex(value: &Value) -> i64 {
    let text = value.as_str().expect("a hex string").trim_start_matches("0x");
    u64::from_str_radix(text, 16).expect("hex digits") as i64
}

fn assert_tree(tree: &Tree, expected: &Value, dir: &str) {
    assert_eq!(tree.last_zxid().to_wire(), hex(&expected["lastZxid"]), "{dir}");
    let digest: u64 = expected["treeDigest"].as_str().unwrap().parse().unwrap();
    assert_eq!(tree.digest(), digest, "{dir}: digest");
    assert_eq!(tree.node_count() as u64, expected["nodeCount"].as_u64().unwrap(), "{dir}");
    let sessions: BTreeMap<i64, i64> = expected["sessions"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(id, timeout)| (hex(&Value::from(id.as_str())), timeout.as_i64().unwrap()))
        .collect();
    let ours: BTreeMap<i64, i64> =
        tree.sessions().into_iter().map(|(id, timeout)| (id.0, i64::from(timeout))).collect();
    assert_eq!(ours, sessions, "{dir}: sessions");
    let nodes = match expected["nodesSameAs"].as_str() {
        Some(other) => {
            self::expected(&format!("apache-3.9.5/{}", other.trim_end_matches(".expected.json")))
        }
        None => expected.clone(),
    };
    for (path, node) in nodes["nodes"].as_object().expect("nodes") {
        assert_node(tree, path, node, dir);
    }
}

fn assert_node(tree: &Tree, path: &str, expected: &Value, dir: &str) {
    let context = format!("{dir} {path}");
    let node = tree.node(path).unwrap_or_else(|| panic!("{context}: missing"));
    assert_eq!(node.path(), path);
    match &expected["data"] {
        Value::Null => assert_eq!(node.data(), None, "{context}"),
        Value::String(text) => {
            let data = BASE64_STANDARD.decode(text).expect("base64");
            assert_eq!(node.data(), Some(&data[..]), "{context}");
        }
        long => {
            let data = node.data().expect("data");
            assert_eq!(data.len() as u64, long["length"].as_u64().unwrap(), "{context}");
            let sum: String = Sha256::digest(data).iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!(sum, long["sha256"].as_str().unwrap(), "{context}");
        }
    }
    let stat = node.persisted();
    let want = &expected["stat"];
    assert_eq!(stat.czxid.to_wire(), hex(&want["czxid"]), "{context} czxid");
    assert_eq!(stat.mzxid.to_wire(), hex(&want["mzxid"]), "{context} mzxid");
    assert_eq!(stat.pzxid.to_wire(), hex(&want["pzxid"]), "{context} pzxid");
    assert_eq!(stat.ctime, want["ctime"].as_i64().unwrap(), "{context} ctime");
    assert_eq!(stat.mtime, want["mtime"].as_i64().unwrap(), "{context} mtime");
    let int = |name: &str| want[name].as_i64().unwrap() as i32;
    assert_eq!(stat.version, int("version"), "{context} version");
    assert_eq!(stat.cversion, int("cversion"), "{context} cversion");
    assert_eq!(stat.aversion, int("aversion"), "{context} aversion");
    assert_eq!(stat.ephemeral_owner, hex(&want["ephemeralOwner"]), "{context} owner");
    let acl: Vec<Value> = node
        .acl()
        .iter()
        .map(|a| serde_json::json!({"perms": a.perms, "scheme": a.id.scheme, "id": a.id.id}))
        .collect();
    assert_eq!(&acl, expected["acl"].as_array().unwrap(), "{context} acl");
    let mut children: Vec<&str> = node.children().collect();
    children.sort_unstable();
    assert_eq!(&serde_json::json!(children), &expected["children"], "{context} children");
    if let NodeKind::Ephemeral(session) = node.kind() {
        assert!(tree.ephemerals(session).iter().any(|p| p == path), "{context}: not indexed");
    }
}

/// Directories that no damage was done to, and those where the damage is of no consequence.
#[test]
fn accepted_directories_give_the_expected_tree() {
    let snapshot_used = [
        ("corrupt-log/empty-last-log", "snapshot.b"),
        ("corrupt-log/empty-middle-log", "snapshot.b"),
        ("corrupt-log/header-only-last-log", "snapshot.b"),
        ("corrupt-log/short-header-last-log", "snapshot.b"),
        ("corrupt-log/zeros-last-log", "snapshot.b"),
        ("corrupt-snapshot/dangling-acl", "snapshot.6"),
        ("corrupt-snapshot/no-logs", "snapshot.b"),
        ("corrupt-snapshot/nodigest-snap-read-with-digest", "snapshot.b"),
        ("corrupt-snapshot/snap-cut-after-seal1", "snapshot.b"),
        ("corrupt-snapshot/snap-cut-after-seal2", "snapshot.b"),
        ("corrupt-snapshot/snap-flip", "snapshot.6"),
        ("corrupt-snapshot/snap-flip-session", "snapshot.6"),
        ("corrupt-snapshot/snap-no-terminator", "snapshot.6"),
        ("corrupt-snapshot/snap-seal2-bad", "snapshot.6"),
        ("corrupt-snapshot/snap-seal3-bad", "snapshot.6"),
        ("corrupt-snapshot/snap-trunc", "snapshot.6"),
        ("corrupt-snapshot/snap-wrong-digest", "snapshot.6"),
        ("legacy/create-dup-replay", "snapshot.b"),
        ("legacy/v0-close-with-digest", "snapshot.b"),
        ("legacy/v0-close-with-small-digest", "snapshot.b"),
        ("legacy/v0-create", "snapshot.b"),
        ("names/log-fixed-name", "snapshot.b"),
        ("names/tmp-snapshot", "snapshot.6"),
        ("names/uppercase", "snapshot.000B"),
        ("torn-tail/torn-eor-only", "snapshot.b"),
        ("torn-tail/torn-in-checksum", "snapshot.b"),
        ("torn-tail/torn-len-zero", "snapshot.b"),
        ("torn-tail/torn-short-file", "snapshot.b"),
        ("torn-tail/torn-zero-tail", "snapshot.b"),
        ("fuzzy", "snapshot.983"),
        ("gz", "snapshot.61.gz"),
        ("mini", "snapshot.b"),
        ("plain", "snapshot.61"),
        ("quorum-server1", "snapshot.0"),
        ("quorum-server3", "snapshot.100000007"),
        ("snappy", "snapshot.61.snappy"),
    ];
    // Digests that the fixture says cannot match: made up, absent, or of another server's tree.
    let mismatching = ["legacy/v0-close-with-small-digest"];
    for (dir, snapshot) in snapshot_used {
        let dir = format!("apache-3.9.5/{dir}");
        let outcome = open(&fixtures().join(&dir), false).unwrap_or_else(|e| panic!("{dir}: {e}"));
        let used = outcome.recovered.snapshot.expect("a snapshot was used");
        assert_eq!(used.file_name().unwrap().to_str().unwrap(), snapshot, "{dir}");
        assert_tree(&outcome.tree, &expected(&dir), &dir);
        let mismatch_expected = mismatching.iter().any(|m| dir.ends_with(m));
        assert_eq!(outcome.mismatches > 0, mismatch_expected, "{dir}: {}", outcome.mismatches);
    }
    let dir = "apache-3.8.0/plain";
    let outcome = open(&fixtures().join(dir), false).expect(dir);
    assert_tree(&outcome.tree, &expected(dir), dir);
    assert_eq!(outcome.mismatches, 0);
}

#[test]
fn a_torn_last_record_is_dropped_with_a_finding() {
    let dir = fixtures().join("apache-3.9.5/corrupt-log/torn-hole-last");
    let outcome = open(&dir, false).expect("nothing sound follows the damage");
    assert_eq!(outcome.recovered.last_zxid.raw(), 0x10);
    let findings: Vec<String> =
        outcome.recovered.findings.iter().map(ToString::to_string).collect();
    assert!(findings.iter().any(|f| f.contains("torn tail")), "{findings:?}");
    assert_tree(&outcome.tree, &expected("apache-3.9.5/torn-tail/torn-eor-only"), "torn");
}

/// Each refusal says what was found, where, and what to do.
#[test]
fn damage_that_a_crash_cannot_explain_is_refused() {
    let refused = [
        ("corrupt-log/gap-in-epoch", "0xf at byte"),
        ("corrupt-log/len-garbage", "impossible length 2147483647"),
        ("corrupt-log/len-negative", "impossible length -1"),
        ("corrupt-log/missing-middle-log", "transactions are missing: 0xc"),
        ("corrupt-log/torn-hole-mid", "wrong checksum"),
        ("corrupt-log/unknown-type", "undefined transaction type 77"),
        ("corrupt-log/zxid-regress", "0x3 at byte"),
        ("corrupt-snapshot/no-snapshot", "there is no snapshot"),
        ("corrupt-snapshot/snap-all-bad", "none of the 3 snapshots"),
        ("torn-tail/eor-zero-mid", "without its end mark"),
        ("torn-tail/torn-middle-file", "transactions are missing: 0xc"),
    ];
    for (dir, message) in refused {
        let verdict = open(&fixtures().join("apache-3.9.5").join(dir), false);
        let text = match verdict {
            Ok(outcome) => panic!("{dir}: accepted {}", outcome.recovered.last_zxid),
            Err(error) => error.to_string(),
        };
        assert!(text.contains(message), "{dir}: {text}");
        assert!(text.contains("Restore"), "{dir} names a way out: {text}");
    }
}

#[test]
fn logs_without_a_snapshot_are_replayed_when_trusted() {
    let dir = "apache-3.9.5/corrupt-snapshot/no-snapshot";
    let outcome = open(&fixtures().join(dir), true).expect("the operator vouches for it");
    assert_tree(&outcome.tree, &expected("apache-3.9.5/mini"), dir);
}

/// Removing snapshots from the top must lead to the same tree by a longer way.
#[test]
fn older_snapshots_lead_to_the_same_tree() {
    for (dir, gone) in [
        ("plain", &["snapshot.61"][..]),
        ("fuzzy", &["snapshot.983"][..]),
        ("fuzzy", &["snapshot.983", "snapshot.386"][..]),
        ("quorum-server3", &["snapshot.100000007"][..]),
    ] {
        let source = fixtures().join("apache-3.9.5").join(dir).join("version-2");
        let copy = tempfile::tempdir().expect("a temporary directory");
        let target = copy.path().join("version-2");
        std::fs::create_dir(&target).unwrap();
        for entry in std::fs::read_dir(&source).unwrap() {
            let name = entry.unwrap().file_name();
            if !gone.contains(&name.to_str().unwrap()) {
                std::fs::copy(source.join(&name), target.join(&name)).unwrap();
            }
        }
        let verdict = open(copy.path(), false);
        let outcome = verdict.unwrap_or_else(|e| panic!("{dir} without {gone:?}: {e}"));
        assert_tree(&outcome.tree, &expected(&format!("apache-3.9.5/{dir}")), dir);
        assert_eq!(outcome.mismatches, 0, "{dir} without {gone:?}");
    }
}
