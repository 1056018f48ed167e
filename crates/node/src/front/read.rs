//! Reads: answered at once from the tree, encoded straight into the connection's output.
//!
//! Source: client-protocol reference, 4.7 and 4.8.

use std::borrow::Cow;

use oxikeeper_proto::acl::perms;
use oxikeeper_proto::multi::{MultiHeader, MultiOp, MultiRequest};
use oxikeeper_proto::reply::{
    ClientInfo, ErrorReply, GetAclReply, GetAllChildrenNumberReply, GetDataReply, StatReply,
    WhoAmIReply,
};
use oxikeeper_proto::request::{PathRequest, WatchableRequest};
use oxikeeper_proto::{Encode, ErrorCode, Id, OpCode, Reader, SessionId};
use oxikeeper_tree::{Node, Tree};

use crate::auth::{AuthPolicy, may_administer, redacted};
use crate::namespaces::Namespaces;

/// What Apache counts for the stat of a node that is read.
const STAT_BYTES: usize = 6 * 8 + 5 * 4;

/// A watch that a read leaves behind.
#[derive(Debug, PartialEq, Eq)]
pub enum LeftWatch<'a> {
    /// On the node, whether it exists or not.
    Data(Cow<'a, str>),
    /// On its children.
    Child(Cow<'a, str>),
}

/// Who reads, and what.
pub struct ReadContext<'c> {
    /// The tree to read.
    pub tree: &'c Tree,
    /// Who may see what.
    pub auth: &'c AuthPolicy,
    /// The reader's identities.
    pub ids: &'c [Id],
    /// The reader's session.
    pub session: SessionId,
    /// Where it is counted how much is read.
    pub reads: &'c mut Namespaces,
}

/// What a read answers besides what it has written.
pub struct ReadResult<'a> {
    /// `Ok`, or the error that is the whole answer.
    pub code: ErrorCode,
    /// A watch to register.
    pub watch: Option<LeftWatch<'a>>,
}

impl<'a> ReadResult<'a> {
    fn done(code: ErrorCode) -> ReadResult<'a> {
        ReadResult { code, watch: None }
    }
}

impl ReadContext<'_> {
    /// Answers a read into `out`; with an error, nothing of what was written there counts.
    /// `None` if the operation is not a read of the tree.
    pub fn read<'a>(
        &mut self,
        op: OpCode,
        body: &'a [u8],
        out: &mut Vec<u8>,
    ) -> Option<ReadResult<'a>> {
        let mut reader = Reader::new(body);
        Some(match op {
            OpCode::Exists | OpCode::GetData | OpCode::GetChildren | OpCode::GetChildren2 => {
                let Ok(WatchableRequest { path: Some(path), watch }) = reader.get() else {
                    return Some(ReadResult::done(ErrorCode::MarshallingError));
                };
                self.watchable(op, path, watch, out)
            }
            OpCode::GetAcl | OpCode::GetAllChildrenNumber => {
                let Ok(PathRequest { path: Some(path) }) = reader.get() else {
                    return Some(ReadResult::done(ErrorCode::MarshallingError));
                };
                let code = if op == OpCode::GetAcl {
                    self.acl(&path, out)
                } else {
                    self.all_children_number(&path, out)
                };
                ReadResult::done(code)
            }
            OpCode::GetEphemerals => match reader.get::<PathRequest<'_>>() {
                Ok(request) => {
                    self.ephemerals(request.path.as_deref(), out);
                    ReadResult::done(ErrorCode::Ok)
                }
                Err(_) => ReadResult::done(ErrorCode::MarshallingError),
            },
            OpCode::MultiRead => ReadResult::done(self.multi(&mut reader, out)),
            OpCode::WhoAmI => {
                self.who_am_i(out);
                ReadResult::done(ErrorCode::Ok)
            }
            OpCode::Ping => ReadResult::done(ErrorCode::Ok),
            _ => return None,
        })
    }

    fn watchable<'a>(
        &mut self,
        op: OpCode,
        path: Cow<'a, str>,
        watch: bool,
        out: &mut Vec<u8>,
    ) -> ReadResult<'a> {
        if op == OpCode::Exists && path.contains('\0') {
            return ReadResult::done(ErrorCode::BadArguments);
        }
        let node = match readable(self.tree, self.auth, self.ids, &path) {
            Ok(node) => node,
            // exists watches a missing node; the others leave nothing behind when they fail.
            Err(ErrorCode::NoNode) if op == OpCode::Exists => {
                let watch = watch.then_some(LeftWatch::Data(path));
                return ReadResult { code: ErrorCode::NoNode, watch };
            }
            Err(code) => return ReadResult::done(code),
        };
        match op {
            OpCode::Exists => {
                StatReply { stat: node.stat() }.encode(out);
                self.reads.count(&path, STAT_BYTES);
            }
            OpCode::GetData => self.data(&path, &node, out),
            _ => {
                self.children(&path, &node, out);
                if op == OpCode::GetChildren2 {
                    node.stat().encode(out);
                }
            }
        }
        let watch = watch.then_some(match op {
            OpCode::Exists | OpCode::GetData => LeftWatch::Data(path),
            _ => LeftWatch::Child(path),
        });
        ReadResult { code: ErrorCode::Ok, watch }
    }

    fn data(&mut self, path: &str, node: &Node<'_>, out: &mut Vec<u8>) {
        let data = node.data();
        GetDataReply { data, stat: node.stat() }.encode(out);
        self.reads.count(path, STAT_BYTES + data.map_or(0, <[u8]>::len));
    }

    fn children(&mut self, path: &str, node: &Node<'_>, out: &mut Vec<u8>) {
        (node.num_children() as i32).encode(out);
        let mut names_bytes = 0;
        for name in node.children() {
            name.encode(out);
            names_bytes += name.len();
        }
        self.reads.count(path, STAT_BYTES + names_bytes);
    }

    fn acl(&self, path: &str, out: &mut Vec<u8>) -> ErrorCode {
        let Some(node) = self.tree.node(path) else {
            return ErrorCode::NoNode;
        };
        if !self.auth.permits(node.acl(), perms::READ | perms::ADMIN, self.ids) {
            return ErrorCode::NoAuth;
        }
        let acl = if may_administer(self.auth, node.acl(), self.ids) {
            node.acl().to_vec()
        } else {
            redacted(node.acl())
        };
        GetAclReply { acl, stat: node.stat() }.encode(out);
        ErrorCode::Ok
    }

    fn all_children_number(&self, path: &str, out: &mut Vec<u8>) -> ErrorCode {
        match readable(self.tree, self.auth, self.ids, path) {
            Ok(node) => {
                // Compat: Apache keeps the root under two names and counts the other one for "".
                let count = node.descendants() + u32::from(path.is_empty());
                let total_number = i32::try_from(count).unwrap_or(i32::MAX);
                GetAllChildrenNumberReply { total_number }.encode(out);
                ErrorCode::Ok
            }
            Err(code) => code,
        }
    }

    /// The session's own ephemerals under a prefix, which is compared as a string.
    fn ephemerals(&self, prefix: Option<&str>, out: &mut Vec<u8>) {
        let prefix = prefix.filter(|prefix| !prefix.trim().is_empty()).unwrap_or("/");
        let mut paths = self.tree.ephemerals(self.session);
        paths.retain(|path| path.starts_with(prefix));
        paths.encode(out);
    }

    fn who_am_i(&self, out: &mut Vec<u8>) {
        let info =
            |id: &Id| ClientInfo { auth_scheme: id.scheme.clone(), user: self.auth.user_name(id) };
        WhoAmIReply { client_info: self.ids.iter().map(info).collect() }.encode(out);
    }

    /// Every operation succeeds or fails by itself.
    fn multi(&mut self, reader: &mut Reader<'_>, out: &mut Vec<u8>) -> ErrorCode {
        let Ok(MultiRequest { ops }) = reader.get() else {
            return ErrorCode::MarshallingError;
        };
        if ops.iter().any(|op| !op.is_read()) {
            return ErrorCode::MarshallingError;
        }
        for op in ops {
            let path = match &op {
                MultiOp::GetData(request) | MultiOp::GetChildren(request) => {
                    request.path.as_deref()
                }
                _ => None,
            };
            // Any error of a path becomes an entry, but a null one fails the whole request.
            let Some(path) = path else {
                return ErrorCode::MarshallingError;
            };
            match readable(self.tree, self.auth, self.ids, path) {
                Ok(node) if op.code() == OpCode::GetData => {
                    MultiHeader::result(OpCode::GetData).encode(out);
                    self.data(path, &node, out);
                }
                Ok(node) => {
                    MultiHeader::result(OpCode::GetChildren).encode(out);
                    self.children(path, &node, out);
                }
                Err(code) => {
                    let err = code.to_wire();
                    MultiHeader::error(err).encode(out);
                    ErrorReply { err }.encode(out);
                }
            }
        }
        MultiHeader::END.encode(out);
        ErrorCode::Ok
    }
}

/// The node, if this reader may read it.
fn readable<'t>(
    tree: &'t Tree,
    auth: &AuthPolicy,
    ids: &[Id],
    path: &str,
) -> Result<Node<'t>, ErrorCode> {
    let node = tree.node(path).ok_or(ErrorCode::NoNode)?;
    if auth.permits(node.acl(), perms::READ, ids) { Ok(node) } else { Err(ErrorCode::NoAuth) }
}
