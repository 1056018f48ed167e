//! A transaction log of any bytes, in a directory that is sound but for it.

use oxikeeper_proto::limits::FRAME_BYTES_MAX_DEFAULT;
use oxikeeper_storage::RecoverOptions;
use oxikeeper_storage::log_reader::LogReader;

use crate::files::{MINI, check_reason, disk_with, path_of, recover_twice};
use crate::{Target, Verdict};

/// See [`run`].
pub const TARGET: Target = Target {
    name: "txn_log",
    run,
    pieces: &[
        b"ZKLG\0\0\0\x02\0\0\0\0\0\0\0\0",
        b"B",
        b"\0\0\0\x01/",
        b"\0\0\0\x05world\0\0\0\x06anyone",
        &[0xff; 8],
        &[0; 512],
    ],
};

/// Checksums of the records are put right first, so that what is behind them is looked at.
const MENDED: u8 = 0x80;

/// The first byte chooses the file that the others are, and whether they are mended: a log alone,
/// one with others before and behind, the last one, or one that the operator vouches for.
pub fn run(bytes: &[u8]) -> Verdict {
    let Some((&choice, log)) = bytes.split_first() else { return Verdict::Refused };
    let mut log = log.to_vec();
    if choice & MENDED != 0 {
        mend(&mut log);
    }
    let (name, kept): (&str, &[&str]) = match choice & 3 {
        0 => ("log.1", &["snapshot.0"]),
        1 => ("log.7", &["snapshot.0", "log.1", "snapshot.6", "log.c"]),
        2 => ("log.c", &["snapshot.6", "log.7", "snapshot.b"]),
        _ => ("log.1", &[]),
    };
    let options = RecoverOptions { trust_empty: kept.is_empty(), ..RecoverOptions::default() };
    let others = MINI.into_iter().filter(|(name, _)| kept.contains(name));
    let disk = disk_with(others.chain([(name, &log[..])]));

    let mut reader = LogReader::open(&disk, &path_of(name), 2 * FRAME_BYTES_MAX_DEFAULT)
        .expect("a disk without faults");
    let mut behind = 0;
    while let Some(record) = reader.next_record().expect("a disk without faults") {
        assert!(record.position >= behind, "records follow one another");
        behind = record.position + 1;
    }
    assert!(reader.end().is_some(), "the records end for a reason");
    assert!(reader.position() <= log.len() as u64, "nothing is read behind the end");

    match recover_twice(&disk, &options) {
        Ok(_) => Verdict::Accepted,
        Err(error) => {
            check_reason(&error);
            Verdict::Refused
        }
    }
}

/// Writes the right checksum before, and the right mark behind, each record that has room.
fn mend(log: &mut [u8]) {
    const PREFIX_BYTES: usize = 12;
    let mut at = 16;
    while let Some(prefix) = log.get(at..at + PREFIX_BYTES) {
        let length = i32::from_be_bytes(prefix[8..].try_into().expect("four bytes"));
        let start = at + PREFIX_BYTES;
        let Some(end) = usize::try_from(length).ok().map(|length| start + length) else { return };
        let Some(payload) = log.get(start..end).filter(|payload| !payload.is_empty()) else {
            return;
        };
        let checksum = u64::from(simd_adler32::adler32(&payload));
        log[at..at + 8].copy_from_slice(&checksum.to_be_bytes());
        if let Some(mark) = log.get_mut(end) {
            *mark = b'B';
        }
        at = end + 1;
    }
}
