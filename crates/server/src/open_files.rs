//! File descriptors: how many there may be, and how many of them connections may have.
//!
//! The log needs a descriptor whenever it begins a file, and a log that cannot go on ends the
//! process. So connections must never have them all.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// Left for everything but client connections: logs, snapshots, directories, polls, other ports.
const KEPT_BACK: u64 = 64;
/// Fewer connections than this are worth a line at start.
const FEW: u64 = 512;

/// Raises the limit to what the system allows, as a JVM does, and tells how many client connections
/// fit below it; `None` if there is no limit.
pub fn connections_max() -> Option<usize> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        warn!(%error, "cannot raise the limit of open files");
    }
    let limit = getrlimit(Resource::Nofile).current?;
    let connections = left_for_connections(limit);
    if connections < FEW {
        warn!("ulimit -n is {limit}: there can be no more than {connections} connections");
    }
    Some(usize::try_from(connections).unwrap_or(usize::MAX))
}

/// With a limit so low that it would leave next to nothing, both get half.
fn left_for_connections(limit: u64) -> u64 {
    limit.saturating_sub(KEPT_BACK).max(limit / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_never_get_all_descriptors() {
        assert_eq!(left_for_connections(1024), 960);
        assert_eq!(left_for_connections(100), 50);
        assert_eq!(left_for_connections(1), 0);
    }
}
