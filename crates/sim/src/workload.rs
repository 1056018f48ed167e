//! What the clients ask for.

use std::borrow::Cow;

use oxikeeper_proto::jute::to_bytes;
use oxikeeper_proto::multi::{MultiOp, MultiRequest};
use oxikeeper_proto::request::{
    AddWatchRequest, CreateRequest, CreateTtlRequest, PathRequest, PathVersionRequest,
    ReconfigRequest, SetAclRequest, SetDataRequest, WatchableRequest, WatchesRequest,
};
use oxikeeper_proto::{AclEntry, OpCode};

use crate::model::DIGEST_ID;
use crate::rng::Rng;

/// An operation's number and the frame behind the header.
pub type Ask = (i32, Vec<u8>);

const ODD_PATHS: &[&str] = &[
    "/",
    "",
    "bad",
    "//",
    "/n0/",
    "/n1/./x",
    "/n2/..",
    "/zookeeper",
    "/zookeeper/config",
    "/zookeeper/quota",
    "/n0//x",
    "/no/such",
    "/n\u{1}",
];

fn path(rng: &mut Rng) -> String {
    let top = rng.below(4);
    match rng.below(100) {
        0..=39 => format!("/n{top}"),
        40..=84 => format!("/n{top}/x{}", rng.below(3)),
        85..=95 => format!("/n{top}/x{}/y{}", rng.below(4), rng.below(2)),
        _ => (*rng.pick(ODD_PATHS)).to_owned(),
    }
}

fn version(rng: &mut Rng) -> i32 {
    *rng.pick(&[-1, -1, -1, -1, 0, 0, 1, 2, -2])
}

fn data(rng: &mut Rng) -> Option<Vec<u8>> {
    match rng.below(20) {
        0 => None,
        1 => Some(Vec::new()),
        2 => Some(vec![rng.draw() as u8; 700]),
        // Longer than the blocks that the log is written in.
        3 => Some(vec![rng.draw() as u8; 5000]),
        _ => Some(rng.draw().to_be_bytes()[..rng.index(8) + 1].to_vec()),
    }
}

fn entry(perms: i32, scheme: &'static str, id: &'static str) -> AclEntry<'static> {
    AclEntry { perms, scheme: Some(scheme.into()), id: Some(id.into()) }
}

fn acl(rng: &mut Rng) -> Option<Vec<AclEntry<'static>>> {
    let open = || entry(31, "world", "anyone");
    Some(match rng.below(100) {
        0..=84 => vec![open()],
        85 => vec![entry(1, "world", "anyone"), entry(31, "digest", DIGEST_ID)],
        86..=88 => vec![entry(31, "digest", DIGEST_ID)],
        89..=90 => vec![entry(31, "auth", "")],
        91..=92 => vec![entry(31, "ip", "127.0.0.1")],
        93 => vec![entry(30, "world", "anyone")],
        94 => vec![open(), open()],
        95 => vec![entry(31, "nobody", "knows")],
        96 => vec![entry(31, "digest", "one-part")],
        97 => vec![],
        98 => return None,
        _ => vec![entry(29, "world", "anyone"), entry(2, "auth", "")],
    })
}

fn create<'a>(rng: &mut Rng, path: &'a str, data: Option<&'a [u8]>) -> (OpCode, CreateRequest<'a>) {
    let op = *rng.pick(&[OpCode::Create, OpCode::Create, OpCode::Create2, OpCode::CreateContainer]);
    let flags = match op {
        OpCode::CreateContainer => *rng.pick(&[4, 4, 4, 0, 2]),
        _ => *rng.pick(&[0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 4, 5]),
    };
    (op, CreateRequest { path: Some(path.into()), data, acl: acl(rng), flags })
}

fn create_ttl<'a>(rng: &mut Rng, path: &'a str, data: Option<&'a [u8]>) -> CreateTtlRequest<'a> {
    let ttl = *rng.pick(&[300, 1000, 5000, 5000, 0, -1, 1 << 40]);
    let flags = *rng.pick(&[5, 5, 5, 6, 6, 0]);
    CreateTtlRequest { path: Some(path.into()), data, acl: acl(rng), flags, ttl }
}

/// A write.
fn write(rng: &mut Rng) -> Ask {
    let (path, data, version) = (path(rng), data(rng), version(rng));
    let data = data.as_deref();
    let path_field = Some(Cow::Borrowed(path.as_str()));
    let (op, body) = match rng.below(100) {
        0..=37 => {
            let (op, request) = create(rng, &path, data);
            (op, to_bytes(&request))
        }
        38..=42 => (OpCode::CreateTtl, to_bytes(&create_ttl(rng, &path, data))),
        43..=54 => (OpCode::Delete, to_bytes(&PathVersionRequest { path: path_field, version })),
        55..=73 => (OpCode::SetData, to_bytes(&SetDataRequest { path: path_field, data, version })),
        74..=77 => {
            // The root stays open, or a run would soon have nothing to do.
            let path = if path.len() < 3 { "/n0".into() } else { path.as_str().into() };
            let request = SetAclRequest { path: Some(path), acl: acl(rng), version };
            (OpCode::SetAcl, to_bytes(&request))
        }
        78..=97 => (OpCode::Multi, multi(rng)),
        98 => {
            let (joining_servers, leaving_servers) = (None, Some("1".into()));
            let request = ReconfigRequest {
                joining_servers,
                leaving_servers,
                new_members: None,
                current_config_id: -1,
            };
            (OpCode::Reconfig, to_bytes(&request))
        }
        _ => (OpCode::Sync, to_bytes(&PathRequest { path: path_field })),
    };
    (op.to_wire(), body)
}

fn multi(rng: &mut Rng) -> Vec<u8> {
    let count = rng.index(6);
    let inputs: Vec<_> = (0..count).map(|_| (path(rng), data(rng))).collect();
    let mut ops = Vec::new();
    for (path, data) in &inputs {
        let (field, data) = (Some(Cow::Borrowed(path.as_str())), data.as_deref());
        let version = *rng.pick(&[-1, -1, -1, -1, -1, 0]);
        ops.push(match rng.below(20) {
            0..=9 => {
                let (op, mut request) = create(rng, path, data);
                if rng.chance(600) {
                    // Sequential nodes make multis that succeed.
                    request.flags = 2 + rng.below(2) as i32;
                }
                MultiOp::Create(op, request)
            }
            10 => MultiOp::CreateTtl(create_ttl(rng, path, data)),
            11..=12 => MultiOp::Delete(PathVersionRequest { path: field, version }),
            13..=17 => MultiOp::SetData(SetDataRequest { path: field, data, version }),
            _ => MultiOp::Check(PathVersionRequest { path: field, version }),
        });
    }
    to_bytes(&MultiRequest { ops })
}

/// A read, often with a watch, or something about watches.
fn read(rng: &mut Rng) -> Ask {
    let path = path(rng);
    let field = Some(Cow::Borrowed(path.as_str()));
    let watch = rng.chance(700);
    let watchable = |op| (op, to_bytes(&WatchableRequest { path: field.clone(), watch }));
    let of_path = |op| (op, to_bytes(&PathRequest { path: field.clone() }));
    let (op, body) = match rng.below(100) {
        0..=19 => watchable(OpCode::Exists),
        20..=44 => watchable(OpCode::GetData),
        45..=54 => watchable(OpCode::GetChildren),
        55..=66 => watchable(OpCode::GetChildren2),
        67..=70 => of_path(OpCode::GetAcl),
        71..=73 => of_path(OpCode::GetAllChildrenNumber),
        74..=76 => {
            let path = Some((*rng.pick(&["", "/", "/n1", "/n"])).into());
            (OpCode::GetEphemerals, to_bytes(&PathRequest { path }))
        }
        77 => (OpCode::WhoAmI, Vec::new()),
        78..=82 => {
            let others: Vec<_> = (0..rng.index(4)).map(|_| self::path(rng)).collect();
            let op = |path: &'_ String, of_data| {
                let request = WatchableRequest { path: Some(path.clone().into()), watch };
                if of_data { MultiOp::GetData(request) } else { MultiOp::GetChildren(request) }
            };
            let ops = others.iter().map(|path| op(path, rng.chance(500))).collect();
            (OpCode::MultiRead, to_bytes(&MultiRequest { ops }))
        }
        83..=89 => {
            let mode = *rng.pick(&[0, 0, 0, 1, 1, 1, 1, 2]);
            (OpCode::AddWatch, to_bytes(&AddWatchRequest { path: field, mode }))
        }
        90..=94 => {
            let watcher_type = rng.between(1, 6) as i32;
            let op = *rng.pick(&[OpCode::CheckWatches, OpCode::RemoveWatches]);
            (op, to_bytes(&WatchesRequest { path: field, watcher_type }))
        }
        95..=97 => of_path(OpCode::Sync),
        _ => (OpCode::Ping, Vec::new()),
    };
    (op.to_wire(), body)
}

/// Something that servers have to refuse, in a frame that is whole.
fn nonsense(rng: &mut Rng) -> Ask {
    if rng.chance(400) {
        return (*rng.pick(&[0, 10, 13, 20, 99, -1, -10, 4711]), vec![1, 2, 3]);
    }
    let (op, mut body) = write(rng);
    // What may be left out of a setWatches or a createTTL is never decodable either.
    body.truncate(rng.index(body.len().max(1)));
    (op, body)
}

/// The next request of a client.
pub fn ask(rng: &mut Rng) -> Ask {
    match rng.below(100) {
        0..=47 => write(rng),
        48..=97 => read(rng),
        _ => nonsense(rng),
    }
}
