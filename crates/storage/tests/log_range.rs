//! Parts of the history for learners: from the place asked for, never over a gap.

mod support;

use std::sync::Arc;

use oxikeeper_proto::Zxid;
use oxikeeper_storage::disk::{Disk, DiskFile};
use oxikeeper_storage::log_reader::LogReader;
use oxikeeper_storage::sim_disk::SimDisk;
use oxikeeper_storage::{Dirs, LogOptions, LogRange, LogRecord, TxnLog, recent_transactions};
use support::Random;
use support::past::{Past, one_dir, snapshot, write};

const PAYLOAD_BYTES_MAX: usize = 1 << 20;

fn zxids(records: &[LogRecord]) -> Vec<Zxid> {
    records.iter().map(|record| record.zxid).collect()
}

/// A log in files of four transactions.
fn in_files(past: &Past) -> (SimDisk, Dirs) {
    let (disk, dirs) = (SimDisk::new(), one_dir());
    dirs.prepare(&disk, true).unwrap();
    let again = Arc::new(disk.clone());
    let mut log = TxnLog::new(again, dirs.clone(), LogOptions::default(), Zxid::ZERO);
    for (index, record) in past.records.iter().enumerate() {
        log.append(record.zxid, &record.payload).unwrap();
        if index % 4 == 3 {
            log.sync().unwrap();
            log.roll().unwrap();
        }
    }
    log.sync().unwrap();
    (disk, dirs)
}

fn read(
    disk: &SimDisk,
    dirs: &Dirs,
    from: Zxid,
    until: Zxid,
    limit: u64,
) -> Option<Vec<LogRecord>> {
    let disk = Arc::new(disk.clone());
    let mut range = LogRange::open(&disk, dirs, from, until, limit, PAYLOAD_BYTES_MAX).unwrap()?;
    let mut records = Vec::new();
    loop {
        let piece = range.read(100).unwrap();
        if range.is_too_long() {
            return None;
        }
        if piece.is_empty() {
            return Some(records);
        }
        records.extend(piece);
    }
}

fn two_epochs() -> Past {
    let mut past = Past::default();
    past.grow(1, 9, &mut Random::new(1));
    past.grow(3, 7, &mut Random::new(2));
    past
}

#[test]
fn it_begins_at_the_last_one_at_or_before_the_place() {
    let past = two_epochs();
    let (disk, dirs) = in_files(&past);
    let last = past.last();
    for (index, record) in past.records.iter().enumerate() {
        let found = read(&disk, &dirs, record.zxid, last, 0).unwrap();
        assert_eq!(found, past.records[index..], "from {}", record.zxid);
        let found = read(&disk, &dirs, past.records[0].zxid, record.zxid, 0).unwrap();
        assert_eq!(found, past.records[..=index], "until {}", record.zxid);
    }
    // A place that nobody here knows: the one before it comes first.
    for unknown in [Zxid::from_parts(1, 12), Zxid::from_parts(2, 1), Zxid::from_parts(3, 0)] {
        assert_eq!(read(&disk, &dirs, unknown, last, 0).unwrap(), past.records[8..]);
    }
    assert_eq!(read(&disk, &dirs, Zxid::from_parts(4, 1), last, 0).unwrap(), past.records[15..]);
    assert_eq!(read(&disk, &dirs, Zxid::ZERO, last, 0), None, "the log does not reach back");
}

/// The end of an epoch in an older file has rotted, and a later epoch begins in the next file.
#[test]
fn what_ends_in_no_record_is_not_joined_to_another_epoch() {
    let mut past = Past::default();
    past.grow(1, 8, &mut Random::new(1));
    past.grow(3, 7, &mut Random::new(2));
    let last = past.last();
    for rotten in [4, 6, 7] {
        let (disk, dirs) = in_files(&past);
        let mut names = disk.list(dirs.log()).unwrap();
        names.sort();
        let path = dirs.log().join(&names[1]);
        let mut reader = LogReader::open(&disk, &path, PAYLOAD_BYTES_MAX).unwrap();
        let mut positions = Vec::new();
        while let Some(record) = reader.next_record().unwrap() {
            positions.push(record.position);
        }
        assert_eq!(positions.len(), 4, "{path:?}");
        let at = positions[rotten - 4] + 20;
        let file = disk.open_to_write(&path).unwrap();
        let mut byte = [0];
        file.read_at(at, &mut byte).unwrap();
        file.write_at(at, &[byte[0] ^ 1]).unwrap();
        file.sync().unwrap();
        let found = read(&disk, &dirs, past.records[0].zxid, last, 0).unwrap();
        assert_eq!(found, past.records[..rotten], "rotten: {rotten}");
        let recent = recent_transactions(&disk, &dirs, last, 100, PAYLOAD_BYTES_MAX).unwrap();
        assert_eq!(recent, past.records[8..], "rotten: {rotten}");
    }
}

#[test]
fn too_much_of_it_is_not_sent() {
    let past = two_epochs();
    let (disk, dirs) = in_files(&past);
    let from = past.records[5].zxid;
    // What counts is what is sent: not what stands before it in its file, nor what is prepared of the last.
    let sent = past.records[5..].iter().map(|record| record.payload.len() as u64).sum();
    assert!(read(&disk, &dirs, from, past.last(), sent).is_some());
    assert!(read(&disk, &dirs, from, past.last(), sent - 1).is_none());
    // Files that are to be sent whole are not even opened for it.
    let range = |limit| {
        let disk = Arc::new(disk.clone());
        LogRange::open(&disk, &dirs, from, past.last(), limit, PAYLOAD_BYTES_MAX).unwrap()
    };
    let middle = past.records[8..12].iter().map(|record| record.payload.len() as u64).sum();
    assert!(range(sent).is_some());
    assert!(range(middle).is_none(), "with its heads the third file alone is longer");
}

#[test]
fn it_ends_before_a_gap() {
    let past = two_epochs();
    let (disk, dirs) = in_files(&past);
    disk.remove(&dirs.log().join("log.100000005")).unwrap();
    let first = past.records[0].zxid;
    assert_eq!(read(&disk, &dirs, first, past.last(), 0).unwrap(), past.records[..4]);
    let recent = recent_transactions(&disk, &dirs, past.last(), 500, PAYLOAD_BYTES_MAX).unwrap();
    assert_eq!(recent, past.records[8..]);
}

/// Where a snapshot stands between two epochs, only the snapshot may know how the first one ended.
#[test]
fn it_ends_before_a_snapshot_between_epochs() {
    let past = two_epochs();
    let (disk, dirs) = in_files(&past);
    let mut longer = past.until(past.records[8].zxid);
    longer.grow(1, 2, &mut Random::new(9));
    let mut tree = longer.tree();
    snapshot(&disk, &dirs, &mut tree).finish(None).unwrap();
    let first = past.records[0].zxid;
    assert_eq!(read(&disk, &dirs, first, past.last(), 0).unwrap(), past.records[..9]);
    let recent = recent_transactions(&disk, &dirs, past.last(), 500, PAYLOAD_BYTES_MAX).unwrap();
    assert_eq!(zxids(&recent), zxids(&past.records[9..]));
}

#[test]
fn the_last_ones_are_as_many_as_asked_for() {
    let past = two_epochs();
    let (disk, dirs) = in_files(&past);
    for count in 0..=past.records.len() {
        let recent = recent_transactions(&disk, &dirs, past.last(), count, PAYLOAD_BYTES_MAX);
        assert_eq!(recent.unwrap(), past.records[past.records.len() - count..]);
    }
    let until = past.records[6].zxid;
    let recent = recent_transactions(&disk, &dirs, until, 3, PAYLOAD_BYTES_MAX).unwrap();
    assert_eq!(recent, past.records[4..=6]);
    // The state is a snapshot's and the log does not lead to it.
    let later = Zxid::from_parts(5, 2);
    let none = recent_transactions(&disk, &dirs, later, 10, PAYLOAD_BYTES_MAX).unwrap();
    assert_eq!(none, []);
}

#[test]
fn many_histories_with_files_and_snapshots_anywhere() {
    for seed in 1..60 {
        let mut random = Random::new(seed);
        let mut past = Past::default();
        past.grow(1, 1 + random.below(20), &mut random);
        past.grow(2, random.below(20), &mut random);
        let (disk, dirs) = (SimDisk::new(), one_dir());
        write(&disk, &dirs, &past, &mut random);
        let count = random.below(30) as usize;
        let recent = recent_transactions(&disk, &dirs, past.last(), count, PAYLOAD_BYTES_MAX);
        let recent = recent.unwrap();
        assert_eq!(recent, past.records[past.records.len() - recent.len()..], "seed {seed}");
        let from = past.records[random.below(past.records.len() as u64) as usize].zxid;
        let found = read(&disk, &dirs, from, past.last(), 0).unwrap();
        let index = past.records.iter().position(|record| record.zxid == from).unwrap();
        assert!(past.records[index..].starts_with(&found) && !found.is_empty(), "seed {seed}");
    }
}
