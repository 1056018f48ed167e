//! Limits of the protocol, with their names in Apache's settings.

/// Largest request frame in bytes, without its length prefix: `jute.maxbuffer`.
pub const FRAME_BYTES_MAX_DEFAULT: usize = 0xf_ffff;

/// Longest TTL in milliseconds: 40 bits.
pub const TTL_MS_MAX: i64 = (1 << 40) - 1;

/// Length of a session password in bytes.
pub const PASSWORD_BYTES: usize = 16;

/// Bytes of a reply header.
pub const REPLY_HEADER_BYTES: usize = 16;

/// Bytes of a request header.
pub const REQUEST_HEADER_BYTES: usize = 8;
