//! What comes on the ports between servers, of any bytes.

use oxikeeper_proto::jute::to_bytes;
use oxikeeper_proto::quorum::{
    ConfigText, ElectionItem, ElectionStream, Notification, PacketKind, QuorumPacket, QuorumStream,
    StreamError,
};
use oxikeeper_proto::replay::ReplayTarget;
use oxikeeper_proto::{Zxid, txn};
use oxikeeper_tree::{Restore, TreeOptions};

use crate::files::check_reason;
use crate::{Target, Verdict};

/// See [`run`].
pub const TARGET: Target = Target {
    name: "quorum_stream",
    run,
    pieces: &[
        // DIFF, SNAP, and packets with a payload of 8 and of 20 bytes.
        b"\0\0\0\x0d\0\0\0\x01\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\0\0\0\x0f\0\0\0\x01\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\0\0",
        b"\0\0\0\x09\0\0\0\x01\0\0\0\x05\0\0\0\x08\0\0\0\0\0\0\0\x02\xff\xff\xff\xff",
        b"\0\0\0\x0b\0\0\0\0\0\0\0\0\0\0\0\x14",
        b"\0\0\0\x01/\0\0\0\x0aBenWasHere",
        b"\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\0\0\0\x02\0\0\0\x08zk2:3888",
        b"\0\0\0\x28\0\0\0\0\0\0\0\0\0\0\0\x01",
        b"server.1=zk1:1:2:participant\nversion=0",
        &[0xff; 4],
        &[0; 32],
    ],
};

/// Small enough that the mutator's lengths meet it.
const FIELD_BYTES_MAX: usize = 4096;

/// What a stream came to: how many things it said, their bytes, and why it ended.
#[derive(PartialEq, Debug)]
struct Outcome {
    count: usize,
    bytes: Vec<u8>,
    digests: Vec<u64>,
    error: Option<StreamError>,
}

/// The first byte chooses the stream, the second the size of pieces; the others come on it. However
/// they are cut, the same is read, and what was read is the same when it is written again.
pub fn run(bytes: &[u8]) -> Verdict {
    let [choice, size, stream @ ..] = bytes else { return Verdict::Refused };
    let size = usize::from(*size).max(1);
    let read = match choice & 3 {
        0 => |bytes: &[u8], size| election(ElectionStream::accepted(), bytes, size),
        1 => |bytes: &[u8], size| election(ElectionStream::opened(), bytes, size),
        2 => |bytes: &[u8], size| quorum(QuorumStream::of_learner(FIELD_BYTES_MAX), bytes, size),
        _ => |bytes: &[u8], size| quorum(QuorumStream::of_leader(FIELD_BYTES_MAX), bytes, size),
    };
    let whole = read(stream, stream.len().max(1));
    let pieces = read(stream, size);
    assert_eq!(whole, pieces, "pieces of {size} bytes");
    if let Some(error) = &whole.error {
        check_reason(error);
        return Verdict::Refused;
    }
    if choice & 3 != 3 {
        let again = read(&whole.bytes, size);
        assert_eq!((again.count, again.bytes), (whole.count, whole.bytes), "written again");
    }
    if whole.count == 0 { Verdict::Refused } else { Verdict::Accepted }
}

fn election(mut stream: ElectionStream, bytes: &[u8], size: usize) -> Outcome {
    let mut outcome = Outcome { count: 0, bytes: Vec::new(), digests: Vec::new(), error: None };
    for piece in bytes.chunks(size) {
        stream.feed(piece);
        loop {
            match stream.next() {
                Ok(None) => break,
                Ok(Some(ElectionItem::Initial(message))) => {
                    let _ = message.usable_addresses().count();
                    outcome.bytes.extend(to_bytes(&message));
                }
                Ok(Some(ElectionItem::Frame(frame))) => {
                    notification(&frame);
                    outcome.bytes.extend((frame.len() as u32).to_be_bytes());
                    outcome.bytes.extend(frame);
                }
                Err(error) => {
                    outcome.error = Some(error);
                    return outcome;
                }
            }
            outcome.count += 1;
        }
    }
    outcome
}

/// A notification that is taken means the same when it is written again.
fn notification(frame: &[u8]) {
    let Ok(notification) = Notification::decode(frame) else { return };
    let again = Notification::decode(&to_bytes(&notification)).expect("what was taken");
    // 40 bytes have no version.
    let version = if notification.version <= 1 { 0 } else { notification.version };
    assert_eq!(again, Notification { version, ..notification.clone() });
    if let Some(text) = notification.config_text() {
        config(&text);
    }
}

fn config(text: &str) {
    let Ok(config) = ConfigText::parse(text) else { return };
    // What a host may be has no end; a text with none that is odd is read as it was written.
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-.=:;|\n[]".contains(c);
    if text.chars().all(is_plain) {
        let again = ConfigText::parse(&config.to_string()).expect("what was printed");
        assert!(again.is_same(&config), "{text}");
    }
}

fn quorum(mut stream: QuorumStream, bytes: &[u8], size: usize) -> Outcome {
    let mut outcome = Outcome { count: 0, bytes: Vec::new(), digests: Vec::new(), error: None };
    let mut restore = Restore::new(TreeOptions::default());
    let mut zxid = Zxid::ZERO;
    for piece in bytes.chunks(size) {
        stream.feed(piece);
        loop {
            let step = if stream.is_in_snapshot() {
                stream.snapshot(&mut restore).map(|is_over| is_over.then_some(None))
            } else {
                stream.next_packet().map(|packet| packet.map(Some))
            };
            match step {
                Err(error) => {
                    outcome.error = Some(error);
                    return outcome;
                }
                Ok(None) => break,
                Ok(Some(None)) => {
                    outcome.count += 1;
                    if restore.end_snapshot(zxid, None).is_ok() {
                        let tree =
                            std::mem::replace(&mut restore, Restore::new(TreeOptions::default()))
                                .into_tree();
                        tree.check_invariants();
                        outcome.digests.push(tree.digest());
                    }
                }
                Ok(Some(Some(packet))) => {
                    outcome.count += 1;
                    outcome.bytes.extend(packet.to_bytes());
                    look_into(&packet);
                    if stream.is_in_snapshot() {
                        zxid = packet.zxid;
                        restore.begin_snapshot(zxid);
                    }
                }
            }
        }
    }
    outcome
}

/// Nothing that a packet holds makes its accessors panic, whatever it claims to be.
fn look_into(packet: &QuorumPacket) {
    let _ = packet.learner_info();
    let _ = packet.leader_protocol_version();
    let _ = packet.current_epoch();
    let _ = packet.inform_and_activate_parts();
    let _ = packet.forwarded_request();
    let _ = packet.touches();
    let _ = packet.revalidated();
    let _ = packet.revalidation();
    let _ = packet.txn_header();
    if let Some(data) = &packet.data {
        let _ = txn::decode_payload(data);
    }
    if packet.kind == PacketKind::NewLeader
        && let Some(text) = packet.config()
    {
        config(&String::from_utf8_lossy(text));
    }
}
