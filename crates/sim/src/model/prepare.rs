//! What a request must become, given the state before it.
//!
//! Source: client-protocol reference, 4.4 to 4.7 and 8.4.

use std::borrow::Cow;

use oxikeeper_proto::acl::perms;
use oxikeeper_proto::multi::{MultiOp, MultiRequest};
use oxikeeper_proto::request::{
    CreateRequest, CreateTtlRequest, PathVersionRequest, SetAclRequest, SetDataRequest,
};
use oxikeeper_proto::txn::{
    CheckTxn, CreateContainerTxn, CreateTtlTxn, CreateTxn, DeleteTxn, SetAclTxn, SetDataTxn,
};
use oxikeeper_proto::{
    Acl, AclEntry, ErrorCode, Id, NodeKind, OpCode, Reader, SessionId, Txn, TxnHeader,
};

use super::{Model, Node, permits, split};

const TTL_MS_MAX: i64 = (1 << 40) - 1;

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// Its session.
    pub session: SessionId,
    /// What it has proven.
    pub ids: &'a [Id],
}

type Outcome<'r> = Result<Txn<'r>, ErrorCode>;

impl Model {
    /// The transaction that this request must become; `None` if it takes none, because it cannot
    /// be decoded.
    pub fn prepare<'r>(
        &self,
        op: OpCode,
        body: &'r [u8],
        asker: Asker<'_>,
        header: &TxnHeader,
    ) -> Option<Txn<'r>> {
        let mut reader = Reader::new(body);
        let outcome = match op {
            OpCode::Create | OpCode::Create2 | OpCode::CreateContainer => {
                self.plain_create(op, reader.get().ok()?, asker)
            }
            OpCode::CreateTtl => self.ttl_create(reader.get().ok()?, asker),
            OpCode::Delete => self.prepare_delete(reader.get().ok()?, asker),
            OpCode::SetData => self.prepare_set_data(reader.get().ok()?, asker),
            OpCode::SetAcl => self.prepare_set_acl(reader.get().ok()?, asker),
            OpCode::Multi => match reader.get() {
                Ok(request) => self.prepare_multi(request, asker, header),
                // Unlike the others, it takes a zxid.
                Err(_) => Err(ErrorCode::MarshallingError),
            },
            OpCode::Reconfig => Err(ErrorCode::ReconfigDisabled),
            OpCode::CloseSession => {
                let paths = self.ephemerals(asker.session);
                Ok(Txn::CloseSession(Some(paths.into_iter().map(Cow::Owned).collect())))
            }
            _ => return None,
        };
        Some(outcome.unwrap_or_else(|code| Txn::Error(code.to_wire())))
    }

    fn prepare_multi<'r>(
        &self,
        request: MultiRequest<'r>,
        asker: Asker<'_>,
        header: &TxnHeader,
    ) -> Outcome<'r> {
        let mut after = self.clone();
        let mut members: Vec<Txn<'r>> = Vec::new();
        let mut failed = None;
        for (place, op) in request.ops.into_iter().enumerate() {
            if failed.is_some() {
                members.push(Txn::Error(-2));
                continue;
            }
            let outcome = match op {
                MultiOp::Create(op, create) => after.plain_create(op, create, asker),
                MultiOp::CreateTtl(create) => after.ttl_create(create, asker),
                MultiOp::Delete(delete) => after.prepare_delete(delete, asker),
                MultiOp::SetData(set) => after.prepare_set_data(set, asker),
                MultiOp::Check(check) => after.prepare_check(check, asker),
                // Reads in a multi make it one that cannot be decoded.
                MultiOp::GetChildren(_) | MultiOp::GetData(_) => {
                    return Err(ErrorCode::MarshallingError);
                }
            };
            match outcome {
                Ok(txn) => {
                    after.apply_one(header, &txn, &mut Vec::new());
                    members.push(txn);
                }
                Err(code) => {
                    failed = Some(place);
                    members.push(Txn::Error(code.to_wire()));
                }
            }
        }
        if let Some(place) = failed {
            members[..place].fill(Txn::Error(0));
            // Apache logs what the earlier members were; only the reply has zeros for them. The
            // caller compares members of failed multis by their codes alone.
        }
        Ok(Txn::Multi(members))
    }

    fn plain_create<'r>(
        &self,
        op: OpCode,
        request: CreateRequest<'r>,
        asker: Asker<'_>,
    ) -> Outcome<'r> {
        let CreateRequest { path, data, acl, flags } = request;
        if !(0..=6).contains(&flags) {
            return Err(ErrorCode::BadArguments);
        }
        if matches!(flags, 5 | 6) {
            let with_ttl_only = ErrorCode::BadArguments;
            return Err(if self.extended_types { with_ttl_only } else { ErrorCode::Unimplemented });
        }
        let kind = match op {
            OpCode::CreateContainer => NodeKind::Container,
            _ if matches!(flags, 1 | 3) => NodeKind::Ephemeral(asker.session),
            _ => NodeKind::Persistent,
        };
        let sequential = matches!(flags, 2 | 3);
        let (path, acl, parent_cversion) = self.check_create(path, acl, sequential, asker)?;
        Ok(match op {
            OpCode::CreateContainer => {
                Txn::CreateContainer(CreateContainerTxn { path, data, acl, parent_cversion })
            }
            _ => {
                let ephemeral = matches!(kind, NodeKind::Ephemeral(_));
                let create = CreateTxn { path, data, acl, ephemeral, parent_cversion };
                if op == OpCode::Create { Txn::Create(create) } else { Txn::Create2(create) }
            }
        })
    }

    fn ttl_create<'r>(&self, request: CreateTtlRequest<'r>, asker: Asker<'_>) -> Outcome<'r> {
        let CreateTtlRequest { path, data, acl, flags, ttl } = request;
        if !(0..=6).contains(&flags) {
            return Err(ErrorCode::BadArguments);
        }
        if !matches!(flags, 5 | 6) {
            return Err(ErrorCode::BadArguments);
        }
        if !self.extended_types {
            return Err(ErrorCode::Unimplemented);
        }
        if !(1..=TTL_MS_MAX).contains(&ttl) {
            return Err(ErrorCode::BadArguments);
        }
        let (path, acl, parent_cversion) = self.check_create(path, acl, flags == 6, asker)?;
        Ok(Txn::CreateTtl(CreateTtlTxn { path, data, acl, parent_cversion, ttl_ms: ttl }))
    }

    /// The checks that all creates share: final path, ACL, and the parent's count afterwards.
    fn check_create<'r>(
        &self,
        path: Option<Cow<'r, str>>,
        acl: Option<Vec<AclEntry<'r>>>,
        sequential: bool,
        asker: Asker<'_>,
    ) -> Result<(Cow<'r, str>, Vec<Acl>, i32), ErrorCode> {
        let mut path = path.ok_or(ErrorCode::MarshallingError)?;
        if !path.contains('/') || path.contains('\0') {
            return Err(ErrorCode::BadArguments);
        }
        let acl = fix_up(acl, asker.ids)?;
        let parent = self.node(split(&path).0).ok_or(ErrorCode::NoNode)?;
        require(parent, perms::CREATE, asker)?;
        if sequential {
            path = Cow::Owned(format!("{path}{:010}", parent.creates));
        }
        if !is_valid(&path) {
            return Err(ErrorCode::BadArguments);
        }
        if self.node(&path).is_some() {
            return Err(ErrorCode::NodeExists);
        }
        if matches!(parent.kind, NodeKind::Ephemeral(_)) {
            return Err(ErrorCode::NoChildrenForEphemerals);
        }
        Ok((path, acl, parent.creates.wrapping_add(1)))
    }

    fn prepare_delete<'r>(&self, request: PathVersionRequest<'r>, asker: Asker<'_>) -> Outcome<'r> {
        let path = request.path.ok_or(ErrorCode::MarshallingError)?;
        let system = ["/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"];
        if !path.contains('/') || path.contains('\0') || system.contains(&&*path) {
            return Err(ErrorCode::BadArguments);
        }
        let parent = self.node(split(&path).0).ok_or(ErrorCode::NoNode)?;
        require(parent, perms::DELETE, asker)?;
        let node = self.nodes.get(&*path).ok_or(ErrorCode::NoNode)?;
        require_version(request.version, node.version)?;
        if !node.children.is_empty() {
            return Err(ErrorCode::NotEmpty);
        }
        Ok(Txn::Delete(DeleteTxn { path }))
    }

    fn prepare_set_data<'r>(&self, request: SetDataRequest<'r>, asker: Asker<'_>) -> Outcome<'r> {
        let (path, node) = self.valid_node(request.path)?;
        require(node, perms::WRITE, asker)?;
        require_version(request.version, node.version)?;
        let version = node.version.wrapping_add(1);
        Ok(Txn::SetData(SetDataTxn { path, data: request.data, version }))
    }

    fn prepare_set_acl<'r>(&self, request: SetAclRequest<'r>, asker: Asker<'_>) -> Outcome<'r> {
        let path = request.path.ok_or(ErrorCode::BadArguments)?;
        if !is_valid(&path) {
            return Err(ErrorCode::BadArguments);
        }
        let acl = fix_up(request.acl, asker.ids)?;
        let (path, node) = self.valid_node(Some(path))?;
        require(node, perms::ADMIN, asker)?;
        require_version(request.version, node.aversion)?;
        Ok(Txn::SetAcl(SetAclTxn { path, acl, version: node.aversion.wrapping_add(1) }))
    }

    fn prepare_check<'r>(&self, request: PathVersionRequest<'r>, asker: Asker<'_>) -> Outcome<'r> {
        let (path, node) = self.valid_node(request.path)?;
        require(node, perms::READ, asker)?;
        require_version(request.version, node.version)?;
        Ok(Txn::Check(CheckTxn { path, version: node.version.wrapping_add(1) }))
    }

    fn valid_node<'r>(
        &self,
        path: Option<Cow<'r, str>>,
    ) -> Result<(Cow<'r, str>, &Node), ErrorCode> {
        let path = path.ok_or(ErrorCode::BadArguments)?;
        if !is_valid(&path) {
            return Err(ErrorCode::BadArguments);
        }
        let node = self.nodes.get(&*path).ok_or(ErrorCode::NoNode)?;
        Ok((path, node))
    }
}

fn require(node: &Node, wanted: i32, asker: Asker<'_>) -> Result<(), ErrorCode> {
    if permits(&node.acl, wanted, asker.ids) { Ok(()) } else { Err(ErrorCode::NoAuth) }
}

fn require_version(expected: i32, actual: i32) -> Result<(), ErrorCode> {
    if expected == -1 || expected == actual { Ok(()) } else { Err(ErrorCode::BadVersion) }
}

/// Requested entries to stored ones.
fn fix_up(acl: Option<Vec<AclEntry<'_>>>, ids: &[Id]) -> Result<Vec<Acl>, ErrorCode> {
    let mut fixed: Vec<Acl> = Vec::new();
    let mut add = |entry: Acl| {
        if !fixed.contains(&entry) {
            fixed.push(entry);
        }
    };
    let requested = acl.unwrap_or_default();
    if requested.is_empty() {
        return Err(ErrorCode::InvalidAcl);
    }
    for entry in requested {
        let scheme = entry.scheme.ok_or(ErrorCode::InvalidAcl)?;
        let id = entry.id.ok_or(ErrorCode::InvalidAcl)?;
        match &*scheme {
            "world" if id == "anyone" => add(Acl { perms: entry.perms, id: Id::anyone() }),
            "auth" => {
                let proven = ids.iter().filter(|id| id.scheme == "digest");
                let mut found = false;
                for id in proven {
                    found = true;
                    add(Acl { perms: entry.perms, id: id.clone() });
                }
                if !found {
                    return Err(ErrorCode::InvalidAcl);
                }
            }
            "digest" if id.split(':').filter(|part| !part.is_empty()).count() == 2 => {
                add(Acl { perms: entry.perms, id: Id::new("digest", id) });
            }
            "ip" if id == "127.0.0.1" => add(Acl { perms: entry.perms, id: Id::new("ip", id) }),
            _ => return Err(ErrorCode::InvalidAcl),
        }
    }
    Ok(fixed)
}

/// Whether a node may be called that. The simulated clients send nothing but ASCII.
fn is_valid(path: &str) -> bool {
    path == "/"
        || path.strip_prefix('/').is_some_and(|rest| {
            rest.split('/').all(|name| !matches!(name, "" | "." | ".."))
                && rest.bytes().all(|byte| (0x20..0x7f).contains(&byte))
        })
}
