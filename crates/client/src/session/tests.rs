//! The session against a server of few words: the test itself.

use std::time::Duration;

use oxikeeper_proto::jute::to_bytes;
use oxikeeper_proto::reply::{ConnectResponse, GetDataReply, ReplyHeader, StatReply};
use oxikeeper_proto::request::{RequestHeader, SetWatches2Request, SetWatchesRequest};
use oxikeeper_proto::time::Now;
use oxikeeper_proto::watch::{EventType, WatcherEvent};
use oxikeeper_proto::{Encode, OpCode, Reader, SessionId, Stat, Zxid};

use super::{Answer, Config, Output, Request, Session, Step};
use crate::{
    CreateOptions, Error, EventKind, ExpectedVersion, LostReason, Outcome, RetryPolicy, State,
    WatchMode,
};

const TIMEOUT: Duration = Duration::from_secs(9);
const STAT: Stat = Stat {
    czxid: Zxid::ZERO,
    mzxid: Zxid::ZERO,
    ctime: 0,
    mtime: 0,
    version: 3,
    cversion: 0,
    aversion: 0,
    ephemeral_owner: 0,
    data_length: 0,
    num_children: 0,
    pzxid: Zxid::ZERO,
};

/// A session, the time, and what it has said.
struct Scene {
    session: Session<&'static str, &'static str>,
    now: Now,
    answers: Vec<(&'static str, Result<Answer, Error>)>,
    events: Vec<(&'static str, EventKind)>,
    ended: Vec<(&'static str, Error)>,
    states: Vec<State>,
}

impl Scene {
    fn with(change: impl FnOnce(&mut Config)) -> Scene {
        let mut config = Config::of_tests();
        change(&mut config);
        Scene {
            session: Session::new(config, 1),
            now: Now::from_millis(1000),
            answers: Vec::new(),
            events: Vec::new(),
            ended: Vec::new(),
            states: Vec::new(),
        }
    }

    /// With a connection.
    fn up() -> Scene {
        let mut scene = Scene::with(|_| {});
        scene.connect();
        scene
    }

    fn hear(&mut self) {
        let mut said = Vec::new();
        self.session.drain(&mut said);
        for output in said {
            match output {
                Output::Answered(call, result) => self.answers.push((call, result)),
                Output::Seen(watch, event) => self.events.push((watch, event.kind)),
                Output::Ended(watch, error) => self.ended.push((watch, error)),
                Output::State(state) => self.states.push(state),
            }
        }
    }

    fn step(&mut self) -> Step {
        let step = self.session.step(self.now);
        self.hear();
        step
    }

    fn wait(&mut self, ms: u64) {
        self.now = self.now.after(Duration::from_millis(ms));
    }

    /// Connects and shakes hands; returns what is sent behind the handshake.
    fn connect(&mut self) -> Vec<(i32, i32, Vec<u8>)> {
        self.shake_hands(&accepted(7))
    }

    fn shake_hands(&mut self, response: &ConnectResponse) -> Vec<(i32, i32, Vec<u8>)> {
        while !matches!(self.step(), Step::Dial(_)) {
            self.wait(10);
        }
        self.session.connected();
        let handshake = self.session.output(self.now).expect("a handshake");
        assert!(handshake.len() >= 49);
        let mut bytes = Vec::new();
        to_bytes(response).as_slice().encode(&mut bytes);
        self.receive(&bytes);
        self.sent()
    }

    /// Frames that were sent: xid, operation, body.
    fn sent(&mut self) -> Vec<(i32, i32, Vec<u8>)> {
        let mut frames = Vec::new();
        while let Some(bytes) = self.session.output(self.now) {
            let mut rest = bytes.as_slice();
            while let Some((length, behind)) = rest.split_first_chunk::<4>() {
                let (frame, next) = behind.split_at(u32::from_be_bytes(*length) as usize);
                let mut reader = Reader::new(frame);
                let header: RequestHeader = reader.get().unwrap();
                frames.push((header.xid, header.op, reader.rest().to_vec()));
                rest = next;
            }
        }
        frames
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.session.received(bytes, self.now);
        self.hear();
    }

    fn reply(&mut self, xid: i32, zxid: i64, err: i32, body: &[u8]) {
        self.receive(&reply(xid, zxid, err, body));
    }

    fn call(&mut self, name: &'static str, request: &Request<'_>) {
        self.session.call(request, name, None, self.now);
        self.hear();
    }

    fn watch(&mut self, name: &'static str, request: &Request<'_>) -> Option<super::WatchId> {
        self.session.call(request, name, Some(name), self.now)
    }

    fn lose(&mut self) {
        self.session.lost(self.now);
        self.hear();
    }

    fn outcomes(&self) -> Vec<(&'static str, Option<Outcome>)> {
        let outcome = |result: &Result<Answer, Error>| match result {
            Err(Error::ConnectionLoss { outcome }) => Some(*outcome),
            _ => None,
        };
        self.answers.iter().map(|(name, result)| (*name, outcome(result))).collect()
    }
}

fn accepted(id: i64) -> ConnectResponse {
    ConnectResponse {
        protocol_version: 0,
        timeout_ms: 9_000,
        session: SessionId(id),
        password: [1; 16],
        read_only: Some(false),
    }
}

fn reply(xid: i32, zxid: i64, err: i32, body: &[u8]) -> Vec<u8> {
    let mut frame = to_bytes(&ReplyHeader { xid, zxid: Zxid::from_wire(zxid), err });
    frame.extend_from_slice(body);
    let mut bytes = Vec::new();
    frame.as_slice().encode(&mut bytes);
    bytes
}

fn event(kind: i32, path: &str) -> Vec<u8> {
    to_bytes(&WatcherEvent { kind, state: 3, path: path.into() })
}

fn data() -> Vec<u8> {
    to_bytes(&GetDataReply { data: Some(b"x"), stat: STAT })
}

fn set(path: &str) -> Request<'_> {
    Request::SetData { path, data: None, version: ExpectedVersion::Any }
}

#[test]
fn the_sessions_words_go_out_again_after_a_loss_and_lost_writes_do_not() {
    let mut scene = Scene::up();
    scene.call("read 1", &Request::GetData("/a"));
    scene.call("write 1", &set("/a"));
    scene.call("read 2", &Request::GetData("/a"));
    assert_eq!(scene.sent().len(), 3);
    scene.call("write 2", &set("/b"));
    scene.call("read 3", &Request::GetData("/b"));
    scene.lose();
    assert_eq!(
        scene.outcomes(),
        [("write 1", Some(Outcome::Unknown)), ("write 2", Some(Outcome::NotDone))]
    );
    // What is called from now on knows of the loss.
    scene.call("write 3", &set("/b"));
    let sent: Vec<i32> = scene.connect().iter().map(|(xid, ..)| *xid).collect();
    assert_eq!(sent, [1, 3, 5, 6]);
    assert_eq!(scene.states, [State::Connected, State::Suspended, State::Connected]);
}

#[test]
fn writes_that_wait_behind_reads_alone_are_sent_on_the_next_connection() {
    let mut scene = Scene::up();
    scene.call("read", &Request::GetData("/a"));
    scene.sent();
    scene.call("write", &set("/a"));
    scene.lose();
    assert_eq!(scene.outcomes(), []);
    assert_eq!(scene.connect().len(), 2);
}

#[test]
fn a_policy_of_never_ends_everything_with_its_connection() {
    let mut scene = Scene::with(|config| config.retry = RetryPolicy::never());
    scene.connect();
    scene.call("read", &Request::GetData("/a"));
    scene.sent();
    scene.call("write", &set("/a"));
    scene.lose();
    assert_eq!(
        scene.outcomes(),
        [("read", Some(Outcome::Unknown)), ("write", Some(Outcome::NotDone))]
    );
}

#[test]
fn a_read_is_not_sent_for_ever() {
    let mut scene = Scene::with(|config| config.retry = RetryPolicy::new(2));
    scene.connect();
    scene.call("read", &Request::GetData("/a"));
    for _ in 0..3 {
        assert!(scene.answers.is_empty());
        scene.sent();
        scene.lose();
        scene.connect();
    }
    assert_eq!(scene.outcomes(), [("read", Some(Outcome::Unknown))]);
}

#[test]
fn patience_has_an_end_and_what_is_behind_ends_with_it() {
    let mut scene = Scene::with(|_| {});
    scene.call("write 1", &set("/a"));
    scene.wait(5_000);
    scene.call("write 2", &set("/a"));
    scene.call("read", &Request::GetData("/a"));
    for _ in 0..400 {
        scene.wait(10);
        if let Step::Dial(_) = scene.step() {
            scene.session.failed(scene.now);
        }
    }
    assert_eq!(
        scene.outcomes(),
        [("write 1", Some(Outcome::NotDone)), ("write 2", Some(Outcome::NotDone))]
    );
    assert_eq!(scene.session.requests(), 1);
}

#[test]
fn a_silent_server_is_pinged_and_then_given_up() {
    let mut scene = Scene::up();
    assert_eq!(scene.session.deadline(), Some(scene.now.after(TIMEOUT / 3)));
    scene.wait(3_000);
    assert_eq!(scene.step(), Step::Idle);
    assert_eq!(scene.sent(), [(-2, OpCode::Ping.to_wire(), Vec::new())]);
    scene.wait(2_999);
    assert_eq!(scene.step(), Step::Idle);
    scene.wait(1);
    assert_eq!(scene.step(), Step::HangUp);
    assert_eq!(scene.session.state(), State::Suspended);
    assert!(matches!(scene.step(), Step::Dial(_)), "the next host at once");
}

#[test]
fn what_was_heard_proves_nothing_later_than_what_it_answers() {
    let mut scene = Scene::up();
    let begun = scene.now;
    assert_eq!(scene.session.proven(), begun);
    scene.wait(100);
    let called = scene.now;
    scene.call("get", &Request::GetData("/a"));
    scene.sent();
    // A process that is stopped now and goes on later reads what came in between.
    scene.wait(60_000);
    scene.reply(-1, 4, 0, &event(EventType::NodeDeleted as i32, "/b"));
    assert_eq!(scene.session.proven(), begun);
    scene.reply(1, 5, 0, &data());
    assert_eq!(scene.session.proven(), called);
    scene.wait(3_000);
    scene.step();
    let pinged = scene.now;
    assert_eq!(scene.sent(), [(-2, OpCode::Ping.to_wire(), Vec::new())]);
    scene.wait(500);
    scene.reply(-2, 5, 0, &[]);
    assert_eq!(scene.session.proven(), pinged);
}

#[test]
fn a_clock_that_jumps_costs_the_connection_but_only_a_server_ends_the_session() {
    let mut scene = Scene::up();
    scene.wait(3_600_000);
    assert_eq!(scene.step(), Step::HangUp);
    assert_eq!(scene.session.state(), State::Suspended);
    let gone = ConnectResponse::expired(Some(false));
    scene.shake_hands(&gone);
    assert_eq!(scene.session.state(), State::Lost(LostReason::Expired));
    assert_eq!(scene.step(), Step::HangUp);
    assert_eq!(scene.step(), Step::End);
    scene.call("late", &Request::WhoAmI);
    assert_eq!(scene.answers.last(), Some(&("late", Err(Error::SessionExpired))));
}

#[test]
fn another_session_in_the_place_of_ours_is_the_end_of_ours() {
    let mut scene = Scene::up();
    scene.watch("w", &Request::Exists("/a"));
    scene.lose();
    scene.shake_hands(&accepted(8));
    assert_eq!(scene.session.state(), State::Lost(LostReason::Expired));
    assert_eq!(scene.answers, [("w", Err(Error::SessionExpired))]);
    assert_eq!(scene.session.watches(), 0);
}

#[test]
fn watches_are_named_to_the_next_server_and_split_when_many() {
    let mut scene = Scene::up();
    scene.watch("data", &Request::GetData("/a"));
    scene.watch("missing", &Request::Exists("/b"));
    scene.sent();
    scene.reply(1, 5, 0, &data());
    scene.reply(2, 6, -101, &[]);
    assert_eq!(scene.answers[1], ("missing", Ok(Answer::Exists(None))));
    scene.lose();
    let sent = scene.connect();
    let [(-8, op, body)] = sent.as_slice() else { panic!("{sent:?}") };
    assert_eq!(*op, OpCode::SetWatches.to_wire(), "old servers know no other");
    let request: SetWatchesRequest<'_> = Reader::new(body).get().unwrap();
    assert_eq!(request.relative_zxid, Zxid::from_wire(6));
    assert_eq!(request.data_watches, Some(vec!["/a".into()]));
    assert_eq!(request.exist_watches, Some(vec!["/b".into()]));
    scene.reply(-1, -1, 0, &event(EventType::NodeDataChanged as i32, "/a"));
    assert_eq!(scene.events, [("data", EventKind::DataChanged)]);
    scene.reply(-8, 7, 0, &[]);
    for number in 0..3_000 {
        let path = format!("/{number:0100}");
        scene.watch("many", &Request::AddWatch { path: &path, mode: WatchMode::Persistent });
        for (xid, ..) in scene.sent() {
            scene.reply(xid, 8, 0, &[0; 4]);
        }
    }
    scene.lose();
    let sent = scene.connect();
    assert_eq!(sent.len(), 3, "about 300 KB");
    let paths = sent.iter().map(|(xid, op, body)| {
        assert_eq!((*xid, *op), (-8, OpCode::SetWatches2.to_wire()));
        let request: SetWatches2Request<'_> = Reader::new(body).get().unwrap();
        request.persistent_watches.map_or(0, |paths| paths.len())
    });
    assert_eq!(paths.sum::<usize>(), 3_000);
    // Each stream has heard of the gap, and of its end.
    assert_eq!(scene.events.len(), 1 + 2 * 3_000);
}

#[test]
fn dropping_a_stream_takes_its_watch_back() {
    let mut scene = Scene::up();
    let request = Request::AddWatch { path: "/a", mode: WatchMode::PersistentRecursive };
    let early = scene.watch("early", &request).unwrap();
    scene.session.drop_watch(early, scene.now);
    scene.sent();
    scene.reply(1, 1, 0, &[0; 4]);
    let sent = scene.sent();
    assert_eq!(sent.len(), 1, "its request had been on its way");
    assert_eq!(sent[0].1, OpCode::RemoveWatches.to_wire());
    scene.reply(sent[0].0, 1, -121, &[]);
    assert_eq!((scene.session.watches(), scene.session.requests()), (0, 0));
}

#[test]
fn identities_are_proven_first_and_their_answers_may_overtake() {
    let mut scene = Scene::with(|config| {
        config.auths.push(("digest".to_owned(), b"u:p".to_vec()));
    });
    let first = scene.connect();
    assert_eq!((first.len(), first[0].0), (1, -4));
    scene.call("read", &Request::GetData("/a"));
    scene.call("auth", &Request::AddAuth { scheme: "ip", auth: b"" });
    scene.call("after", &Request::Sync("/"));
    assert_eq!(scene.sent().iter().map(|(xid, ..)| *xid).collect::<Vec<_>>(), [1, -4, 3]);
    scene.reply(-4, 0, 0, &[]);
    scene.reply(-4, 0, 0, &[]);
    assert_eq!(scene.answers, [("auth", Ok(Answer::Done))]);
    scene.reply(1, 1, 0, &data());
    scene.reply(3, 1, 0, &to_bytes(&"/".to_owned()));
    assert_eq!(scene.answers.len(), 3);
    scene.lose();
    assert_eq!(scene.connect().len(), 2, "both on the next connection");
    scene.reply(-4, 0, -115, &[]);
    assert_eq!(scene.session.state(), State::Lost(LostReason::AuthFailed));
}

#[test]
fn a_lying_server_loses_the_connection_and_nothing_else() {
    let truncated = reply(1, 1, 0, &[0, 0]);
    let mut negative = (-5i32).to_be_bytes().to_vec();
    negative.extend_from_slice(&[0; 16]);
    let mut huge = i32::MAX.to_be_bytes().to_vec();
    huge.extend_from_slice(&reply(1, 1, 0, &[])[4..]);
    let lies: &[(&str, Vec<u8>)] = &[
        ("another xid", reply(2, 1, 0, &data())),
        ("xid of nothing", reply(-9, 1, 0, &[])),
        ("a record cut short", truncated),
        ("a negative length", negative),
        ("a length of 2 GiB", huge),
        ("a short header", vec![0, 0, 0, 3, 1, 2, 3]),
        ("no event", reply(-1, 1, 0, &event(99, "/a"))),
        ("an event cut short", reply(-1, 1, 0, &[0, 0, 0, 1])),
        ("an answer to no auth", reply(-4, 0, 0, &[])),
        ("an answer to no setWatches", reply(-8, 0, 0, &[])),
    ];
    for (lie, bytes) in lies {
        // In one piece, and byte by byte.
        for piece in [bytes.len(), 1] {
            let mut scene = Scene::up();
            scene.call("read", &Request::GetData("/a"));
            scene.sent();
            bytes.chunks(piece).for_each(|bytes| scene.receive(bytes));
            assert_eq!(scene.step(), Step::HangUp, "{lie}");
            let is_known =
                scene.answers == [("read", Err(Error::BadReply("the record of another reply")))];
            assert!(scene.answers.is_empty() || is_known, "{lie}: {:?}", scene.answers);
            assert_eq!(scene.connect().len(), usize::from(!is_known), "{lie}");
            assert_eq!(scene.session.state(), State::Connected);
        }
    }
}

#[test]
fn a_handshake_that_is_none_is_tried_elsewhere() {
    for answer in [vec![0, 0, 0, 16, 0, 0], vec![0; 400], reply(0, 0, -119, &[])] {
        let mut scene = Scene::with(|_| {});
        let Step::Dial(first) = scene.step() else { panic!("nothing to dial") };
        scene.session.connected();
        scene.session.output(scene.now);
        scene.receive(&answer);
        // The first of them only begins a frame: its time has to pass.
        scene.wait(1_000);
        assert_eq!(scene.step(), Step::HangUp);
        let Step::Dial(second) = scene.step() else { panic!("one pass without a pause") };
        assert_ne!(first, second);
    }
}

#[test]
fn a_reply_above_the_limit_costs_its_request_alone() {
    let mut scene = Scene::with(|config| config.limits.reply_bytes_max = 1_000);
    scene.connect();
    scene.call("large", &Request::GetData("/a"));
    scene.call("small", &Request::GetData("/b"));
    scene.sent();
    let mut bytes = reply(1, 1, 0, &[0; 5_000]);
    bytes.extend(reply(2, 1, 0, &data()));
    bytes.chunks(700).for_each(|piece| scene.receive(piece));
    let too_large = Error::TooLarge { what: "reply", bytes: 5_016, max: 1_000 };
    assert_eq!(scene.answers[0], ("large", Err(too_large)));
    assert_eq!(scene.answers[1].1, Ok(Answer::Data(Some(b"x".to_vec()), STAT)));
}

#[test]
fn limits_are_told_at_once() {
    let mut scene = Scene::with(|config| {
        config.limits.requests_max = 2;
        config.limits.request_bytes_max = 100;
    });
    scene.call(
        "large",
        &Request::SetData { path: "/a", data: Some(&[0; 200]), version: ExpectedVersion::Any },
    );
    assert!(matches!(scene.answers[0].1, Err(Error::TooLarge { what: "request", .. })));
    scene.call("bad", &Request::GetData("a"));
    assert!(matches!(scene.answers[1].1, Err(Error::InvalidPath { .. })));
    (0..3).for_each(|_| scene.call("read", &Request::GetData("/a")));
    assert!(matches!(scene.answers[2].1, Err(Error::QueueFull { requests: 2, .. })));
    let ttl = CreateOptions::ttl(Duration::ZERO);
    let request = Request::Create { path: "/a", data: None, options: &ttl };
    scene.session.abandon();
    scene.call("late", &request);
    assert_eq!(scene.answers.last(), Some(&("late", Err(Error::Closed))));
    assert_eq!(scene.step(), Step::End);
}

#[test]
fn closing_is_asked_again_and_ends_the_session_even_if_it_has_expired() {
    let mut scene = Scene::up();
    scene.call("write", &set("/a"));
    scene.call("close", &Request::Close);
    scene.call("late", &Request::WhoAmI);
    assert_eq!(scene.answers, [("late", Err(Error::Closed))]);
    scene.sent();
    scene.reply(1, 1, 0, &to_bytes(&StatReply { stat: STAT }));
    scene.lose();
    assert_eq!(scene.connect().iter().map(|(_, op, _)| *op).collect::<Vec<_>>(), [-11]);
    scene.lose();
    scene.shake_hands(&ConnectResponse::expired(Some(false)));
    assert_eq!(scene.answers[2], ("close", Ok(Answer::Done)));
}

#[test]
fn a_read_only_server_will_do_until_one_takes_writes() {
    let mut scene = Scene::with(|config| config.allow_read_only = true);
    scene.shake_hands(&ConnectResponse { read_only: Some(true), ..accepted(7) });
    assert_eq!(scene.session.state(), State::ReadOnly);
    scene.wait(100);
    let Step::Probe(host) = scene.step() else { panic!("nobody is looked for") };
    scene.session.probed(host, false, scene.now);
    scene.wait(200);
    let Step::Probe(host) = scene.step() else { panic!("asked again") };
    scene.session.probed(host, true, scene.now);
    assert_eq!(scene.step(), Step::HangUp);
    assert_eq!(scene.step(), Step::Dial(host));
    scene.session.connected();
    let handshake = scene.session.output(scene.now).unwrap();
    assert_eq!(handshake[20..28], [0; 8], "the other's session is nothing to it");
    let mut bytes = Vec::new();
    to_bytes(&accepted(9)).as_slice().encode(&mut bytes);
    scene.receive(&bytes);
    assert_eq!(scene.session.state(), State::Connected);
    assert_eq!(scene.session.info().id, SessionId(9));
}
