//! What servers of Apache's ensembles, 3.9.5, say to one another: every packet, notification and
//! initial message is decoded, and encoded to the same bytes again; so is what stands in them.
//!
//! Where the recordings come from, and how to make them anew: `fixtures/quorum/PROVENANCE.md`.

#[path = "support/recording.rs"]
mod recording;

use std::collections::BTreeSet;

use bytes::Bytes;
use oxikeeper_proto::jute::to_bytes;
use oxikeeper_proto::quorum::limits::FIELD_BYTES_MAX_DEFAULT;
use oxikeeper_proto::quorum::{
    ConfigText, ElectionItem, ElectionStream, InitialMessage, Notification, PacketKind,
    QuorumPacket, QuorumStream, SnapshotSender,
};
use oxikeeper_proto::replay::{ReplayFault, SnapshotSink};
use oxikeeper_proto::{Acl, Encode, ServerId, SessionId, StatPersisted, Zxid, txn};

use recording::{Conversation, Port};

const RECORDINGS: [&str; 3] = ["joins", "reconfig", "two-addresses"];

fn all() -> Vec<(String, Conversation)> {
    let of = |name: &'static str| {
        recording::conversations(name).into_iter().map(move |one| (name.to_owned(), one))
    };
    RECORDINGS.into_iter().flat_map(of).collect()
}

/// What the recordings have shown.
#[derive(Default)]
struct Seen {
    /// Kinds of packets, and whether learners sent them.
    kinds: BTreeSet<(i32, bool)>,
    /// Types of transactions in proposals, and in informs.
    txns: BTreeSet<(i32, bool)>,
    /// Operations in requests.
    requests: BTreeSet<i32>,
    /// Whether ACKEPOCH was a promise.
    promises: BTreeSet<bool>,
    /// Whether the answer to REVALIDATE was yes.
    revalidations: BTreeSet<bool>,
    /// Numbers of sessions in answers to pings.
    touches: BTreeSet<usize>,
    /// Whether the designated leader is the one that says so.
    designations: BTreeSet<bool>,
    identities: BTreeSet<Option<usize>>,
}

#[test]
fn packets_of_both_directions() {
    let mut seen = Seen::default();
    for (file, one) in all().iter().filter(|(_, one)| one.port == Port::Quorum) {
        for (at, (forth, name, bytes)) in one.said.iter().enumerate() {
            if name == "SNAPSHOT" {
                continue;
            }
            let context = format!("{file}, {}, {}, packet {at}", one.step, one.connection);
            let packet = QuorumPacket::from_bytes(&Bytes::copy_from_slice(bytes))
                .unwrap_or_else(|error| panic!("{context}: {error}"));
            assert_eq!(to_bytes(&packet), *bytes, "{context}");
            assert_eq!(format!("{:?}", packet.kind).to_uppercase(), *name, "{context}");
            let again = rebuilt(&packet, *forth, one, &mut seen);
            assert_eq!(again, packet, "{context}");
            seen.kinds.insert((packet.kind.to_wire(), *forth));
        }
    }
    let learners = [1, 3, 5, 6, 11, 16, 18].map(|kind| (kind, true));
    let leaders = [2, 4, 5, 6, 7, 8, 9, 10, 12, 13, 14, 15, 17, 19].map(|kind| (kind, false));
    assert_eq!(seen.kinds, learners.into_iter().chain(leaders).collect());
    let proposed = [-11, -10, -1, 1, 2, 5, 7, 14, 15, 16, 19, 20, 21].map(|kind| (kind, false));
    let informed = [-11, -10, -1, 1, 2, 5, 7, 14, 15, 16, 19, 20, 21].map(|kind| (kind, true));
    assert_eq!(seen.txns, proposed.into_iter().chain(informed).collect());
    assert_eq!(seen.requests, [-11, -10, 1, 2, 5, 7, 9, 14, 15, 16, 19, 21].into());
    let both = BTreeSet::from([false, true]);
    assert_eq!((seen.promises, seen.revalidations), (both.clone(), both.clone()));
    assert!(seen.touches.is_superset(&[0, 1].into()), "tables without and with sessions");
    assert_eq!(seen.designations, both);
    assert!(seen.identities.is_superset(&[None, Some(1), Some(2)].into()));
}

/// The packet that the constructors make of what the accessors say.
fn rebuilt(
    packet: &QuorumPacket,
    forth: bool,
    one: &Conversation,
    seen: &mut Seen,
) -> QuorumPacket {
    let zxid = packet.zxid;
    let txn = |is_inform| {
        let txn = packet.txn().expect("a payload").clone();
        (check_txn(&txn, zxid), is_inform, txn)
    };
    match packet.kind {
        PacketKind::Request => {
            let request = packet.forwarded_request().expect("a request");
            seen.requests.insert(request.op);
            seen.identities.insert(request.authinfo.as_ref().map(Vec::len));
            QuorumPacket::request(&request)
        }
        PacketKind::Proposal => {
            let (kind, is_inform, txn) = txn(false);
            seen.txns.insert((kind, is_inform));
            QuorumPacket::proposal(zxid, txn)
        }
        PacketKind::Inform => {
            let (kind, is_inform, txn) = txn(true);
            seen.txns.insert((kind, is_inform));
            QuorumPacket::inform(zxid, txn)
        }
        PacketKind::Ack => QuorumPacket::ack(zxid),
        PacketKind::Commit => QuorumPacket::commit(zxid),
        PacketKind::Ping if forth => {
            let touches = packet.touches().expect("a table");
            seen.touches.insert(touches.len());
            QuorumPacket::ping_reply(zxid, &touches)
        }
        PacketKind::Ping => QuorumPacket::ping(zxid),
        PacketKind::Revalidate if forth => {
            let (session, timeout_ms) = packet.revalidated().expect("a session");
            QuorumPacket::revalidate(session, timeout_ms)
        }
        PacketKind::Revalidate => {
            let (session, is_valid) = packet.revalidation().expect("an answer");
            seen.revalidations.insert(is_valid);
            QuorumPacket::revalidate_reply(session, is_valid)
        }
        PacketKind::Sync => QuorumPacket::sync(),
        PacketKind::CommitAndActivate => {
            let leader = packet.designated_leader().expect("a server");
            seen.designations.insert(leader == ServerId(one.to));
            QuorumPacket::commit_and_activate(zxid, leader)
        }
        PacketKind::InformAndActivate => {
            let (leader, txn) = packet.inform_and_activate_parts().expect("both");
            seen.txns.insert((check_txn(&txn, zxid), true));
            QuorumPacket::inform_and_activate(zxid, leader, &txn)
        }
        PacketKind::NewLeader => {
            let config = packet.config().expect("a configuration");
            check_config(config);
            QuorumPacket::new_leader(zxid.epoch(), config.clone())
        }
        PacketKind::FollowerInfo | PacketKind::ObserverInfo => {
            let info = packet.learner_info().expect("a learner");
            assert_eq!(info.server, ServerId(one.from));
            match packet.kind {
                PacketKind::FollowerInfo => QuorumPacket::follower_info(zxid.epoch(), &info),
                _ => QuorumPacket::observer_info(zxid.epoch(), &info),
            }
        }
        PacketKind::UpToDate => QuorumPacket::up_to_date(),
        PacketKind::Diff => QuorumPacket::diff(zxid),
        PacketKind::Trunc => QuorumPacket::trunc(zxid),
        PacketKind::Snap => QuorumPacket::snap(zxid),
        PacketKind::LeaderInfo => {
            assert_eq!(packet.leader_protocol_version(), Ok(0x10000));
            QuorumPacket::leader_info(zxid.epoch())
        }
        PacketKind::AckEpoch => {
            let epoch = packet.current_epoch().expect("an epoch");
            seen.promises.insert(epoch.is_some());
            QuorumPacket::ack_epoch(zxid, epoch)
        }
        PacketKind::Unknown(kind) => panic!("a packet of type {kind}"),
    }
}

/// The transaction reads, stands where it should, and is written to the same bytes.
fn check_txn(payload: &Bytes, zxid: Zxid) -> i32 {
    let (header, txn, digest) = txn::decode_payload(payload).expect("a transaction");
    assert_eq!(header.zxid, zxid);
    let mut again = Vec::new();
    txn::encode_payload(&header, &txn, digest, &mut again);
    assert_eq!(again, payload[..]);
    assert_eq!(digest.is_some(), header.kind != txn::ERROR_TXN);
    header.kind
}

/// The text reads, and is printed as Apache has printed it.
fn check_config(text: &[u8]) -> ConfigText {
    let text = str::from_utf8(text).expect("UTF-8");
    let config = ConfigText::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(config.to_string(), text);
    config
}

#[test]
fn notifications_and_initial_messages() {
    let mut states = BTreeSet::new();
    let mut versions = BTreeSet::new();
    let mut without_vote = 0;
    for (file, one) in all().iter().filter(|(_, one)| one.port == Port::Election) {
        for (at, (forth, name, bytes)) in one.said.iter().enumerate() {
            let context = format!("{file}, connection {}, message {at}", one.connection);
            if name == "INITIAL" {
                let message = InitialMessage::decode(bytes).expect(&context);
                assert!(*forth && at == 0, "{context}");
                assert_eq!(to_bytes(&message), *bytes, "{context}");
                assert_eq!(message.server(), ServerId(one.from), "{context}");
                let addresses = message.usable_addresses().count();
                versions.insert((matches!(message, InitialMessage::V2 { .. }), addresses));
                continue;
            }
            let notification = Notification::decode(&bytes[4..]).expect(&context);
            let mut again = Vec::new();
            notification.encode_frame(&mut again);
            assert_eq!(again, *bytes, "{context}");
            assert_eq!(notification.version, 2, "{context}");
            check_config(notification.config.as_ref().expect(&context));
            states.insert(notification.state.to_wire());
            without_vote += usize::from(notification.zxid == Notification::NO_VOTE);
        }
    }
    assert_eq!(states, [0, 1, 2, 3].into(), "looking, following, leading, observing");
    assert_eq!(versions, [(false, 1), (true, 2)].into(), "V1 with one address, V2 with two");
    assert!(without_vote > 0, "an observer that looks for a leader has no vote");
}

/// Writes down again what it is told.
#[derive(Default)]
struct Copy {
    sessions: Vec<u8>,
    session_count: i32,
    acls: Vec<u8>,
    acl_count: i32,
    nodes: Vec<u8>,
    paths: Vec<String>,
}

impl SnapshotSink for Copy {
    fn session(&mut self, id: SessionId, timeout_ms: i32) -> Result<(), ReplayFault> {
        id.encode(&mut self.sessions);
        timeout_ms.encode(&mut self.sessions);
        self.session_count += 1;
        Ok(())
    }

    fn acl(&mut self, id: i64, acl: Vec<Acl>) -> Result<(), ReplayFault> {
        id.encode(&mut self.acls);
        acl.encode(&mut self.acls);
        self.acl_count += 1;
        Ok(())
    }

    fn node(
        &mut self,
        path: &str,
        data: Option<&[u8]>,
        acl_id: i64,
        stat: &StatPersisted,
    ) -> Result<(), ReplayFault> {
        path.encode(&mut self.nodes);
        data.encode(&mut self.nodes);
        acl_id.encode(&mut self.nodes);
        stat.encode(&mut self.nodes);
        self.paths.push(path.to_owned());
        Ok(())
    }
}

impl Copy {
    /// The SNAP packet and what follows it, made as a server makes it out of a snapshot file's bytes.
    fn sent(&self, zxid: Zxid) -> Vec<u8> {
        let mut file = b"ZKSN\0\0\0\x02\xff\xff\xff\xff\xff\xff\xff\xff".to_vec();
        self.session_count.encode(&mut file);
        file.extend_from_slice(&self.sessions);
        self.acl_count.encode(&mut file);
        file.extend_from_slice(&self.acls);
        file.extend_from_slice(&self.nodes);
        "/".encode(&mut file);
        let mut sent = Vec::new();
        let mut sender = SnapshotSender::begin(zxid, &mut sent);
        sent.extend_from_slice(sender.part(&file));
        sender.end(&mut sent);
        sent
    }
}

#[test]
fn streams_with_their_snapshots() {
    let mut snapshots = 0;
    for (file, one) in all().iter().filter(|(_, one)| one.port == Port::Quorum) {
        for forth in [true, false] {
            let context = format!("{file}, connection {}", one.connection);
            let said: Vec<_> = one.said.iter().filter(|said| said.0 == forth).collect();
            let bytes: Vec<u8> = said.iter().flat_map(|said| said.2.iter().copied()).collect();
            let mut stream = if forth {
                QuorumStream::of_learner(FIELD_BYTES_MAX_DEFAULT)
            } else {
                QuorumStream::of_leader(FIELD_BYTES_MAX_DEFAULT)
            };
            let mut again = Vec::new();
            let mut snapshot = Copy::default();
            let mut zxid = Zxid::ZERO;
            // Small pieces of odd sizes.
            for piece in bytes.chunks(13) {
                stream.feed(piece);
                loop {
                    if stream.is_in_snapshot() {
                        if !stream.snapshot(&mut snapshot).expect(&context) {
                            break;
                        }
                        assert!(snapshot.paths.iter().any(|path| path == "/zookeeper/config"));
                        again.extend(snapshot.sent(zxid));
                        snapshot = Copy::default();
                        snapshots += 1;
                    }
                    match stream.next_packet().expect(&context) {
                        Some(packet) if packet.kind == PacketKind::Snap => zxid = packet.zxid,
                        Some(packet) => packet.encode(&mut again),
                        None => break,
                    }
                }
            }
            assert_eq!(again, bytes, "{context}");
        }
    }
    assert!(snapshots >= 4, "{snapshots} snapshots");
}

#[test]
fn election_streams() {
    for (file, one) in all().iter().filter(|(_, one)| one.port == Port::Election) {
        for forth in [true, false] {
            let said: Vec<_> = one.said.iter().filter(|said| said.0 == forth).collect();
            let mut stream =
                if forth { ElectionStream::accepted() } else { ElectionStream::opened() };
            let mut count = 0;
            for (_, name, bytes) in said.iter().copied() {
                stream.feed(bytes);
                match stream.next() {
                    Ok(Some(ElectionItem::Initial(_))) => assert_eq!(name, "INITIAL"),
                    Ok(Some(ElectionItem::Frame(payload))) => assert_eq!(payload, bytes[4..]),
                    other => panic!("{file}, connection {}: {other:?}", one.connection),
                }
                count += 1;
            }
            assert_eq!(count, said.len());
        }
    }
}
