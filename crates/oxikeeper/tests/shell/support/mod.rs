//! What the tests have in common: servers as processes, a client, and waiting.

pub mod client;
pub mod disks;
pub mod namespace;
#[path = "../../../../interop/src/port.rs"]
pub mod port;
pub mod process;
pub mod trio;
pub mod witness;

use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take that should be quick, on a machine with noisy neighbours.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `look` gives something.
///
/// # Panics
/// If it gives nothing in time.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until a condition holds.
///
/// # Panics
/// If it does not hold in time.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    wait_for(what, || holds().then_some(()));
}
