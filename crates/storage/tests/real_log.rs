//! The log on disks of this machine: what is written past the page cache reads back the same, and
//! file systems that cannot do that serve as well.

use std::path::Path;
use std::sync::Arc;

use oxikeeper_proto::txn::encode_payload;
use oxikeeper_proto::{SessionId, Txn, TxnHeader, Zxid};
use oxikeeper_storage::{
    Dirs, Disk, DiskFile, LogOptions, LogPreparer, Progress, RealDisk, RecoverOptions, TxnLog,
    recover,
};
use oxikeeper_tree::{Restore, TreeOptions};

/// Writes batches of many sizes, rolls into prepared files, and replays all of it.
fn write_and_recover(dir: &Path) {
    let dirs = Dirs::new(dir, dir);
    dirs.prepare(&RealDisk, true).unwrap();
    let disk = Arc::new(RealDisk);
    let options = LogOptions { prepare_bytes: 64 << 10, ..LogOptions::default() };
    let mut log = TxnLog::new(Arc::clone(&disk), dirs.clone(), options, Zxid::new(0));
    let mut preparer = LogPreparer::new(disk, dirs.clone(), options);
    let mut last = 0;
    for batch in 0..200u64 {
        for _ in 0..1 + batch % 7 * 40 {
            last += 1;
            let header = TxnHeader {
                session: SessionId(last as i64),
                cxid: 0,
                zxid: Zxid::new(last),
                time_ms: 1,
                kind: Txn::CreateSession(0).kind(),
            };
            let mut payload = Vec::new();
            encode_payload(&header, &Txn::CreateSession(last as i32), None, &mut payload);
            log.append(header.zxid, &payload).unwrap();
        }
        assert_eq!(log.sync().unwrap().last, Zxid::new(last));
        if batch % 50 == 49 {
            log.roll().unwrap();
        }
        if log.wants_prepared()
            && let Progress::Ready(prepared) = preparer.step()
        {
            log.accept(prepared);
        }
    }
    drop(log);
    let mut restore = Restore::new(TreeOptions::default());
    let options = RecoverOptions { trust_empty: true, ..RecoverOptions::default() };
    let recovered = recover(&RealDisk, &dirs, &options, &mut restore).unwrap();
    assert_eq!(recovered.replayed, last, "{:?}", recovered.findings);
    let tree = restore.into_tree();
    assert_eq!(tree.sessions().len() as u64, last);
    assert!(tree.sessions().iter().all(|(session, timeout)| session.0 == i64::from(*timeout)));
    let logs = RealDisk.list(dirs.log()).unwrap();
    assert!(logs.iter().filter(|name| name.starts_with("log.")).count() > 2, "{logs:?}");
}

#[test]
fn on_an_ordinary_disk() {
    write_and_recover(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap().path());
}

/// Kernels before 6.6 refuse direct writes to a file system in memory.
#[test]
fn in_memory() {
    write_and_recover(tempfile::tempdir_in("/dev/shm").unwrap().path());
}

/// Positions and lengths that are no multiples of a block are written the ordinary way.
#[test]
fn a_durable_write_of_any_shape() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = dir.path().join("log.1");
    let mut file = RealDisk.create_log(&path).unwrap();
    let blocks: Vec<u8> = (0..600 << 10).map(|at| (at / 7) as u8).collect();
    file.write_durable(0, &blocks).unwrap();
    file.write_durable(4095, &[1, 2, 3]).unwrap();
    file.write_durable(8192, &[9; 4096]).unwrap();
    let mut expected = blocks;
    expected[4095..4098].copy_from_slice(&[1, 2, 3]);
    expected[8192..12288].fill(9);
    assert!(std::fs::read(&path).unwrap() == expected);
}

/// A file is prepared as long as the last one was, and a quarter more: 16 MiB at least, and no longer than
/// the setting allows.
#[test]
fn files_are_prepared_as_long_as_they_are_used() {
    const MIB: u64 = 1 << 20;
    let dir = tempfile::tempdir().unwrap();
    let dirs = Dirs::new(dir.path(), dir.path());
    dirs.prepare(&RealDisk, true).unwrap();
    let options = LogOptions { prepare_bytes: 30 * MIB, force_sync: false, roll_bytes: None };
    let mut log = TxnLog::new(Arc::new(RealDisk), dirs.clone(), options, Zxid::new(0));
    let mut last = 0;
    let mut expected_behind = |mib: u64| {
        for _ in 0..mib {
            last += 1;
            log.append(Zxid::new(last), &vec![7; MIB as usize]).unwrap();
            log.sync().unwrap();
        }
        log.roll().unwrap();
        log.expected_bytes()
    };
    assert_eq!(expected_behind(0), 16 * MIB);
    assert_eq!(expected_behind(2), 16 * MIB);
    let behind_twenty = expected_behind(20);
    assert!((25 * MIB..26 * MIB).contains(&behind_twenty), "{behind_twenty}");
    assert_eq!(expected_behind(40), 30 * MIB);
    assert_eq!(expected_behind(1), 16 * MIB, "once it is used less, it is prepared less");

    let mut preparer = LogPreparer::new(Arc::new(RealDisk), dirs.clone(), options);
    preparer.set_bytes(3 * MIB);
    while !matches!(preparer.step(), Progress::Ready(_)) {}
    let prepared = RealDisk.list(dirs.log()).unwrap();
    let is_prepared = |name: &&String| !name.starts_with("log.");
    let name = prepared.iter().find(is_prepared).expect("a file under a temporary name");
    let length = dirs.log().join(name).metadata().unwrap().len();
    assert!((3 * MIB..3 * MIB + MIB / 8).contains(&length), "{length}");
}
