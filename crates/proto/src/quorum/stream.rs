//! Bytes as they come from a socket, made into what they say; and the bytes around a snapshot that is
//! sent.
//!
//! ```text
//! election port: [initial message]  (int length, notification)*
//! quorum port:   packet*                                          learner to leader
//!                packet* [SNAP, snapshot, "BenWasHere"] packet*   leader to learner
//! ```
//!
//! A stream is fed with pieces of any size and asked until it has nothing whole left. It keeps no more
//! than the last piece and one unfinished record; a length is compared with its limit before a byte of
//! it is waited for. After an error the connection is of no use.
//!
//! Source: quorum-protocol reference, 1.2, 1.4, 3.2, 4.5.

use bytes::Bytes;
use thiserror::Error;

use super::initial_message::InitialMessage;
use super::limits::ELECTION_FRAME_BYTES_MAX;
use super::packet::{PacketKind, QuorumPacket};
use crate::id::Zxid;
use crate::jute::{Decode, DecodeError, Encode, Reader};
use crate::replay::SnapshotSink;
use crate::snapshot::{SnapshotError, SnapshotParser};

/// Why a peer's bytes cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StreamError {
    /// A record that cannot be.
    #[error(transparent)]
    Record(#[from] DecodeError),
    /// A snapshot that cannot be, or was not taken.
    #[error("the snapshot holds {0}")]
    Snapshot(#[from] SnapshotError),
    /// The end of a snapshot without its signature: bytes were lost or added.
    #[error("the snapshot does not end in BenWasHere")]
    Signature,
}

/// Bytes not yet made into anything.
#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    /// Up to here they are done with.
    at: usize,
}

impl Buffer {
    fn feed(&mut self, piece: &[u8]) {
        self.bytes.drain(..self.at);
        self.at = 0;
        self.bytes.extend_from_slice(piece);
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.at..]
    }

    /// The length at this place, if it is there.
    fn int(&self, place: usize) -> Option<i32> {
        let bytes = self.rest().get(place..)?.first_chunk()?;
        Some(i32::from_be_bytes(*bytes))
    }
}

/// One direction of a connection between election ports.
#[derive(Debug)]
pub struct ElectionStream {
    buffer: Buffer,
    is_initial: bool,
}

/// What comes on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ElectionItem {
    /// First, from who opened the connection.
    Initial(InitialMessage),
    /// The payload of a frame: a notification, which may be malformed without harm to the connection.
    Frame(Bytes),
}

impl ElectionStream {
    /// On a connection that the other side opened: it says first who it is.
    pub fn accepted() -> ElectionStream {
        ElectionStream { buffer: Buffer::default(), is_initial: true }
    }

    /// On a connection that this side opened.
    pub fn opened() -> ElectionStream {
        ElectionStream { buffer: Buffer::default(), is_initial: false }
    }

    /// Takes what has come.
    pub fn feed(&mut self, piece: &[u8]) {
        self.buffer.feed(piece);
    }

    /// What is next, if it has come whole.
    ///
    /// # Errors
    /// A malformed initial message, or a frame of an impossible length.
    #[expect(clippy::should_implement_trait, reason = "it is asked again after it said None")]
    pub fn next(&mut self) -> Result<Option<ElectionItem>, StreamError> {
        if self.is_initial {
            let rest = self.buffer.rest();
            let needed = InitialMessage::bytes_needed(rest)?;
            let Some(bytes) = rest.get(..needed) else { return Ok(None) };
            let message = InitialMessage::decode(bytes)?;
            self.buffer.at += needed;
            self.is_initial = false;
            return Ok(Some(ElectionItem::Initial(message)));
        }
        let Some(length) = self.buffer.int(0) else { return Ok(None) };
        let Some(count @ 1..=ELECTION_FRAME_BYTES_MAX) = usize::try_from(length).ok() else {
            let (what, max) = ("frame of the election port", ELECTION_FRAME_BYTES_MAX);
            return Err(DecodeError::TooLong { what, length: length.into(), max }.into());
        };
        let Some(payload) = self.buffer.rest().get(4..4 + count) else { return Ok(None) };
        let payload = Bytes::copy_from_slice(payload);
        self.buffer.at += 4 + count;
        Ok(Some(ElectionItem::Frame(payload)))
    }
}

/// One direction of a connection to a leader's quorum port.
#[derive(Debug)]
pub struct QuorumStream {
    buffer: Buffer,
    measure: Measure,
    field_bytes_max: usize,
    takes_snapshots: bool,
    snapshot: Option<SnapshotParser>,
}

/// How far the packet at the front of the buffer is known.
#[derive(Clone, Copy, Debug)]
enum Measure {
    /// Its payload's length is not there yet.
    Data,
    /// The number of its identities stands at this place.
    Count { at: usize },
    /// So many strings of its identities begin at this place.
    Strings { at: usize, left: u64 },
}

const DATA_LENGTH_AT: usize = 12;

impl QuorumStream {
    /// From a learner: packets alone. No payload, and no list of identities, may have more than
    /// `field_bytes_max` bytes.
    pub fn of_learner(field_bytes_max: usize) -> QuorumStream {
        QuorumStream {
            buffer: Buffer::default(),
            measure: Measure::Data,
            field_bytes_max,
            takes_snapshots: false,
            snapshot: None,
        }
    }

    /// From a leader: a SNAP packet is followed by a snapshot, of which no field may have more than
    /// `field_bytes_max` bytes either.
    pub fn of_leader(field_bytes_max: usize) -> QuorumStream {
        QuorumStream { takes_snapshots: true, ..QuorumStream::of_learner(field_bytes_max) }
    }

    /// Takes what has come.
    pub fn feed(&mut self, piece: &[u8]) {
        self.buffer.feed(piece);
    }

    /// True after a SNAP packet, until [`snapshot`](Self::snapshot) has said that it is over.
    pub fn is_in_snapshot(&self) -> bool {
        self.snapshot.is_some()
    }

    /// The next packet, if it has come whole. None while in a snapshot.
    ///
    /// # Errors
    /// If the bytes are no packet.
    pub fn next_packet(&mut self) -> Result<Option<QuorumPacket>, StreamError> {
        if self.is_in_snapshot() {
            return Ok(None);
        }
        let Some(length) = self.packet_bytes()? else { return Ok(None) };
        let mut reader = Reader::new(&self.buffer.rest()[..length]);
        let packet = QuorumPacket::decode(&mut reader)?;
        self.buffer.at += length;
        self.measure = Measure::Data;
        if self.takes_snapshots && packet.kind == PacketKind::Snap {
            self.snapshot = Some(SnapshotParser::new(self.field_bytes_max));
        }
        Ok(Some(packet))
    }

    /// Tells `sink` of the snapshot's records that have come. True when it is over: packets follow.
    /// The sink is not told that the snapshot begins or ends.
    ///
    /// # Errors
    /// If the bytes are no snapshot's, or the sink does not take them.
    ///
    /// # Panics
    /// If this is not in a snapshot.
    pub fn snapshot(&mut self, sink: &mut dyn SnapshotSink) -> Result<bool, StreamError> {
        let parser = self.snapshot.as_mut().expect("only asked after a SNAP packet");
        let taken = parser.parse(self.buffer.rest(), sink)?;
        self.buffer.at += taken;
        if !parser.is_done() || self.buffer.rest().len() < SIGNATURE.len() {
            return Ok(false);
        }
        if !self.buffer.rest().starts_with(SIGNATURE) {
            return Err(StreamError::Signature);
        }
        self.buffer.at += SIGNATURE.len();
        self.snapshot = None;
        Ok(true)
    }

    /// Length of the packet at the front, if all of it is there. What was found out is kept, so that
    /// single bytes cost no more than a large piece.
    fn packet_bytes(&mut self) -> Result<Option<usize>, StreamError> {
        loop {
            self.measure = match self.measure {
                Measure::Data => {
                    let Some(length) = self.buffer.int(DATA_LENGTH_AT) else { return Ok(None) };
                    let length = self.length("payload of a quorum packet", length)?;
                    Measure::Count { at: DATA_LENGTH_AT + 4 + length }
                }
                Measure::Count { at } => {
                    let Some(count) = self.buffer.int(at) else { return Ok(None) };
                    let count = u64::try_from(count).unwrap_or(0);
                    Measure::Strings { at: at + 4, left: 2 * count }
                }
                Measure::Strings { at, left: 0 } => {
                    return Ok(Some(at).filter(|&at| at <= self.buffer.rest().len()));
                }
                Measure::Strings { at, left } => {
                    let Some(length) = self.buffer.int(at) else { return Ok(None) };
                    let at = at + 4 + self.length("identity in a quorum packet", length)?;
                    if at > 2 * self.field_bytes_max + 20 {
                        let what = "quorum packet with its identities";
                        let max = 2 * self.field_bytes_max;
                        return Err(DecodeError::TooLong { what, length: at as i64, max }.into());
                    }
                    Measure::Strings { at, left: left - 1 }
                }
            };
        }
    }

    /// Null counts as empty here.
    fn length(&self, what: &'static str, length: i32) -> Result<usize, DecodeError> {
        let max = self.field_bytes_max;
        match usize::try_from(length) {
            Ok(count) if count <= max => Ok(count),
            Ok(_) => Err(DecodeError::TooLong { what, length: length.into(), max }),
            Err(_) if length == -1 => Ok(0),
            Err(_) => Err(DecodeError::NegativeLength { length }),
        }
    }
}

/// What stands behind a snapshot that is sent: a string, with its length.
const SIGNATURE: &[u8] = b"\0\0\0\x0aBenWasHere";

/// What a snapshot file has before its records, and a snapshot that is sent has not.
const FILE_HEADER_BYTES: usize = 16;

/// Makes what is sent to a learner out of the bytes of a snapshot as they would go into a file: those
/// of the tree's walk, or of a finished file up to, and with, the end mark of its nodes.
#[derive(Debug)]
pub struct SnapshotSender {
    header_left: usize,
}

impl SnapshotSender {
    /// Appends the SNAP packet.
    pub fn begin(zxid: Zxid, out: &mut Vec<u8>) -> SnapshotSender {
        QuorumPacket::snap(zxid).encode(out);
        SnapshotSender { header_left: FILE_HEADER_BYTES }
    }

    /// What is to be sent of the next part.
    pub fn part<'a>(&mut self, part: &'a [u8]) -> &'a [u8] {
        let header = self.header_left.min(part.len());
        self.header_left -= header;
        &part[header..]
    }

    /// Appends the signature. Packets may follow.
    pub fn end(self, out: &mut Vec<u8>) {
        out.extend_from_slice(SIGNATURE);
    }
}
