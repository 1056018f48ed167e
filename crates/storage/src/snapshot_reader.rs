//! Reading a snapshot: its sections in their order, every seal verified.
//!
//! Source: storage-format reference, 3.1 to 3.3.

use std::io::{self, Read};
use std::path::Path;
use std::thread;

use oxikeeper_proto::replay::ReplayFault;
pub use oxikeeper_proto::replay::{Discard, SnapshotSink};
use oxikeeper_proto::snapshot::{SnapshotError, SnapshotParser};
use oxikeeper_proto::{Decode, DecodeError, Reader, Zxid};
use simd_adler32::Adler32;
use thiserror::Error;

use crate::disk::{Disk, DiskFile};
use crate::file_name;
use crate::snapshot_stream;
use crate::snapshot_writer::Compression;

/// Why a file is not a snapshot that can be used.
#[derive(Debug, Error)]
pub enum SnapshotFault {
    /// It cannot be read to its end.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// Its bytes are not a snapshot's.
    #[error("is damaged: {0}")]
    Damaged(String),
    /// Its content was not taken.
    #[error("holds what cannot be: {0}")]
    Content(#[from] ReplayFault),
}

impl From<DecodeError> for SnapshotFault {
    fn from(error: DecodeError) -> SnapshotFault {
        SnapshotFault::Damaged(error.to_string())
    }
}

impl From<SnapshotError> for SnapshotFault {
    fn from(error: SnapshotError) -> SnapshotFault {
        match error {
            SnapshotError::Content(fault) => SnapshotFault::Content(fault),
            error => SnapshotFault::Damaged(error.to_string()),
        }
    }
}

/// What stands behind the nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trailer {
    /// The digest of version 2, with the zxid it belongs to; absent in old files, and where the
    /// zxid is 0.
    pub digest: Option<(Zxid, u64)>,
    /// The last zxid when writing ended: larger than the file's name in a fuzzy snapshot.
    pub last_zxid: Option<Zxid>,
}

const MAGIC: i32 = 0x5A4B_534E;
/// A string or buffer may be this long; it is read piece by piece, so a wrong length costs nothing.
const FIELD_BYTES_MAX: usize = 1 << 30;
/// Read at a time. Between two pieces others get the processor: on a machine where all are taken, whoever
/// serves clients would wait for the end of a time slice, some milliseconds.
const PIECE_BYTES: usize = 16 * 1024;
/// After so many bytes of content, and every doubling, the sink is told what share of all that was.
const FIRST_SHARE_BYTES: u64 = 1 << 20;
const SEAL_BYTES: usize = 13;
/// More than any trailer has.
const TRAILER_BYTES_MAX: usize = 1024;

/// Reads a whole snapshot into `sink`.
///
/// # Errors
/// Anything that makes the file unusable.
pub fn read<D: Disk>(
    disk: &D,
    path: &Path,
    sink: &mut dyn SnapshotSink,
) -> Result<Trailer, SnapshotFault> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    // A snapshot that is being written has a temporary name before its final one.
    let name = name.strip_prefix(file_name::TEMPORARY).unwrap_or(name);
    let (_, compression) = file_name::parse_snapshot(name)
        .ok_or_else(|| SnapshotFault::Damaged(format!("{name} is not the name of a snapshot")))?;
    let file = disk.open(path)?;
    // How much there is in a compressed one is not known.
    let content_bytes = match compression {
        Compression::None => Some(file.len()?),
        Compression::Gzip | Compression::Snappy => None,
    };
    let stream = snapshot_stream::open(file, compression)?;
    let mut sections = Sections { stream, adler: Adler32::new(), content_bytes };
    sections.head()?;
    let mut sections = sections.records(sink)?;
    sections.seal()?;
    sections.trailer()
}

/// A stream with the checksum of all that was read of it.
struct Sections {
    stream: Box<dyn Read>,
    adler: Adler32,
    /// Bytes of the whole content, if they are known.
    content_bytes: Option<u64>,
}

impl Sections {
    fn head(&mut self) -> Result<(), SnapshotFault> {
        if i32::from_be_bytes(self.fixed()?) != MAGIC {
            return Err(damaged("it does not begin with ZKSN"));
        }
        // Version and dbid may hold anything.
        self.fixed::<12>().map(|_| ())
    }

    /// Sessions, ACLs and nodes. What was read beyond them stands at the front of the stream again.
    fn records(mut self, sink: &mut dyn SnapshotSink) -> Result<Sections, SnapshotFault> {
        let mut parser = SnapshotParser::new(FIELD_BYTES_MAX);
        let mut buffer = Vec::new();
        let mut at = 0;
        let (mut parsed, mut next_share) = (0, FIRST_SHARE_BYTES);
        while !parser.is_done() {
            while buffer.len() - at < parser.bytes_wanted() {
                buffer.drain(..at);
                at = 0;
                self.read_piece(&mut buffer)?;
                thread::yield_now();
            }
            let taken = parser.parse(&buffer[at..], sink)?;
            self.adler.write(&buffer[at..at + taken]);
            at += taken;
            parsed += taken as u64;
            if let Some(all) = self.content_bytes
                && parsed >= next_share
            {
                sink.came_so_far((parsed as f64 / all as f64).min(1.0));
                next_share *= 2;
            }
        }
        let rest = io::Cursor::new(buffer.split_off(at));
        Ok(Sections { stream: Box::new(rest.chain(self.stream)), ..self })
    }

    fn read_piece(&mut self, buffer: &mut Vec<u8>) -> Result<(), SnapshotFault> {
        let from = buffer.len();
        buffer.resize(from + PIECE_BYTES, 0);
        let count = self.stream.read(&mut buffer[from..])?;
        buffer.truncate(from + count);
        if count == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(())
    }

    /// Compares a seal with the checksum of everything before it.
    fn seal(&mut self) -> Result<(), SnapshotFault> {
        let expected = u64::from(self.adler.finish());
        let seal = self.fixed::<SEAL_BYTES>()?;
        check_seal(&seal, expected)
    }

    /// What stands behind the first seal can only be told by its length; a reading counts if its
    /// seals are right.
    fn trailer(mut self) -> Result<Trailer, SnapshotFault> {
        let mut rest = Vec::new();
        self.stream.take(TRAILER_BYTES_MAX as u64 + 1).read_to_end(&mut rest)?;
        let mut reader = Trailing { rest: &rest, adler: &mut self.adler };
        let mut trailer = Trailer::default();
        match rest.len() {
            0 => {}
            33 => trailer.digest = reader.digest()?,
            21 => trailer.last_zxid = Some(reader.last_zxid()?),
            54 => {
                trailer.digest = reader.digest()?;
                trailer.last_zxid = Some(reader.last_zxid()?);
            }
            length if length <= TRAILER_BYTES_MAX => {
                reader.old_digest()?;
                if !reader.rest.is_empty() {
                    trailer.last_zxid = Some(reader.last_zxid()?);
                }
            }
            _ => return Err(damaged("bytes behind its end")),
        }
        Ok(trailer)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], SnapshotFault> {
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes)?;
        self.adler.write(&bytes);
        Ok(bytes)
    }
}

/// What is left behind the first seal.
struct Trailing<'t> {
    rest: &'t [u8],
    adler: &'t mut Adler32,
}

impl Trailing<'_> {
    fn digest(&mut self) -> Result<Option<(Zxid, u64)>, SnapshotFault> {
        let mut reader = Reader::new(self.take(20)?);
        let zxid: Zxid = reader.get()?;
        let version: i32 = reader.get()?;
        let value: i64 = reader.get()?;
        self.seal()?;
        let usable = version == oxikeeper_proto::txn::DIGEST_VERSION && zxid != Zxid::ZERO;
        Ok(usable.then_some((zxid, value as u64)))
    }

    /// The digest of versions before 2, a string in hex. Not comparable with ours.
    fn old_digest(&mut self) -> Result<(), SnapshotFault> {
        let length = self.rest.get(12..16).and_then(|b| b.try_into().ok()).map(u32::from_be_bytes);
        let length = length.ok_or_else(|| damaged("bytes behind its end"))?;
        self.take(16usize.saturating_add(length as usize))?;
        self.seal()
    }

    fn last_zxid(&mut self) -> Result<Zxid, SnapshotFault> {
        let zxid = decode(self.take(8)?)?;
        self.seal()?;
        Ok(zxid)
    }

    fn seal(&mut self) -> Result<(), SnapshotFault> {
        let expected = u64::from(self.adler.finish());
        let seal = self.take(SEAL_BYTES)?;
        check_seal(seal, expected)
    }

    fn take(&mut self, count: usize) -> Result<&[u8], SnapshotFault> {
        let (head, rest) =
            self.rest.split_at_checked(count).ok_or_else(|| damaged("it ends in its trailer"))?;
        self.rest = rest;
        self.adler.write(head);
        Ok(head)
    }
}

fn check_seal(seal: &[u8], expected: u64) -> Result<(), SnapshotFault> {
    let (value, mark) = seal.split_at(8);
    if value != expected.to_be_bytes() {
        return Err(damaged("a seal does not match what it seals"));
    }
    if mark != [0, 0, 0, 1, b'/'] {
        return Err(damaged("a seal without its end mark"));
    }
    Ok(())
}

fn decode<'a, T: Decode<'a>>(bytes: &'a [u8]) -> Result<T, SnapshotFault> {
    Ok(Reader::new(bytes).get()?)
}

fn damaged(what: &str) -> SnapshotFault {
    SnapshotFault::Damaged(what.to_owned())
}
