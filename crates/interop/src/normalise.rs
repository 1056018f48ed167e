//! What has to be equal in two replies, and what may differ: session ids, wall-clock times, and the
//! order of what has none.

use std::collections::BTreeMap;

use oxikeeper_proto::multi::MultiHeader;
use oxikeeper_proto::reply::{ClientInfo, GetChildrenReply, GetEphemeralsReply};
use oxikeeper_proto::watch::WatcherEvent;
use oxikeeper_proto::{Acl, DecodeError, OpCode, Reader, Stat};

use crate::client::Reply;
use crate::exceptions::{Exception, Used};

/// Session ids by the order in which this run made them: the same on both servers.
#[derive(Clone, Debug, Default)]
pub struct Sessions {
    numbers: BTreeMap<i64, i64>,
}

impl Sessions {
    /// Notes a new session.
    pub fn note(&mut self, session: i64) {
        let next = self.numbers.len() as i64 + 1;
        self.numbers.entry(session).or_insert(next);
    }

    fn number(&self, owner: i64) -> i64 {
        if owner == 0 { 0 } else { self.numbers.get(&owner).copied().unwrap_or(-1) }
    }
}

/// The comparable form of a reply or notification.
pub fn reply(op: i32, reply: &Reply, sessions: &Sessions, used: &mut Used) -> String {
    let header = reply.header;
    let head = format!("xid {} zxid {} err {}", header.xid, header.zxid, header.err);
    if header.xid == -1 {
        let event = Reader::new(&reply.body).get::<WatcherEvent<'_>>();
        return format!("event {head} {event:?}");
    }
    if header.err != 0 {
        if !reply.body.is_empty() {
            used.note(Exception::BodyBehindAnError);
        }
        return head;
    }
    match body(op, &reply.body, sessions, used) {
        Ok(body) => format!("{head} {body}"),
        Err(error) => format!("{head} undecodable ({error}): {:02x?}", reply.body),
    }
}

fn body(
    op: i32,
    bytes: &[u8],
    sessions: &Sessions,
    used: &mut Used,
) -> Result<String, DecodeError> {
    let mut reader = Reader::new(bytes);
    let reader = &mut reader;
    let text = match OpCode::from_wire(op) {
        Some(OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl) => {
            format!("{:?} {}", reader.get::<String>()?, stat(reader, sessions, used)?)
        }
        Some(OpCode::Create | OpCode::Sync) => {
            format!("{:?}", reader.get::<Option<std::borrow::Cow<'_, str>>>()?)
        }
        Some(OpCode::Exists | OpCode::SetData | OpCode::SetAcl) => stat(reader, sessions, used)?,
        Some(OpCode::GetData) => {
            format!("{:?} {}", reader.buffer()?, stat(reader, sessions, used)?)
        }
        Some(OpCode::GetAcl) => {
            let mut acl = reader.get::<Vec<Acl>>()?;
            used.note(Exception::NoOrder);
            acl.sort();
            format!("{acl:?} {}", stat(reader, sessions, used)?)
        }
        Some(OpCode::GetChildren) => children(reader, used)?,
        Some(OpCode::GetChildren2) => {
            format!("{} {}", children(reader, used)?, stat(reader, sessions, used)?)
        }
        Some(OpCode::GetEphemerals) => {
            let mut paths = reader.get::<GetEphemeralsReply<'_>>()?.ephemerals;
            used.note(Exception::NoOrder);
            paths.sort();
            format!("{paths:?}")
        }
        Some(OpCode::WhoAmI) => {
            let infos = reader.get::<Vec<ClientInfo>>()?;
            let mut infos: Vec<String> =
                infos.iter().map(|info| format!("{}:{}", info.auth_scheme, info.user)).collect();
            used.note(Exception::NoOrder);
            infos.sort();
            format!("{infos:?}")
        }
        Some(OpCode::Multi | OpCode::MultiRead) => multi(reader, sessions, used)?,
        _ => format!("{:02x?}", reader.take(reader.remaining())?),
    };
    match reader.remaining() {
        0 => Ok(text),
        extra => Ok(format!("{text} and {extra} bytes more")),
    }
}

fn multi(
    reader: &mut Reader<'_>,
    sessions: &Sessions,
    used: &mut Used,
) -> Result<String, DecodeError> {
    let mut text = String::new();
    loop {
        let header: MultiHeader = reader.get()?;
        text.push_str(&format!("[{} {} {}", header.op, header.done, header.err));
        if header.done {
            text.push(']');
            return Ok(text);
        }
        let result = match header.op {
            -1 => format!("{}", reader.get::<i32>()?),
            1 => format!("{:?}", reader.get::<String>()?),
            15 => format!("{:?} {}", reader.get::<String>()?, stat(reader, sessions, used)?),
            5 => stat(reader, sessions, used)?,
            4 => format!("{:?} {}", reader.buffer()?, stat(reader, sessions, used)?),
            8 => children(reader, used)?,
            _ => String::new(),
        };
        text.push_str(&format!(" {result}] "));
    }
}

fn children(reader: &mut Reader<'_>, used: &mut Used) -> Result<String, DecodeError> {
    let mut children = reader.get::<GetChildrenReply<'_>>()?.children;
    used.note(Exception::NoOrder);
    children.sort();
    Ok(format!("{children:?}"))
}

/// Times are of two clocks: that there is one at all is all that can be compared.
fn stat(
    reader: &mut Reader<'_>,
    sessions: &Sessions,
    used: &mut Used,
) -> Result<String, DecodeError> {
    let stat: Stat = reader.get()?;
    used.note(Exception::Times);
    if stat.ephemeral_owner != 0 {
        used.note(Exception::SessionIds);
    }
    let stat = Stat {
        ctime: i64::from(stat.ctime != 0),
        mtime: i64::from(stat.mtime != 0),
        ephemeral_owner: sessions.number(stat.ephemeral_owner),
        ..stat
    };
    Ok(format!("{stat:?}"))
}
