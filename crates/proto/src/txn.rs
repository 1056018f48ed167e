//! Transactions: what is agreed upon, logged, and applied to the tree.
//!
//! A log record's payload is a [`TxnHeader`], a body that its type tells, and at most a
//! [`TxnDigest`]. Source: storage-format reference, 2.2 and 2.3; Apache's `SerializeUtils`.

use std::borrow::Cow;

use crate::acl::Acl;
use crate::id::{SessionId, Zxid};
use crate::jute::{DecodeError, Encode, Reader};
use crate::op::OpCode;
use crate::record;

/// Version of the digest that this code computes and compares.
pub const DIGEST_VERSION: i32 = 2;

/// Type of a record that stands for a failed request.
pub const ERROR_TXN: i32 = -1;

record! {
    /// Who asked for a transaction, and when.
    #[derive(Copy)]
    pub struct TxnHeader {
        /// The session; 0 for the server's own.
        pub session: SessionId,
        /// The client's number for the request; 0 for the server's own.
        pub cxid: i32,
        /// Its place in the total order.
        pub zxid: Zxid,
        /// The leader's wall clock, milliseconds since 1970.
        pub time_ms: i64,
        /// Type of the body, see [`Txn::kind`].
        pub kind: i32,
    }
}

record! {
    /// Digest of the whole tree after a transaction.
    #[derive(Copy)]
    pub struct TxnDigest {
        /// [`DIGEST_VERSION`].
        pub version: i32,
        /// Wrapping sum of all node digests.
        pub tree_digest: i64,
    }
}

record! {
    /// create and create2.
    pub struct CreateTxn<'a> {
        /// Final path, suffix included.
        pub path: Cow<'a, str>,
        /// Data.
        pub data: Option<&'a [u8]>,
        /// ACL, expanded.
        pub acl: Vec<Acl>,
        /// Whether it goes with the session.
        pub ephemeral: bool,
        /// The parent's create count afterwards; -1 means one more than it is.
        pub parent_cversion: i32,
    }
}

record! {
    /// createContainer.
    pub struct CreateContainerTxn<'a> {
        /// Final path.
        pub path: Cow<'a, str>,
        /// Data.
        pub data: Option<&'a [u8]>,
        /// ACL, expanded.
        pub acl: Vec<Acl>,
        /// The parent's create count afterwards.
        pub parent_cversion: i32,
    }
}

record! {
    /// createTTL.
    pub struct CreateTtlTxn<'a> {
        /// Final path, suffix included.
        pub path: Cow<'a, str>,
        /// Data.
        pub data: Option<&'a [u8]>,
        /// ACL, expanded.
        pub acl: Vec<Acl>,
        /// The parent's create count afterwards.
        pub parent_cversion: i32,
        /// Milliseconds.
        pub ttl_ms: i64,
    }
}

record! {
    /// delete and deleteContainer.
    pub struct DeleteTxn<'a> {
        /// Which node.
        pub path: Cow<'a, str>,
    }
}

record! {
    /// setData and reconfig.
    pub struct SetDataTxn<'a> {
        /// Which node.
        pub path: Cow<'a, str>,
        /// The new data.
        pub data: Option<&'a [u8]>,
        /// The new version.
        pub version: i32,
    }
}

record! {
    /// setACL.
    pub struct SetAclTxn<'a> {
        /// Which node.
        pub path: Cow<'a, str>,
        /// The new list, expanded.
        pub acl: Vec<Acl>,
        /// The new ACL version.
        pub version: i32,
    }
}

record! {
    /// check, inside a multi.
    pub struct CheckTxn<'a> {
        /// Which node.
        pub path: Cow<'a, str>,
        /// The version that matched, plus one.
        pub version: i32,
    }
}

/// Body of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Txn<'a> {
    /// A new session with its timeout in milliseconds.
    CreateSession(i32),
    /// The end of a session and the ephemerals that go with it. `None` in files written before 3.6
    /// or with `closeSessionTxn.enabled=false`: then the session's ephemerals are found by index.
    CloseSession(Option<Vec<Cow<'a, str>>>),
    /// A request that failed with this code. It takes a zxid and changes nothing.
    Error(i32),
    /// create.
    Create(CreateTxn<'a>),
    /// create2: as create.
    Create2(CreateTxn<'a>),
    /// createContainer.
    CreateContainer(CreateContainerTxn<'a>),
    /// createTTL.
    CreateTtl(CreateTtlTxn<'a>),
    /// delete.
    Delete(DeleteTxn<'a>),
    /// The server's removal of an empty container or a TTL node whose time is up.
    DeleteContainer(DeleteTxn<'a>),
    /// setData.
    SetData(SetDataTxn<'a>),
    /// reconfig: the new text of `/zookeeper/config`.
    Reconfig(SetDataTxn<'a>),
    /// setACL.
    SetAcl(SetAclTxn<'a>),
    /// check; only inside a multi.
    Check(CheckTxn<'a>),
    /// All or nothing: if any member is an [`Txn::Error`], none is applied.
    Multi(Vec<Txn<'a>>),
}

impl<'a> Txn<'a> {
    /// The type as headers and multi members carry it.
    pub const fn kind(&self) -> i32 {
        match self {
            Txn::CreateSession(_) => OpCode::CreateSession.to_wire(),
            Txn::CloseSession(_) => OpCode::CloseSession.to_wire(),
            Txn::Error(_) => ERROR_TXN,
            Txn::Create(_) => OpCode::Create.to_wire(),
            Txn::Create2(_) => OpCode::Create2.to_wire(),
            Txn::CreateContainer(_) => OpCode::CreateContainer.to_wire(),
            Txn::CreateTtl(_) => OpCode::CreateTtl.to_wire(),
            Txn::Delete(_) => OpCode::Delete.to_wire(),
            Txn::DeleteContainer(_) => OpCode::DeleteContainer.to_wire(),
            Txn::SetData(_) => OpCode::SetData.to_wire(),
            Txn::Reconfig(_) => OpCode::Reconfig.to_wire(),
            Txn::SetAcl(_) => OpCode::SetAcl.to_wire(),
            Txn::Check(_) => OpCode::Check.to_wire(),
            Txn::Multi(_) => OpCode::Multi.to_wire(),
        }
    }

    /// True for a multi of which any member is an error: nothing of it is applied.
    pub fn is_failed_multi(&self) -> bool {
        matches!(self, Txn::Multi(members) if members.iter().any(|m| matches!(m, Txn::Error(_))))
    }

    /// Appends the body, without header and digest.
    pub fn encode_body(&self, out: &mut Vec<u8>) {
        match self {
            Txn::CreateSession(timeout_ms) => timeout_ms.encode(out),
            Txn::CloseSession(None) => {}
            Txn::CloseSession(Some(paths)) => paths.encode(out),
            Txn::Error(code) => code.encode(out),
            Txn::Create(body) | Txn::Create2(body) => body.encode(out),
            Txn::CreateContainer(body) => body.encode(out),
            Txn::CreateTtl(body) => body.encode(out),
            Txn::Delete(body) | Txn::DeleteContainer(body) => body.encode(out),
            Txn::SetData(body) | Txn::Reconfig(body) => body.encode(out),
            Txn::SetAcl(body) => body.encode(out),
            Txn::Check(body) => body.encode(out),
            Txn::Multi(members) => encode_members(members, out),
        }
    }

    /// Reads a body of the given type from the front of `reader`.
    pub fn decode_body(kind: i32, reader: &mut Reader<'a>) -> Result<Txn<'a>, DecodeError> {
        decode_body(kind, reader, Place::Top)
    }
}

fn encode_members(members: &[Txn<'_>], out: &mut Vec<u8>) {
    let count = i32::try_from(members.len()).expect("a multi is bounded by the frame limit");
    count.encode(out);
    for member in members {
        member.kind().encode(out);
        let start = out.len();
        0i32.encode(out);
        member.encode_body(out);
        crate::reply::end_frame(out, start);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Top,
    Member,
}

fn decode_body<'a>(
    kind: i32,
    reader: &mut Reader<'a>,
    place: Place,
) -> Result<Txn<'a>, DecodeError> {
    let undefined = || DecodeError::Undefined { what: "transaction type", value: i64::from(kind) };
    if kind == ERROR_TXN {
        return Ok(Txn::Error(reader.get()?));
    }
    let op = OpCode::from_wire(kind).ok_or_else(undefined)?;
    Ok(match (op, place) {
        (OpCode::Create, _) => Txn::Create(decode_create(reader)?),
        (OpCode::Create2, _) => Txn::Create2(reader.get()?),
        (OpCode::CreateContainer, _) => Txn::CreateContainer(reader.get()?),
        (OpCode::CreateTtl, _) => Txn::CreateTtl(reader.get()?),
        (OpCode::Delete, _) => Txn::Delete(reader.get()?),
        (OpCode::DeleteContainer, _) => Txn::DeleteContainer(reader.get()?),
        (OpCode::SetData, _) => Txn::SetData(reader.get()?),
        (OpCode::Check, _) => Txn::Check(reader.get()?),
        (OpCode::CreateSession, Place::Top) => Txn::CreateSession(reader.get()?),
        (OpCode::CloseSession, Place::Top) => Txn::CloseSession(decode_close(reader)?),
        (OpCode::Reconfig, Place::Top) => Txn::Reconfig(reader.get()?),
        (OpCode::SetAcl, Place::Top) => Txn::SetAcl(reader.get()?),
        (OpCode::Multi, Place::Top) => Txn::Multi(decode_members(reader)?),
        _ => return Err(undefined()),
    })
}

/// create, also in the form before 3.4 that lacks the parent's version and simply ends there.
fn decode_create<'a>(reader: &mut Reader<'a>) -> Result<CreateTxn<'a>, DecodeError> {
    let path = reader.get()?;
    let data = reader.get()?;
    let acl = reader.get()?;
    let ephemeral = reader.get()?;
    let parent_cversion = if reader.remaining() == 0 { -1 } else { reader.get()? };
    Ok(CreateTxn { path, data, acl, ephemeral, parent_cversion })
}

/// closeSession: no body, a bare digest (which is left for the caller), or a vector of paths.
/// A bare digest is 12 bytes beginning with 2; a vector of two paths needs more.
fn decode_close<'a>(reader: &mut Reader<'a>) -> Result<Option<Vec<Cow<'a, str>>>, DecodeError> {
    let rest = reader.rest();
    if rest.is_empty() || (rest.len() == 12 && rest.starts_with(&DIGEST_VERSION.to_be_bytes())) {
        return Ok(None);
    }
    reader.get().map(Some)
}

fn decode_members<'a>(reader: &mut Reader<'a>) -> Result<Vec<Txn<'a>>, DecodeError> {
    let count = reader.count()?.ok_or(DecodeError::Null)?;
    let mut members = Vec::with_capacity(count.min(reader.remaining() / 8));
    for _ in 0..count {
        let kind = reader.get()?;
        let body = reader.buffer()?.ok_or(DecodeError::Null)?;
        members.push(decode_body(kind, &mut Reader::new(body), Place::Member)?);
    }
    Ok(members)
}

/// Appends a whole payload: header, body, and the digest if there is one.
pub fn encode_payload(
    header: &TxnHeader,
    txn: &Txn<'_>,
    digest: Option<TxnDigest>,
    out: &mut Vec<u8>,
) {
    debug_assert_eq!(header.kind, txn.kind());
    header.encode(out);
    txn.encode_body(out);
    if let Some(digest) = digest {
        digest.encode(out);
    }
}

/// Reads a whole payload. Bytes behind the digest are an error.
pub fn decode_payload(
    payload: &[u8],
) -> Result<(TxnHeader, Txn<'_>, Option<TxnDigest>), DecodeError> {
    let mut reader = Reader::new(payload);
    let header: TxnHeader = reader.get()?;
    let txn = Txn::decode_body(header.kind, &mut reader)?;
    let digest = if reader.remaining() == 0 { None } else { Some(reader.get()?) };
    match reader.remaining() {
        0 => Ok((header, txn, digest)),
        extra => {
            Err(DecodeError::Undefined { what: "bytes behind a transaction", value: extra as i64 })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(kind: i32) -> TxnHeader {
        TxnHeader { session: SessionId(7), cxid: 1, zxid: Zxid::new(9), time_ms: 5, kind }
    }

    fn round_trip(txn: Txn<'_>, digest: Option<TxnDigest>) {
        let mut bytes = Vec::new();
        let header = header(txn.kind());
        encode_payload(&header, &txn, digest, &mut bytes);
        assert_eq!(decode_payload(&bytes), Ok((header, txn, digest)));
    }

    fn create(path: &str) -> CreateTxn<'_> {
        CreateTxn {
            path: path.into(),
            data: Some(b"x"),
            acl: vec![Acl::open()],
            ephemeral: false,
            parent_cversion: 4,
        }
    }

    #[test]
    fn every_body_survives() {
        let digest = Some(TxnDigest { version: 2, tree_digest: -3 });
        let bodies = [
            Txn::CreateSession(30_000),
            Txn::CloseSession(Some(vec!["/a".into(), "/b".into()])),
            Txn::Create(create("/a")),
            Txn::Create2(create("/a")),
            Txn::CreateContainer(CreateContainerTxn {
                path: "/c".into(),
                data: None,
                acl: vec![Acl::open()],
                parent_cversion: 1,
            }),
            Txn::CreateTtl(CreateTtlTxn {
                path: "/t".into(),
                data: Some(b""),
                acl: vec![],
                parent_cversion: 1,
                ttl_ms: 77,
            }),
            Txn::Delete(DeleteTxn { path: "/a".into() }),
            Txn::DeleteContainer(DeleteTxn { path: "/a".into() }),
            Txn::SetData(SetDataTxn { path: "/a".into(), data: None, version: 3 }),
            Txn::Reconfig(SetDataTxn { path: "/zookeeper/config".into(), data: None, version: -1 }),
            Txn::SetAcl(SetAclTxn { path: "/a".into(), acl: vec![Acl::open()], version: 2 }),
            Txn::Multi(vec![
                Txn::Create(create("/m")),
                Txn::Check(CheckTxn { path: "/m".into(), version: 1 }),
                Txn::Error(-103),
            ]),
        ];
        for body in bodies {
            round_trip(body.clone(), None);
            round_trip(body, digest);
        }
        round_trip(Txn::Error(-110), None);
        round_trip(Txn::CloseSession(None), None);
        round_trip(Txn::CloseSession(None), digest);
    }

    #[test]
    fn a_create_without_parent_version_is_the_old_form() {
        let mut bytes = Vec::new();
        encode_payload(&header(1), &Txn::Create(create("/a")), None, &mut bytes);
        bytes.truncate(bytes.len() - 4);
        let (_, txn, _) = decode_payload(&bytes).expect("the old form is legal");
        assert!(matches!(txn, Txn::Create(CreateTxn { parent_cversion: -1, .. })));
    }

    #[test]
    fn types_that_may_not_be_members_are_refused() {
        let member = Txn::Multi(vec![Txn::CreateSession(5)]);
        let mut bytes = Vec::new();
        encode_payload(&header(14), &member, None, &mut bytes);
        assert!(decode_payload(&bytes).is_err());
        let mut unknown = Vec::new();
        header(77).encode(&mut unknown);
        assert_eq!(
            decode_payload(&unknown),
            Err(DecodeError::Undefined { what: "transaction type", value: 77 })
        );
    }
}
