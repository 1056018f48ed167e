//! The bytes of one simulated file: as programs see them, as they are durable, and what lies
//! between.
//!
//! A disk writes sectors, and a sector's content is what the page in memory held at some moment
//! since the last sync: so each sector survives a crash at one of its versions, in the order they
//! came about, and each independently of the others. The same holds for the length.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What is written as a whole or not at all.
pub(super) const SECTOR_BYTES: usize = 512;

type Sector = Arc<[u8; SECTOR_BYTES]>;

/// Sectors that are not there read as zeros.
#[derive(Clone, Debug, Default)]
struct Content {
    sectors: BTreeMap<u64, Sector>,
    len: u64,
}

impl Content {
    fn sector(&self, index: u64) -> Option<&Sector> {
        self.sectors.get(&index)
    }

    /// True if the sector changed by this.
    fn put(&mut self, index: u64, sector: Option<Sector>) -> bool {
        match sector {
            Some(sector) if sector.iter().any(|&byte| byte != 0) => {
                if self.sectors.get(&index) == Some(&sector) {
                    return false;
                }
                self.sectors.insert(index, sector);
                true
            }
            _ => self.sectors.remove(&index).is_some(),
        }
    }

    /// Forgets what lies beyond the end, so that a file that grows again reads zeros there.
    fn trim(&mut self) {
        let whole = self.len.div_ceil(SECTOR_BYTES as u64);
        self.sectors.split_off(&whole);
        let used = (self.len % SECTOR_BYTES as u64) as usize;
        if used > 0
            && let Some(last) = self.sectors.get(&(whole - 1))
            && last[used..].iter().any(|&byte| byte != 0)
        {
            let mut bytes = **last;
            bytes[used..].fill(0);
            self.put(whole - 1, Some(Arc::new(bytes)));
        }
    }
}

#[derive(Clone, Debug)]
enum Version {
    Sector(u64, Option<Sector>),
    Len(u64),
}

#[derive(Clone, Debug)]
struct Pending {
    version: Version,
    /// False once a sync that failed has dropped it: no later sync will write it, though programs
    /// still see it. So Linux does.
    dirty: bool,
}

/// See the module's head.
#[derive(Clone, Debug, Default)]
pub(super) struct FileState {
    now: Content,
    durable: Content,
    pending: Vec<Pending>,
}

impl FileState {
    pub fn len(&self) -> u64 {
        self.now.len
    }

    pub fn read(&self, position: u64, buffer: &mut [u8]) -> usize {
        let rest = self.now.len.saturating_sub(position);
        let count = buffer.len().min(usize::try_from(rest).unwrap_or(usize::MAX));
        let mut done = 0;
        while done < count {
            let at = position + done as u64;
            let (index, offset) = (at / SECTOR_BYTES as u64, (at % SECTOR_BYTES as u64) as usize);
            let piece = (SECTOR_BYTES - offset).min(count - done);
            let target = &mut buffer[done..done + piece];
            match self.now.sector(index) {
                Some(sector) => target.copy_from_slice(&sector[offset..offset + piece]),
                None => target.fill(0),
            }
            done += piece;
        }
        count
    }

    pub fn write(&mut self, position: u64, bytes: &[u8]) {
        let mut done = 0;
        while done < bytes.len() {
            let at = position + done as u64;
            let (index, offset) = (at / SECTOR_BYTES as u64, (at % SECTOR_BYTES as u64) as usize);
            let piece = (SECTOR_BYTES - offset).min(bytes.len() - done);
            let mut sector = self.now.sector(index).map_or([0; SECTOR_BYTES], |sector| **sector);
            sector[offset..offset + piece].copy_from_slice(&bytes[done..done + piece]);
            self.put(index, Some(Arc::new(sector)));
            done += piece;
        }
        let end = position + bytes.len() as u64;
        if end > self.now.len {
            self.put_len(end);
        }
    }

    pub fn set_len(&mut self, len: u64) {
        if len < self.now.len {
            let first = len / SECTOR_BYTES as u64;
            let cut: Vec<u64> = self.now.sectors.range(first..).map(|(&index, _)| index).collect();
            for index in cut {
                let kept = (len - (index * SECTOR_BYTES as u64).min(len)) as usize;
                let sector = self.now.sector(index).filter(|_| kept > 0).map(|sector| {
                    let mut bytes = **sector;
                    bytes[kept.min(SECTOR_BYTES)..].fill(0);
                    Arc::new(bytes)
                });
                self.put(index, sector);
            }
        }
        if len != self.now.len {
            self.put_len(len);
        }
    }

    /// Everything dirty becomes durable.
    pub fn sync(&mut self) {
        let mut sectors = BTreeSet::new();
        let mut len_too = false;
        for pending in self.pending.iter().filter(|pending| pending.dirty) {
            match pending.version {
                Version::Sector(index, _) => {
                    sectors.insert(index);
                }
                Version::Len(_) => len_too = true,
            }
        }
        for &index in &sectors {
            self.durable.put(index, self.now.sector(index).cloned());
        }
        if len_too {
            self.durable.len = self.now.len;
        }
        self.pending.retain(|pending| match pending.version {
            Version::Sector(index, _) => !sectors.contains(&index),
            Version::Len(_) => !len_too,
        });
    }

    /// A sync that failed: the bytes that were dirty may be on disk or not, and are not tried
    /// again until they are written again. (A length is in the file system's own journal.)
    pub fn fail_sync(&mut self) {
        for pending in &mut self.pending {
            pending.dirty &= matches!(pending.version, Version::Len(_));
        }
    }

    /// The file as a crash may leave it. `draw` is asked once for each sector and length of which
    /// there are several versions; 0 is the durable one, the largest number the last one.
    pub fn survivor(&self, draw: &mut dyn FnMut(u64) -> u64) -> FileState {
        let mut sectors: BTreeMap<u64, Vec<&Option<Sector>>> = BTreeMap::new();
        let mut lens = vec![self.durable.len];
        for pending in &self.pending {
            match &pending.version {
                Version::Sector(index, sector) => sectors.entry(*index).or_default().push(sector),
                Version::Len(len) => lens.push(*len),
            }
        }
        let mut content = self.durable.clone();
        for (index, versions) in sectors {
            let chosen = draw(versions.len() as u64 + 1) as usize;
            if chosen > 0 {
                content.put(index, versions[chosen - 1].clone());
            }
        }
        if lens.len() > 1 {
            content.len = lens[draw(lens.len() as u64) as usize];
        }
        content.trim();
        FileState { now: content.clone(), durable: content, pending: Vec::new() }
    }

    fn put(&mut self, index: u64, sector: Option<Sector>) {
        if self.now.put(index, sector.clone()) {
            self.pending.push(Pending { version: Version::Sector(index, sector), dirty: true });
            return;
        }
        // The same bytes again: nothing new to survive, but the next sync writes them.
        for pending in &mut self.pending {
            pending.dirty |= matches!(pending.version, Version::Sector(at, _) if at == index);
        }
    }

    fn put_len(&mut self, len: u64) {
        self.now.len = len;
        self.pending.push(Pending { version: Version::Len(len), dirty: true });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(file: &FileState) -> Vec<u8> {
        let mut bytes = vec![0; file.len() as usize];
        assert_eq!(file.read(0, &mut bytes), bytes.len());
        bytes
    }

    #[test]
    fn a_sector_survives_at_one_of_its_versions_in_order() {
        let mut file = FileState::default();
        file.write(0, b"ab");
        file.write(1, b"B");
        let survivors: Vec<Vec<u8>> = (0..3)
            .map(|version| {
                bytes(&file.survivor(&mut |choices| if choices == 3 { version } else { 1 }))
            })
            .collect();
        assert_eq!(survivors, [b"\0\0".to_vec(), b"ab".to_vec(), b"aB".to_vec()]);
        file.sync();
        assert_eq!(bytes(&file.survivor(&mut |_| panic!("nothing is open"))), b"aB");
    }

    #[test]
    fn sectors_and_length_survive_independently() {
        let mut file = FileState::default();
        file.write(510, &[7; 4]);
        let mut asked = Vec::new();
        let lost = file.survivor(&mut |choices| {
            asked.push(choices);
            u64::from(asked.len() != 1)
        });
        assert_eq!(asked, [2, 2, 2], "two sectors and the length");
        assert_eq!(bytes(&lost)[508..], [0, 0, 0, 0, 7, 7]);
        let short = file.survivor(&mut |_| 0);
        assert_eq!(short.len(), 0);
    }

    #[test]
    fn what_a_failed_sync_dropped_no_later_sync_writes() {
        let mut file = FileState::default();
        file.write(0, b"a");
        file.fail_sync();
        file.write(1000, b"b");
        file.sync();
        let after = file.survivor(&mut |_| 0);
        let after = bytes(&after);
        assert_eq!((after.len(), after[0], after[1000]), (1001, 0, b'b'));
        file.write(0, b"a");
        file.sync();
        assert_eq!(bytes(&file.survivor(&mut |_| 0))[0], b'a', "the page was dirty again");
    }

    #[test]
    fn a_shorter_file_grows_with_zeros() {
        let mut file = FileState::default();
        file.write(0, &[1; 600]);
        file.set_len(10);
        file.set_len(600);
        let mut expected = vec![0; 600];
        expected[..10].fill(1);
        assert_eq!(bytes(&file), expected);
        file.sync();
        assert_eq!(bytes(&file.survivor(&mut |_| 0)), expected);
    }
}
