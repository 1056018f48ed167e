//! The one message of the election: a server's vote.
//!
//! Source: quorum-protocol reference, 2.1; Apache's `FastLeaderElection`.

use std::borrow::Cow;

use bytes::Bytes;

use crate::id::{ServerId, Zxid};
use crate::jute::{DecodeError, Encode, Reader};

/// What a server is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServerState {
    /// It looks for a leader.
    Looking,
    /// It follows one.
    Following,
    /// It leads.
    Leading,
    /// It observes one.
    Observing,
}

impl ServerState {
    /// The state of this number, if there is one.
    pub const fn from_wire(code: i32) -> Option<ServerState> {
        match code {
            0 => Some(ServerState::Looking),
            1 => Some(ServerState::Following),
            2 => Some(ServerState::Leading),
            3 => Some(ServerState::Observing),
            _ => None,
        }
    }

    /// Its number.
    pub const fn to_wire(self) -> i32 {
        match self {
            ServerState::Looking => 0,
            ServerState::Following => 1,
            ServerState::Leading => 2,
            ServerState::Observing => 3,
        }
    }
}

/// The payload of a frame of the election port.
///
/// Leader, zxid and epochs are compared as signed numbers: who has no vote sends `i64::MIN` for all
/// three, and loses to everybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// What the sender is doing.
    pub state: ServerState,
    /// Whom it votes for.
    pub leader: ServerId,
    /// That server's last zxid.
    pub zxid: i64,
    /// The sender's round of the election.
    pub election_epoch: i64,
    /// That server's epoch.
    pub peer_epoch: i64,
    /// Of the message: [`VERSION`], or 0 and 1 from servers before 3.5. Votes are compared otherwise
    /// if one of them has version 0.
    pub version: i32,
    /// Text of the sender's current configuration; `None` below version 2.
    pub config: Option<Bytes>,
}

/// The version that is sent.
pub const VERSION: i32 = 2;

const OLDEST_BYTES: usize = 28;
const V3_4_BYTES: usize = 40;

impl Notification {
    /// What an observer, or a server without a vote, sends for leader, zxid and epoch.
    pub const NO_VOTE: i64 = i64::MIN;

    /// Reads the payload of a frame. Bytes behind the configuration are passed over.
    ///
    /// # Errors
    /// Whatever makes it one to be passed over. The connection stays.
    pub fn decode(payload: &[u8]) -> Result<Notification, DecodeError> {
        let mut reader = Reader::new(payload);
        let state: i32 = reader.get()?;
        let state = ServerState::from_wire(state)
            .ok_or(DecodeError::Undefined { what: "server state", value: i64::from(state) })?;
        let leader = reader.get()?;
        let zxid: i64 = reader.get()?;
        let election_epoch = reader.get()?;
        let peer_epoch = match payload.len() {
            OLDEST_BYTES => i64::from(Zxid::from_wire(zxid).epoch()),
            _ => reader.get()?,
        };
        let version = match payload.len() {
            // The version that 3.4 sends is not looked at.
            OLDEST_BYTES | V3_4_BYTES => 0,
            _ => reader.get()?,
        };
        let config = if version > 1 {
            let length: i32 = reader.get()?;
            let bytes = usize::try_from(length)
                .map_err(|_| DecodeError::NegativeLength { length })
                .and_then(|length| reader.take(length))?;
            Some(Bytes::copy_from_slice(bytes))
        } else {
            None
        };
        Ok(Notification { state, leader, zxid, election_epoch, peer_epoch, version, config })
    }

    /// The configuration's text. Malformed UTF-8 becomes U+FFFD.
    pub fn config_text(&self) -> Option<Cow<'_, str>> {
        self.config.as_deref().map(String::from_utf8_lossy)
    }

    /// Appends the frame, length and all, in the form of 3.5 and later. Without a configuration its
    /// text is empty, without version 2 it is not there.
    pub fn encode_frame(&self, out: &mut Vec<u8>) {
        let start = out.len();
        0i32.encode(out);
        self.encode(out);
        crate::reply::end_frame(out, start);
    }

    /// Appends what 3.4 sends: 40 bytes without a configuration.
    pub fn encode_as_3_4(&self, out: &mut Vec<u8>) {
        self.encode_as_oldest(out);
        self.peer_epoch.encode(out);
        1i32.encode(out);
    }

    /// Appends what the oldest servers send: 28 bytes. The epoch is the zxid's.
    pub fn encode_as_oldest(&self, out: &mut Vec<u8>) {
        self.state.to_wire().encode(out);
        self.leader.encode(out);
        self.zxid.encode(out);
        self.election_epoch.encode(out);
    }
}

impl Encode for Notification {
    fn encode(&self, out: &mut Vec<u8>) {
        self.encode_as_oldest(out);
        self.peer_epoch.encode(out);
        self.version.encode(out);
        if self.version > 1 {
            self.config.as_deref().unwrap_or_default().encode(out);
        }
    }
}
