//! Reconfigurations: what Apache's leaders said of them, recorded in `fixtures/quorum/reconfig.txt`, said
//! to our learner; and what a peer makes of a configuration that it hears of.

#[path = "support/pupil.rs"]
mod pupil;
#[path = "../../proto/tests/support/recording.rs"]
mod recording;
mod support;

use std::sync::Arc;

use oxikeeper_proto::Zxid;
use oxikeeper_proto::id::ServerId;
use oxikeeper_proto::jute::to_bytes;
use oxikeeper_proto::quorum::{
    ConfigText, InitialMessage, LearnerInfo, Notification, PacketKind, QuorumPacket, ServerState,
};
use oxikeeper_proto::txn::{SetDataTxn, encode_payload};
use oxikeeper_proto::{SessionId, Txn, TxnHeader};
use oxikeeper_zab::arbiter::{ElectionConn, ElectionInput, ElectionOutput};
use oxikeeper_zab::config::PeerConfig;
use oxikeeper_zab::context::{Epochs, Event};
use oxikeeper_zab::history::{History, Proposal};
use oxikeeper_zab::io::{ConfigStep, Input, LinkId, Output, Role};
use oxikeeper_zab::leader::Leader;
use oxikeeper_zab::learner::Learner;
use oxikeeper_zab::membership::{Change, Through};
use oxikeeper_zab::peer::Peer;
use oxikeeper_zab::verifier::{Quorums, Verifier};
use pupil::{LINK, NOW, Pupil};
use recording::{Conversation, Port, conversations};
use support::Desk;

const FIRST: &str = "server.1=a:1:2:participant\nserver.2=b:1:2:participant\n\
                     server.3=c:1:2:participant\nversion=0";

fn verifier(text: &str) -> Arc<Verifier> {
    let config = ConfigText::parse(text).expect("a configuration");
    Arc::new(Verifier::from_config(config).expect("it has quorums"))
}

/// A desk of this server of an ensemble that may be reconfigured.
fn desk(my_id: i64, text: &str, last: Zxid) -> Desk {
    let epochs = Epochs { accepted: last.epoch(), current: last.epoch() };
    let mut desk = Desk::of(my_id, [1], History::new(500, last, Vec::new()), epochs);
    let config = PeerConfig { reconfig_enabled: true, ..PeerConfig::new(ServerId(my_id)) };
    desk.config = Arc::new(config);
    desk.quorums = Quorums::new(verifier(text));
    desk
}

fn packets(conversation: &Conversation) -> Vec<QuorumPacket> {
    let said = conversation.said.iter().filter(|(_, name, _)| name != "SNAPSHOT");
    said.map(|(_, name, bytes)| {
        let mut stream =
            oxikeeper_proto::quorum::stream::QuorumStream::of_learner(pupil::FIELD_BYTES_MAX);
        stream.feed(bytes);
        stream.next_packet().expect(name).expect(name)
    })
    .collect()
}

#[test]
fn our_learner_follows_apaches_reconfigurations() {
    let (mut activated, mut handed_over) = (0, 0);
    for conversation in conversations("reconfig") {
        let all = packets_of_quorum(&conversation);
        let Some(new_leader) = all.iter().find(|packet| packet.kind == PacketKind::NewLeader)
        else {
            continue;
        };
        let context = format!("server {}: {}", conversation.from, conversation.step);
        let answer = all.iter().find(|packet| packet.kind == PacketKind::AckEpoch).expect("one");
        let info = all[0].learner_info().expect("who it is");
        let text =
            String::from_utf8_lossy(new_leader.config().expect("a configuration")).into_owned();
        let (members, _) = text.rsplit_once("version=").expect("a version");
        let known = format!("{members}version={:x}", info.config_version);
        let leader = ServerId(conversation.to);
        let is_observer = all[0].kind == PacketKind::ObserverInfo;
        let desk = desk(info.server.0, &known, answer.zxid);
        let mut pupil = Pupil::new(desk, leader, is_observer);
        pupil.hear(&conversation);
        for packet in &all {
            let kinds = [PacketKind::CommitAndActivate, PacketKind::InformAndActivate];
            if !kinds.contains(&packet.kind) {
                continue;
            }
            activated += 1;
            let version = packet.zxid.to_wire();
            let committed = (version, ConfigStep::Committed { in_log: true });
            assert!(pupil.configs.contains(&committed), "{context}: {:?}", pupil.configs);
            // Observers hear of it when it is committed.
            let proposed = (version, ConfigStep::Proposed);
            assert_eq!(pupil.configs.contains(&proposed), !is_observer, "{context}");
            let designated = packet.designated_leader().expect("one");
            if designated != leader {
                handed_over += 1;
                assert!(pupil.desk.events.contains(&Event::Designated(designated)), "{context}");
                let why = pupil.lost().expect("it leaves its leader");
                assert!(why.ends_with("the membership has changed"), "{context}: {why}");
                assert!(pupil.desk.history.last_committed() >= packet.zxid, "{context}");
            }
        }
        if handed_over == 0 {
            assert_eq!(pupil.lost(), None, "{context}");
        }
    }
    assert!(activated >= 9 && handed_over >= 2, "{activated} {handed_over}");
}

fn packets_of_quorum(conversation: &Conversation) -> Vec<QuorumPacket> {
    if conversation.port == Port::Quorum { packets(conversation) } else { Vec::new() }
}

fn reconfiguration(zxid: Zxid, text: &str) -> Proposal {
    let body =
        SetDataTxn { path: "/zookeeper/config".into(), data: Some(text.as_bytes()), version: -1 };
    let txn = Txn::Reconfig(body);
    let header = TxnHeader { session: SessionId(1), cxid: 1, zxid, time_ms: 1, kind: txn.kind() };
    let mut payload = Vec::new();
    encode_payload(&header, &txn, None, &mut payload);
    Proposal { zxid, payload: payload.into() }
}

/// A learner of server 3 in step in epoch 1, with nothing in its log.
fn learner(desk: &mut Desk) -> Learner {
    let leader = ServerId(3);
    let mut learner = desk.with(|cx| Learner::start(NOW, leader, false, cx));
    desk.with(|cx| learner.step(NOW, Input::Connected { link: LINK, to: leader }, cx));
    let text = desk.quorums.current.text().clone();
    let said = [
        QuorumPacket::leader_info(1),
        QuorumPacket::diff(Zxid::ZERO),
        QuorumPacket::new_leader(1, text),
        QuorumPacket::up_to_date(),
    ];
    for packet in said {
        desk.with(|cx| learner.step(NOW, Input::Packet(LINK, packet), cx));
        if let Some((_, written)) = desk.epoch_file() {
            desk.out.clear();
            desk.with(|cx| learner.step(NOW, written, cx));
        }
    }
    assert!(desk.out.iter().any(|output| matches!(output, Output::Role(Role::Following { .. }))));
    desk.out.clear();
    learner
}

/// The new configuration, who leads on, and what that has to mean for server 1, which server 3 leads.
#[test]
fn what_a_reconfiguration_means_depends_on_the_own_place_in_it() {
    let with = |one: &str, others: &str| format!("{one}{others}version=100000001");
    let (two, three) = ("server.2=b:1:2:participant\n", "server.3=c:1:2:participant\n");
    let both = format!("{two}{three}");
    for (text, designated, is_left) in [
        (with("server.1=a:1:2:participant\nserver.4=d:1:2:participant\n", &both), 3, false),
        (with("server.1=a:1:2:observer\n", &both), 3, true),
        // Removed, it follows without a vote.
        (with("", &both), 3, false),
        (with("server.1=a:1:2:participant\n", two), 1, true),
        (with("server.1=a:1:2:participant\n", two), 2, true),
    ] {
        let mut desk = desk(1, FIRST, Zxid::ZERO);
        let mut learner = learner(&mut desk);
        let zxid = Zxid::from_parts(1, 1);
        let Proposal { payload, .. } = reconfiguration(zxid, &text);
        let said = Input::Packet(LINK, QuorumPacket::proposal(zxid, payload));
        desk.with(|cx| learner.step(NOW, said, cx));
        // It is written down before the transaction that proposes it is logged and acknowledged.
        assert!(
            matches!(
                &desk.out[..],
                [Output::Config { step: ConfigStep::Proposed, .. }, Output::Append(_)]
            ),
            "{:?}",
            desk.out
        );
        assert!(
            !desk.quorums.contain_quorum(&[2, 3].map(ServerId).into())
                || !text.contains("server.4")
        );
        let commit = QuorumPacket::commit_and_activate(zxid, ServerId(designated));
        desk.with(|cx| learner.step(NOW, Input::Packet(LINK, commit), cx));
        assert_eq!(desk.quorums.current.version(), zxid, "{text}");
        assert!(desk.quorums.proposed.is_none(), "{text}");
        assert!(desk.out.contains(&Output::Commit(zxid)), "it is committed, whatever follows");
        assert!(desk.events.contains(&Event::MembersChanged), "{text}");
        let names = desk.events.contains(&Event::Designated(ServerId(designated)));
        let is_lost = desk.events.iter().any(|event| matches!(event, Event::Lost(_)));
        assert_eq!((names, is_lost), (is_left, is_left), "{text} {designated}");
    }
}

#[test]
fn without_reconfig_enabled_nothing_of_it_is_adopted() {
    let mut desk = desk(1, FIRST, Zxid::ZERO);
    desk.config = Arc::new(PeerConfig::new(ServerId(1)));
    let text = FIRST.replace("version=0", "version=100000000");
    let change = desk.with(|cx| cx.activate(&text, Through::Word));
    assert_eq!((change, desk.quorums.current.version()), (Change::None, Zxid::ZERO));
    assert!(desk.out.is_empty() && desk.events.is_empty());
}

#[test]
fn what_a_leader_before_has_proposed_goes_with_it() {
    let mut desk = desk(1, FIRST, Zxid::ZERO);
    let mut learner = learner(&mut desk);
    let zxid = Zxid::from_parts(1, 1);
    let text = "server.1=a:1:2\nserver.2=b:1:2\nversion=100000001";
    let payload = reconfiguration(zxid, text).payload;
    desk.with(|cx| {
        learner.step(NOW, Input::Packet(LINK, QuorumPacket::proposal(zxid, payload)), cx)
    });
    assert!(desk.quorums.proposed.is_some());
    // The next leader knows nothing of it.
    let mut next = desk.with(|cx| Learner::start(NOW, ServerId(2), false, cx));
    let to = ServerId(2);
    desk.with(|cx| next.step(NOW, Input::Connected { link: LINK, to }, cx));
    desk.with(|cx| next.step(NOW, Input::Packet(LINK, QuorumPacket::leader_info(2)), cx));
    let (_, written) = desk.epoch_file().expect("a promise");
    desk.with(|cx| next.step(NOW, written, cx));
    desk.with(|cx| next.step(NOW, Input::Packet(LINK, QuorumPacket::trunc(Zxid::ZERO)), cx));
    let ticket = desk.out.iter().find_map(|output| match output {
        Output::Truncate { ticket, .. } => Some(*ticket),
        _ => None,
    });
    let cut =
        Input::Truncated { ticket: ticket.expect("a cut"), last: Zxid::ZERO, tail: Vec::new() };
    desk.with(|cx| next.step(NOW, cut, cx));
    desk.out.clear();
    let new_leader = QuorumPacket::new_leader(2, FIRST.as_bytes().into());
    desk.with(|cx| next.step(NOW, Input::Packet(LINK, new_leader), cx));
    assert!(desk.quorums.proposed.is_none());
    let is_withdrawn =
        |output: &Output| matches!(output, Output::Config { step: ConfigStep::Withdrawn, .. });
    assert!(desk.out.iter().any(is_withdrawn), "{:?}", desk.out);
}

/// A leader of ours, with server 2 as its learner, up to where a quorum has its history.
fn established(desk: &mut Desk) -> (Leader, Vec<QuorumPacket>) {
    let mut leader = desk.with(|cx| Leader::start(NOW, 0, cx));
    let info = LearnerInfo::new(ServerId(2), 0);
    let mut sent = Vec::new();
    let said = [
        Input::Accepted(LINK),
        Input::Packet(LINK, QuorumPacket::follower_info(0, &info)),
        Input::Packet(LINK, QuorumPacket::ack_epoch(Zxid::ZERO, Some(0))),
        Input::Packet(LINK, QuorumPacket::ack(Zxid::from_parts(1, 0))),
    ];
    for input in said {
        desk.with(|cx| leader.step(NOW, input, cx));
        while let Some((_, written)) = desk.epoch_file() {
            sent.extend(desk.sent());
            desk.with(|cx| leader.step(NOW, written, cx));
        }
        sent.extend(desk.sent());
    }
    (leader, sent)
}

#[test]
fn the_first_leader_gives_the_configuration_its_version() {
    let mut desk = desk(3, FIRST, Zxid::ZERO);
    let (leader, sent) = established(&mut desk);
    assert!(leader.is_established());
    let version = Zxid::from_parts(1, 0);
    assert_eq!(desk.quorums.current.version(), version);
    let text = |packet: &QuorumPacket| {
        let text = packet.config().map(|text| String::from_utf8_lossy(text).into_owned());
        text.filter(|_| packet.kind == PacketKind::NewLeader)
    };
    let all = sent.iter().find_map(text);
    assert_eq!(all, Some(FIRST.replace("version=0", "version=100000000")));
}

#[test]
fn a_leader_ends_the_change_that_it_finds_and_goes_if_it_has_no_vote_in_it() {
    let next = "server.1=a:1:2:participant\nserver.2=b:1:2:participant\nversion=1";
    let mut desk = desk(3, FIRST, Zxid::ZERO);
    desk.quorums.proposed = Some(verifier(next));
    // Server 2 alone is no quorum of the new one.
    let (mut leader, _) = established(&mut desk);
    assert!(!leader.is_established());
    desk.out.clear();
    let other = LinkId(2);
    let info = LearnerInfo::new(ServerId(1), 0);
    for input in [
        Input::Accepted(other),
        Input::Packet(other, QuorumPacket::follower_info(0, &info)),
        Input::Packet(other, QuorumPacket::ack_epoch(Zxid::ZERO, Some(0))),
        Input::Packet(other, QuorumPacket::ack(Zxid::from_parts(1, 0))),
    ] {
        desk.with(|cx| leader.step(NOW, input, cx));
    }
    assert_eq!(desk.quorums.current.version(), Zxid::new(1), "it is in force");
    let told = desk.out.iter().filter(
        |output| matches!(output, Output::Send(_, packet) if packet.kind == PacketKind::UpToDate),
    );
    assert_eq!(told.count(), 2, "both are told");
    assert!(matches!(desk.events.last(), Some(Event::Lost(why)) if why.contains("no vote")));
}

/// A peer of server 1 that looks for a leader, and hears server 3 on a connection.
fn looking_peer() -> (Peer, Vec<Output>) {
    let config = PeerConfig { reconfig_enabled: true, ..PeerConfig::new(ServerId(1)) };
    let epochs = Epochs { accepted: 0, current: 0 };
    let history = History::new(500, Zxid::ZERO, Vec::new());
    let mut peer = Peer::new(Arc::new(config), Quorums::new(verifier(FIRST)), epochs, history, NOW);
    let mut out = Vec::new();
    peer.step(NOW, Input::Tick, &mut out);
    let conn = ElectionConn(7);
    peer.step(NOW, Input::Election(ElectionInput::Accepted(conn)), &mut out);
    let who = ElectionInput::Initial(conn, InitialMessage::Bare(ServerId(3)));
    peer.step(NOW, Input::Election(who), &mut out);
    out.clear();
    (peer, out)
}

fn tell(peer: &mut Peer, text: &str, out: &mut Vec<Output>) {
    let message = Notification {
        state: ServerState::Looking,
        leader: ServerId(3),
        zxid: 0,
        election_epoch: 1,
        peer_epoch: 0,
        version: 2,
        config: Some(text.as_bytes().to_vec().into()),
    };
    let frame = ElectionInput::Frame(ElectionConn(7), to_bytes(&message).into());
    peer.step(NOW, Input::Election(frame), out);
}

#[test]
fn a_voter_that_knows_a_newer_configuration_is_believed_while_nobody_leads() {
    let (mut peer, mut out) = looking_peer();
    let round = peer.election().round();
    tell(&mut peer, &FIRST.replace("version=0", "version=5"), &mut out);
    assert_eq!(peer.quorums().current.version(), Zxid::new(5));
    assert_eq!(peer.election().round(), round, "only its version is another");
    let closed = |out: &[Output]| {
        let close = Output::Election(ElectionOutput::Close(ElectionConn(7)));
        out.contains(&close)
    };
    assert!(!closed(&out));
    tell(&mut peer, "server.2=b:1:2\nserver.3=c:1:2\nversion=6", &mut out);
    assert_eq!(peer.quorums().voters(), [2, 3].map(ServerId).into());
    assert!(closed(&out), "connections are made anew");
    assert_eq!(peer.election().round(), round + 1, "the election begins anew");
    // An older one is none, and what cannot be read neither.
    for text in [FIRST, "server.9=z:1:2\nversion=5", "server.9=z\nversion=7"] {
        tell(&mut peer, text, &mut out);
        assert_eq!(peer.quorums().current.version(), Zxid::new(6));
    }
}
