//! One exact scenario for each defect that a random search would have to be lucky to meet. Each passes as
//! the code is, and fails with the defect injected: both are shown.

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use oxikeeper_proto::Zxid;
use oxikeeper_proto::id::ServerId;
use oxikeeper_proto::quorum::{InitialMessage, LearnerInfo, PacketKind, QuorumPacket};
use oxikeeper_proto::time::Now;
use oxikeeper_zab::arbiter::{Arbiter, ElectionConn, ElectionInput, ElectionOutput, Heard};
use oxikeeper_zab::config::PeerConfig;
use oxikeeper_zab::context::{Epochs, Event};
use oxikeeper_zab::history::{History, Proposal};
use oxikeeper_zab::io::{Input, LinkId, Output, Role};
use oxikeeper_zab::leader::Leader;
use oxikeeper_zab::learner::Learner;
use oxikeeper_zab::mutation::{Mutation, arm};
use support::Desk;

const LINK: LinkId = LinkId(1);
const NOW: Now = Now::from_millis(1000);

/// Runs a scenario as the code is, where it has to pass, and with the defect, where it has to fail.
fn shows(defect: Mutation, scenario: impl Fn()) {
    arm(None);
    scenario();
    arm(Some(defect));
    let result = catch_unwind(AssertUnwindSafe(scenario));
    arm(None);
    assert!(result.is_err(), "{defect:?} is not noticed");
}

/// A leader of which server 2 is a learner that says its last zxid is `last`, up to its ACKEPOCH.
fn leader_and_learner(desk: &mut Desk, last: Zxid) -> Leader {
    let mut leader = desk.with(|cx| Leader::start(NOW, 0, cx));
    let mut step = |desk: &mut Desk, input| desk.with(|cx| leader.step(NOW, input, cx));
    step(desk, Input::Accepted(LINK));
    let info = LearnerInfo::new(ServerId(2), 0);
    step(desk, Input::Packet(LINK, QuorumPacket::follower_info(last.epoch(), &info)));
    let (epoch, written) = desk.epoch_file().expect("the epoch goes to disk first");
    assert!(desk.sent().is_empty(), "nothing is offered before it is on disk");
    step(desk, written);
    let offered = desk.sent();
    assert_eq!(offered[0].kind, PacketKind::LeaderInfo);
    assert_eq!(offered[0].zxid.epoch(), epoch);
    step(desk, Input::Packet(LINK, QuorumPacket::ack_epoch(last, Some(0))));
    leader
}

#[test]
fn a_voter_whose_disk_was_emptied_has_no_say() {
    shows(Mutation::EmptyDiskVotes, || {
        // It tells that it knows nothing ...
        let void = History::void(500);
        assert_eq!(void.last_vote(), QuorumPacket::NO_ZXID);
        // ... and a leader that has nobody but it does not begin its epoch.
        let epochs = Epochs { accepted: 0, current: 0 };
        let mut desk = Desk::new(History::new(500, Zxid::ZERO, Vec::new()), epochs);
        leader_and_learner(&mut desk, void.last_vote());
        assert_eq!(desk.epoch_file().map(|(epoch, _)| epoch), None, "no currentEpoch");
        // One that knows its history, though it is empty, counts.
        let mut desk = Desk::new(History::new(500, Zxid::ZERO, Vec::new()), epochs);
        leader_and_learner(&mut desk, Zxid::ZERO);
        assert_eq!(desk.epoch_file().map(|(epoch, _)| epoch), Some(1));
    });
}

#[test]
fn an_epoch_is_promised_once() {
    shows(Mutation::DoubleEpochAnswer, || {
        let history = History::new(500, Zxid::from_parts(4, 7), Vec::new());
        let mut desk = Desk::new(history, Epochs { accepted: 5, current: 4 });
        let mut learner = desk.with(|cx| Learner::start(NOW, ServerId(3), false, cx));
        desk.with(|cx| learner.step(NOW, Input::Connected { link: LINK, to: ServerId(3) }, cx));
        let info = QuorumPacket::leader_info(5);
        desk.with(|cx| learner.step(NOW, Input::Packet(LINK, info), cx));
        let sent = desk.sent();
        let answer = sent.last().expect("an answer without a write: nothing new is promised");
        assert_eq!(answer.kind, PacketKind::AckEpoch);
        assert_eq!(answer.current_epoch(), Ok(None), "it is no promise to this leader");
    });
}

#[test]
fn an_older_epoch_is_not_followed() {
    let history = History::new(500, Zxid::from_parts(4, 7), Vec::new());
    let mut desk = Desk::new(history, Epochs { accepted: 5, current: 4 });
    let mut learner = desk.with(|cx| Learner::start(NOW, ServerId(3), false, cx));
    desk.with(|cx| learner.step(NOW, Input::Connected { link: LINK, to: ServerId(3) }, cx));
    desk.with(|cx| learner.step(NOW, Input::Packet(LINK, QuorumPacket::leader_info(4)), cx));
    assert!(matches!(desk.events.last(), Some(Event::Lost(why)) if why.contains("promised")));
    assert!(desk.out.contains(&Output::CloseLink(LINK)));
}

#[test]
fn who_cannot_be_cut_back_asks_the_same_leader_for_a_snapshot_and_keeps_its_vote() {
    // A snapshot of a leader that never got its quorum, received in epoch 2; epoch 1 is current.
    let uncommitted = Zxid::from_parts(2, 12);
    let mut desk =
        Desk::new(History::new(500, uncommitted, Vec::new()), Epochs { accepted: 3, current: 1 });
    let leader = ServerId(3);
    let mut learner = desk.with(|cx| Learner::start(NOW, leader, false, cx));
    let to = Zxid::from_parts(1, 4);
    let mut told = Vec::new();
    for link in [LINK, LinkId(LINK.0 + 1)] {
        desk.out.clear();
        desk.with(|cx| learner.step(NOW, Input::Connected { link, to: leader }, cx));
        desk.with(|cx| learner.step(NOW, Input::Packet(link, QuorumPacket::leader_info(3)), cx));
        let ack = desk.sent().into_iter().find(|packet| packet.kind == PacketKind::AckEpoch);
        told.push(ack.expect("ACKEPOCH").zxid);
        if link == LINK {
            let cut =
                QuorumPacket { kind: PacketKind::Trunc, zxid: to, data: None, authinfo: None };
            desk.with(|cx| learner.step(NOW, Input::Packet(link, cut), cx));
            let ticket = desk.out.iter().find_map(|output| match output {
                Output::Truncate { ticket, .. } => Some(*ticket),
                _ => None,
            });
            let refused = Input::TruncateRefused { ticket: ticket.expect("a cut") };
            desk.with(|cx| learner.step(NOW, refused, cx));
            assert!(desk.out.contains(&Output::Connect(leader)));
        }
    }
    assert_eq!(told, [uncommitted, QuorumPacket::NO_ZXID]);
    assert!(desk.events.is_empty(), "no election: {:?}", desk.events);
    assert_eq!(desk.history.last_vote(), uncommitted, "others may count on what it has");
}

#[test]
fn a_full_counter_ends_the_epoch_before_it_wraps() {
    shows(Mutation::CounterWraps, || {
        let last = Zxid::from_parts(1, 5);
        let mut desk =
            Desk::new(History::new(500, last, Vec::new()), Epochs { accepted: 1, current: 1 });
        let mut leader = leader_and_learner(&mut desk, last);
        let (_, written) = desk.epoch_file().expect("currentEpoch");
        desk.with(|cx| leader.step(NOW, written, cx));
        let ack = QuorumPacket::ack(Zxid::from_parts(2, 0));
        desk.with(|cx| leader.step(NOW, Input::Packet(LINK, ack), cx));
        assert!(desk.out.contains(&Output::Role(Role::Leading { epoch: 2 })));
        // As if all transactions but one of the epoch had been made.
        let all_but_one = Zxid::from_parts(2, u32::MAX - 1);
        desk.history.reset(all_but_one, Vec::new());
        desk.events.clear();
        let proposal =
            Proposal { zxid: Zxid::from_parts(2, u32::MAX), payload: Bytes::from_static(b"x") };
        desk.with(|cx| leader.step(NOW, Input::Propose(proposal), cx));
        assert!(matches!(desk.events.last(), Some(Event::Lost(why)) if why.contains("full")));
        assert_eq!(desk.history.last_logged(), all_but_one, "nothing was given that place");
    });
}

#[test]
fn who_speaks_out_of_turn_or_with_our_own_id_is_not_listened_to() {
    let epochs = Epochs { accepted: 0, current: 0 };
    let greetings = [
        QuorumPacket::follower_info(0, &LearnerInfo::new(ServerId(1), 0)),
        QuorumPacket::ack(Zxid::from_parts(1, 0)),
        QuorumPacket::ping_reply(Zxid::ZERO, &[]),
        QuorumPacket::follower_info(0, &LearnerInfo::new(ServerId(2), 99)),
    ];
    for greeting in greetings {
        let mut desk = Desk::new(History::new(500, Zxid::ZERO, Vec::new()), epochs);
        let mut leader = desk.with(|cx| Leader::start(NOW, 0, cx));
        desk.with(|cx| leader.step(NOW, Input::Accepted(LINK), cx));
        desk.with(|cx| leader.step(NOW, Input::Packet(LINK, greeting.clone()), cx));
        assert!(desk.out.contains(&Output::CloseLink(LINK)), "{greeting:?}");
        assert!(desk.epoch_file().is_none(), "{greeting:?}");
    }
}

#[test]
fn a_replaced_election_connection_is_not_heard_any_more() {
    shows(Mutation::StaleConnection, || {
        let mut arbiter = Arbiter::new(ServerId(1), 2000);
        let mut out = Vec::new();
        let (old, new) = (ElectionConn(1), ElectionConn(2));
        for conn in [old, new] {
            arbiter.step(NOW, ElectionInput::Accepted(conn), &mut out);
            let who = InitialMessage::Bare(ServerId(2));
            arbiter.step(NOW, ElectionInput::Initial(conn, who), &mut out);
        }
        let mut hear = |conn, bytes: &'static [u8]| {
            arbiter.step(NOW, ElectionInput::Frame(conn, Bytes::from_static(bytes)), &mut out)
        };
        let newest = Bytes::from_static(b"second life");
        assert_eq!(hear(new, b"second life"), Some(Heard::Message(ServerId(2), newest)));
        // What was under way on the old one is of an earlier life of the server.
        assert_eq!(hear(old, b"first life"), None);
        assert!(out.contains(&ElectionOutput::Close(old)));
    });
}

/// `leader.maxTimeToWaitForEpoch`: who was elected and waits for a quorum that has changed its mind.
#[test]
fn a_leader_that_nobody_comes_to_does_not_wait_for_long() {
    let epochs = Epochs { accepted: 0, current: 0 };
    for (patience, later, gives_up) in
        [(None, 5000, false), (Some(3000), 1000, false), (Some(3000), 3000, true)]
    {
        let mut desk = Desk::new(History::new(500, Zxid::ZERO, Vec::new()), epochs);
        desk.config =
            Arc::new(PeerConfig { epoch_wait_ms: patience, ..PeerConfig::new(ServerId(1)) });
        let mut leader = desk.with(|cx| Leader::start(NOW, 0, cx));
        let now = Now::from_millis(1000 + later);
        desk.with(|cx| leader.voter_looks(now, cx));
        let is_lost = matches!(desk.events.last(), Some(Event::Lost(why)) if why.contains("looks"));
        assert_eq!(is_lost, gives_up, "{patience:?} {later}");
    }
    // With a quorum there it is not left.
    let mut desk = Desk::new(History::new(500, Zxid::ZERO, Vec::new()), epochs);
    desk.config = Arc::new(PeerConfig { epoch_wait_ms: Some(0), ..PeerConfig::new(ServerId(1)) });
    let mut leader = leader_and_learner(&mut desk, Zxid::ZERO);
    desk.with(|cx| leader.voter_looks(Now::from_millis(90_000), cx));
    assert!(!desk.events.iter().any(|event| matches!(event, Event::Lost(_))));
}

/// `forceSnapshotSync`: also who misses nothing gets one.
#[test]
fn a_snapshot_may_be_forced_on_every_learner() {
    for is_forced in [false, true] {
        let last = Zxid::from_parts(1, 5);
        let mut desk =
            Desk::new(History::new(500, last, Vec::new()), Epochs { accepted: 1, current: 1 });
        let config = PeerConfig { force_snapshot_sync: is_forced, ..PeerConfig::new(ServerId(1)) };
        desk.config = Arc::new(config);
        let mut leader = leader_and_learner(&mut desk, last);
        let (_, written) = desk.epoch_file().expect("currentEpoch");
        desk.with(|cx| leader.step(NOW, written, cx));
        let snaps = |output: &Output| matches!(output, Output::SendSnapshot { .. });
        assert_eq!(desk.out.iter().any(snaps), is_forced);
    }
}

/// `quorumCnxnTimeoutMs`, or else `syncLimit` ticks: who says nothing is closed then.
#[test]
fn who_does_not_say_who_it_is_is_closed_in_time() {
    let plain = PeerConfig::new(ServerId(1));
    assert_eq!(plain.handshake_time(), plain.sync_time());
    let config = PeerConfig { handshake_ms: Some(700), ..plain };
    let mut arbiter = Arbiter::new(ServerId(1), config.handshake_time().as_millis() as u64);
    let (conn, mut out) = (ElectionConn(1), Vec::new());
    arbiter.step(NOW, ElectionInput::Accepted(conn), &mut out);
    arbiter.tick(Now::from_millis(1699), &mut out);
    assert_eq!(out, []);
    arbiter.tick(Now::from_millis(1700), &mut out);
    assert_eq!(out, [ElectionOutput::Close(conn)]);
}

/// Neither while it is brought up to date nor in step: a gap is not logged, and the leader is left.
#[test]
fn a_gap_in_what_is_proposed_is_not_followed() {
    let leader = ServerId(3);
    let proposal = |counter: u32| {
        let payload = Bytes::from_static(b"x");
        Input::Packet(LINK, QuorumPacket::proposal(Zxid::from_parts(1, counter), payload))
    };
    for is_in_step in [false, true] {
        let epochs = Epochs { accepted: 0, current: 0 };
        let mut desk = Desk::new(History::new(500, Zxid::ZERO, Vec::new()), epochs);
        let mut learner = desk.with(|cx| Learner::start(NOW, leader, false, cx));
        desk.with(|cx| learner.step(NOW, Input::Connected { link: LINK, to: leader }, cx));
        let joins = [QuorumPacket::leader_info(1), QuorumPacket::diff(Zxid::ZERO)];
        let goes_on = [QuorumPacket::new_leader(1, Bytes::new()), QuorumPacket::up_to_date()];
        for packet in joins.into_iter().chain(goes_on.into_iter().filter(|_| is_in_step)) {
            desk.with(|cx| learner.step(NOW, Input::Packet(LINK, packet), cx));
            if let Some((_, written)) = desk.epoch_file() {
                desk.out.clear();
                desk.with(|cx| learner.step(NOW, written, cx));
            }
        }
        desk.with(|cx| learner.step(NOW, proposal(1), cx));
        assert!(!desk.events.iter().any(|event| matches!(event, Event::Lost(_))), "{is_in_step}");
        desk.with(|cx| learner.step(NOW, proposal(3), cx));
        assert!(matches!(desk.events.last(), Some(Event::Lost(why)) if why.contains("a gap")));
        assert!(desk.history.last_logged() <= Zxid::from_parts(1, 1), "{is_in_step}");
        assert!(desk.out.contains(&Output::CloseLink(LINK)), "{is_in_step}");
    }
}
