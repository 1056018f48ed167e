//! The requests of a client, and their bytes.

use std::borrow::Cow;
use std::time::Duration;

use oxikeeper_proto::acl::AclEntry;
use oxikeeper_proto::limits::TTL_MS_MAX;
use oxikeeper_proto::multi::{MultiOp, MultiRequest};
use oxikeeper_proto::path;
use oxikeeper_proto::reply::end_frame;
use oxikeeper_proto::request::{
    AddWatchRequest, CreateMode, CreateRequest, CreateTtlRequest, PathRequest, PathVersionRequest,
    ReconfigRequest, RequestHeader, SetAclRequest, SetDataRequest, WatchableRequest,
    WatchesRequest,
};
use oxikeeper_proto::watch::{AddWatchMode, WatcherType};
use oxikeeper_proto::{Acl, Encode, OpCode};

use crate::{Chroot, CreateOptions, Error, ExpectedVersion, WatchMode};

/// One operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
enum TxnOp {
    Create { path: String, data: Vec<u8>, options: CreateOptions },
    Delete { path: String, version: ExpectedVersion },
    SetData { path: String, data: Vec<u8>, version: ExpectedVersion },
    Check { path: String, version: ExpectedVersion },
}

/// One read of a multi-read.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ReadOp {
    Data(String),
    Children(String),
}

/// What is asked of a server. Paths are the client's: the chroot is put before them here.
#[derive(Clone, Debug)]
pub enum Request<'a> {
    /// create2, createContainer, createTTL.
    Create {
        /// Where.
        path: &'a str,
        /// Data; `None` is null.
        data: Option<&'a [u8]>,
        /// What kind of node.
        options: &'a CreateOptions,
    },
    /// delete.
    Delete {
        /// Which node.
        path: &'a str,
        /// Its version.
        version: ExpectedVersion,
    },
    /// setData.
    SetData {
        /// Which node.
        path: &'a str,
        /// Data; `None` is null.
        data: Option<&'a [u8]>,
        /// Its version.
        version: ExpectedVersion,
    },
    /// exists.
    Exists(&'a str),
    /// getData.
    GetData(&'a str),
    /// getChildren.
    GetChildren(&'a str),
    /// getChildren2.
    GetChildrenAndStat(&'a str),
    /// getACL.
    GetAcl(&'a str),
    /// setACL.
    SetAcl {
        /// Which node.
        path: &'a str,
        /// The new list.
        acl: &'a [Acl],
        /// The version of the old one.
        version: ExpectedVersion,
    },
    /// sync.
    Sync(&'a str),
    /// getEphemerals.
    GetEphemerals(&'a str),
    /// getAllChildrenNumber.
    GetAllChildrenNumber(&'a str),
    /// whoAmI.
    WhoAmI,
    /// getData of the ensemble's configuration, wherever the chroot is.
    GetConfig,
    /// reconfig.
    Reconfig {
        /// Servers to add, `server.N=...` separated by commas.
        joining: Option<&'a str>,
        /// Ids to remove, separated by commas.
        leaving: Option<&'a str>,
        /// The whole membership instead.
        members: Option<&'a str>,
        /// The configuration that it is based on; -1 is any.
        from_config: i64,
    },
    /// A multi.
    Transaction(&'a Transaction),
    /// A multiRead.
    MultiRead(&'a MultiRead),
    /// addWatch.
    AddWatch {
        /// Where.
        path: &'a str,
        /// How far it looks.
        mode: WatchMode,
    },
    /// removeWatches; checkWatches never leaves this client, which knows its watches.
    RemoveWatches {
        /// Where.
        path: &'a str,
        /// Which.
        kind: WatcherType,
        /// Forget them even if the server cannot be told.
        local: bool,
    },
    /// auth.
    AddAuth {
        /// `digest`, ...
        scheme: &'a str,
        /// What proves it.
        auth: &'a [u8],
    },
    /// closeSession.
    Close,
}

/// The operations of a transaction, in order.
#[derive(Clone, Debug, Default)]
pub struct Transaction {
    ops: Vec<TxnOp>,
}

impl Transaction {
    /// The node must have this version.
    pub fn check(&mut self, path: String, version: ExpectedVersion) {
        self.ops.push(TxnOp::Check { path, version });
    }

    /// Creates a node.
    pub fn create(&mut self, path: String, data: Vec<u8>, options: CreateOptions) {
        self.ops.push(TxnOp::Create { path, data, options });
    }

    /// Sets a node's data.
    pub fn set_data(&mut self, path: String, data: Vec<u8>, version: ExpectedVersion) {
        self.ops.push(TxnOp::SetData { path, data, version });
    }

    /// Deletes a node.
    pub fn delete(&mut self, path: String, version: ExpectedVersion) {
        self.ops.push(TxnOp::Delete { path, version });
    }
}

/// The reads of a multi-read, in order.
#[derive(Clone, Debug, Default)]
pub struct MultiRead {
    ops: Vec<ReadOp>,
}

impl MultiRead {
    /// A node's data.
    pub fn get_data(&mut self, path: String) {
        self.ops.push(ReadOp::Data(path));
    }

    /// The names of a node's children.
    pub fn get_children(&mut self, path: String) {
        self.ops.push(ReadOp::Children(path));
    }
}

/// What kind of reply a request gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    Nothing,
    Created,
    Stat,
    Exists,
    Data,
    Children,
    ChildrenAndStat,
    Acl,
    Path,
    Ephemerals,
    Number,
    Identities,
    Transaction,
    Reads,
    AddWatch,
    /// The server's path.
    RemoveWatches {
        path: String,
        kind: WatcherType,
        local: bool,
    },
    /// The place among the client's identities.
    Auth(usize),
    Close,
}

impl Request<'_> {
    /// Whether it may be asked twice.
    pub(crate) fn is_idempotent(&self) -> bool {
        !matches!(
            self,
            Request::Create { .. }
                | Request::Delete { .. }
                | Request::SetData { .. }
                | Request::SetAcl { .. }
                | Request::Reconfig { .. }
                | Request::Transaction(_)
        )
    }

    pub(crate) fn expect(&self, chroot: &Chroot) -> Expect {
        match self {
            Request::Create { .. } => Expect::Created,
            Request::Delete { .. } => Expect::Nothing,
            Request::SetData { .. } | Request::SetAcl { .. } => Expect::Stat,
            Request::Exists(_) => Expect::Exists,
            Request::GetData(_) | Request::GetConfig | Request::Reconfig { .. } => Expect::Data,
            Request::GetChildren(_) => Expect::Children,
            Request::GetChildrenAndStat(_) => Expect::ChildrenAndStat,
            Request::GetAcl(_) => Expect::Acl,
            Request::Sync(_) => Expect::Path,
            Request::GetEphemerals(_) => Expect::Ephemerals,
            Request::GetAllChildrenNumber(_) => Expect::Number,
            Request::WhoAmI => Expect::Identities,
            Request::Transaction(_) => Expect::Transaction,
            Request::MultiRead(_) => Expect::Reads,
            Request::AddWatch { .. } => Expect::AddWatch,
            Request::RemoveWatches { path, kind, local } => Expect::RemoveWatches {
                path: chroot.apply(path).into_owned(),
                kind: *kind,
                local: *local,
            },
            // The session knows the place.
            Request::AddAuth { .. } => Expect::Auth(0),
            Request::Close => Expect::Close,
        }
    }

    /// Appends the whole frame. On an error what was appended is to be taken away again.
    pub(crate) fn encode(
        &self,
        xid: i32,
        chroot: &Chroot,
        watch: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        let at = |path| some_path(chroot, path);
        let mut put = |op: OpCode, body: &dyn Encode| {
            RequestHeader { xid, op: op.to_wire() }.encode(out);
            body.encode(out);
        };
        let read = |path| Ok::<_, Error>(WatchableRequest { path: at(path)?, watch });
        match self {
            Request::Create { path, data, options } => {
                match create_op(chroot, path, *data, options)? {
                    MultiOp::Create(op, body) => put(op, &body),
                    MultiOp::CreateTtl(body) => put(OpCode::CreateTtl, &body),
                    _ => {}
                }
            }
            Request::Delete { path, version } => {
                put(OpCode::Delete, &versioned(chroot, path, *version)?)
            }
            Request::SetData { path, data, version } => put(
                OpCode::SetData,
                &SetDataRequest { path: at(path)?, data: *data, version: version.to_wire() },
            ),
            Request::Exists(path) => put(OpCode::Exists, &read(path)?),
            Request::GetData(path) => put(OpCode::GetData, &read(path)?),
            Request::GetConfig => put(
                OpCode::GetData,
                &WatchableRequest { path: Some(Cow::Borrowed(path::CONFIG)), watch },
            ),
            Request::GetChildren(path) => put(OpCode::GetChildren, &read(path)?),
            Request::GetChildrenAndStat(path) => put(OpCode::GetChildren2, &read(path)?),
            Request::GetAcl(path) => put(OpCode::GetAcl, &PathRequest { path: at(path)? }),
            Request::SetAcl { path, acl, version } => {
                let acl = Some(acl_entries(acl)?);
                let version = version.to_wire();
                put(OpCode::SetAcl, &SetAclRequest { path: at(path)?, acl, version });
            }
            Request::Sync(path) => put(OpCode::Sync, &PathRequest { path: at(path)? }),
            Request::GetEphemerals(prefix) => {
                put(OpCode::GetEphemerals, &PathRequest { path: at(prefix)? });
            }
            Request::GetAllChildrenNumber(path) => {
                put(OpCode::GetAllChildrenNumber, &PathRequest { path: at(path)? });
            }
            Request::WhoAmI => put(OpCode::WhoAmI, &Empty),
            Request::Reconfig { joining, leaving, members, from_config } => put(
                OpCode::Reconfig,
                &ReconfigRequest {
                    joining_servers: joining.map(Cow::Borrowed),
                    leaving_servers: leaving.map(Cow::Borrowed),
                    new_members: members.map(Cow::Borrowed),
                    current_config_id: *from_config,
                },
            ),
            Request::Transaction(transaction) => {
                let ops = transaction.ops.iter().map(|op| txn_op(chroot, op));
                put(OpCode::Multi, &MultiRequest { ops: ops.collect::<Result<_, _>>()? });
            }
            Request::MultiRead(reads) => {
                let ops = reads.ops.iter().map(|op| {
                    Ok(match op {
                        ReadOp::Data(path) => {
                            MultiOp::GetData(WatchableRequest { path: at(path)?, watch: false })
                        }
                        ReadOp::Children(path) => {
                            MultiOp::GetChildren(WatchableRequest { path: at(path)?, watch: false })
                        }
                    })
                });
                put(OpCode::MultiRead, &MultiRequest { ops: ops.collect::<Result<_, Error>>()? });
            }
            Request::AddWatch { path, mode } => {
                let mode = match mode {
                    WatchMode::Persistent => AddWatchMode::Persistent,
                    WatchMode::PersistentRecursive => AddWatchMode::PersistentRecursive,
                } as i32;
                put(OpCode::AddWatch, &AddWatchRequest { path: at(path)?, mode });
            }
            Request::RemoveWatches { path, kind, .. } => put(
                OpCode::RemoveWatches,
                &WatchesRequest { path: at(path)?, watcher_type: *kind as i32 },
            ),
            Request::AddAuth { scheme, auth } => {
                out.truncate(start);
                return auth_frame(scheme, auth, out);
            }
            Request::Close => put(OpCode::CloseSession, &Empty),
        }
        end_frame(out, start);
        Ok(())
    }
}

/// Appends a frame that proves an identity.
pub(crate) fn auth_frame(scheme: &str, auth: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    let packet = oxikeeper_proto::request::AuthPacket {
        kind: 0,
        scheme: Some(Cow::Borrowed(scheme)),
        auth: Some(auth),
    };
    frame(oxikeeper_proto::Xid::AUTH.0, OpCode::Auth, &packet, out);
    Ok(())
}

/// Appends a frame.
pub(crate) fn frame(xid: i32, op: OpCode, body: &dyn Encode, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    RequestHeader { xid, op: op.to_wire() }.encode(out);
    body.encode(out);
    end_frame(out, start);
}

/// No body.
pub(crate) struct Empty;

impl Encode for Empty {
    fn encode(&self, _: &mut Vec<u8>) {}
}

fn check_path(path: &str) -> Result<(), Error> {
    path::validate(path).map_err(|reason| Error::InvalidPath { path: path.to_owned(), reason })
}

fn some_path<'p>(chroot: &Chroot, path: &'p str) -> Result<Option<Cow<'p, str>>, Error> {
    check_path(path)?;
    Ok(Some(chroot.apply(path)))
}

fn versioned<'p>(
    chroot: &Chroot,
    path: &'p str,
    version: ExpectedVersion,
) -> Result<PathVersionRequest<'p>, Error> {
    Ok(PathVersionRequest { path: some_path(chroot, path)?, version: version.to_wire() })
}

fn create_op<'p>(
    chroot: &Chroot,
    path: &'p str,
    data: Option<&'p [u8]>,
    options: &'p CreateOptions,
) -> Result<MultiOp<'p>, Error> {
    let mode = options.mode;
    // A sequential node may consist of its digits alone: `/queue/` becomes `/queue/0000000000`.
    let path = match path.strip_suffix('/') {
        Some(parent) if mode.is_sequential() => {
            if !parent.is_empty() {
                check_path(parent)?;
            }
            Some(Cow::Owned(format!("{}{path}", chroot.as_str())))
        }
        _ => some_path(chroot, path)?,
    };
    let acl = Some(acl_entries(&options.acl)?);
    let flags = mode as i32;
    match options.ttl {
        Some(ttl) => {
            let ttl = ttl_ms(ttl)?;
            Ok(MultiOp::CreateTtl(CreateTtlRequest { path, data, acl, flags, ttl }))
        }
        None => {
            let op = match mode {
                CreateMode::Container => OpCode::CreateContainer,
                _ => OpCode::Create2,
            };
            Ok(MultiOp::Create(op, CreateRequest { path, data, acl, flags }))
        }
    }
}

fn ttl_ms(ttl: Duration) -> Result<i64, Error> {
    let ms = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
    if (1..=TTL_MS_MAX).contains(&ms) {
        Ok(ms)
    } else {
        Err(Error::InvalidArgument("a TTL has 1 to 2^40 - 1 milliseconds"))
    }
}

fn acl_entries(acl: &[Acl]) -> Result<Vec<AclEntry<'_>>, Error> {
    if acl.is_empty() {
        return Err(Error::InvalidArgument("an ACL has at least one entry"));
    }
    let entries = acl.iter().map(|acl| AclEntry {
        perms: acl.perms,
        scheme: Some(Cow::Borrowed(acl.id.scheme.as_str())),
        id: Some(Cow::Borrowed(acl.id.id.as_str())),
    });
    Ok(entries.collect())
}

fn txn_op<'t>(chroot: &Chroot, op: &'t TxnOp) -> Result<MultiOp<'t>, Error> {
    Ok(match op {
        TxnOp::Create { path, data, options } => create_op(chroot, path, Some(data), options)?,
        TxnOp::Delete { path, version } => MultiOp::Delete(versioned(chroot, path, *version)?),
        TxnOp::Check { path, version } => MultiOp::Check(versioned(chroot, path, *version)?),
        TxnOp::SetData { path, data, version } => MultiOp::SetData(SetDataRequest {
            path: some_path(chroot, path)?,
            data: Some(data),
            version: version.to_wire(),
        }),
    })
}
