//! Session ids and the passwords that follow from them.

use oxikeeper_proto::SessionId;
use oxikeeper_proto::limits::PASSWORD_BYTES;

/// Hands out session ids: the server's id in the top byte, 40 bits of the start's clock in
/// milliseconds, then a counter.
///
/// Source: Apache's `SessionTrackerImpl.initializeNextSessionId`, which takes a clock that restarts
/// with the machine; wall time makes a clash with persisted sessions less likely.
#[derive(Clone, Debug)]
pub struct SessionIds {
    next: i64,
}

impl SessionIds {
    /// For this server, started at this wall time in milliseconds.
    pub fn new(server_id: u8, started_ms: i64) -> SessionIds {
        let time_bits = ((started_ms << 24) as u64 >> 8) as i64;
        let first = time_bits | (i64::from(server_id) << 56);
        // i64::MIN marks containers among owners, so no session may have it.
        SessionIds { next: if first == i64::MIN { first + 1 } else { first } }
    }

    /// The next id.
    pub fn take(&mut self) -> SessionId {
        let id = self.next;
        self.next = self.next.wrapping_add(1);
        SessionId(id)
    }
}

const PASSWORD_SALT: u64 = 0xB341_5C00;
const LCG_MULTIPLIER: u64 = 0x5_DEEC_E66D;
const LCG_INCREMENT: u64 = 0xB;
const LCG_MASK: u64 = (1 << 48) - 1;

/// The password of a session: the same on every server, so that a client may resume anywhere.
/// It keeps nobody out who knows the id.
///
/// Source: Apache's `ZooKeeperServer.generatePasswd`, which draws 16 bytes from `java.util.Random`
/// seeded with the id and a constant.
pub fn password(session: SessionId) -> [u8; PASSWORD_BYTES] {
    let mut state = (session.0 as u64 ^ PASSWORD_SALT ^ LCG_MULTIPLIER) & LCG_MASK;
    let mut bytes = [0; PASSWORD_BYTES];
    for word in bytes.chunks_exact_mut(4) {
        state = state.wrapping_mul(LCG_MULTIPLIER).wrapping_add(LCG_INCREMENT) & LCG_MASK;
        word.copy_from_slice(&((state >> 16) as u32).to_le_bytes());
    }
    bytes
}

/// Whether `offered` is the session's password. Session 0 has none.
pub fn password_matches(session: SessionId, offered: &[u8]) -> bool {
    session != SessionId::NONE && offered == password(session)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_those_of_apache() {
        let cases = [
            (0x0100_000e_d196_0000, 0x6831_f886_d5aa_85fc_86e6_c176_a6d3_d512_u128),
            (0x0100_000e_d196_0001, 0x7b52_f286_75f6_6441_7b29_29a2_7a5c_eadf),
        ];
        for (session, expected) in cases {
            assert_eq!(password(SessionId(session)), expected.to_be_bytes());
            assert!(password_matches(SessionId(session), &expected.to_be_bytes()));
            assert!(!password_matches(SessionId(session), &[0; 16]));
        }
        assert!(!password_matches(SessionId::NONE, &password(SessionId::NONE)));
    }

    #[test]
    fn ids_carry_server_and_time() {
        let mut ids = SessionIds::new(1, 0x01_2345_6789);
        assert_eq!(ids.take(), SessionId(0x0101_2345_6789_0000));
        assert_eq!(ids.take(), SessionId(0x0101_2345_6789_0001));
        let mut ids = SessionIds::new(0x80, 0);
        assert_eq!(ids.take(), SessionId(i64::MIN + 1));
    }
}
