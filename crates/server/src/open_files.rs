//! File descriptors: how many there may be, and how many of them connections may have.
//!
//! The log needs a descriptor whenever it begins a file, and a log that cannot go on ends the
//! process. So connections must never have them all.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// Left for everything but connections: logs, snapshots, directories, polls, servers of an ensemble.
const KEPT_BACK: u64 = 64;
/// Connections of an admin port, at most.
const ADMIN_CONNECTIONS_MAX: u64 = 64;
/// The share of all that an admin port may have, when there are few: one in so many.
const ADMIN_SHARE: u64 = 16;
/// Fewer connections than this are worth a line at start.
const FEW: u64 = 512;

/// How many connections there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Of clients; `None` if there is no limit.
    pub clients: Option<usize>,
    /// Of each admin port.
    pub admin_port: usize,
}

/// Raises the limit to what the system allows, as a JVM does, and tells how many connections fit
/// below it with so many admin ports.
pub fn shares(admin_ports: usize) -> Shares {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        warn!(%error, "cannot raise the limit of open files");
    }
    let Some(limit) = getrlimit(Resource::Nofile).current else {
        return Shares { clients: None, admin_port: ADMIN_CONNECTIONS_MAX as usize };
    };
    let (clients, admin_port) = divide(limit, admin_ports as u64);
    if clients < FEW {
        warn!("ulimit -n is {limit}: there can be no more than {clients} connections");
    }
    let count = |count| usize::try_from(count).unwrap_or(usize::MAX);
    Shares { clients: Some(count(clients)), admin_port: count(admin_port) }
}

/// For clients, and for each admin port. With a limit so low that it would leave next to nothing to
/// clients, they get half of it.
fn divide(limit: u64, admin_ports: u64) -> (u64, u64) {
    let admin_port = (limit / ADMIN_SHARE).clamp(1, ADMIN_CONNECTIONS_MAX);
    let kept_back = KEPT_BACK + admin_port * admin_ports;
    (limit.saturating_sub(kept_back).max(limit / 2), admin_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_never_get_all_descriptors() {
        assert_eq!(divide(4096, 2), (4096 - 64 - 128, 64));
        assert_eq!(divide(1024, 0), (960, 64));
        assert_eq!(divide(100, 1), (50, 6));
        assert_eq!(divide(1, 2), (0, 1));
    }
}
