//! Generates requests: valid ones, failing ones, absurd ones.

use std::borrow::Cow;

use oxikeeper_proto::acl::perms;
use oxikeeper_proto::multi::{MultiOp, MultiRequest};
use oxikeeper_proto::request::{
    AddWatchRequest, AuthPacket, CreateRequest, CreateTtlRequest, PathRequest, PathVersionRequest,
    ReconfigRequest, SaslRequest, SetAclRequest, SetDataRequest, SetWatches2Request,
    SetWatchesRequest, WatchableRequest, WatchesRequest,
};
use oxikeeper_proto::{AclEntry, Encode, OpCode, Zxid};

use crate::client::put_frame;

/// A sequence of numbers that depends on its seed alone (SplitMix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// From a seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next_u64() % end.max(1) as u64) as usize
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

/// A request on its way.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Operation code, defined or not.
    pub op: i32,
    /// The whole frame.
    pub frame: Vec<u8>,
    /// For people.
    pub text: String,
    /// The server may close behind it, so nothing else goes with it.
    pub alone: bool,
    /// Both servers close, or one does by a listed difference: the connection is given up.
    pub ends: bool,
}

/// Generates requests of one run.
pub struct Generator {
    /// Where its choices come from.
    pub random: Random,
    next_xid: i32,
    last_zxid: i64,
}

const NAMES: &[&str] = &["a", "b", "c"];
const TOPS: &[&str] = &["/x", "/y", "/q"];

impl Generator {
    /// From a seed.
    pub fn new(seed: u64) -> Generator {
        Generator { random: Random::new(seed), next_xid: 1, last_zxid: 0 }
    }

    /// A zxid seen in a reply: setWatches refers to such.
    pub fn saw(&mut self, zxid: i64) {
        self.last_zxid = self.last_zxid.max(zxid);
    }

    /// The next request of a session.
    pub fn next_request(&mut self) -> Sent {
        let mut sent = self.any_request();
        // Apache looks at ACLs and quotas as applied, not as earlier requests will leave them: what
        // depends on either must not share a burst with what changes it.
        let is_write = OpCode::from_wire(sent.op).is_some_and(|op| {
            matches!(
                op,
                OpCode::Create
                    | OpCode::Create2
                    | OpCode::CreateContainer
                    | OpCode::CreateTtl
                    | OpCode::Delete
                    | OpCode::SetData
                    | OpCode::Multi
            )
        });
        sent.alone |= sent.op == OpCode::SetAcl.to_wire();
        sent.alone |= is_write && sent.text.contains("\"/q");
        sent.alone |= sent.text.contains("/zookeeper/quota");
        sent
    }

    fn any_request(&mut self) -> Sent {
        match self.random.below(1000) {
            0..=219 => self.create(),
            220..=309 => self.delete(),
            310..=419 => self.set_data(),
            420..=479 => self.set_acl(),
            480..=699 => self.read(),
            700..=779 => self.multi(),
            780..=809 => self.multi_read(),
            810..=879 => self.watches(),
            880..=899 => self.set_watches(),
            900..=914 => self.plain(OpCode::Ping, -2, "ping", |_| {}),
            915..=929 => self.sync(),
            930..=939 => self.auth(),
            940..=949 => self.reconfig(),
            950..=959 => self.plain(OpCode::WhoAmI, 0, "whoAmI", |_| {}),
            960..=979 => self.quota(),
            980..=989 => self.undecodable(),
            990..=993 => self.absurd(),
            994..=995 => self.sasl(),
            996..=997 => self.plain(OpCode::Check, 0, "check alone", |out| {
                PathVersionRequest { path: Some("/x".into()), version: -1 }.encode(out);
            }),
            _ => {
                let mut sent = self.plain(OpCode::CloseSession, 0, "closeSession", |_| {});
                (sent.alone, sent.ends) = (true, true);
                sent
            }
        }
    }

    fn xid(&mut self) -> i32 {
        self.next_xid += 1;
        self.next_xid
    }

    fn sent(&mut self, op: i32, text: String, body: impl FnOnce(&mut Vec<u8>)) -> Sent {
        let xid = self.xid();
        let mut frame = Vec::new();
        put_frame(&mut frame, |out| {
            xid.encode(out);
            op.encode(out);
            body(out);
        });
        Sent { op, frame, text, alone: false, ends: false }
    }

    fn plain(
        &mut self,
        op: OpCode,
        _xid: i32,
        text: &str,
        body: impl FnOnce(&mut Vec<u8>),
    ) -> Sent {
        let mut sent = self.sent(op.to_wire(), text.to_owned(), body);
        if op == OpCode::Check {
            (sent.alone, sent.ends) = (true, true);
        }
        sent
    }

    fn path(&mut self) -> Option<Cow<'static, str>> {
        let odd = [
            "/",
            "",
            "/nosuch",
            "/x/",
            "x",
            "//",
            "/x//a",
            "/x/.",
            "/x/..",
            "/zookeeper",
            "/zookeeper/config",
            "/zookeeper/quota",
            "/x/\u{e9}",
            "/x/\u{1f600}",
            "/x/\u{1}",
            "/x\0y",
            "/y/...",
            "/y/ ",
            "/x/\u{fffd}",
        ];
        match self.random.below(100) {
            0 => None,
            1..=7 => Some((*self.random.pick(&odd)).into()),
            8..=30 => Some((*self.random.pick(TOPS)).into()),
            _ => {
                let mut path = (*self.random.pick(TOPS)).to_owned();
                for _ in 0..1 + self.random.below(3) {
                    path.push('/');
                    let name = *self.random.pick(NAMES);
                    path.push_str(name);
                    if self.random.one_in(2) {
                        break;
                    }
                }
                if self.random.one_in(12) {
                    let number = self.random.below(6);
                    path.push_str(&format!("{number:010}"));
                }
                Some(path.into())
            }
        }
    }

    /// A path that the server writes back: Apache writes what is beyond the basic plane as pairs of
    /// surrogates, which is a listed difference.
    fn echoed_path(&mut self) -> Option<Cow<'static, str>> {
        loop {
            let path = self.path();
            if path.as_ref().is_none_or(|path| path.chars().all(|c| u32::from(c) < 0x1_0000)) {
                return path;
            }
        }
    }

    fn data(&mut self) -> Option<Vec<u8>> {
        match self.random.below(12) {
            0 => None,
            1 => Some(Vec::new()),
            2 => Some(vec![b'z'; 1 + self.random.below(3000)]),
            _ => Some(format!("d{}", self.random.below(1000)).into_bytes()),
        }
    }

    fn version(&mut self) -> i32 {
        *self.random.pick(&[-1, -1, -1, -1, 0, 0, 1, 2, 3, -2, i32::MIN, i32::MAX])
    }

    fn acl(&mut self) -> Option<Vec<AclEntry<'static>>> {
        let entry = |perms, scheme: &'static str, id: &'static str| AclEntry {
            perms,
            scheme: Some(scheme.into()),
            id: Some(id.into()),
        };
        let open = entry(perms::ALL, "world", "anyone");
        Some(match self.random.below(40) {
            0 => return None,
            1 => vec![],
            2 => vec![entry(perms::READ, "world", "anyone")],
            3 => vec![entry(perms::ALL, "auth", "")],
            4 => vec![
                entry(perms::ALL, "digest", "u:Jq7wMyA/w2Vd5WIDAKdu4OIIFEQ="),
                entry(perms::READ, "world", "anyone"),
            ],
            5 => vec![entry(perms::ALL, "ip", "127.0.0.1")],
            6 => vec![entry(perms::ALL, "ip", "10.0.0.0/8"), open.clone()],
            7 => vec![entry(
                perms::ALL,
                "ip",
                self.random.pick::<&str>(&[
                    "1.2.3",
                    "1.2.3.4/33",
                    "::1",
                    "::1/129",
                    "",
                    "a.b.c.d",
                    "1.2.3.4/",
                    "fe80::/10",
                ]),
            )],
            8 => vec![entry(perms::ALL, "nosuch", "x")],
            9 => vec![entry(
                perms::ALL,
                "digest",
                self.random.pick::<&str>(&["a", "a:", "a:b:c", ":b", "a:b", "", ":", "a::"]),
            )],
            10 => vec![open.clone(), open.clone()],
            11 => vec![entry(0, "world", "anyone"), entry(perms::ADMIN, "world", "anyone")],
            12 => vec![AclEntry { perms: 31, scheme: None, id: Some("anyone".into()) }],
            13 => vec![AclEntry { perms: 31, scheme: Some("world".into()), id: None }],
            14 => vec![entry(perms::ALL, "world", "you")],
            15 => vec![entry(perms::ALL, "super", "")],
            16 => vec![entry(perms::READ | perms::WRITE, "world", "anyone")],
            17 => vec![entry(-1, "world", "anyone")],
            18 => vec![entry(perms::CREATE | perms::DELETE | perms::ADMIN, "world", "anyone")],
            _ => vec![open],
        })
    }

    fn create(&mut self) -> Sent {
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

    /// Without a TTL mode it would crash Apache's server.
    fn create_ttl(
        &mut self,
        path: Option<Cow<'static, str>>,
        data: Option<&[u8]>,
        acl: Option<Vec<AclEntry<'static>>>,
    ) -> Sent {
        let flags = *self.random.pick(&[5, 5, 6, 7]);
        let ttl = *self.random.pick(&[1_000_000, 5_000_000, (1 << 40) - 1, 1 << 40, 0, -1, -5]);
        let text = format!("CreateTtl {path:?} flags {flags} ttl {ttl} acl {acl:?}");
        self.sent(OpCode::CreateTtl.to_wire(), text, |out| {
            CreateTtlRequest { path, data, acl, flags, ttl }.encode(out);
        })
    }

    fn delete(&mut self) -> Sent {
        let (path, version) = (self.path(), self.version());
        let text = format!("Delete {path:?} {version}");
        self.sent(OpCode::Delete.to_wire(), text, |out| {
            PathVersionRequest { path, version }.encode(out);
        })
    }

    fn set_data(&mut self) -> Sent {
        let (path, data, version) = (self.path(), self.data(), self.version());
        let text = format!("SetData {path:?} {version} {:?}", show(&data));
        self.sent(OpCode::SetData.to_wire(), text, |out| {
            SetDataRequest { path, data: data.as_deref(), version }.encode(out);
        })
    }

    fn set_acl(&mut self) -> Sent {
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

    fn read(&mut self) -> Sent {
        let path = self.path();
        let op = *self.random.pick(&[
            OpCode::Exists,
            OpCode::Exists,
            OpCode::GetData,
            OpCode::GetData,
            OpCode::GetChildren,
            OpCode::GetChildren2,
            OpCode::GetAcl,
            OpCode::GetAllChildrenNumber,
            OpCode::GetEphemerals,
        ]);
        if matches!(op, OpCode::GetAcl | OpCode::GetAllChildrenNumber | OpCode::GetEphemerals) {
            let text = format!("{op:?} {path:?}");
            return self.sent(op.to_wire(), text, |out| PathRequest { path }.encode(out));
        }
        let watch = self.random.one_in(3);
        let text = format!("{op:?} {path:?} watch {watch}");
        self.sent(op.to_wire(), text, |out| WatchableRequest { path, watch }.encode(out))
    }

    fn multi_op(&mut self) -> MultiOp<'static> {
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

    fn multi(&mut self) -> Sent {
        let count = self.random.below(5);
        let mut ops: Vec<MultiOp<'static>> = (0..count).map(|_| self.multi_op()).collect();
        if self.random.one_in(30) {
            let request = WatchableRequest { path: self.path(), watch: false };
            ops.push(MultiOp::GetData(request));
        }
        let text = format!("Multi {ops:?}");
        self.sent(OpCode::Multi.to_wire(), text, |out| MultiRequest { ops }.encode(out))
    }

    fn multi_read(&mut self) -> Sent {
        let count = self.random.below(4);
        let ops: Vec<MultiOp<'static>> = (0..count)
            .map(|_| {
                let request = WatchableRequest { path: self.path(), watch: self.random.one_in(3) };
                if self.random.one_in(2) {
                    MultiOp::GetData(request)
                } else {
                    MultiOp::GetChildren(request)
                }
            })
            .collect();
        let text = format!("MultiRead {ops:?}");
        self.sent(OpCode::MultiRead.to_wire(), text, |out| MultiRequest { ops }.encode(out))
    }

    fn watches(&mut self) -> Sent {
        let path = self.path();
        if self.random.one_in(2) {
            let mode = *self.random.pick(&[0, 1, 0, 1, 2, -1]);
            let text = format!("AddWatch {path:?} {mode}");
            return self.sent(OpCode::AddWatch.to_wire(), text, |out| {
                AddWatchRequest { path, mode }.encode(out);
            });
        }
        let op = *self.random.pick(&[OpCode::CheckWatches, OpCode::RemoveWatches]);
        let watcher_type = *self.random.pick(&[1, 2, 3, 4, 5, 0, 6]);
        let text = format!("{op:?} {path:?} {watcher_type}");
        self.sent(op.to_wire(), text, |out| WatchesRequest { path, watcher_type }.encode(out))
    }

    fn paths(&mut self) -> Option<Vec<Cow<'static, str>>> {
        if self.random.one_in(30) {
            return None;
        }
        let count = self.random.below(4);
        Some((0..count).filter_map(|_| self.echoed_path()).collect())
    }

    fn set_watches(&mut self) -> Sent {
        let back = self.random.below(20) as i64;
        let relative_zxid = Zxid::from_wire((self.last_zxid - back).max(0));
        let (data, exist, child) = (self.paths(), self.paths(), self.paths());
        if self.random.one_in(2) {
            let request = SetWatchesRequest {
                relative_zxid,
                data_watches: data,
                exist_watches: exist,
                child_watches: child,
            };
            let text = format!("{request:?}");
            return self.sent(OpCode::SetWatches.to_wire(), text, |out| request.encode(out));
        }
        let request = SetWatches2Request {
            relative_zxid,
            data_watches: data,
            exist_watches: exist,
            child_watches: child,
            persistent_watches: self.paths(),
            persistent_recursive_watches: self.paths(),
        };
        let text = format!("{request:?}");
        self.sent(OpCode::SetWatches2.to_wire(), text, |out| request.encode(out))
    }

    fn sync(&mut self) -> Sent {
        let path = self.echoed_path();
        let text = format!("Sync {path:?}");
        self.sent(OpCode::Sync.to_wire(), text, |out| PathRequest { path }.encode(out))
    }

    /// Answers to auth may overtake those to earlier requests, so they go alone.
    fn auth(&mut self) -> Sent {
        let (scheme, auth) = *self.random.pick(&[
            (Some("digest"), Some(&b"u:p"[..])),
            (Some("digest"), Some(&b"v:q"[..])),
            (Some("digest"), Some(&b"u:p"[..])),
            (Some("digest"), Some(&b"nocolon"[..])),
            (Some("ip"), None),
            (Some("nosuch"), Some(&b"x"[..])),
            (Some("digest"), None),
        ]);
        let fails = scheme == Some("nosuch") || (scheme == Some("digest") && auth.is_none());
        let text = format!("Auth {scheme:?} {:?}", auth.map(String::from_utf8_lossy));
        let mut sent = self.sent(OpCode::Auth.to_wire(), text, |out| {
            AuthPacket { kind: 0, scheme: scheme.map(Into::into), auth }.encode(out);
        });
        (sent.alone, sent.ends) = (true, fails);
        sent
    }

    fn sasl(&mut self) -> Sent {
        let mut sent = self.sent(OpCode::Sasl.to_wire(), "Sasl".to_owned(), |out| {
            SaslRequest { token: Some(b"token") }.encode(out);
        });
        sent.alone = true;
        sent
    }

    fn reconfig(&mut self) -> Sent {
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

    /// Quotas on `/q`: the limits, the account, and the way there.
    fn quota(&mut self) -> Sent {
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

    /// A good header before a body that ends too soon, or says a length that cannot be.
    fn undecodable(&mut self) -> Sent {
        let whole = loop {
            let candidate = match self.random.below(6) {
                0 => self.create(),
                1 => self.set_data(),
                2 => self.read(),
                3 => self.multi(),
                4 => self.set_watches(),
                _ => self.set_acl(),
            };
            if candidate.frame.len() > 20 {
                break candidate;
            }
        };
        let mut body = whole.frame[12..].to_vec();
        if self.random.one_in(2) {
            body.truncate(self.random.below(body.len()));
        } else {
            let length: i32 = *self.random.pick(&[-2, i32::MAX, i32::MIN, 0x7000_0000]);
            body[..4].copy_from_slice(&length.to_be_bytes());
        }
        let text = format!("undecodable {} {body:02x?}", whole.text);
        self.sent(whole.op, text, |out| out.extend_from_slice(&body))
    }

    /// What ends a connection, or by a listed difference only Apache's.
    fn absurd(&mut self) -> Sent {
        let unknown = [0, 10, 18_000, -5, -1, 99, 108, 23];
        let mut sent = match self.random.below(5) {
            0 => {
                let frame = vec![0, 0, 0, 0];
                Sent { op: 0, frame, text: "empty frame".into(), alone: true, ends: true }
            }
            1 => {
                let frame = vec![0, 0, 0, 4, 0, 0, 0, 1];
                Sent { op: 0, frame, text: "frame of 4 bytes".into(), alone: true, ends: true }
            }
            2 => {
                let frame = vec![0xff, 0xff, 0xff, 0xfe];
                Sent { op: 0, frame, text: "negative length".into(), alone: true, ends: true }
            }
            3 => {
                let frame = vec![0, 0x10, 0, 0];
                Sent { op: 0, frame, text: "oversized frame".into(), alone: true, ends: true }
            }
            _ => {
                let op = *self.random.pick(&unknown);
                self.sent(op, format!("unknown operation {op}"), |_| {})
            }
        };
        (sent.alone, sent.ends) = (true, true);
        sent
    }
}

fn show(data: &Option<Vec<u8>>) -> Option<Cow<'_, str>> {
    data.as_deref().map(|data| String::from_utf8_lossy(&data[..data.len().min(16)]))
}
