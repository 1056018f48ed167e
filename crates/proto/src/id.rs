//! Identifiers: transactions, sessions, requests.

use std::fmt;

/// Place of a transaction in the total order: leader epoch (high 32 bits) and counter (low 32 bits).
///
/// Wire and disk: signed 64-bit, big-endian. Shown as `0x` and hex digits, as in Apache's logs; file
/// names carry the same digits without `0x`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Zxid(u64);

impl Zxid {
    /// Before the first transaction.
    pub const ZERO: Zxid = Zxid(0);

    /// A zxid from its 64 bits.
    pub const fn new(raw: u64) -> Zxid {
        Zxid(raw)
    }

    /// A zxid from its parts.
    pub const fn from_parts(epoch: u32, counter: u32) -> Zxid {
        Zxid(((epoch as u64) << 32) | counter as u64)
    }

    /// A zxid from the signed number on the wire.
    pub const fn from_wire(raw: i64) -> Zxid {
        Zxid(raw as u64)
    }

    /// All 64 bits.
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// The signed number on the wire.
    pub const fn to_wire(self) -> i64 {
        self.0 as i64
    }

    /// The leader's epoch.
    pub const fn epoch(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The place inside the epoch; the first transaction of an epoch is 1.
    pub const fn counter(self) -> u32 {
        self.0 as u32
    }

    /// The next transaction of the same epoch. `None` when the counter is full (2^32 - 1): a new
    /// epoch has to begin before another transaction may be numbered.
    pub const fn next(self) -> Option<Zxid> {
        if self.counter() == u32::MAX { None } else { Some(Zxid(self.0 + 1)) }
    }

    /// True if `self` may stand right after `earlier` in a log: the next counter of the same epoch,
    /// or any place in a later epoch.
    pub const fn follows(self, earlier: Zxid) -> bool {
        if self.epoch() == earlier.epoch() {
            self.0 == earlier.0.wrapping_add(1)
        } else {
            self.epoch() > earlier.epoch()
        }
    }
}

impl Zxid {
    /// True if nothing can be missing between `earlier` and `self`: the next counter of the same epoch,
    /// or the first of a later one. Stricter than [`follows`](Self::follows).
    pub const fn joins(self, earlier: Zxid) -> bool {
        self.follows(earlier) && (self.epoch() == earlier.epoch() || self.counter() == 1)
    }
}

impl fmt::Display for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Debug for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Zxid({:#x})", self.0)
    }
}

/// A client's session. 0 on the wire means "none yet" in a handshake.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SessionId(pub i64);

impl SessionId {
    /// No session: internal requests, and the handshake of a new client.
    pub const NONE: SessionId = SessionId(0);
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({:#x})", self.0)
    }
}

/// A server of an ensemble: its `myid`, 0 to 254 in practice. Signed 64-bit on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ServerId(pub i64);

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A request's number as chosen by the client. Never validated: any value is legal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Xid(pub i32);

impl Xid {
    /// Watch notification, server to client.
    pub const NOTIFICATION: Xid = Xid(-1);
    /// Ping; every ping is answered with this xid, whatever the request carried.
    pub const PING: Xid = Xid(-2);
    /// Auth packet.
    pub const AUTH: Xid = Xid(-4);
    /// setWatches and setWatches2.
    pub const SET_WATCHES: Xid = Xid(-8);
    /// Requests the server makes itself.
    pub const INTERNAL: Xid = Xid(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zxid_follows_by_counter_or_by_epoch() {
        let z = Zxid::from_parts(1, 5);
        assert!(Zxid::from_parts(1, 6).follows(z));
        assert!(Zxid::from_parts(2, 1).follows(z));
        assert!(Zxid::from_parts(4, 9).follows(z));
        assert!(!Zxid::from_parts(1, 7).follows(z));
        assert!(Zxid::from_parts(1, 6).joins(z) && Zxid::from_parts(4, 1).joins(z));
        assert!(!Zxid::from_parts(1, 7).joins(z) && !Zxid::from_parts(4, 9).joins(z));
        assert!(!z.follows(z));
        assert!(!Zxid::from_parts(0, 6).follows(z));
        assert!(!Zxid::from_parts(2, 0).follows(Zxid::from_parts(2, u32::MAX)));
    }

    #[test]
    fn a_full_counter_has_no_next() {
        assert_eq!(Zxid::from_parts(3, u32::MAX).next(), None);
        assert_eq!(Zxid::from_parts(3, 1).next(), Some(Zxid::from_parts(3, 2)));
    }
}
