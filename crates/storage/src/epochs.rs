//! The two epochs of a server in an ensemble, and whether they can be true.
//!
//! `acceptedEpoch` is what was promised to a leader, `currentEpoch` what initial history is on this
//! disk. Neither is ever lowered.
//! Source: quorum-protocol reference, 3.5, ZOOKEEPER-1653 and 2354.

use oxikeeper_proto::Zxid;

use crate::dirs::Dirs;
use crate::disk::Disk;
use crate::epoch_file;
use crate::error::StorageError;

/// Name of the file of what was promised.
pub const ACCEPTED: &str = "acceptedEpoch";
/// Name of the file of what is on disk.
pub const CURRENT: &str = "currentEpoch";

/// What the epoch files hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epochs {
    /// The newest epoch promised to a leader.
    pub accepted: u32,
    /// The newest epoch whose initial history is on this disk.
    pub current: u32,
}

/// Reads the epoch files of a server whose log ends at `last`, creates what is missing and mends what
/// a crash explains:
///
/// - missing files: the epoch of `last`, as Apache writes them when a standalone server joins;
/// - `last` is of a later epoch than `currentEpoch`, which was promised: the process died between
///   the history and the file. The log is written in order, so a transaction of an epoch proves that
///   the epoch's whole initial history is there.
///
/// # Errors
/// Anything else that contradicts: this server cannot prove its state, and must not vote with it.
pub fn check<D: Disk>(disk: &D, dirs: &Dirs, last: Zxid) -> Result<Epochs, StorageError> {
    let logged = last.epoch();
    let accepted = read(disk, dirs, ACCEPTED)?;
    let current = read(disk, dirs, CURRENT)?;
    let epochs = match (accepted, current) {
        (None, None) => Epochs { accepted: logged, current: logged },
        // Apache creates this one first: the process died before the other.
        (None, Some(current)) => Epochs { accepted: current, current },
        (Some(accepted), None) => Epochs { accepted, current: logged },
        (Some(accepted), Some(current)) => Epochs { accepted, current },
    };
    if epochs.accepted < epochs.current {
        return Err(refused(
            dirs,
            format!(
                "promised is epoch {}, but the history of epoch {} is there",
                epochs.accepted, epochs.current
            ),
        ));
    }
    if epochs.accepted < logged {
        return Err(refused(
            dirs,
            format!("promised is epoch {}, but the log ends at {last}", epochs.accepted),
        ));
    }
    let mended = Epochs { current: epochs.current.max(logged), ..epochs };
    if mended.current != epochs.current && current.is_some() {
        tracing::warn!(
            file = CURRENT, found = epochs.current, now = logged, %last,
            "the process died between writing the history of an epoch and its number: mended"
        );
    }
    // What Apache writes first stands first.
    if current != Some(mended.current) {
        write(disk, dirs, CURRENT, mended.current)?;
    }
    if accepted != Some(mended.accepted) {
        write(disk, dirs, ACCEPTED, mended.accepted)?;
    }
    Ok(mended)
}

/// Writes one of the files, durably.
///
/// # Errors
/// What the disk says. The old number stays then.
pub fn write<D: Disk>(disk: &D, dirs: &Dirs, name: &str, epoch: u32) -> Result<(), StorageError> {
    epoch_file::write(disk, dirs.data(), name, i64::from(epoch))
}

fn read<D: Disk>(disk: &D, dirs: &Dirs, name: &str) -> Result<Option<u32>, StorageError> {
    let Some(number) = epoch_file::read(disk, dirs.data(), name)? else { return Ok(None) };
    match u32::try_from(number) {
        // The top bit would make negative zxids of it.
        Ok(epoch) if epoch <= i32::MAX as u32 => Ok(Some(epoch)),
        _ => Err(refused(dirs, format!("{name} holds {number}, which no epoch can be"))),
    }
}

fn refused(dirs: &Dirs, problem: String) -> StorageError {
    StorageError::Refused {
        problem: format!("in {}, {problem}", dirs.data().display()),
        advice: "Files were restored from different moments, or were changed by hand. Restore \
                 acceptedEpoch, currentEpoch, logs and snapshots from one moment of this server. \
                 If a quorum of the other servers is up, this server may instead start with an \
                 empty directory: it gets everything from the leader."
            .into(),
        cut_at: None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::disk::DiskFile;
    use crate::sim_disk::SimDisk;

    fn dirs() -> (SimDisk, Dirs) {
        let (disk, dirs) = (SimDisk::new(), Dirs::new(Path::new("/d"), Path::new("/d")));
        dirs.prepare(&disk, true).unwrap();
        (disk, dirs)
    }

    fn checked(accepted: Option<i64>, current: Option<i64>, last: u64) -> Result<Epochs, String> {
        let (disk, dirs) = dirs();
        for (name, number) in [(ACCEPTED, accepted), (CURRENT, current)] {
            if let Some(number) = number {
                epoch_file::write(&disk, dirs.data(), name, number).unwrap();
            }
        }
        let checked = check(&disk, &dirs, Zxid::new(last)).map_err(|error| error.to_string());
        if let Ok(epochs) = checked {
            let stored = [ACCEPTED, CURRENT].map(|name| read(&disk, &dirs, name).unwrap());
            assert_eq!(stored, [Some(epochs.accepted), Some(epochs.current)], "and it is durable");
            let again = check(&disk.crash(|_| 0), &dirs, Zxid::new(last)).unwrap();
            assert_eq!(again, epochs, "also after a crash");
        }
        checked
    }

    #[test]
    fn what_a_crash_explains_is_mended() {
        let epochs = |accepted, current| Ok(Epochs { accepted, current });
        assert_eq!(checked(None, None, 0), epochs(0, 0), "an empty server");
        assert_eq!(checked(None, None, 3 << 32 | 7), epochs(3, 3), "it was standalone before");
        assert_eq!(checked(Some(5), Some(4), 4 << 32 | 7), epochs(5, 4), "promised only");
        assert_eq!(checked(Some(5), Some(5), 4 << 32 | 7), epochs(5, 5), "nothing written yet");
        assert_eq!(checked(Some(5), Some(4), 5 << 32 | 1), epochs(5, 5), "died before the file");
        assert_eq!(checked(None, Some(4), 4 << 32 | 1), epochs(4, 4), "died between the files");
        assert_eq!(checked(Some(6), None, 4 << 32 | 1), epochs(6, 4), "as Apache does");
    }

    #[test]
    fn what_nothing_explains_is_refused_with_a_way_out() {
        for (accepted, current, last) in [
            (Some(4), Some(5), 4 << 32),
            (Some(4), Some(4), 5 << 32 | 1),
            (None, Some(4), 5 << 32 | 1),
            (Some(4), None, 5 << 32 | 1),
            (Some(-1), Some(4), 4 << 32),
            (Some(1 << 40), Some(4), 4 << 32),
        ] {
            let error = checked(accepted, current, last).unwrap_err();
            assert!(error.contains("Restore"), "{error}");
        }
    }

    #[test]
    fn a_file_that_is_no_number_is_refused() {
        let (disk, dirs) = dirs();
        disk.create(&dirs.data().join(CURRENT)).unwrap();
        let error = check(&disk, &dirs, Zxid::ZERO).unwrap_err().to_string();
        assert!(
            error.contains("currentEpoch") && error.contains("not a decimal number"),
            "{error}"
        );
        disk.open_to_write(&dirs.data().join(CURRENT)).unwrap().write_at(0, b"7x").unwrap();
        assert!(check(&disk, &dirs, Zxid::ZERO).is_err());
    }
}
