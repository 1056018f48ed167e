//! What Apache's servers said to one another, recorded in `fixtures/quorum/joins.txt`, said to ours: our
//! learner has to answer an Apache leader as Apache's learner did, and our leader an Apache learner as
//! Apache's leader did. Everything passes through its bytes.

#[path = "support/pupil.rs"]
mod pupil;
#[path = "../../proto/tests/support/recording.rs"]
mod recording;
mod support;

use bytes::Bytes;
use oxikeeper_proto::Zxid;
use oxikeeper_proto::id::ServerId;
use oxikeeper_proto::quorum::stream::QuorumStream;
use oxikeeper_proto::quorum::{LearnerInfo, PacketKind, QuorumPacket};
use oxikeeper_zab::context::Epochs;
use oxikeeper_zab::history::{History, Proposal};
use oxikeeper_zab::io::{Input, LinkId, Output};
use oxikeeper_zab::leader::Leader;
use pupil::{FIELD_BYTES_MAX, LINK, NOW, Pupil};
use recording::{Conversation, Port, conversations};
use support::Desk;

fn quorum_conversations() -> Vec<Conversation> {
    let all = conversations("joins");
    all.into_iter().filter(|one| one.port == Port::Quorum && one.said.len() > 6).collect()
}

/// The packets of one side.
fn packets(conversation: &Conversation, forth: bool) -> Vec<QuorumPacket> {
    let said = conversation.said.iter().filter(|(by, name, _)| *by == forth && name != "SNAPSHOT");
    said.map(|(_, name, bytes)| {
        let mut stream = QuorumStream::of_learner(FIELD_BYTES_MAX);
        stream.feed(bytes);
        let packet = stream.next_packet().expect(name).expect(name);
        assert_eq!(packet.to_bytes(), bytes, "{name}: the same bytes");
        packet
    })
    .collect()
}

fn of_kind(packets: &[QuorumPacket], kinds: &[PacketKind]) -> Vec<QuorumPacket> {
    packets.iter().filter(|packet| kinds.contains(&packet.kind)).cloned().collect()
}

#[test]
fn our_learner_answers_apaches_leader_as_apaches_learner_did() {
    let mut kinds_seen = std::collections::BTreeSet::new();
    for conversation in quorum_conversations() {
        let context = format!("connection {}: {}", conversation.connection, conversation.step);
        let theirs = packets(&conversation, true);
        let is_observer = theirs[0].kind == PacketKind::ObserverInfo;
        let info = theirs[0].learner_info().expect("who it is");
        let answer = theirs.iter().find(|packet| packet.kind == PacketKind::AckEpoch);
        let answer = answer.unwrap_or_else(|| panic!("{context}"));
        let accepted = theirs[0].zxid.epoch();
        let current = answer.current_epoch().expect("an epoch").unwrap_or(accepted);
        let history = match answer.zxid {
            QuorumPacket::NO_ZXID => History::void(500),
            last => History::new(500, last, Vec::new()),
        };
        let desk = Desk::of(info.server.0, [1, 2, 3], history, Epochs { accepted, current });
        let mut pupil = Pupil::new(desk, ServerId(conversation.to), is_observer);
        kinds_seen.extend(pupil.hear(&conversation));
        assert_eq!(pupil.lost(), None, "{context}");
        let handshake = [PacketKind::FollowerInfo, PacketKind::ObserverInfo, PacketKind::AckEpoch];
        assert_eq!(of_kind(&pupil.sent, &handshake), of_kind(&theirs, &handshake), "{context}");
        // What the log had not on disk when the recording ended is not acknowledged there.
        let (ours, acks) =
            (of_kind(&pupil.sent, &[PacketKind::Ack]), of_kind(&theirs, &[PacketKind::Ack]));
        assert!(ours.starts_with(&acks), "{context}: ACKs\n{ours:?}\n{acks:?}");
        assert!(ours.len() <= acks.len() + 2, "{context}: no ACK too many");
        let zxids = |packets: &[QuorumPacket]| -> Vec<Zxid> {
            of_kind(packets, &[PacketKind::Ping]).iter().map(|packet| packet.zxid).collect()
        };
        let (ours, pings) = (zxids(&pupil.sent), zxids(&theirs));
        assert!(ours.starts_with(&pings), "{context}: answers to pings\n{ours:?}\n{pings:?}");
        assert!(pupil.role.is_some(), "{context}: it is in step");
    }
    for kind in ["Diff", "Trunc", "Snap", "Inform", "Proposal", "Commit", "UpToDate", "Ping"] {
        assert!(kinds_seen.contains(kind), "{kind} is in the recordings: {kinds_seen:?}");
    }
}

/// A leader of ours that is established by server 99, with everything up to `end` proposed and committed:
/// with its real payload what the recording has of it.
fn leader_at(desk: &mut Desk, epoch: u32, end: Zxid, known: &[Proposal]) -> Leader {
    let witness = LinkId(99);
    let mut leader = desk.with(|cx| Leader::start(NOW, epoch, cx));
    let info = LearnerInfo::new(ServerId(99), 0);
    let step = |leader: &mut Leader, desk: &mut Desk, input| {
        if let Input::LogDurable(zxid) = &input {
            desk.history.set_durable(*zxid);
        }
        desk.with(|cx| leader.step(NOW, input, cx));
        while let Some((_, written)) = desk.epoch_file() {
            desk.out.clear();
            desk.with(|cx| leader.step(NOW, written, cx));
        }
    };
    let last = desk.history.last_committed();
    step(&mut leader, desk, Input::Accepted(witness));
    step(&mut leader, desk, Input::Packet(witness, QuorumPacket::follower_info(0, &info)));
    step(&mut leader, desk, Input::Packet(witness, QuorumPacket::ack_epoch(last, Some(0))));
    let ack = QuorumPacket::ack(Zxid::from_parts(epoch, 0));
    step(&mut leader, desk, Input::Packet(witness, ack));
    assert!(leader.is_established());
    if end.epoch() == epoch {
        for counter in 1..=end.counter() {
            let zxid = Zxid::from_parts(epoch, counter);
            let real = known.iter().find(|proposal| proposal.zxid == zxid).cloned();
            let proposal = real.unwrap_or(Proposal { zxid, payload: Bytes::from_static(b"?") });
            propose(&mut leader, desk, proposal);
        }
    }
    desk.out.clear();
    leader
}

/// A transaction that server 99 and the own log have at once.
fn propose(leader: &mut Leader, desk: &mut Desk, proposal: Proposal) {
    let zxid = proposal.zxid;
    desk.with(|cx| leader.step(NOW, Input::Propose(proposal), cx));
    desk.history.set_durable(zxid);
    desk.with(|cx| leader.step(NOW, Input::LogDurable(zxid), cx));
    let ack = Input::Packet(LinkId(99), QuorumPacket::ack(zxid));
    desk.with(|cx| leader.step(NOW, ack, cx));
}

/// What was sent to the learner, and not to server 99.
fn sent_to_learner(desk: &mut Desk) -> Vec<QuorumPacket> {
    let packet = |output| match output {
        Output::Send(LINK, packet) => Some(packet),
        _ => None,
    };
    std::mem::take(&mut desk.out).into_iter().filter_map(packet).collect()
}

#[test]
fn our_leader_answers_apaches_learner_as_apaches_leader_did() {
    let mut plans = std::collections::BTreeSet::new();
    for conversation in quorum_conversations() {
        let context = format!("connection {}: {}", conversation.connection, conversation.step);
        let (learner, theirs) = (packets(&conversation, true), packets(&conversation, false));
        let epoch = theirs[0].zxid.epoch();
        let plan = &theirs[1];
        // Apache begins an epoch with e.0 as its last zxid and sends a fresh server a snapshot of
        // nothing; ours sends DIFF.
        if plan.kind == PacketKind::Snap && plan.zxid.counter() == 0 {
            continue;
        }
        let is_new_leader = |packet: &QuorumPacket| packet.kind == PacketKind::NewLeader;
        let synced = theirs.iter().position(is_new_leader).expect("NEWLEADER");
        let carries = |packet: &QuorumPacket| {
            let payload = packet.data.clone().unwrap_or_default();
            matches!(packet.kind, PacketKind::Proposal | PacketKind::Inform)
                .then_some(Proposal { zxid: packet.zxid, payload })
        };
        let missed: Vec<Proposal> = theirs[..synced].iter().filter_map(carries).collect();
        let live: Vec<Proposal> = theirs[synced..].iter().filter_map(carries).collect();
        let answer = learner.iter().find(|packet| packet.kind == PacketKind::AckEpoch);
        let last = answer.unwrap_or_else(|| panic!("{context}")).zxid;
        let end = match plan.kind {
            PacketKind::Diff => missed.last().map_or(last, |proposal| proposal.zxid),
            _ => plan.zxid,
        };
        let base = if end.epoch() == epoch { Zxid::ZERO } else { end };
        let history = History::new(500, base, Vec::new());
        let voters = [conversation.to, conversation.from, 99];
        let mut desk =
            Desk::of(conversation.to, voters, history, Epochs { accepted: 0, current: 0 });
        let mut leader = leader_at(&mut desk, epoch, end, &missed);
        desk.with(|cx| leader.step(NOW, Input::Accepted(LINK), cx));
        let mut ours = Vec::new();
        let mut live = live.into_iter();
        let mut stream = QuorumStream::of_learner(FIELD_BYTES_MAX);
        for (forth, name, bytes) in &conversation.said {
            if !forth {
                // What the leader's Core does: it proposes.
                if matches!(name.as_str(), "PROPOSAL" | "INFORM")
                    && ours.iter().any(is_new_leader)
                    && let Some(proposal) = live.next()
                {
                    propose(&mut leader, &mut desk, proposal);
                }
            } else {
                stream.feed(bytes);
                while let Some(packet) = stream.next_packet().expect("packets") {
                    desk.with(|cx| leader.step(NOW, Input::Packet(LINK, packet), cx));
                    let waits = desk.out.iter().find_map(|output| match output {
                        Output::ReadLog { ticket, .. } => Some(*ticket),
                        _ => None,
                    });
                    if let Some(ticket) = waits {
                        let nothing = Input::LogRead { ticket, records: None };
                        desk.with(|cx| leader.step(NOW, nothing, cx));
                    }
                    let snaps = |output: &Output| matches!(output, Output::SendSnapshot { .. });
                    if desk.out.iter().any(snaps) {
                        ours.push(QuorumPacket::snap(end));
                        let sent = Input::SnapshotSent { link: LINK, zxid: end };
                        desk.with(|cx| leader.step(NOW, sent, cx));
                    }
                }
            }
            ours.extend(sent_to_learner(&mut desk));
        }
        plans.insert(format!("{:?}", plan.kind));
        // Pings come when they come, DIFF's zxid is for people, and NEWLEADER carries the configuration, which is another here.
        let plain = |packets: &[QuorumPacket]| -> Vec<QuorumPacket> {
            let plain = |packet: &QuorumPacket| match packet.kind {
                PacketKind::Diff => QuorumPacket::bare(PacketKind::Diff, Zxid::ZERO),
                PacketKind::NewLeader => QuorumPacket::bare(packet.kind, packet.zxid),
                _ => packet.clone(),
            };
            let is_ping = |packet: &&QuorumPacket| packet.kind == PacketKind::Ping;
            packets.iter().filter(|packet| !is_ping(packet)).map(plain).collect()
        };
        let joined = |packets: &[QuorumPacket]| {
            let end = packets.iter().position(|packet| packet.kind == PacketKind::UpToDate);
            plain(&packets[..=end.unwrap_or_else(|| panic!("{context}: UPTODATE in {packets:?}"))])
        };
        assert_eq!(joined(&ours), joined(&theirs), "{context}");
        for kind in [PacketKind::Proposal, PacketKind::Commit, PacketKind::Inform] {
            let (ours, theirs) = (of_kind(&ours, &[kind]), of_kind(&theirs, &[kind]));
            assert!(ours.starts_with(&theirs), "{context}: {kind:?}\n{ours:?}\n{theirs:?}");
        }
    }
    for plan in ["Diff", "Snap", "Trunc"] {
        assert!(plans.contains(plan), "{plan} was sent: {plans:?}");
    }
}
