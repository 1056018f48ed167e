//! A disk that fails: storage that promised more than it has, so that writes and syncs end in
//! errors. The process stops rather than acknowledge what is not on disk, and what it did
//! acknowledge is there.

use std::path::Path;
use std::process::Command;

use crate::support::client::{Client, create_body, op};
use crate::support::disks::{mount_ext4_in, mount_tmpfs};
use crate::support::namespace::{Namespace, inside, succeeds};
use crate::support::process::Home;

/// Needs root and loop devices. Without them it says so, and proves nothing.
#[test]
fn what_was_acknowledged_outlives_storage_that_fails() {
    let name = "failing_disk::what_was_acknowledged_outlives_storage_that_fails";
    inside(Namespace::Mounts, name, || {
        let home = Home::new("preAllocSize=1024");
        // A file system of 256 MiB, in a file that gets no more than 24.
        let (thin, dir) = (home.path("thin"), home.data_dir());
        let image = thin.join("image");
        mount_tmpfs(&thin);
        if !mount_ext4_in(&image, 256, &dir) {
            println!("no loop devices here: failing storage is not tested");
            return;
        }
        let server = home.start();
        let mut client = Client::connect(server.address(), 4000);
        let mut acknowledged = 0;
        let create = |number| create_body(&format!("/n-{number}"), &[b'x'; 64 << 10], 0);
        while let Ok(reply) = client.call(op::CREATE, &create(acknowledged)) {
            assert_eq!(reply.err, 0);
            acknowledged += 1;
            assert!(acknowledged < 4000, "the storage never fails");
        }
        let (code, home) = server.wait_end();
        assert_eq!(code, Some(1), "{}", home.log());
        for words in ["the transaction log failed", "log.", "Input/output error"] {
            assert!(home.log().contains(words), "no {words:?} in {}", home.log());
        }

        // Nothing that only memory holds outlives this.
        command("umount", &[], &dir);
        command("mount", &["-o", "remount,size=512m"], &thin);
        // 1 says that something was corrected.
        let checked = Command::new("e2fsck").arg("-fy").arg(&image).output().expect("it runs");
        assert!(matches!(checked.status.code(), Some(0 | 1)), "{checked:?}");
        command("mount", &["-o", "loop", &image.display().to_string()], &dir);

        let server = home.start();
        let (session, password) = (client.session, client.password);
        let mut client = Client::resume(server.address(), session, &password, 4000);
        assert_eq!(client.session, session, "its creation was acknowledged, too");
        for number in 0..acknowledged {
            assert!(client.exists(&format!("/n-{number}"), false), "{number} was acknowledged");
        }
    });
}

fn command(program: &str, arguments: &[&str], dir: &Path) {
    assert!(succeeds(Command::new(program).args(arguments).arg(dir)), "{program} {dir:?}");
}
