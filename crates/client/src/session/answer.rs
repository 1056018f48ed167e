//! What servers answer, taken apart.

use std::borrow::Cow;

use oxikeeper_proto::multi::MultiHeader;
use oxikeeper_proto::reply::{
    ClientInfo, Create2Reply, ErrorReply, GetAclReply, GetAllChildrenNumberReply,
    GetChildren2Reply, GetChildrenReply, GetDataReply, PathReply, StatReply, WhoAmIReply,
};
use oxikeeper_proto::{Acl, DecodeError, ErrorCode, OpCode, Reader, Stat};

use super::request::Expect;
use crate::{Chroot, Created, Error};

/// The result of one operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TxnResult {
    /// A node was created.
    Created {
        /// Its path, with the digits that a server appends to sequential ones.
        path: String,
        /// Its statistics; Apache 3.8.0 does not tell them in a transaction.
        stat: Option<Stat>,
    },
    /// The node's statistics behind the set.
    Set(Stat),
    /// Gone.
    Deleted,
    /// The version was the expected one.
    Checked,
}

/// The result of one read of a multi-read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadResult {
    /// Data and statistics.
    Data(Vec<u8>, Stat),
    /// Names of the children.
    Children(Vec<String>),
}

/// What a request gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing but that it was done.
    Done,
    /// A new node.
    Created(Created),
    /// Statistics.
    Stat(Stat),
    /// Statistics, if the node is there.
    Exists(Option<Stat>),
    /// Data, which may be null, and statistics.
    Data(Option<Vec<u8>>, Stat),
    /// Names or paths.
    Names(Vec<String>),
    /// Names and the parent's statistics.
    NamesAndStat(Vec<String>, Stat),
    /// An ACL and statistics.
    Acl(Vec<Acl>, Stat),
    /// A number of nodes.
    Number(i32),
    /// Who the connection is.
    Identities(Vec<ClientInfo>),
    /// The results of a transaction.
    Transaction(Vec<TxnResult>),
    /// The results of a multi-read.
    Reads(Vec<Result<ReadResult, Error>>),
}

/// Takes the body of a reply without an error apart.
pub(crate) fn decode(
    expect: &Expect,
    body: &[u8],
    chroot: &Chroot,
) -> Result<Result<Answer, Error>, DecodeError> {
    let mut reader = Reader::new(body);
    Ok(Ok(match expect {
        Expect::Nothing | Expect::RemoveWatches { .. } | Expect::Auth(_) | Expect::Close => {
            Answer::Done
        }
        // The path says nothing new, and may be null.
        Expect::Path => Answer::Done,
        Expect::Created => Answer::Created(created(&mut reader, chroot)?),
        Expect::Stat => Answer::Stat(reader.get::<StatReply>()?.stat),
        Expect::Exists => Answer::Exists(Some(reader.get::<StatReply>()?.stat)),
        Expect::Data => {
            let reply: GetDataReply<'_> = reader.get()?;
            Answer::Data(reply.data.map(<[u8]>::to_vec), reply.stat)
        }
        Expect::Children => Answer::Names(owned(reader.get::<GetChildrenReply<'_>>()?.children)),
        Expect::ChildrenAndStat => {
            let reply: GetChildren2Reply<'_> = reader.get()?;
            Answer::NamesAndStat(owned(reply.children), reply.stat)
        }
        Expect::Acl => {
            let reply: GetAclReply = reader.get()?;
            Answer::Acl(reply.acl, reply.stat)
        }
        Expect::Ephemerals => {
            let paths: Vec<Cow<'_, str>> = reader.get()?;
            // A server compares beginnings of texts: `/app` means `/apple` too.
            let inside = paths.iter().filter(|path| chroot.holds(path));
            Answer::Names(inside.map(|path| chroot.strip(path).to_owned()).collect())
        }
        Expect::Number => Answer::Number(reader.get::<GetAllChildrenNumberReply>()?.total_number),
        Expect::Identities => Answer::Identities(reader.get::<WhoAmIReply>()?.client_info),
        Expect::AddWatch => match Error::from_code(reader.get::<ErrorReply>()?.err) {
            Some(error) => return Ok(Err(error)),
            None => Answer::Done,
        },
        Expect::Transaction => return transaction(&mut reader, chroot),
        Expect::Reads => Answer::Reads(reads(&mut reader)?),
    }))
}

fn created(reader: &mut Reader<'_>, chroot: &Chroot) -> Result<Created, DecodeError> {
    let reply: Create2Reply<'_> = reader.get()?;
    Ok(Created { path: chroot.strip(&reply.path).to_owned(), stat: reply.stat })
}

fn owned(names: Vec<Cow<'_, str>>) -> Vec<String> {
    names.into_iter().map(Cow::into_owned).collect()
}

fn undefined(op: i32) -> DecodeError {
    DecodeError::Undefined { what: "result in a list", value: i64::from(op) }
}

fn transaction(
    reader: &mut Reader<'_>,
    chroot: &Chroot,
) -> Result<Result<Answer, Error>, DecodeError> {
    let mut results = Vec::new();
    let mut codes = Vec::new();
    loop {
        let header: MultiHeader = reader.get()?;
        if header.done {
            break;
        }
        if header.op == -1 {
            codes.push(reader.get::<ErrorReply>()?.err);
            continue;
        }
        results.push(match OpCode::from_wire(header.op) {
            Some(OpCode::Create2) => {
                let Created { path, stat } = created(reader, chroot)?;
                TxnResult::Created { path, stat: Some(stat) }
            }
            Some(OpCode::Create) => {
                let path = reader.get::<PathReply<'_>>()?.path.unwrap_or_default();
                TxnResult::Created { path: chroot.strip(&path).to_owned(), stat: None }
            }
            Some(OpCode::SetData) => TxnResult::Set(reader.get()?),
            Some(OpCode::Delete) => TxnResult::Deleted,
            Some(OpCode::Check) => TxnResult::Checked,
            _ => return Err(undefined(header.op)),
        });
    }
    if codes.is_empty() {
        return Ok(Ok(Answer::Transaction(results)));
    }
    // A failed one has an error entry for each operation: 0 before the one that failed.
    let failed = codes
        .iter()
        .enumerate()
        .find_map(|(index, &code)| Error::from_code(code).map(|error| (index, error)));
    let Some((index, error)) = failed else { return Err(undefined(-1)) };
    let named = |code| ErrorCode::from_wire(code).unwrap_or(ErrorCode::RuntimeInconsistency);
    let results = codes.into_iter().map(named).collect();
    Ok(Err(Error::Transaction { index, error: Box::new(error), results }))
}

fn reads(reader: &mut Reader<'_>) -> Result<Vec<Result<ReadResult, Error>>, DecodeError> {
    let mut results = Vec::new();
    loop {
        let header: MultiHeader = reader.get()?;
        if header.done {
            return Ok(results);
        }
        results.push(match OpCode::from_wire(header.op) {
            Some(OpCode::GetData) => {
                let reply: GetDataReply<'_> = reader.get()?;
                Ok(ReadResult::Data(reply.data.unwrap_or_default().to_vec(), reply.stat))
            }
            Some(OpCode::GetChildren) => {
                Ok(ReadResult::Children(owned(reader.get::<GetChildrenReply<'_>>()?.children)))
            }
            None if header.op == -1 => {
                let code = reader.get::<ErrorReply>()?.err;
                Err(Error::from_code(code).ok_or(undefined(-1))?)
            }
            _ => return Err(undefined(header.op)),
        });
    }
}

#[cfg(test)]
mod tests {
    use oxikeeper_proto::Encode;

    use super::*;

    #[test]
    fn a_created_node_of_a_transaction_may_come_without_statistics() {
        let mut bytes = Vec::new();
        let header = MultiHeader { op: OpCode::Create.to_wire(), done: false, err: 0 };
        header.encode(&mut bytes);
        "/app/a".encode(&mut bytes);
        MultiHeader::END.encode(&mut bytes);
        let chroot = Chroot::new("/app").expect("a chroot");
        let created = TxnResult::Created { path: "/a".to_owned(), stat: None };
        assert_eq!(
            decode(&Expect::Transaction, &bytes, &chroot),
            Ok(Ok(Answer::Transaction(vec![created])))
        );
    }
}
