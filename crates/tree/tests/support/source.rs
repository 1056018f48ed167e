//! Choices made from bytes that proptest shrinks: fewer bytes and smaller ones are simpler tests.

use oxikeeper_proto::{Acl, Id, SessionId};

/// Deals out choices; when its bytes are used up, always the first one.
pub struct Source<'b> {
    bytes: &'b [u8],
}

impl<'b> Source<'b> {
    pub fn new(bytes: &'b [u8]) -> Source<'b> {
        Source { bytes }
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        let Some((&first, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        if end > 256 {
            let high = self.below(end.div_ceil(256));
            return (high * 256 + usize::from(first)) % end;
        }
        usize::from(first) % end
    }

    /// One of these.
    pub fn pick<'c, T>(&mut self, choices: &'c [T]) -> &'c T {
        &choices[self.below(choices.len())]
    }

    /// True once in `n`.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }

    /// Data of a node: of every size class of interest, and of none.
    pub fn data(&mut self) -> Option<&'static [u8]> {
        let len = *self.pick(&[5, 0, 1, 17, 100, 130, 500, 2_000, 8_100, 9_000, usize::MAX]);
        let from = self.below(251);
        (len != usize::MAX).then(|| &PATTERN[from..from + len])
    }

    pub fn session(&mut self) -> SessionId {
        *self.pick(&SESSIONS)
    }

    pub fn acl(&mut self) -> Vec<Acl> {
        let entry = |perms, scheme: &str, id: &str| Acl { perms, id: Id::new(scheme, id) };
        match self.below(6) {
            0 | 1 => vec![Acl::open()],
            2 => vec![entry(1, "world", "anyone")],
            3 => vec![entry(31, "digest", "u:hash"), entry(1, "ip", "10.0.0.0/8")],
            4 => vec![entry(1, "ip", "10.0.0.0/8"), entry(31, "digest", "u:hash")],
            _ => vec![entry(self.below(200) as i32, "digest", "many:hash")],
        }
    }
}

/// One has its top bit set, as those of servers above 127 have.
pub const SESSIONS: [SessionId; 4] = [
    SessionId(0x0100_0011_30ac_0000),
    SessionId(0x0100_0011_30ac_0001),
    SessionId(0x0200_0000_0000_0000),
    SessionId(0x8f00_0011_30ac_0000_u64 as i64),
];

static PATTERN: [u8; 10_000] = {
    let mut bytes = [0; 10_000];
    let mut at = 0;
    while at < bytes.len() {
        bytes[at] = (at % 251) as u8;
        at += 1;
    }
    bytes
};
