//! A snapshot of any bytes, in a directory that is sound but for it.

use oxikeeper_storage::sim_disk::SimDisk;
use oxikeeper_storage::snapshot_reader::{self, Discard};
use oxikeeper_storage::{Compression, Disk, RecoverOptions, SnapshotWriter, recover};
use oxikeeper_tree::{Restore, Tree, TreeOptions};

use crate::files::{MINI, check_reason, dirs, disk_with, path_of, recover_twice};
use crate::{Target, Verdict};

/// See [`run`].
pub const TARGET: Target = Target {
    name: "snapshot",
    run,
    pieces: &[
        b"ZKSN\0\0\0\x02\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\0\0\0\x01/",
        b"\0\0\0\x02/a",
        b"\0\0\0\x05world\0\0\0\x06anyone",
        b"\x80\0\0\0\0\0\0\0",
        &[0xff; 8],
        &[0; 60],
    ],
};

/// The bytes are what a seal stands behind: it is written first, so that they are looked at.
const SEALED: u8 = 0x80;
/// No other snapshot stands beside it, and no log.
const ALONE: u8 = 0x40;

/// The first byte chooses what the others are: plain, gzip or snappy, with or without a seal.
pub fn run(bytes: &[u8]) -> Verdict {
    let Some((&choice, snapshot)) = bytes.split_first() else { return Verdict::Refused };
    let mut snapshot = snapshot.to_vec();
    let compression = match choice & 3 {
        _ if choice & SEALED != 0 => Compression::None,
        1 => Compression::Gzip,
        2 => Compression::Snappy,
        _ => Compression::None,
    };
    if choice & SEALED != 0 {
        let seal = u64::from(simd_adler32::adler32(&&snapshot[..]));
        snapshot.extend_from_slice(&seal.to_be_bytes());
        snapshot.extend_from_slice(b"\0\0\0\x01/");
    }
    let name = format!("snapshot.b{}", compression.suffix());
    let others = MINI.into_iter().filter(|(name, _)| choice & ALONE == 0 && *name != "snapshot.b");
    let disk = disk_with(others.chain([(name.as_str(), &snapshot[..])]));

    let is_sound = snapshot_reader::read(&disk, &path_of(&name), &mut Discard);
    if let Err(fault) = &is_sound {
        check_reason(fault);
    }
    match recover_twice(&disk, &RecoverOptions::default()) {
        Ok(tree) => {
            assert!(is_sound.is_ok() || choice & ALONE == 0, "a state out of a broken file");
            write_and_read_back(tree);
            Verdict::Accepted
        }
        Err(error) => {
            check_reason(&error);
            Verdict::Refused
        }
    }
}

/// Whatever was accepted can be written, and is the same when it is read back.
fn write_and_read_back(mut tree: Tree) {
    let disk = SimDisk::new();
    disk.create_dirs(dirs().data()).expect("nothing was planned to fail");
    let mut walk = tree.begin_snapshot();
    let mut writer = SnapshotWriter::begin(&disk, &dirs(), walk.zxid(), Compression::None)
        .expect("a disk without faults");
    let mut part = Vec::new();
    loop {
        let is_done = tree.walk_snapshot(&mut walk, &mut part, 64);
        writer.write(&part).expect("there is room");
        part.clear();
        if is_done {
            break;
        }
    }
    writer.finish(Some(walk.digest())).expect("what was written reads back");
    tree.end_snapshot(walk);
    let mut restore = Restore::new(TreeOptions::default());
    let again = recover(&disk, &dirs(), &RecoverOptions::default(), &mut restore)
        .unwrap_or_else(|error| panic!("our own snapshot: {error}"));
    assert_eq!(again.last_zxid, tree.last_zxid(), "written and read back");
    assert_eq!(restore.into_tree().digest(), tree.digest(), "written and read back");
}
