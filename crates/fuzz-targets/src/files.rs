//! Files that the targets for storage share: a small sound data directory on a simulated disk, and
//! what is done to any recovered one.

use std::path::{Path, PathBuf};

use oxikeeper_storage::sim_disk::SimDisk;
use oxikeeper_storage::{Dirs, Disk, DiskFile, RecoverOptions, StorageError, clean_up, recover};
use oxikeeper_tree::{Restore, Tree, TreeOptions};

/// Apache's directory `mini`: name and bytes of each of its files.
pub(crate) const MINI: [(&str, &[u8]); 6] = [
    (
        "snapshot.0",
        include_bytes!("../../../fixtures/datadir/apache-3.9.5/mini/version-2/snapshot.0"),
    ),
    ("log.1", include_bytes!("../../../fixtures/datadir/apache-3.9.5/mini/version-2/log.1")),
    (
        "snapshot.6",
        include_bytes!("../../../fixtures/datadir/apache-3.9.5/mini/version-2/snapshot.6"),
    ),
    ("log.7", include_bytes!("../../../fixtures/datadir/apache-3.9.5/mini/version-2/log.7")),
    (
        "snapshot.b",
        include_bytes!("../../../fixtures/datadir/apache-3.9.5/mini/version-2/snapshot.b"),
    ),
    ("log.c", include_bytes!("../../../fixtures/datadir/apache-3.9.5/mini/version-2/log.c")),
];

pub(crate) fn dirs() -> Dirs {
    Dirs::new(Path::new("/data"), Path::new("/data"))
}

pub(crate) fn path_of(name: &str) -> PathBuf {
    dirs().log().join(name)
}

/// A disk with these files in the data directory.
pub(crate) fn disk_with<'f>(files: impl IntoIterator<Item = (&'f str, &'f [u8])>) -> SimDisk {
    let disk = SimDisk::new();
    disk.create_dirs(dirs().log()).expect("nothing was planned to fail");
    for (name, bytes) in files {
        let file = disk.create(&path_of(name)).expect("nothing was planned to fail");
        file.write_at(0, bytes).expect("there is room");
        file.sync().expect("nothing was planned to fail");
    }
    disk.sync_dir(dirs().log()).expect("nothing was planned to fail");
    disk
}

/// Recovers, puts the directory in order, and recovers again: the same state both times.
pub(crate) fn recover_twice(
    disk: &SimDisk,
    options: &RecoverOptions,
) -> Result<Tree, StorageError> {
    let mut restore = Restore::new(TreeOptions::default());
    let first = recover(disk, &dirs(), options, &mut restore)?;
    let tree = restore.into_tree();
    assert_eq!(tree.last_zxid(), first.last_zxid, "the tree stands where recovery says");
    tree.check_invariants();
    clean_up(disk, &dirs(), &first).expect("what could be read can be put in order");
    let mut restore = Restore::new(TreeOptions::default());
    let second = recover(&disk.kill(), &dirs(), options, &mut restore)
        .unwrap_or_else(|error| panic!("after it was put in order: {error}"));
    assert_eq!(second.last_zxid, first.last_zxid, "a second start finds what the first found");
    assert_eq!(restore.into_tree().digest(), tree.digest(), "and the same tree");
    Ok(tree)
}

/// Checks a refusal.
pub(crate) fn check_reason(error: &dyn std::error::Error) {
    assert!(!error.to_string().is_empty(), "a refusal says why");
}
