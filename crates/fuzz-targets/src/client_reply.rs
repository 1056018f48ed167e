//! Bytes from servers to the session of a client.

use std::time::Duration;

use oxikeeper_client::session::{Answer, Config, Output, Request, Session, Step, Transaction};
use oxikeeper_client::{Chroot, Error, Limits, RetryPolicy, WatchMode};
use oxikeeper_proto::time::Now;

use crate::{Target, Verdict};

/// See [`run`].
pub const TARGET: Target = Target {
    name: "client_reply",
    run,
    pieces: &[
        // An answer to a handshake: nine seconds, session 7.
        HANDSHAKE,
        // The header of a good reply to request 1, of an event, a ping, an auth, a setWatches.
        b"\0\0\0\x10\0\0\0\x01\0\0\0\0\0\0\0\x05\0\0\0\0",
        b"\0\0\0\x1e\xff\xff\xff\xff\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0\x03\0\0\0\x03\0\0\0\x02/a",
        b"\0\0\0\x10\xff\xff\xff\xfe\0\0\0\0\0\0\0\x05\0\0\0\0",
        b"\0\0\0\x10\xff\xff\xff\xfc\0\0\0\0\0\0\0\0\0\0\0\0",
        b"\0\0\0\x10\xff\xff\xff\xf8\0\0\0\0\0\0\0\x05\0\0\0\0",
        b"\xff\xff\xff\x9b",
        b"\x7f\xff\xff\xff",
        &[0; 8],
    ],
};

const HANDSHAKE: &[u8] = b"\0\0\0\x25\0\0\0\0\0\0\x23\x28\0\0\0\0\0\0\0\x07\
                           \0\0\0\x10\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\0";

/// Connections that one input may use up.
const CONNECTIONS_MAX: usize = 20;
const REPLY_BYTES_MAX: usize = 4096;

/// Whatever a server sends: no panic, every call answered once and no more, nothing kept that is larger
/// than a reply may be. Each connection begins with a good handshake if the first byte is odd.
pub fn run(bytes: &[u8]) -> Verdict {
    let Some((&control, mut rest)) = bytes.split_first() else { return Verdict::Refused };
    let mut session: Session<usize, usize> = Session::new(config(), 1);
    let mut now = Now::from_millis(1);
    let (mut calls, mut answers, mut sound) = (0, vec![], false);
    for _ in 0..CONNECTIONS_MAX {
        while !matches!(session.step(now), Step::Dial(_) | Step::End) {
            now = now.after(Duration::from_millis(50));
        }
        session.connected();
        while session.output(now).is_some() {}
        if control & 1 != 0 {
            session.received(HANDSHAKE, now);
        }
        ask(&mut session, &mut calls, now);
        while session.output(now).is_some() {}
        // In pieces whose length the input chooses.
        while let Some((&length, behind)) = rest.split_first() {
            let (piece, next) = behind.split_at(usize::from(length).min(behind.len()));
            rest = next;
            session.received(piece, now);
            if session.step(now) == Step::HangUp {
                break;
            }
            while session.output(now).is_some() {}
        }
        hear(&mut session, &mut answers, &mut sound);
        session.lost(now);
        if rest.is_empty() {
            break;
        }
    }
    session.abandon();
    hear(&mut session, &mut answers, &mut sound);
    answers.sort_unstable();
    assert_eq!(answers, (0..calls).collect::<Vec<_>>(), "every call has one answer");
    assert_eq!((session.requests(), session.watches()), (0, 0), "something is left behind");
    if sound { Verdict::Accepted } else { Verdict::Refused }
}

fn config() -> Config {
    Config {
        hosts: 2,
        chroot: Chroot::new("/a").expect("a valid path"),
        session_timeout: Duration::from_secs(9),
        connect_timeout: Duration::from_secs(1),
        allow_read_only: true,
        auths: vec![("digest".to_owned(), b"u:p".to_vec())],
        resume: None,
        retry: RetryPolicy::default(),
        limits: Limits { reply_bytes_max: REPLY_BYTES_MAX, ..Limits::default() },
    }
}

/// One of each kind of answer.
fn ask(session: &mut Session<usize, usize>, calls: &mut usize, now: Now) {
    let mut transaction = Transaction::default();
    transaction.check("/b".to_owned(), 1.into());
    let requests = [
        Request::GetData("/"),
        Request::Exists("/b"),
        Request::GetChildrenAndStat("/"),
        Request::Transaction(&transaction),
        Request::AddWatch { path: "/", mode: WatchMode::PersistentRecursive },
        Request::GetAcl("/"),
        Request::GetEphemerals("/"),
        Request::WhoAmI,
        Request::AddAuth { scheme: "digest", auth: b"v:p" },
    ];
    for request in &requests {
        session.call(request, *calls, Some(*calls), now);
        *calls += 1;
    }
}

fn hear(session: &mut Session<usize, usize>, answers: &mut Vec<usize>, sound: &mut bool) {
    let mut said = Vec::new();
    session.drain(&mut said);
    for output in said {
        match output {
            Output::Answered(call, result) => {
                *sound |= matches!(&result, Ok(Answer::Data(..) | Answer::Names(_) | Answer::Done))
                    || matches!(&result, Err(Error::Refused(_)));
                answers.push(call);
            }
            Output::Seen(..) | Output::Ended(..) | Output::State(_) => {}
        }
    }
}
