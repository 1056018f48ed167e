//! Small file systems, for tests in a mount namespace of their own.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use super::namespace::succeeds;

/// 24 MiB of memory. There are no direct writes there.
///
/// # Panics
/// If it cannot be mounted.
pub fn mount_tmpfs(dir: &Path) {
    make_dir(dir);
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=24m", "oxikeeper-test"]).arg(dir);
    assert!(succeeds(&mut mount), "cannot mount a tmpfs on {dir:?}");
}

/// 32 MiB of a real file system, in a file. False where there are no loop devices, or no tools of
/// ext4, or where the test runs without root.
pub fn mount_ext4(dir: &Path) -> bool {
    mount_ext4_in(&dir.with_extension("image"), 32, dir)
}

/// So many MiB of a real file system, in this file. False as for [`mount_ext4`].
pub fn mount_ext4_in(image: &Path, mib: u64, dir: &Path) -> bool {
    make_dir(dir);
    let file = File::create(image).expect("a new file");
    file.set_len(mib << 20).expect("a sparse file takes no room");
    succeeds(Command::new("mkfs.ext4").args(["-q", "-J", "size=4"]).arg(image))
        && succeeds(Command::new("mount").args(["-o", "loop"]).arg(image).arg(dir))
}

/// Has a file system stand still, or go on: `--freeze`, `--unfreeze`.
///
/// # Panics
/// If it cannot be.
pub fn freeze(dir: &Path, flag: &str) {
    assert!(succeeds(Command::new("fsfreeze").arg(flag).arg(dir)), "fsfreeze {flag} {dir:?}");
}

fn make_dir(dir: &Path) {
    fs::create_dir_all(dir).expect("a new directory");
}
