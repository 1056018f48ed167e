//! Authentication, and what no sound client sends.

use oxikeeper_proto::request::{AuthPacket, SaslRequest};
use oxikeeper_proto::{Encode, OpCode};

use super::{Generator, Sent};

impl Generator {
    /// Answers to auth may overtake those to earlier requests, so they go alone.
    pub(super) fn auth(&mut self) -> Sent {
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

    pub(super) fn sasl(&mut self) -> Sent {
        let mut sent = self.sent(OpCode::Sasl.to_wire(), "Sasl".to_owned(), |out| {
            SaslRequest { token: Some(b"token") }.encode(out);
        });
        sent.alone = true;
        sent
    }

    /// A good header before a body that ends too soon, or says a length that cannot be.
    pub(super) fn undecodable(&mut self) -> Sent {
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
    pub(super) fn absurd(&mut self) -> Sent {
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
