//! From a request to a transaction: every check a write has to pass, in Apache's order.
//!
//! Source: client-protocol reference, 4.4 to 4.7; Apache's `PrepRequestProcessor`.

use std::borrow::Cow;
use std::sync::Arc;

use oxikeeper_proto::acl::perms;
use oxikeeper_proto::limits::TTL_MS_MAX;
use oxikeeper_proto::multi::{MultiOp, MultiRequest};
use oxikeeper_proto::path;
use oxikeeper_proto::request::{
    CreateMode, CreateRequest, CreateTtlRequest, PathVersionRequest, ReconfigRequest,
    SetAclRequest, SetDataRequest,
};
use oxikeeper_proto::stat::{NodeKind, StatPersisted};
use oxikeeper_proto::txn::{
    CheckTxn, CreateContainerTxn, CreateTtlTxn, CreateTxn, DeleteTxn, SetAclTxn, SetDataTxn,
};
use oxikeeper_proto::{
    Acl, AclEntry, DecodeError, ErrorCode, Id, OpCode, Reader, SessionId, Txn, Zxid,
};
use oxikeeper_tree::{Quota, Tree};

use super::outstanding::{FutureNode, Outstanding, encoded_len};
use crate::config::NodeConfig;
use crate::mutation::{Mutation, mutated};

/// Why a request does not become the transaction it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The request is logged as an error and answered with this code.
    Failed(ErrorCode),
    /// The body cannot be decoded: answered with `MarshallingError`, no zxid is taken.
    Undecodable,
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Refusal {
        Refusal::Failed(code)
    }
}

impl From<DecodeError> for Refusal {
    fn from(_: DecodeError) -> Refusal {
        Refusal::Undecodable
    }
}

/// Whether [`Prep::request`] would find this body undecodable.
pub(super) fn is_undecodable(op: OpCode, body: &[u8]) -> bool {
    let mut reader = Reader::new(body);
    match op {
        OpCode::Create | OpCode::Create2 | OpCode::CreateContainer => {
            reader.get::<CreateRequest<'_>>().is_err()
        }
        OpCode::CreateTtl => reader.get::<CreateTtlRequest<'_>>().is_err(),
        OpCode::Delete => reader.get::<PathVersionRequest<'_>>().is_err(),
        OpCode::SetData => reader.get::<SetDataRequest<'_>>().is_err(),
        OpCode::SetAcl => reader.get::<SetAclRequest<'_>>().is_err(),
        OpCode::Multi => matches!(reader.get::<MultiRequest<'_>>(), Err(DecodeError::Null)),
        OpCode::Reconfig => reader.get::<ReconfigRequest<'_>>().is_err(),
        _ => false,
    }
}

/// What one request is prepared against.
pub(super) struct Prep<'c> {
    pub config: &'c NodeConfig,
    pub tree: &'c Tree,
    pub outstanding: &'c mut Outstanding,
    pub session: SessionId,
    pub ids: &'c [Id],
    /// The zxid and time the transaction will have.
    pub zxid: Zxid,
    pub time_ms: i64,
}

/// The fields that the create operations share.
struct Create<'a> {
    op: OpCode,
    path: Option<Cow<'a, str>>,
    data: Option<&'a [u8]>,
    acl: Option<Vec<AclEntry<'a>>>,
    flags: i32,
    /// Only createTTL carries one; it counts as -1 elsewhere.
    ttl_ms: i64,
}

/// Room left in a transaction payload for its header and what else is not paths.
const TXN_OVERHEAD_BYTES: usize = 1024;

impl Prep<'_> {
    /// Turns a request into a transaction and notes what it will change.
    pub fn request<'a>(&mut self, op: OpCode, body: &'a [u8]) -> Result<Txn<'a>, Refusal> {
        let mut reader = Reader::new(body);
        match op {
            OpCode::Create | OpCode::Create2 | OpCode::CreateContainer => {
                let request = reader.get()?;
                Ok(self.create(Create::plain(op, request))?)
            }
            OpCode::CreateTtl => {
                let request = reader.get()?;
                Ok(self.create(Create::with_ttl(request))?)
            }
            OpCode::Delete => Ok(self.delete(reader.get()?)?),
            OpCode::SetData => Ok(self.set_data(reader.get()?)?),
            OpCode::SetAcl => Ok(self.set_acl(reader.get()?)?),
            OpCode::Multi => self.multi(&mut reader),
            OpCode::Reconfig => {
                let _: ReconfigRequest<'_> = reader.get()?;
                // A standalone server has nobody to reconfigure.
                let code = if self.config.reconfig_enabled {
                    ErrorCode::Unimplemented
                } else {
                    ErrorCode::ReconfigDisabled
                };
                Err(code.into())
            }
            _ => Err(ErrorCode::Unimplemented.into()),
        }
    }

    /// All or nothing: the first failure turns its member and all later ones into errors, and what
    /// the earlier ones would have changed is taken back. Unlike other requests, an undecodable
    /// multi takes a zxid, unless it is undecodable for a null ACL: as with Apache.
    fn multi<'a>(&mut self, reader: &mut Reader<'a>) -> Result<Txn<'a>, Refusal> {
        let request: MultiRequest<'a> = reader.get().map_err(|error| match error {
            DecodeError::Null => Refusal::Undecodable,
            _ => Refusal::Failed(ErrorCode::MarshallingError),
        })?;
        if request.ops.iter().any(|op| op.path().is_none()) {
            return Err(ErrorCode::MarshallingError.into());
        }
        let mut members = Vec::with_capacity(request.ops.len());
        let mut failed = false;
        self.outstanding.begin_multi();
        for op in request.ops {
            if failed {
                members.push(Txn::Error(ErrorCode::RuntimeInconsistency.to_wire()));
                continue;
            }
            match self.member(op) {
                Ok(txn) => members.push(txn),
                Err(ErrorCode::MarshallingError) => {
                    self.outstanding.roll_back();
                    return Err(ErrorCode::MarshallingError.into());
                }
                Err(code) => {
                    self.outstanding.roll_back();
                    members.push(Txn::Error(code.to_wire()));
                    failed = true;
                }
            }
        }
        self.outstanding.end_multi();
        Ok(Txn::Multi(members))
    }

    fn member<'a>(&mut self, op: MultiOp<'a>) -> Result<Txn<'a>, ErrorCode> {
        match op {
            MultiOp::Create(op, request) => self.create(Create::plain(op, request)),
            MultiOp::CreateTtl(request) => self.create(Create::with_ttl(request)),
            MultiOp::Delete(request) => self.delete(request),
            MultiOp::SetData(request) => self.set_data(request),
            MultiOp::Check(request) => self.check(request),
            MultiOp::GetChildren(_) | MultiOp::GetData(_) => Err(ErrorCode::MarshallingError),
        }
    }

    fn create<'a>(&mut self, request: Create<'a>) -> Result<Txn<'a>, ErrorCode> {
        let mode = CreateMode::from_wire(request.flags).ok_or(ErrorCode::BadArguments)?;
        if mode.is_ttl() && !self.config.extended_types {
            return Err(ErrorCode::Unimplemented);
        }
        if mode.is_ttl() != (1..=TTL_MS_MAX).contains(&request.ttl_ms)
            || (!mode.is_ttl() && request.ttl_ms >= 0)
        {
            return Err(ErrorCode::BadArguments);
        }
        // Apache accepts createTTL with other flags and then fails on its own transaction.
        if request.op == OpCode::CreateTtl && !mode.is_ttl() {
            return Err(ErrorCode::BadArguments);
        }
        let requested = request.path.ok_or(ErrorCode::MarshallingError)?;
        let (parent_path, _) = path::split(&requested)
            .filter(|_| !requested.contains('\0'))
            .ok_or(ErrorCode::BadArguments)?;
        let acl = self.acl(request.acl.as_deref())?;
        let parent_path = lookup_path(parent_path).to_owned();
        let parent = self.node(&parent_path).ok_or(ErrorCode::NoNode)?;
        self.require(&parent, perms::CREATE)?;
        let parent_cversion = parent.stat.cversion;
        let path = if mode.is_sequential() {
            let number = match mutated(Mutation::SequenceFromSeenVersion) {
                true => 2 * parent_cversion - parent.child_count as i32,
                false => parent_cversion,
            };
            Cow::Owned(format!("{requested}{number:010}"))
        } else {
            requested
        };
        path::validate(&path).map_err(|_| ErrorCode::BadArguments)?;
        if self.node(&path).is_some() {
            return Err(ErrorCode::NodeExists);
        }
        if matches!(parent.kind, NodeKind::Ephemeral(_)) {
            return Err(ErrorCode::NoChildrenForEphemerals);
        }
        self.require_quota(&path, 1, request.data.map_or(0, <[u8]>::len) as i64)?;
        let kind = self.kind(request.op, mode, request.ttl_ms);
        self.require_closable(kind, &path)?;
        let stat = StatPersisted {
            czxid: self.zxid,
            mzxid: self.zxid,
            ctime: self.time_ms,
            mtime: self.time_ms,
            ephemeral_owner: kind.to_owner(),
            pzxid: self.zxid,
            ..StatPersisted::default()
        };
        let shared: Arc<[_]> = acl.as_slice().into();
        let parent = (parent_path.as_str(), parent);
        // A session's id may read as another kind in the layout of 3.5.3, as at Apache's.
        let read_as = self.tree.kind(stat.ephemeral_owner);
        self.outstanding.create(parent, &path, request.data, shared, (stat, read_as), self.zxid);
        let parent_cversion = parent_cversion.wrapping_add(1);
        let data = request.data;
        Ok(match request.op {
            OpCode::CreateContainer => {
                Txn::CreateContainer(CreateContainerTxn { path, data, acl, parent_cversion })
            }
            OpCode::CreateTtl => Txn::CreateTtl(CreateTtlTxn {
                path,
                data,
                acl,
                parent_cversion,
                ttl_ms: request.ttl_ms,
            }),
            op => {
                let ephemeral = mode.is_ephemeral();
                let create = CreateTxn { path, data, acl, ephemeral, parent_cversion };
                if op == OpCode::Create { Txn::Create(create) } else { Txn::Create2(create) }
            }
        })
    }

    /// What kind of node a create makes. The operation decides before the flags do: flag 4 without
    /// createContainer makes a plain node, and createContainer makes a container whatever it says.
    fn kind(&self, op: OpCode, mode: CreateMode, ttl_ms: i64) -> NodeKind {
        match op {
            OpCode::CreateContainer => NodeKind::Container,
            OpCode::CreateTtl => NodeKind::Ttl(ttl_ms),
            _ if mode.is_ephemeral() => NodeKind::Ephemeral(self.session),
            _ => NodeKind::Persistent,
        }
    }

    /// Refuses an ephemeral that would make its session's closeSession record longer than a reader
    /// of the log accepts; Apache accepts it and cannot start again (ZOOKEEPER-4306).
    fn require_closable(&self, kind: NodeKind, path: &str) -> Result<(), ErrorCode> {
        let NodeKind::Ephemeral(session) = kind else { return Ok(()) };
        let bytes = self.outstanding.ephemeral_bytes(session) + encoded_len(path);
        if bytes + TXN_OVERHEAD_BYTES > self.config.txn_bytes_max {
            return Err(ErrorCode::QuotaExceeded);
        }
        Ok(())
    }

    fn delete<'a>(&mut self, request: PathVersionRequest<'a>) -> Result<Txn<'a>, ErrorCode> {
        let path = request.path.ok_or(ErrorCode::MarshallingError)?;
        let (parent_path, parent) = self.parent_of_deletable(&path)?;
        let parent = parent.ok_or(ErrorCode::NoNode)?;
        self.require(&parent, perms::DELETE)?;
        let node = self.stored(&path).ok_or(ErrorCode::NoNode)?;
        require_version(request.version, node.stat.version)?;
        if node.child_count > 0 {
            return Err(ErrorCode::NotEmpty);
        }
        self.outstanding.delete((&parent_path, parent), &path, &node, self.zxid);
        Ok(Txn::Delete(DeleteTxn { path }))
    }

    /// The removal of an empty container, or of a TTL node whose time is up. Only the server asks
    /// for it; `None` if it has become unnecessary.
    pub fn delete_container(
        &mut self,
        path: &str,
        due: impl Fn(NodeKind, &StatPersisted) -> bool,
    ) -> Option<Txn<'static>> {
        let (parent_path, parent) = self.parent_of_deletable(path).ok()?;
        let (parent, node) = (parent?, self.stored(path)?);
        let reapable = matches!(node.kind, NodeKind::Container | NodeKind::Ttl(_));
        if !reapable || node.child_count > 0 || !due(node.kind, &node.stat) {
            return None;
        }
        self.outstanding.delete((&parent_path, parent), path, &node, self.zxid);
        Some(Txn::DeleteContainer(DeleteTxn { path: Cow::Owned(path.to_owned()) }))
    }

    /// The end of a session: its ephemerals, those still to be created included, go with it.
    pub fn close_session(&mut self) -> Txn<'static> {
        let mut paths = self.outstanding.ephemerals(self.tree, self.session);
        if mutated(Mutation::KeepEphemeral) {
            paths.pop();
        }
        for path in &paths {
            let parent_path = path::parent(path);
            if let (Some(node), Some(parent)) = (self.node(path), self.node(parent_path)) {
                self.outstanding.delete((parent_path, parent), path, &node, self.zxid);
            }
        }
        let listed = self.config.close_session_txn;
        Txn::CloseSession(listed.then(|| paths.into_iter().map(Cow::Owned).collect()))
    }

    fn set_data<'a>(&mut self, request: SetDataRequest<'a>) -> Result<Txn<'a>, ErrorCode> {
        let path = valid(request.path)?;
        let node = self.node(&path).ok_or(ErrorCode::NoNode)?;
        self.require(&node, perms::WRITE)?;
        let data_len = request.data.map_or(0, <[u8]>::len);
        self.require_quota(&path, 0, data_len as i64 - node.data_len as i64)?;
        require_version(request.version, node.stat.version)?;
        let version = node.stat.version.wrapping_add(1);
        let stat = StatPersisted { version, mzxid: self.zxid, mtime: self.time_ms, ..node.stat };
        self.outstanding.set_data(&path, node, request.data, stat, self.zxid);
        Ok(Txn::SetData(SetDataTxn { path, data: request.data, version }))
    }

    fn set_acl<'a>(&mut self, request: SetAclRequest<'a>) -> Result<Txn<'a>, ErrorCode> {
        let path = valid(request.path)?;
        let acl = self.acl(request.acl.as_deref())?;
        let node = self.node(&path).ok_or(ErrorCode::NoNode)?;
        self.require(&node, perms::ADMIN)?;
        require_version(request.version, node.stat.aversion)?;
        let version = node.stat.aversion.wrapping_add(1);
        self.outstanding.set_acl(&path, node, acl.as_slice().into(), self.zxid);
        Ok(Txn::SetAcl(SetAclTxn { path, acl, version }))
    }

    fn check<'a>(&mut self, request: PathVersionRequest<'a>) -> Result<Txn<'a>, ErrorCode> {
        let path = valid(request.path)?;
        let node = self.node(&path).ok_or(ErrorCode::NoNode)?;
        self.require(&node, perms::READ)?;
        require_version(request.version, node.stat.version)?;
        Ok(Txn::Check(CheckTxn { path, version: node.stat.version.wrapping_add(1) }))
    }

    /// The list to store. `auth` stands for every identity of the connection, so a list may grow
    /// beyond its request; it must not grow beyond what a reader of the log accepts.
    fn acl(&self, requested: Option<&[AclEntry<'_>]>) -> Result<Vec<Acl>, ErrorCode> {
        let acl = self.config.auth.fix_up(requested, self.ids)?;
        let bytes = |entry: &Acl| 12 + entry.id.scheme.len() + entry.id.id.len();
        if acl.iter().map(bytes).sum::<usize>() > self.config.txn_bytes_max / 2 {
            return Err(ErrorCode::InvalidAcl);
        }
        Ok(acl)
    }

    fn node(&self, path: &str) -> Option<FutureNode> {
        self.outstanding.node(self.tree, path)
    }

    /// As [`node`](Self::node), but the empty path names nothing.
    fn stored(&self, path: &str) -> Option<FutureNode> {
        if path.is_empty() { None } else { self.node(path) }
    }

    /// delete looks its paths up without validating them.
    fn parent_of_deletable(&self, path: &str) -> Result<(String, Option<FutureNode>), ErrorCode> {
        if path::is_system(path) || path.contains('\0') {
            return Err(ErrorCode::BadArguments);
        }
        let (parent_path, _) = path::split(path).ok_or(ErrorCode::BadArguments)?;
        let parent_path = lookup_path(parent_path);
        Ok((parent_path.to_owned(), self.node(parent_path)))
    }

    fn require(&self, node: &FutureNode, wanted: i32) -> Result<(), ErrorCode> {
        if self.config.auth.permits(&node.acl, wanted, self.ids) {
            Ok(())
        } else {
            Err(ErrorCode::NoAuth)
        }
    }

    /// Compares with what has been applied, not with what is outstanding, as Apache does.
    fn require_quota(&self, path: &str, nodes: i64, bytes: i64) -> Result<(), ErrorCode> {
        if !self.config.enforce_quota || path.starts_with("/zookeeper") {
            return Ok(());
        }
        match self.tree.quota(path) {
            Some(quota) if exceeds_hard_limit(&quota, nodes, bytes) => {
                Err(ErrorCode::QuotaExceeded)
            }
            _ => Ok(()),
        }
    }
}

impl<'a> Create<'a> {
    fn plain(op: OpCode, request: CreateRequest<'a>) -> Create<'a> {
        let CreateRequest { path, data, acl, flags } = request;
        Create { op, path, data, acl, flags, ttl_ms: -1 }
    }

    fn with_ttl(request: CreateTtlRequest<'a>) -> Create<'a> {
        let CreateTtlRequest { path, data, acl, flags, ttl } = request;
        Create { op: OpCode::CreateTtl, path, data, acl, flags, ttl_ms: ttl }
    }
}

fn exceeds_hard_limit(quota: &Quota, nodes: i64, bytes: i64) -> bool {
    let exceeds = |hard: i64, used: i64, more: i64| {
        hard > -1 && more != 0 && used.saturating_add(more) > hard
    };
    let count = nodes > 0 && exceeds(quota.limits.count_hard, quota.usage.count, nodes);
    count || exceeds(quota.limits.bytes_hard, quota.usage.bytes, bytes)
}

/// The root is `/` in the tree of the future, and `""` where a path was split.
fn lookup_path(parent: &str) -> &str {
    if parent.is_empty() { path::ROOT } else { parent }
}

fn valid(path: Option<Cow<'_, str>>) -> Result<Cow<'_, str>, ErrorCode> {
    let path = path.ok_or(ErrorCode::BadArguments)?;
    path::validate(&path).map_err(|_| ErrorCode::BadArguments)?;
    Ok(path)
}

fn require_version(expected: i32, actual: i32) -> Result<(), ErrorCode> {
    if expected == -1 || expected == actual { Ok(()) } else { Err(ErrorCode::BadVersion) }
}
