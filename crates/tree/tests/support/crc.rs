//! CRC-32 bit by bit, so that digests are judged by code that shares nothing with the crate's.

/// CRC-32 as in zlib, of several pieces in a row.
pub fn crc32(pieces: &[&[u8]]) -> u32 {
    let mut crc = u32::MAX;
    for &byte in pieces.iter().copied().flatten() {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
        }
    }
    !crc
}

#[test]
fn the_check_value_of_the_standard() {
    assert_eq!(crc32(&[b"1234", b"", b"56789"]), 0xCBF4_3926);
}
