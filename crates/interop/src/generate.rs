//! Generates requests: valid ones, failing ones, absurd ones.

mod odd;
mod reads;
mod values;
mod writes;

use oxikeeper_proto::request::PathVersionRequest;
use oxikeeper_proto::{Encode, OpCode};

use crate::client::put_frame;
use crate::exceptions::{Exception, Used};
use crate::random::Random;

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
    /// What was left out, or arranged so that it can be compared.
    pub used: Used,
}

const NAMES: &[&str] = &["a", "b", "c"];
const TOPS: &[&str] = &["/x", "/y", "/q"];

impl Generator {
    /// From a seed.
    pub fn new(seed: u64) -> Generator {
        Generator { random: Random::new(seed), next_xid: 1, last_zxid: 0, used: Used::default() }
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
        let is_judged_as_applied = sent.op == OpCode::SetAcl.to_wire()
            || is_write && sent.text.contains("\"/q")
            || sent.text.contains("/zookeeper/quota");
        if is_judged_as_applied {
            self.used.note(Exception::ChecksAsApplied);
            sent.alone = true;
        }
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
            900..=914 => self.plain(OpCode::Ping, "ping", |_| {}),
            915..=929 => self.sync(),
            930..=939 => self.auth(),
            940..=949 => self.reconfig(),
            950..=959 => self.plain(OpCode::WhoAmI, "whoAmI", |_| {}),
            960..=979 => self.quota(),
            980..=989 => self.undecodable(),
            990..=992 => self.absurd(),
            993 => self.delete_container(),
            994 => {
                let mut sent = self.plain(OpCode::CreateSession, "createSession", |out| {
                    600_000_i32.encode(out);
                });
                (sent.alone, sent.ends) = (true, true);
                sent
            }
            995 => self.sasl(),
            996..=997 => self.plain(OpCode::Check, "check alone", |out| {
                PathVersionRequest { path: Some("/x".into()), version: -1 }.encode(out);
            }),
            _ => {
                let mut sent = self.plain(OpCode::CloseSession, "closeSession", |_| {});
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

    fn plain(&mut self, op: OpCode, text: &str, body: impl FnOnce(&mut Vec<u8>)) -> Sent {
        let mut sent = self.sent(op.to_wire(), text.to_owned(), body);
        if op == OpCode::Check {
            (sent.alone, sent.ends) = (true, true);
        }
        sent
    }
}
