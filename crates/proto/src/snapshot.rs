//! The records of a snapshot: sessions, ACLs, nodes. The same in a file, where a header stands before
//! and seals behind, and in what a leader sends behind SNAP.
//!
//! ```text
//! int count, count x (long session, int timeoutMs)
//! int count, count x (long number, int entries, entries x (int perms, ustring scheme, ustring id))
//! (ustring path, buffer data, long acl number, StatPersisted) ...     the root's path is empty
//! ustring "/"
//! ```
//!
//! Source: storage-format reference, 3.1; quorum-protocol reference, 4.5.

use thiserror::Error;

use crate::acl::Acl;
use crate::id::SessionId;
use crate::jute::{DecodeError, Reader};
use crate::replay::{ReplayFault, SnapshotSink};
use crate::stat::StatPersisted;

/// Why bytes are not a snapshot's.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SnapshotError {
    /// A field of a length that is negative or above the limit.
    #[error("a field of the impossible length {0}")]
    FieldLength(i32),
    /// An ACL that is longer than a field may be.
    #[error("an ACL of more than {0} bytes")]
    AclLength(usize),
    /// A null path.
    #[error("a node without a path")]
    NoPath,
    /// A null scheme or id in an ACL.
    #[error("an identity without a name")]
    NoIdentity,
    /// What was read was not taken.
    #[error(transparent)]
    Content(#[from] ReplayFault),
}

/// Reads the records from pieces of bytes, and tells a [`SnapshotSink`] of each.
///
/// Holds no bytes: what does not make a record yet is left to the caller, together with how many bytes
/// it takes to go on. So memory is bounded by the longest record, and a wrong length costs nothing
/// before as many bytes have come.
#[derive(Debug)]
pub struct SnapshotParser {
    stage: Stage,
    wanted: usize,
    field_bytes_max: usize,
}

#[derive(Debug)]
enum Stage {
    SessionCount,
    Sessions { left: i32 },
    AclCount,
    AclHead { left: i32 },
    AclEntries { left: i32, id: i64, entries: i32, bytes: usize, acl: Vec<Acl> },
    Nodes,
    Done,
}

/// What a look at the front of the bytes came to.
enum Look {
    /// A record of so many bytes was taken.
    Taken(usize),
    /// Nothing was: it takes so many bytes to say more.
    Wanted(usize),
}

const SESSION_BYTES: usize = 12;
const STAT_BYTES: usize = 60;

impl SnapshotParser {
    /// Begins with the count of sessions. Fields longer than `field_bytes_max` bytes are refused.
    pub fn new(field_bytes_max: usize) -> SnapshotParser {
        SnapshotParser { stage: Stage::SessionCount, wanted: 4, field_bytes_max }
    }

    /// True once the end mark of the nodes was taken.
    pub fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Done)
    }

    /// So many bytes have to stand at the front for [`parse`](Self::parse) to go on; 0 when done.
    pub fn bytes_wanted(&self) -> usize {
        self.wanted
    }

    /// Takes the records at the front of `bytes` and returns how many bytes they were. The rest has to
    /// come again, with more behind it.
    ///
    /// # Errors
    /// What cannot be, or the fault of the sink. Not to be called again then.
    pub fn parse(
        &mut self,
        bytes: &[u8],
        sink: &mut dyn SnapshotSink,
    ) -> Result<usize, SnapshotError> {
        let mut taken = 0;
        while !self.is_done() && bytes.len() - taken >= self.wanted {
            match self.record(&bytes[taken..], sink)? {
                Look::Taken(count) => {
                    taken += count;
                    self.wanted = if self.is_done() { 0 } else { self.wanted_at_least() };
                }
                Look::Wanted(count) => self.wanted = count,
            }
        }
        Ok(taken)
    }

    fn wanted_at_least(&self) -> usize {
        match self.stage {
            Stage::Sessions { .. } | Stage::AclHead { .. } => SESSION_BYTES,
            Stage::AclEntries { .. } => 8,
            _ => 4,
        }
    }

    /// Takes one record, if it is there as a whole. At least `wanted_at_least` bytes are.
    fn record(&mut self, bytes: &[u8], sink: &mut dyn SnapshotSink) -> Result<Look, SnapshotError> {
        let mut fields = Fields { bytes, at: 0, field_bytes_max: self.field_bytes_max };
        let taken = match &mut self.stage {
            Stage::SessionCount => {
                let Some(count) = fields.int() else { return fields.wanted() };
                self.stage = sessions_left(count);
                4
            }
            Stage::Sessions { left } => {
                let (Some(id), Some(timeout_ms)) = (fields.long(), fields.int()) else {
                    return fields.wanted();
                };
                sink.session(SessionId(id), timeout_ms)?;
                self.stage = sessions_left(*left - 1);
                SESSION_BYTES
            }
            Stage::AclCount => {
                let Some(count) = fields.int() else { return fields.wanted() };
                self.stage = acls_left(count);
                4
            }
            Stage::AclHead { left } => {
                let (Some(id), Some(entries)) = (fields.long(), fields.int()) else {
                    return fields.wanted();
                };
                let acl = Vec::new();
                self.stage = Stage::AclEntries { left: *left, id, entries, bytes: 0, acl };
                self.end_acl(sink)?;
                SESSION_BYTES
            }
            Stage::AclEntries { entries, bytes, acl, .. } => {
                let Some(entry) = fields.acl_entry()? else { return fields.wanted() };
                let taken = fields.at;
                acl.push(entry);
                *entries -= 1;
                *bytes += taken;
                if *bytes > self.field_bytes_max {
                    return Err(SnapshotError::AclLength(self.field_bytes_max));
                }
                self.end_acl(sink)?;
                taken
            }
            Stage::Nodes => {
                match fields.node()? {
                    Some(Node::End) => self.stage = Stage::Done,
                    Some(Node::Node { path, data, acl_id, stat }) => {
                        sink.node(&String::from_utf8_lossy(path), data, acl_id, &stat)?;
                    }
                    None => return fields.wanted(),
                }
                fields.at
            }
            Stage::Done => 0,
        };
        Ok(Look::Taken(taken))
    }

    /// Hands an ACL over that has all its entries.
    fn end_acl(&mut self, sink: &mut dyn SnapshotSink) -> Result<(), SnapshotError> {
        if let Stage::AclEntries { left, id, entries: ..=0, acl, .. } = &mut self.stage {
            sink.acl(*id, std::mem::take(acl))?;
            self.stage = acls_left(*left - 1);
        }
        Ok(())
    }
}

/// A negative count is none, as Apache's reader has it.
fn sessions_left(count: i32) -> Stage {
    if count > 0 { Stage::Sessions { left: count } } else { Stage::AclCount }
}

fn acls_left(count: i32) -> Stage {
    if count > 0 { Stage::AclHead { left: count } } else { Stage::Nodes }
}

enum Node<'a> {
    End,
    Node { path: &'a [u8], data: Option<&'a [u8]>, acl_id: i64, stat: StatPersisted },
}

/// Reads fields from the front of bytes that may end anywhere.
struct Fields<'a> {
    bytes: &'a [u8],
    /// Up to here fields were read, or found missing.
    at: usize,
    field_bytes_max: usize,
}

impl<'a> Fields<'a> {
    /// After a field was found missing: `at` stands behind it.
    fn wanted(&self) -> Result<Look, SnapshotError> {
        Ok(Look::Wanted(self.at))
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let field = self.bytes.get(self.at..self.at.saturating_add(count));
        self.at = self.at.saturating_add(count);
        field
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N).and_then(|bytes| bytes.try_into().ok())
    }

    fn int(&mut self) -> Option<i32> {
        self.array().map(i32::from_be_bytes)
    }

    fn long(&mut self) -> Option<i64> {
        self.array().map(i64::from_be_bytes)
    }

    /// A string or buffer; the inner `None` is null.
    fn field(&mut self) -> Result<Option<Option<&'a [u8]>>, SnapshotError> {
        let length = match self.int() {
            None => return Ok(None),
            Some(-1) => return Ok(Some(None)),
            Some(length) => length,
        };
        let count = usize::try_from(length).ok().filter(|&count| count <= self.field_bytes_max);
        let count = count.ok_or(SnapshotError::FieldLength(length))?;
        Ok(self.take(count).map(Some))
    }

    fn acl_entry(&mut self) -> Result<Option<Acl>, SnapshotError> {
        let Some(perms) = self.int() else { return Ok(None) };
        let Some(scheme) = self.field()? else { return Ok(None) };
        let Some(id) = self.field()? else { return Ok(None) };
        let text = |field: Option<&[u8]>| {
            let bytes = field.ok_or(SnapshotError::NoIdentity)?;
            Ok::<_, SnapshotError>(String::from_utf8_lossy(bytes).into_owned())
        };
        let id = crate::acl::Id { scheme: text(scheme)?, id: text(id)? };
        Ok(Some(Acl { perms, id }))
    }

    fn node(&mut self) -> Result<Option<Node<'a>>, SnapshotError> {
        let Some(path) = self.field()? else { return Ok(None) };
        let path = path.ok_or(SnapshotError::NoPath)?;
        if path == b"/" {
            return Ok(Some(Node::End));
        }
        let Some(data) = self.field()? else { return Ok(None) };
        let Some(rest) = self.take(8 + STAT_BYTES) else { return Ok(None) };
        let read = |mut reader: Reader<'_>| Ok::<_, DecodeError>((reader.get()?, reader.get()?));
        let (acl_id, stat) = read(Reader::new(rest)).expect("both have a fixed length");
        Ok(Some(Node::Node { path, data, acl_id, stat }))
    }
}
