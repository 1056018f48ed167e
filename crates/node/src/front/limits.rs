//! What one connection may hold in memory, and what happens beyond.

/// Output that waits for the peer: beyond, no more of its requests are taken, and its unread
/// requests stay in the socket.
pub const OUTPUT_BYTES_PAUSE: usize = 1 << 20;
/// Output that waits for a peer that never reads, made of watch events it asked for: beyond, the
/// connection is closed. The session lives on and may be resumed.
pub const OUTPUT_BYTES_MAX: usize = 64 << 20;
/// Requests of one connection that are taken and not answered yet.
pub const REQUESTS_MAX: usize = 4096;
/// Bytes of those requests, wherever they are held.
pub const UNANSWERED_BYTES_MAX: usize = 4 << 20;
/// A buffer that has grown beyond this is given back once it is empty.
pub const BUFFER_BYTES_KEPT: usize = 16 << 10;
/// A connection that is to close once its output is sent is closed at the latest after this.
pub const ENDING_MS_MAX: u64 = 10_000;
