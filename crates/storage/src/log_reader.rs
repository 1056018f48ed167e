//! Reading one log file, and judging where and why its records end.
//!
//! Source: storage-format reference, 2.5.

use std::fmt;
use std::path::{Path, PathBuf};
use std::thread;

use oxikeeper_proto::txn::decode_payload;
use oxikeeper_proto::{Reader, Txn, TxnDigest, TxnHeader, Zxid};

use crate::disk::{Disk, DiskFile};
use crate::error::{At, StorageError};
use crate::framing::{self, END, PAYLOAD_BYTES_MIN, PREFIX_BYTES};

/// A record as it lies in the file.
#[derive(Debug)]
pub struct Record<'r> {
    /// Where it begins.
    pub position: u64,
    /// Who and when.
    pub header: TxnHeader,
    /// What.
    pub txn: Txn<'r>,
    /// Digest of the tree after it, if the writer knew it.
    pub digest: Option<TxnDigest>,
    /// All of it as it lies in the file: what a PROPOSAL carries.
    pub payload: &'r [u8],
}

/// Where the records of a file end, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogEnd {
    /// Nothing but zeros behind the last record, or nothing at all.
    Clean,
    /// Bytes behind the last record that are no record, and no record behind them: what a crash
    /// leaves in the middle of a write.
    Torn(Damage),
    /// Damage with a sound, later record behind it: something that was written is missing.
    Hole {
        /// The damage.
        damage: Damage,
        /// A sound record behind it.
        next: Zxid,
    },
    /// Bytes that no crash leaves behind.
    Corrupt(Damage),
    /// A sound record that is longer than this reader accepts: it was written under a higher limit.
    TooLong {
        /// Byte offset of the record.
        position: u64,
        /// Bytes of its payload.
        payload_bytes: usize,
    },
    /// The file has no intact header: it holds nothing that was ever acknowledged.
    NoHeader,
}

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// Byte offset of the bad record.
    pub position: u64,
    /// What is wrong with it.
    pub what: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {} of {}", self.what, self.position, self.path.display())
    }
}

/// Reads a log file from front to back, with little of it in memory.
pub struct LogReader<F> {
    file: F,
    path: PathBuf,
    len: u64,
    /// Where the next record begins.
    position: u64,
    /// Bytes of the file from `window_at` on.
    window: Vec<u8>,
    window_at: u64,
    payload_bytes_max: usize,
    last: Option<Zxid>,
    end: Option<LogEnd>,
}

/// Read at a time. Between two windows others get the processor, as between two pieces of a snapshot.
const WINDOW_BYTES: usize = 32 * 1024;
/// What a disk writes as a whole.
const SECTOR_BYTES: usize = 512;

enum Step {
    Record { position: u64, start: usize, len: usize },
    End,
}

impl<F: DiskFile> LogReader<F> {
    /// Opens a log file. `payload_bytes_max` is what a reader accepts:
    /// `jute.maxbuffer` plus `jute.maxbuffer.extrasize`.
    ///
    /// # Errors
    /// What the disk says. A bad header is no error but an end.
    pub fn open<D: Disk<File = F>>(
        disk: &D,
        path: &Path,
        payload_bytes_max: usize,
    ) -> Result<LogReader<F>, StorageError> {
        let file = disk.open(path).at("open", path)?;
        let len = file.len().at("read", path)?;
        let mut reader = LogReader {
            file,
            path: path.to_owned(),
            len,
            position: 0,
            window: Vec::new(),
            window_at: 0,
            payload_bytes_max,
            last: None,
            end: None,
        };
        reader.read_header()?;
        Ok(reader)
    }

    /// The next record; `None` at the end, which [`end`](Self::end) then explains.
    ///
    /// # Errors
    /// What the disk says.
    pub fn next_record(&mut self) -> Result<Option<Record<'_>>, StorageError> {
        if self.end.is_some() {
            return Ok(None);
        }
        let Step::Record { position, start, len } = self.step()? else { return Ok(None) };
        let payload = &self.window[start..start + len];
        match decode_payload(payload) {
            Ok((header, txn, digest)) => {
                self.last = Some(self.last.unwrap_or_default().max(header.zxid));
                self.position = position + (PREFIX_BYTES + len + 1) as u64;
                Ok(Some(Record { position, header, txn, digest, payload }))
            }
            Err(error) => {
                let what = format!("a record with a sound checksum that cannot be read: {error}");
                let (path, position) = (self.path.clone(), position);
                self.end = Some(LogEnd::Corrupt(Damage { path, position, what }));
                Ok(None)
            }
        }
    }

    /// Why the records ended; `None` while they have not.
    pub fn end(&self) -> Option<&LogEnd> {
        self.end.as_ref()
    }

    /// Where the next record would begin.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Passes the header over, or finds that there is none.
    fn read_header(&mut self) -> Result<(), StorageError> {
        let header = self.bytes(0, framing::HEADER.len())?;
        if header.is_some_and(|header| header.starts_with(framing::MAGIC)) {
            self.position = framing::HEADER.len() as u64;
            return Ok(());
        }
        let is_short = header.is_none();
        let first_sector = SECTOR_BYTES.min(usize::try_from(self.len).unwrap_or(usize::MAX));
        let is_lost = self.bytes(0, first_sector)?.is_none_or(|b| b.iter().all(|&byte| byte == 0));
        let what = "no log: the file does not begin with ZKLG".to_owned();
        self.end = Some(if is_short {
            LogEnd::NoHeader
        } else if is_lost {
            // A crash takes sectors: what never had its first one was never acknowledged.
            match self.torn_or_hole(0, what)? {
                LogEnd::Torn(_) => LogEnd::NoHeader,
                end => end,
            }
        } else {
            LogEnd::Corrupt(self.damage(0, what))
        });
        Ok(())
    }

    /// Finds the next record's payload in the window, or the end.
    fn step(&mut self) -> Result<Step, StorageError> {
        let position = self.position;
        let Some(prefix) = self.bytes(position, PREFIX_BYTES)? else {
            let end = if position == self.len || self.only_zeros_from(position)? {
                LogEnd::Clean
            } else {
                LogEnd::Torn(self.damage(position, "a record that stops in its prefix".into()))
            };
            self.end = Some(end);
            return Ok(Step::End);
        };
        let prefix: &[u8; PREFIX_BYTES] = prefix.try_into().expect("as many as asked for");
        let (checksum, length) = framing::parse_prefix(prefix);
        if length == 0 {
            let end = if self.only_zeros_from(position)? {
                LogEnd::Clean
            } else {
                self.torn_or_hole(position, "a record without a length".into())?
            };
            self.end = Some(end);
            return Ok(Step::End);
        }
        let len = match usize::try_from(length) {
            Ok(len) if len <= self.payload_bytes_max => len,
            length_if_any => {
                let sound = match length_if_any {
                    Ok(len) if self.is_sound_at(position, len, checksum)? => Some(len),
                    _ => None,
                };
                let what = format!("a record with the impossible length {length}");
                self.end = Some(match sound {
                    Some(payload_bytes) => LogEnd::TooLong { position, payload_bytes },
                    None => LogEnd::Corrupt(self.damage(position, what)),
                });
                return Ok(Step::End);
            }
        };
        let payload_at = position + PREFIX_BYTES as u64;
        let end = match self.bytes(payload_at, len + 1)? {
            None => Some("a record that stops in its payload"),
            Some(bytes) if bytes[len] != END => Some("a record without its end mark"),
            Some(bytes) if !framing::is_sound(&bytes[..len], checksum) => {
                Some("a record with a wrong checksum")
            }
            Some(_) => None,
        };
        if let Some(what) = end {
            self.end = Some(self.torn_or_hole(position, what.into())?);
            return Ok(Step::End);
        }
        Ok(Step::Record { position, start: (payload_at - self.window_at) as usize, len })
    }

    /// Whether the file holds a whole record of this length here. The end mark is looked at first:
    /// a length out of nowhere must not cost much memory.
    fn is_sound_at(
        &mut self,
        position: u64,
        len: usize,
        checksum: u64,
    ) -> Result<bool, StorageError> {
        let payload_at = position + PREFIX_BYTES as u64;
        let mut end = [0];
        let count = self.file.read_at(payload_at + len as u64, &mut end).at("read", &self.path)?;
        if count == 0 || end[0] != END {
            return Ok(false);
        }
        let payload = self.bytes(payload_at, len)?;
        Ok(payload.is_some_and(|payload| framing::is_sound(payload, checksum)))
    }

    /// Looks behind a bad record: a crash leaves nothing sound there.
    fn torn_or_hole(&mut self, position: u64, what: String) -> Result<LogEnd, StorageError> {
        let damage = self.damage(position, what);
        let payload_bytes_max = self.payload_bytes_max;
        let mut at = position + 1;
        while let Some(window) = self.window_from(at)? {
            // Four zero bytes and a sensible length: few places look like that by chance.
            let candidates: Vec<u64> = window
                .windows(PREFIX_BYTES)
                .enumerate()
                .filter(|(_, prefix)| looks_like_prefix(prefix, payload_bytes_max))
                .map(|(offset, _)| at + offset as u64)
                .collect();
            // The next window begins with the first prefix that this one cut off.
            let looked_at = (window.len() + 1).saturating_sub(PREFIX_BYTES).max(1);
            for candidate in candidates {
                if let Some(next) = self.sound_record_at(candidate)? {
                    return Ok(LogEnd::Hole { damage, next });
                }
            }
            at += looked_at as u64;
        }
        Ok(LogEnd::Torn(damage))
    }

    /// The zxid of a sound record at this place, later than all before.
    fn sound_record_at(&mut self, position: u64) -> Result<Option<Zxid>, StorageError> {
        // The cheap signs first: a file full of what looks like prefixes must not cost a checksum
        // over as much as the longest record for each of them.
        let Some(head) = self.bytes(position, PREFIX_BYTES + PAYLOAD_BYTES_MIN)? else {
            return Ok(None);
        };
        let (prefix, payload_head) = head.split_at(PREFIX_BYTES);
        let prefix: &[u8; PREFIX_BYTES] = prefix.try_into().expect("as many as asked for");
        let (checksum, length) = framing::parse_prefix(prefix);
        let zxid = Reader::new(payload_head).get::<TxnHeader>().map(|header| header.zxid);
        let is_later = zxid.as_ref().is_ok_and(|&zxid| self.last.is_none_or(|last| zxid > last));
        let len = usize::try_from(length).unwrap_or(0);
        if !is_later || !(PAYLOAD_BYTES_MIN..=self.payload_bytes_max).contains(&len) {
            return Ok(None);
        }
        let mut end = [0];
        let end_at = position + (PREFIX_BYTES + len) as u64;
        let count = self.file.read_at(end_at, &mut end).at("read", &self.path)?;
        if count == 0 || end[0] != END {
            return Ok(None);
        }
        let Some(bytes) = self.bytes(position, PREFIX_BYTES + len + 1)? else { return Ok(None) };
        let payload = &bytes[PREFIX_BYTES..PREFIX_BYTES + len];
        let is_sound = framing::is_sound(payload, checksum) && decode_payload(payload).is_ok();
        Ok(zxid.ok().filter(|_| is_sound))
    }

    fn damage(&self, position: u64, what: String) -> Damage {
        Damage { path: self.path.clone(), position, what }
    }

    fn only_zeros_from(&mut self, position: u64) -> Result<bool, StorageError> {
        let mut at = position;
        while let Some(window) = self.window_from(at)? {
            if window.iter().any(|&byte| byte != 0) {
                return Ok(false);
            }
            at += window.len() as u64;
        }
        Ok(true)
    }

    /// As much as one window holds from here on; `None` at the end of the file.
    fn window_from(&mut self, position: u64) -> Result<Option<&[u8]>, StorageError> {
        let rest = self.len.saturating_sub(position);
        let count = usize::try_from(rest).unwrap_or(usize::MAX).min(WINDOW_BYTES);
        if count == 0 { Ok(None) } else { self.bytes(position, count) }
    }

    /// `count` bytes from here on; `None` if the file ends before.
    fn bytes(&mut self, position: u64, count: usize) -> Result<Option<&[u8]>, StorageError> {
        if position + count as u64 > self.len {
            return Ok(None);
        }
        let window_end = self.window_at + self.window.len() as u64;
        if position < self.window_at || position + count as u64 > window_end {
            thread::yield_now();
            self.window.clear();
            self.window.resize(count.max(WINDOW_BYTES), 0);
            let mut filled = 0;
            while filled < self.window.len() {
                let at = position + filled as u64;
                match self.file.read_at(at, &mut self.window[filled..]).at("read", &self.path)? {
                    0 => break,
                    read => filled += read,
                }
            }
            self.window.truncate(filled);
            self.window_at = position;
            if filled < count {
                return Ok(None);
            }
        }
        let start = (position - self.window_at) as usize;
        Ok(Some(&self.window[start..start + count]))
    }
}

/// Whether a record could begin with these bytes.
fn looks_like_prefix(prefix: &[u8], payload_bytes_max: usize) -> bool {
    let Ok(prefix) = <&[u8; PREFIX_BYTES]>::try_from(prefix) else { return false };
    let (checksum, length) = framing::parse_prefix(prefix);
    let sensible = |length| (PAYLOAD_BYTES_MIN..=payload_bytes_max).contains(&length);
    checksum >> 32 == 0 && usize::try_from(length).is_ok_and(sensible)
}
