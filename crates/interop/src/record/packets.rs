//! Recorded bytes cut into what they say, and written down.

use std::collections::BTreeMap;

use oxikeeper_proto::jute::to_bytes;
use oxikeeper_proto::quorum::limits::FIELD_BYTES_MAX_DEFAULT;
use oxikeeper_proto::quorum::{
    ElectionItem, ElectionStream, Notification, PacketKind, QuorumPacket, QuorumStream,
};
use oxikeeper_proto::replay::Discard;

use super::hex;
use super::tap::{Event, Port};

/// One direction of a connection.
enum Direction {
    Election(ElectionStream),
    Quorum(QuorumStream),
}

/// What was said, and its bytes.
enum Said {
    Initial(Vec<u8>),
    Frame(Vec<u8>),
    Packet(QuorumPacket, Vec<u8>),
    Snapshot(Vec<u8>),
}

/// Cuts one direction at a time.
struct Cutter {
    direction: Direction,
    /// Bytes of which it is not known what they are.
    pending: Vec<u8>,
}

impl Cutter {
    fn new(port: Port, forth: bool) -> Cutter {
        let direction = match (port, forth) {
            (Port::Election, true) => Direction::Election(ElectionStream::accepted()),
            (Port::Election, false) => Direction::Election(ElectionStream::opened()),
            (Port::Quorum, true) => {
                Direction::Quorum(QuorumStream::of_learner(FIELD_BYTES_MAX_DEFAULT))
            }
            (Port::Quorum, false) => {
                Direction::Quorum(QuorumStream::of_leader(FIELD_BYTES_MAX_DEFAULT))
            }
        };
        Cutter { direction, pending: Vec::new() }
    }

    /// Cuts off what is whole. What is encoded again has to be what was recorded: the lengths of
    /// records come from that.
    fn feed(&mut self, bytes: &[u8]) -> Vec<Said> {
        let mut said = Vec::new();
        // Byte by byte: so it is seen where a snapshot ends.
        for &byte in bytes {
            self.pending.push(byte);
            match &mut self.direction {
                Direction::Election(stream) => {
                    stream.feed(&[byte]);
                    match stream.next().expect("Apache's bytes are sound") {
                        Some(ElectionItem::Initial(message)) => {
                            assert_eq!(to_bytes(&message), self.pending, "encoded as recorded");
                            said.push(Said::Initial(std::mem::take(&mut self.pending)));
                        }
                        Some(ElectionItem::Frame(_)) => {
                            said.push(Said::Frame(std::mem::take(&mut self.pending)));
                        }
                        None => {}
                    }
                }
                Direction::Quorum(stream) => {
                    stream.feed(&[byte]);
                    if stream.is_in_snapshot() {
                        if stream.snapshot(&mut Discard).expect("Apache's bytes are sound") {
                            said.push(Said::Snapshot(std::mem::take(&mut self.pending)));
                        }
                    } else if let Some(packet) =
                        stream.next_packet().expect("Apache's bytes are sound")
                    {
                        assert_eq!(packet.to_bytes(), self.pending, "encoded as recorded");
                        said.push(Said::Packet(packet, std::mem::take(&mut self.pending)));
                    }
                }
            }
        }
        said
    }
}

/// Everything that is said, in order: the index of its event, its connection, its direction.
fn all(events: &[Event]) -> Vec<(usize, usize, bool, Said)> {
    let mut ports = BTreeMap::new();
    let mut cutters: BTreeMap<(usize, bool), Cutter> = BTreeMap::new();
    let mut all = Vec::new();
    for (index, event) in events.iter().enumerate() {
        match event {
            Event::Opened { connection, port, .. } => {
                ports.insert(*connection, *port);
            }
            Event::Bytes { connection, forth, bytes } => {
                let cutter = cutters
                    .entry((*connection, *forth))
                    .or_insert_with(|| Cutter::new(ports[connection], *forth));
                let said = cutter.feed(bytes);
                all.extend(said.into_iter().map(|said| (index, *connection, *forth, said)));
            }
            Event::Step(_) | Event::Closed { .. } => {}
        }
    }
    all
}

fn packets(events: &[Event], from: usize) -> Vec<QuorumPacket> {
    let said = all(events).into_iter().filter(|(index, ..)| *index >= from);
    said.filter_map(|(.., said)| match said {
        Said::Packet(packet, _) => Some(packet),
        _ => None,
    })
    .collect()
}

/// How many packets of a kind there were from this event on.
pub fn count(events: &[Event], from: usize, kind: PacketKind) -> usize {
    packets(events, from).iter().filter(|packet| packet.kind == kind).count()
}

/// The types of transactions proposed from this event on.
pub fn txn_types(events: &[Event], from: usize) -> Vec<i32> {
    let packets = packets(events, from);
    let proposals = packets.iter().filter(|packet| packet.kind == PacketKind::Proposal);
    proposals.map(|packet| packet.txn_header().expect("a header").kind).collect()
}

/// The states in the notifications from this event on.
pub fn notifications(events: &[Event], from: usize) -> Vec<i32> {
    let said = all(events).into_iter().filter(|(index, ..)| *index >= from);
    said.filter_map(|(.., said)| match said {
        Said::Frame(frame) => Notification::decode(&frame[4..]).ok().map(|n| n.state.to_wire()),
        _ => None,
    })
    .collect()
}

/// The recording as text. Its form is described in `fixtures/quorum/PROVENANCE.md`.
pub fn text(events: &[Event]) -> String {
    let mut said = all(events).into_iter().peekable();
    let mut out = String::new();
    for (index, event) in events.iter().enumerate() {
        match event {
            Event::Step(what) => out.push_str(&format!("== {what}\n")),
            Event::Opened { connection, port, from, to } => {
                let port = match port {
                    Port::Quorum => "quorum",
                    Port::Election => "election",
                };
                out.push_str(&format!("{connection} = {port} {from}>{to}\n"));
            }
            Event::Closed { connection } => out.push_str(&format!("{connection} x\n")),
            Event::Bytes { .. } => {
                while let Some((_, connection, forth, said)) =
                    said.next_if(|(event, ..)| *event == index)
                {
                    let arrow = if forth { '>' } else { '<' };
                    let (name, bytes) = named(&said);
                    out.push_str(&format!("{connection} {arrow} {name} {}\n", hex(bytes)));
                }
            }
        }
    }
    out
}

fn named(said: &Said) -> (String, &[u8]) {
    match said {
        Said::Initial(bytes) => ("INITIAL".to_owned(), bytes),
        Said::Frame(bytes) => ("NOTIFICATION".to_owned(), bytes),
        Said::Snapshot(bytes) => ("SNAPSHOT".to_owned(), bytes),
        Said::Packet(packet, bytes) => (format!("{:?}", packet.kind).to_uppercase(), bytes),
    }
}
