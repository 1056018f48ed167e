//! Requests that change the tree, or try to.

use std::borrow::Cow;

use oxikeeper_proto::acl::perms;
use oxikeeper_proto::multi::{MultiOp, MultiRequest};
use oxikeeper_proto::request::{
    CreateRequest, CreateTtlRequest, PathRequest, PathVersionRequest, ReconfigRequest,
    SetAclRequest, SetDataRequest, WatchableRequest,
};
use oxikeeper_proto::{AclEntry, Encode, OpCode};

use super::{Generator, Sent};
use crate::exceptions::Exception;

impl Generator {
    pub(super) fn create(&mut self) -> Sent {
        let op = *self.random.pick(&[
            OpCode::Create,
            OpCode::Create,
            OpCode::Create,
            OpCode::Create2,
            OpCode::CreateContainer,
            OpCode::CreateTtl,
        ]);
        let (path, data, acl) = (self.path(), self.data(), self.acl());
        if op == OpCode::CreateTtl {
            return self.create_ttl(path, data.as_deref(), acl);
        }
        let flags = match op {
            OpCode::CreateContainer => *self.random.pick(&[4, 4, 4, 0, 5]),
            _ => *self.random.pick(&[0, 0, 0, 0, 1, 1, 2, 2, 3, 4, 5, 6, 7, -1]),
        };
        let text = format!("{op:?} {path:?} flags {flags} acl {acl:?} data {:?}", show(&data));
        self.sent(op.to_wire(), text, |out| {
            CreateRequest { path, data: data.as_deref(), acl, flags }.encode(out);
        })
    }

    pub(super) fn create_ttl(
        &mut self,
        path: Option<Cow<'static, str>>,
        data: Option<&[u8]>,
        acl: Option<Vec<AclEntry<'static>>>,
    ) -> Sent {
        let mut flags = *self.random.pick(&[5, 5, 5, 5, 6, 6, 7, 7, 0]);
        if flags == 0 {
            self.used.note(Exception::TtlModeGiven);
            flags = 5;
        }
        let ttl = *self.random.pick(&[1_000_000, 5_000_000, (1 << 40) - 1, 1 << 40, 0, -1, -5]);
        let text = format!("CreateTtl {path:?} flags {flags} ttl {ttl} acl {acl:?}");
        self.sent(OpCode::CreateTtl.to_wire(), text, |out| {
            CreateTtlRequest { path, data, acl, flags, ttl }.encode(out);
        })
    }

    pub(super) fn delete(&mut self) -> Sent {
        let (path, version) = (self.path(), self.version());
        let text = format!("Delete {path:?} {version}");
        self.sent(OpCode::Delete.to_wire(), text, |out| {
            PathVersionRequest { path, version }.encode(out);
        })
    }

    pub(super) fn set_data(&mut self) -> Sent {
        let (path, data, version) = (self.path(), self.data(), self.version());
        let text = format!("SetData {path:?} {version} {:?}", show(&data));
        self.sent(OpCode::SetData.to_wire(), text, |out| {
            SetDataRequest { path, data: data.as_deref(), version }.encode(out);
        })
    }

    pub(super) fn set_acl(&mut self) -> Sent {
        let (path, mut acl, version) = (self.path(), self.acl(), self.version());
        // Lists that lock everybody out would soon leave nothing to test.
        if self.random.one_in(2) {
            acl = Some(vec![AclEntry {
                perms: perms::ALL,
                scheme: Some("world".into()),
                id: Some("anyone".into()),
            }]);
        }
        let text = format!("SetAcl {path:?} {version} {acl:?}");
        self.sent(OpCode::SetAcl.to_wire(), text, |out| {
            SetAclRequest { path, acl, version }.encode(out);
        })
    }

    pub(super) fn multi_op(&mut self) -> MultiOp<'static> {
        let path = self.path();
        let version = self.version();
        match self.random.below(10) {
            0..=3 => {
                let flags = *self.random.pick(&[0, 0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 7]);
                let op = *self.random.pick(&[OpCode::Create, OpCode::Create, OpCode::Create2]);
                MultiOp::Create(op, CreateRequest { path, data: None, acl: self.acl(), flags })
            }
            4 => MultiOp::CreateTtl(CreateTtlRequest {
                path,
                data: None,
                acl: self.acl(),
                flags: *self.random.pick(&[5, 6]),
                ttl: 1_000_000,
            }),
            5 => {
                let flags = 4;
                let acl = self.acl();
                MultiOp::Create(
                    OpCode::CreateContainer,
                    CreateRequest { path, data: None, acl, flags },
                )
            }
            6 => MultiOp::Delete(PathVersionRequest { path, version }),
            7 | 8 => MultiOp::SetData(SetDataRequest { path, data: Some(b"multi"), version }),
            _ => MultiOp::Check(PathVersionRequest { path, version }),
        }
    }

    pub(super) fn multi(&mut self) -> Sent {
        let count = self.random.below(5);
        let mut ops: Vec<MultiOp<'static>> = (0..count).map(|_| self.multi_op()).collect();
        if self.random.one_in(30) {
            let request = WatchableRequest { path: self.path(), watch: false };
            ops.push(MultiOp::GetData(request));
        }
        let text = format!("Multi {ops:?}");
        self.sent(OpCode::Multi.to_wire(), text, |out| MultiRequest { ops }.encode(out))
    }

    /// Quotas on `/q`: the limits, the account, and the way there.
    pub(super) fn quota(&mut self) -> Sent {
        let open = Some(vec![AclEntry {
            perms: perms::ALL,
            scheme: Some("world".into()),
            id: Some("anyone".into()),
        }]);
        let (path, data): (&str, &[u8]) = *self.random.pick(&[
            ("/zookeeper/quota/q", &b""[..]),
            (
                "/zookeeper/quota/q/zookeeper_limits",
                b"count=-1,bytes=-1=;byteHardLimit=200;countHardLimit=8",
            ),
            ("/zookeeper/quota/q/zookeeper_limits", b"count=5,bytes=100"),
            ("/zookeeper/quota/q/zookeeper_stats", b"count=0,bytes=0"),
        ]);
        match self.random.below(4) {
            0 => {
                let request = WatchableRequest { path: Some(path.into()), watch: false };
                let text = format!("GetData {path}");
                self.sent(OpCode::GetData.to_wire(), text, |out| request.encode(out))
            }
            1 if self.random.one_in(3) => {
                let request = PathVersionRequest { path: Some(path.into()), version: -1 };
                let text = format!("Delete {path}");
                self.sent(OpCode::Delete.to_wire(), text, |out| request.encode(out))
            }
            _ => {
                let request = CreateRequest {
                    path: Some(path.into()),
                    data: Some(data),
                    acl: open,
                    flags: 0,
                };
                let text = format!("Create {path} {}", String::from_utf8_lossy(data));
                self.sent(OpCode::Create.to_wire(), text, |out| request.encode(out))
            }
        }
    }

    pub(super) fn reconfig(&mut self) -> Sent {
        self.sent(OpCode::Reconfig.to_wire(), "Reconfig".to_owned(), |out| {
            ReconfigRequest {
                joining_servers: None,
                leaving_servers: Some("1".into()),
                new_members: None,
                current_config_id: -1,
            }
            .encode(out);
        })
    }

    /// Only where Apache changes nothing either: what it would delete, we do not.
    pub(super) fn delete_container(&mut self) -> Sent {
        let path = *self.random.pick(&["/", "/zookeeper", "/never", "/never/child", "x"]);
        let mut sent = self.sent(
            OpCode::DeleteContainer.to_wire(),
            format!("DeleteContainer {path}"),
            |out| {
                PathRequest { path: Some(path.into()) }.encode(out);
            },
        );
        sent.alone = true;
        sent
    }
}

fn show(data: &Option<Vec<u8>>) -> Option<Cow<'_, str>> {
    data.as_deref().map(|data| String::from_utf8_lossy(&data[..data.len().min(16)]))
}
