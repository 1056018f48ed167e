//! A learner that missed more than a leader has in memory is brought to its history from the log, a piece at
//! a time, while others go on: by DIFF, however much is committed in the meantime.

mod support;

use std::time::Duration;

use bytes::Bytes;
use oxikeeper_proto::Zxid;
use oxikeeper_proto::id::ServerId;
use oxikeeper_proto::quorum::{LearnerInfo, PacketKind, QuorumPacket};
use oxikeeper_proto::time::Now;
use oxikeeper_zab::context::Epochs;
use oxikeeper_zab::history::{History, KEPT_BYTES_MAX, Proposal};
use oxikeeper_zab::io::{Input, LinkId, Output, Ticket};
use oxikeeper_zab::leader::Leader;
use support::Desk;

const START: Now = Now::from_millis(1000);
const LIMIT: usize = 500;
const LEARNER: LinkId = LinkId(1);
/// The other voter, which is always in step.
const WITNESS: LinkId = LinkId(99);

fn zxid(counter: u32) -> Zxid {
    Zxid::from_parts(1, counter)
}

fn proposal(counter: u32) -> Proposal {
    Proposal { zxid: zxid(counter), payload: Bytes::from_static(b"a transaction") }
}

/// A leader with a history of `count` transactions in its epoch, and what it has said.
struct Lead {
    desk: Desk,
    leader: Leader,
    now: Now,
    count: u32,
    /// Everything that was sent to the learner.
    sent: Vec<QuorumPacket>,
}

impl Lead {
    fn with(count: u32) -> Lead {
        let history = History::new(LIMIT, Zxid::ZERO, Vec::new());
        let mut desk = Desk::of(2, [1, 2, 99], history, Epochs { accepted: 0, current: 0 });
        let leader = desk.with(|cx| Leader::start(START, 1, cx));
        let mut lead = Lead { desk, leader, now: START, count: 0, sent: Vec::new() };
        lead.greet(WITNESS, 99, Zxid::ZERO);
        lead.step(Input::Packet(WITNESS, QuorumPacket::ack(zxid(0))));
        assert!(lead.leader.is_established());
        (0..count).for_each(|_| lead.commit_one());
        lead
    }

    /// Takes an input; files are written at once. Returns the ticket of a log to be read.
    fn step(&mut self, input: Input) -> Option<Ticket> {
        let now = self.now;
        self.desk.with(|cx| self.leader.step(now, input, cx));
        while let Some((_, written)) = self.desk.epoch_file() {
            self.desk.out.clear();
            self.desk.with(|cx| self.leader.step(now, written, cx));
        }
        let mut asked = None;
        for output in std::mem::take(&mut self.desk.out) {
            match output {
                Output::Send(LEARNER, packet) => self.sent.push(packet),
                Output::ReadLog { ticket, .. } => asked = Some(ticket),
                _ => {}
            }
        }
        asked
    }

    fn greet(&mut self, link: LinkId, server: i64, last: Zxid) -> Option<Ticket> {
        self.step(Input::Accepted(link));
        let info = LearnerInfo::new(ServerId(server), 0);
        self.step(Input::Packet(link, QuorumPacket::follower_info(0, &info)));
        self.step(Input::Packet(link, QuorumPacket::ack_epoch(last, Some(0))))
    }

    fn commit_one(&mut self) {
        self.count += 1;
        let (next, last) = (proposal(self.count), zxid(self.count));
        self.step(Input::Propose(next));
        self.desk.history.set_durable(last);
        self.step(Input::LogDurable(last));
        self.step(Input::Packet(WITNESS, QuorumPacket::ack(last)));
        assert_eq!(self.desk.history.last_committed(), last);
    }

    /// What the log gives up to the oldest transaction that was in memory when it was asked for.
    fn log(from: u32, to: u32) -> Option<Vec<Proposal>> {
        Some((from..=to).map(proposal).collect())
    }

    /// Until NEWLEADER is sent; how many ticks that took.
    fn feed(&mut self) -> usize {
        let mut ticks = 0;
        while !self.sent.iter().any(|packet| packet.kind == PacketKind::NewLeader) {
            ticks += 1;
            assert!(ticks < 1_000, "it comes to an end");
            let next = self.desk.with(|cx| self.leader.next_deadline(cx)).expect("it goes on");
            assert!(next.since(self.now) <= Duration::from_millis(1), "soon");
            self.now = next.max(self.now);
            self.step(Input::Tick);
        }
        ticks
    }

    /// The zxids of these packets, in the order of sending.
    fn zxids(&self, kind: PacketKind) -> Vec<Zxid> {
        self.sent.iter().filter(|packet| packet.kind == kind).map(|packet| packet.zxid).collect()
    }
}

fn all(from: u32, to: u32) -> Vec<Zxid> {
    (from..=to).map(zxid).collect()
}

#[test]
fn much_that_is_committed_while_the_log_is_read_makes_no_snapshot_of_a_diff() {
    let mut lead = Lead::with(2_000);
    let ticket = lead.greet(LEARNER, 1, zxid(700)).expect("the log is to be read");
    // More than the usual number: with nothing kept, what lies between the log and memory would be gone.
    (0..3_000).for_each(|_| lead.commit_one());
    lead.step(Input::LogRead { ticket, records: Lead::log(700, 1_501) });
    assert_eq!(
        lead.sent.get(1).map(|packet| packet.kind),
        Some(PacketKind::Diff),
        "behind LEADERINFO"
    );
    lead.feed();
    assert_eq!(lead.zxids(PacketKind::Proposal), all(701, 5_000));
    assert_eq!(lead.zxids(PacketKind::Commit), all(701, 5_000));
    assert_eq!(lead.desk.history.committed().count(), LIMIT, "nothing is kept for longer");
}

#[test]
fn what_is_kept_for_a_reader_ends_with_him_and_at_a_bound() {
    let mut lead = Lead::with(2_000);
    lead.greet(LEARNER, 1, zxid(700)).expect("the log is to be read");
    (0..1_000).for_each(|_| lead.commit_one());
    assert_eq!(lead.desk.history.committed().count(), LIMIT + 1_000);
    lead.step(Input::Closed(LEARNER));
    assert_eq!(lead.desk.history.committed().count(), LIMIT);

    let mut history = History::new(LIMIT, Zxid::ZERO, Vec::new());
    history.keep_from(Some(zxid(1)));
    let payload = Bytes::from(vec![0; KEPT_BYTES_MAX / 1_000]);
    for counter in 1..=2_000 {
        history.push(Proposal { zxid: zxid(counter), payload: payload.clone() });
        history.commit_to(zxid(counter));
    }
    assert_eq!(history.committed().count(), 1_000);
    assert!(!history.is_joined_by(zxid(900)), "that reader will have to get a snapshot");
}

#[test]
fn a_long_diff_goes_in_pieces_and_what_comes_meanwhile_goes_behind_it() {
    let mut lead = Lead::with(3_000);
    let ticket = lead.greet(LEARNER, 1, zxid(100)).expect("the log is to be read");
    lead.step(Input::LogRead { ticket, records: Lead::log(100, 2_501) });
    let first = lead.zxids(PacketKind::Proposal).len();
    assert!((1..1_000).contains(&first), "{first} at once");
    lead.commit_one();
    lead.step(Input::Propose(proposal(3_002)));
    assert_eq!(lead.zxids(PacketKind::Proposal).len(), first, "it waits its turn");
    let ticks = lead.feed();
    assert!(ticks >= 2_900 / first - 1, "{ticks} pieces");
    assert_eq!(lead.zxids(PacketKind::Proposal), all(101, 3_002));
    assert_eq!(lead.zxids(PacketKind::Commit), all(101, 3_001), "the last one has no quorum yet");
    let last = lead.sent.last().expect("packets");
    assert_eq!(last.kind, PacketKind::NewLeader, "behind all of it");
    // From here on it is served as anybody.
    lead.step(Input::Packet(LEARNER, QuorumPacket::ack(zxid(0))));
    assert!(lead.sent.iter().any(|packet| packet.kind == PacketKind::UpToDate));
}
