//! Tests in namespaces of their own: a network nobody else is on, mounts nobody else sees.
//!
//! A test runs itself again inside: the outer run starts this test binary below `unshare` and
//! judges how it ended, the inner one does the work.

use std::process::{Command, Stdio};

use super::PATIENCE;
use super::process::run_command;

/// Which namespace a test needs.
#[derive(Clone, Copy, Debug)]
pub enum Namespace {
    /// A network with nothing but a loopback of its own.
    Network,
    /// Mounts that end with the test.
    Mounts,
}

/// Set in the inner run.
const INSIDE: &str = "OXIKEEPER_TEST_IS_INSIDE";

/// Runs `body` in a new namespace. `name` is the path of the calling test, as the test runner
/// prints it.
///
/// # Panics
/// If there can be no namespace (it takes root, or user namespaces that anybody may create, and
/// the programs `unshare`, `mount` and `ip`); or if `body` panics.
pub fn inside(namespace: Namespace, name: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    let (flag, set_up) = match namespace {
        Namespace::Network => ("--net", "ip link set lo up && "),
        Namespace::Mounts => ("--mount", ""),
    };
    let mut command = Command::new("unshare");
    command.arg(flag);
    if !succeeds(Command::new("unshare").args([flag, "true"])) {
        command.args(["--user", "--map-root-user"]);
    }
    let exe = std::env::current_exe().expect("a running test has a path");
    command.args(["sh", "-c", &format!("{set_up}exec \"$@\""), "sh"]).arg(exe);
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]).env(INSIDE, "yes");
    // The inner run has deadlines of its own, and takes its server along when it fails.
    let ended = run_command(&mut command, 10 * PATIENCE);
    assert_eq!(
        ended.code,
        Some(0),
        "{name} in a {namespace:?} namespace of its own. If the namespace is what failed: this test \
         needs root, or user namespaces, and the programs unshare, mount and ip.\n{}\n{}",
        ended.stdout,
        ended.stderr
    );
    // A name that does not fit would run nothing, and nothing cannot fail.
    assert!(ended.stdout.contains("1 passed"), "{name} is no test: {}", ended.stdout);
}

/// Whether there is such a program.
pub fn has_program(name: &str) -> bool {
    succeeds(Command::new("sh").args(["-c", "command -v \"$0\"", name]))
}

/// Runs a command without a word; whether it succeeded.
pub fn succeeds(command: &mut Command) -> bool {
    let silent = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    silent.status().is_ok_and(|status| status.success())
}
