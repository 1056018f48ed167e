//! The bytes between servers: election port and quorum port. Source: quorum-protocol reference.

pub mod packet;

pub use packet::{PacketKind, QuorumPacket};
