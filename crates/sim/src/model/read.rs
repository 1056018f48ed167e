//! What a read must answer, given the state at its zxid.
//!
//! Source: client-protocol reference, 4.8 and 4.7 (multiRead).

use std::borrow::Cow;

use oxikeeper_proto::acl::perms;
use oxikeeper_proto::multi::{MultiHeader, MultiOp, MultiRequest};
use oxikeeper_proto::reply::{
    ErrorReply, GetAclReply, GetAllChildrenNumberReply, GetChildrenReply, GetDataReply,
    GetEphemeralsReply, StatReply, WhoAmIReply,
};
use oxikeeper_proto::request::{PathRequest, WatchableRequest};
use oxikeeper_proto::{Acl, Encode, ErrorCode, OpCode, Reader};

use super::prepare::Asker;
use super::{Model, Node, permits};

/// The answer to a read: a code, and the body if that is 0. Bodies are normalized, see
/// [`normalize`].
pub type Answer = (i32, Vec<u8>);

impl Model {
    /// What this read must answer now. `None` if the operation is not a read of the tree.
    pub fn read(&self, op: OpCode, body: &[u8], asker: Asker<'_>) -> Option<Answer> {
        let mut reader = Reader::new(body);
        let mut out = Vec::new();
        let code = match op {
            OpCode::Exists | OpCode::GetData | OpCode::GetChildren | OpCode::GetChildren2 => {
                match reader.get::<WatchableRequest<'_>>() {
                    Ok(WatchableRequest { path: Some(path), .. }) => {
                        self.read_node(op, &path, asker, &mut out)
                    }
                    _ => ErrorCode::MarshallingError,
                }
            }
            OpCode::GetAcl => match reader.get::<PathRequest<'_>>() {
                Ok(PathRequest { path: Some(path) }) => self.read_acl(&path, asker, &mut out),
                _ => ErrorCode::MarshallingError,
            },
            OpCode::GetAllChildrenNumber => match reader.get::<PathRequest<'_>>() {
                Ok(PathRequest { path: Some(path) }) => match self.readable(&path, asker) {
                    Ok(_) => {
                        // Apache counts the root's other name for "".
                        let total_number = self.descendants(&path) + i32::from(path.is_empty());
                        GetAllChildrenNumberReply { total_number }.encode(&mut out);
                        ErrorCode::Ok
                    }
                    Err(code) => code,
                },
                _ => ErrorCode::MarshallingError,
            },
            OpCode::GetEphemerals => match reader.get::<PathRequest<'_>>() {
                Ok(PathRequest { path }) => {
                    let prefix = path.unwrap_or_default();
                    let all = prefix.trim().is_empty();
                    let mut paths = self.ephemerals(asker.session);
                    paths.retain(|path| all || path.starts_with(&*prefix));
                    let ephemerals = paths.into_iter().map(Cow::Owned).collect();
                    GetEphemeralsReply { ephemerals }.encode(&mut out);
                    ErrorCode::Ok
                }
                _ => ErrorCode::MarshallingError,
            },
            OpCode::WhoAmI => {
                let mut client_info: Vec<_> = asker
                    .ids
                    .iter()
                    .map(|id| {
                        let user = id.id.split(':').next().unwrap_or_default().to_owned();
                        oxikeeper_proto::reply::ClientInfo { auth_scheme: id.scheme.clone(), user }
                    })
                    .collect();
                client_info.sort_by(|a, b| a.auth_scheme.cmp(&b.auth_scheme));
                WhoAmIReply { client_info }.encode(&mut out);
                ErrorCode::Ok
            }
            OpCode::MultiRead => match reader.get() {
                Ok(request) => self.multi_read(request, asker, &mut out),
                Err(_) => ErrorCode::MarshallingError,
            },
            OpCode::Ping => ErrorCode::Ok,
            _ => return None,
        };
        if code != ErrorCode::Ok {
            out.clear();
        }
        Some((code.to_wire(), out))
    }

    fn readable(&self, path: &str, asker: Asker<'_>) -> Result<&Node, ErrorCode> {
        let node = self.node(path).ok_or(ErrorCode::NoNode)?;
        let may = permits(&node.acl, perms::READ, asker.ids);
        if may { Ok(node) } else { Err(ErrorCode::NoAuth) }
    }

    fn read_node(&self, op: OpCode, path: &str, asker: Asker<'_>, out: &mut Vec<u8>) -> ErrorCode {
        let node = match self.readable(path, asker) {
            Ok(node) => node,
            Err(code) => return code,
        };
        match op {
            OpCode::Exists => StatReply { stat: node.stat() }.encode(out),
            OpCode::GetData => {
                GetDataReply { data: node.data.as_deref(), stat: node.stat() }.encode(out);
            }
            _ => {
                children(node).encode(out);
                if op == OpCode::GetChildren2 {
                    node.stat().encode(out);
                }
            }
        }
        ErrorCode::Ok
    }

    fn read_acl(&self, path: &str, asker: Asker<'_>, out: &mut Vec<u8>) -> ErrorCode {
        let Some(node) = self.node(path) else { return ErrorCode::NoNode };
        if !permits(&node.acl, perms::READ | perms::ADMIN, asker.ids) {
            return ErrorCode::NoAuth;
        }
        let mut acl: Vec<Acl> = node.acl.clone();
        if !permits(&node.acl, perms::ADMIN, asker.ids) {
            for entry in acl.iter_mut().filter(|entry| entry.id.scheme == "digest") {
                let user = entry.id.id.split(':').next().unwrap_or_default();
                entry.id.id = format!("{user}:x");
            }
        }
        GetAclReply { acl, stat: node.stat() }.encode(out);
        ErrorCode::Ok
    }

    fn descendants(&self, path: &str) -> i32 {
        let prefix = if path.is_empty() || path == "/" { "/".into() } else { format!("{path}/") };
        self.nodes.keys().filter(|p| p.starts_with(&prefix) && p.len() > prefix.len()).count()
            as i32
    }

    fn multi_read(
        &self,
        request: MultiRequest<'_>,
        asker: Asker<'_>,
        out: &mut Vec<u8>,
    ) -> ErrorCode {
        for op in request.ops {
            let (code, path) = (
                op.code(),
                match op {
                    MultiOp::GetData(get) | MultiOp::GetChildren(get) => get.path,
                    _ => return ErrorCode::MarshallingError,
                },
            );
            match self.readable(&path.unwrap_or_default(), asker) {
                Ok(node) => {
                    MultiHeader::result(code).encode(out);
                    if code == OpCode::GetData {
                        let data = node.data.as_deref();
                        GetDataReply { data, stat: node.stat() }.encode(out);
                    } else {
                        children(node).encode(out);
                    }
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

fn children(node: &Node) -> GetChildrenReply<'_> {
    let children = node.children.iter().map(|name| Cow::Borrowed(name.as_str())).collect();
    GetChildrenReply { children }
}

/// Brings what a reply may list in any order into one order, so that bodies can be compared.
pub fn normalize(op: OpCode, body: &[u8]) -> Vec<u8> {
    sorted(op, body).unwrap_or_else(|| body.to_vec())
}

fn sorted(op: OpCode, body: &[u8]) -> Option<Vec<u8>> {
    let mut reader = Reader::new(body);
    let mut out = Vec::new();
    match op {
        OpCode::GetChildren | OpCode::GetChildren2 | OpCode::GetEphemerals => {
            sort_names(&mut reader, &mut out)?;
        }
        OpCode::WhoAmI => {
            let mut reply: WhoAmIReply = reader.get().ok()?;
            reply.client_info.sort_by(|a, b| a.auth_scheme.cmp(&b.auth_scheme));
            reply.encode(&mut out);
        }
        OpCode::MultiRead => loop {
            let header: MultiHeader = reader.get().ok()?;
            header.encode(&mut out);
            if header.done {
                break;
            }
            match OpCode::from_wire(header.op) {
                Some(OpCode::GetData) => reader.get::<GetDataReply<'_>>().ok()?.encode(&mut out),
                Some(OpCode::GetChildren) => sort_names(&mut reader, &mut out)?,
                _ => reader.get::<ErrorReply>().ok()?.encode(&mut out),
            }
        },
        _ => return None,
    }
    out.extend_from_slice(reader.rest());
    Some(out)
}

fn sort_names(reader: &mut Reader<'_>, out: &mut Vec<u8>) -> Option<()> {
    let mut names: Vec<Cow<'_, str>> = reader.get().ok()?;
    names.sort();
    names.encode(out);
    Some(())
}
