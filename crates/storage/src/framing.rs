//! The bytes around a log record, and at the head of a log file.
//! Source: storage-format reference, 2.1 and 2.2.

/// `ZKLG`, version 2, dbid 0.
pub(crate) const HEADER: [u8; 16] = *b"ZKLG\0\0\0\x02\0\0\0\0\0\0\0\0";
/// What begins every header.
pub(crate) const MAGIC: &[u8] = b"ZKLG";
/// Bytes of checksum and length before a payload.
pub(crate) const PREFIX_BYTES: usize = 12;
/// The byte behind a payload.
pub(crate) const END: u8 = b'B';
/// Bytes of a transaction header: no payload is shorter.
pub(crate) const PAYLOAD_BYTES_MIN: usize = 32;

/// Appends one record.
pub(crate) fn frame(payload: &[u8], out: &mut Vec<u8>) {
    let length = u32::try_from(payload.len()).expect("payloads are bounded by the frame limit");
    out.extend_from_slice(&u64::from(simd_adler32::adler32(&payload)).to_be_bytes());
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(payload);
    out.push(END);
}

/// Checksum and length of a prefix.
pub(crate) fn parse_prefix(prefix: &[u8; PREFIX_BYTES]) -> (u64, i32) {
    let (checksum, length) = prefix.split_at(8);
    (
        u64::from_be_bytes(checksum.try_into().expect("eight bytes")),
        i32::from_be_bytes(length.try_into().expect("four bytes")),
    )
}

/// Whether a payload has this checksum.
pub(crate) fn is_sound(payload: &[u8], checksum: u64) -> bool {
    u64::from(simd_adler32::adler32(&payload)) == checksum
}
