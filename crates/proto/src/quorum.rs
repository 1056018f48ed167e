//! What servers of an ensemble say to one another: the bytes of the election port and of the quorum
//! port, both ways.
//!
//! Source: quorum-protocol reference. Records of the election port are framed by a length; those of
//! the quorum port follow one another without one. The incremental decoders are in [`stream`].

pub mod config_text;
pub mod initial_message;
pub mod notification;
pub mod packet;
pub mod payload;
pub mod server_line;
pub mod stream;

pub use crate::id::ServerId;
pub use config_text::{ConfigText, QuorumRule};
pub use initial_message::InitialMessage;
pub use notification::{Notification, ServerState};
pub use packet::{PacketKind, QuorumPacket};
pub use payload::{ForwardedRequest, LearnerInfo};
pub use server_line::{Role, ServerLine};
pub use stream::{ElectionItem, ElectionStream, QuorumStream, SnapshotSender, StreamError};

/// Limits of what a peer may send.
pub mod limits {
    use crate::limits::FRAME_BYTES_MAX_DEFAULT;

    /// Largest frame of the election port in bytes; the smallest is 1.
    pub const ELECTION_FRAME_BYTES_MAX: usize = 512 * 1024;

    /// Longest list of addresses in an initial message in bytes; the shortest is 1.
    pub const ADDRESS_BYTES_MAX: usize = 2048;

    /// Longest string or buffer on the quorum port by default: `jute.maxbuffer` and
    /// `zookeeper.jute.maxbuffer.extrasize`, which is as large unless set.
    pub const FIELD_BYTES_MAX_DEFAULT: usize = 2 * FRAME_BYTES_MAX_DEFAULT;
}
