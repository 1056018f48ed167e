//! How many connections may be open: in all, and from one address.

use std::collections::BTreeMap;
use std::net::IpAddr;

use parking_lot::Mutex;

/// `maxClientCnxns` and `maxCnxns`; 0 is no limit. And what the system's limit of open files allows.
pub struct ConnectionLimits {
    per_address_max: usize,
    total_max: usize,
    open_files_max: Option<usize>,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    total: usize,
    /// Connections refused since the start.
    refused: u64,
    /// Those among them that are not to be told of any more.
    refused_told: u64,
    by_address: BTreeMap<IpAddr, usize>,
}

/// Which limit a new connection would exceed, and what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exceeded {
    /// `maxClientCnxns`.
    PerAddress(usize),
    /// `maxCnxns`.
    Total(usize),
    /// How many there can be with the system's limit of open files.
    OpenFiles(usize),
}

impl ConnectionLimits {
    /// With these limits.
    pub fn new(
        per_address_max: usize,
        total_max: usize,
        open_files_max: Option<usize>,
    ) -> ConnectionLimits {
        ConnectionLimits { per_address_max, total_max, open_files_max, open: Mutex::default() }
    }

    /// Counts a new connection, unless it exceeds a limit.
    ///
    /// # Errors
    /// The limit it exceeds; it is not counted then.
    pub fn opened(&self, address: IpAddr) -> Result<(), Exceeded> {
        let mut open = self.open.lock();
        let verdict = self.count(&mut open, address);
        open.refused += u64::from(verdict.is_err());
        verdict
    }

    /// Connections refused since the start.
    pub fn refused(&self) -> u64 {
        self.open.lock().refused
    }

    /// Connections refused since the start, or since operators had them counted anew.
    pub fn refused_newly(&self) -> u64 {
        let open = self.open.lock();
        open.refused - open.refused_told
    }

    /// Counts refusals anew, for operators.
    pub fn reset_refused(&self) {
        let mut open = self.open.lock();
        open.refused_told = open.refused;
    }

    fn count(&self, open: &mut Open, address: IpAddr) -> Result<(), Exceeded> {
        if self.total_max != 0 && open.total >= self.total_max {
            return Err(Exceeded::Total(self.total_max));
        }
        if let Some(max) = self.open_files_max
            && open.total >= max
        {
            return Err(Exceeded::OpenFiles(max));
        }
        let from_there = open.by_address.entry(address).or_insert(0);
        if self.per_address_max != 0 && *from_there >= self.per_address_max {
            return Err(Exceeded::PerAddress(self.per_address_max));
        }
        *from_there += 1;
        open.total += 1;
        Ok(())
    }

    /// A counted connection is closed.
    pub fn closed(&self, address: IpAddr) {
        let mut open = self.open.lock();
        open.total -= 1;
        if let Some(from_there) = open.by_address.get_mut(&address) {
            *from_there -= 1;
            if *from_there == 0 {
                open.by_address.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold_and_closing_makes_room() {
        let a: IpAddr = "10.0.0.1".parse().unwrap();
        let b: IpAddr = "10.0.0.2".parse().unwrap();
        let limits = ConnectionLimits::new(2, 3, None);
        assert_eq!(limits.opened(a), Ok(()));
        assert_eq!(limits.opened(a), Ok(()));
        assert_eq!(limits.opened(a), Err(Exceeded::PerAddress(2)));
        assert_eq!(limits.opened(b), Ok(()));
        assert_eq!(limits.opened(b), Err(Exceeded::Total(3)));
        assert_eq!((limits.refused(), limits.refused_newly()), (2, 2));
        limits.reset_refused();
        assert_eq!((limits.refused(), limits.refused_newly()), (2, 0));
        limits.closed(a);
        assert_eq!(limits.opened(b), Ok(()));
        let unlimited = ConnectionLimits::new(0, 0, None);
        assert!((0..1000).all(|_| unlimited.opened(a).is_ok()));
        let few_files = ConnectionLimits::new(0, 0, Some(1));
        assert_eq!(few_files.opened(a), Ok(()));
        assert_eq!(few_files.opened(b), Err(Exceeded::OpenFiles(1)));
    }
}
