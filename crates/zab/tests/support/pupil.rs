//! A learner of ours that hears what an Apache leader said.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::BTreeSet;

use oxikeeper_proto::id::ServerId;
use oxikeeper_proto::quorum::stream::QuorumStream;
use oxikeeper_proto::quorum::{ConfigText, QuorumPacket};
use oxikeeper_proto::replay::{ReplayFault, SnapshotSink};
use oxikeeper_proto::stat::StatPersisted;
use oxikeeper_proto::time::Now;
use oxikeeper_proto::{Acl, SessionId, Zxid};
use oxikeeper_zab::context::Event;
use oxikeeper_zab::io::{ConfigStep, FromLearner, Input, LinkId, Output, Role};
use oxikeeper_zab::learner::Learner;

use crate::recording::Conversation;
use crate::support::Desk;

pub const LINK: LinkId = LinkId(1);
pub const NOW: Now = Now::from_millis(1000);
pub const FIELD_BYTES_MAX: usize = 1 << 20;

/// Takes every record of a snapshot.
struct Anything;

impl SnapshotSink for Anything {
    fn session(&mut self, _: SessionId, _: i32) -> Result<(), ReplayFault> {
        Ok(())
    }

    fn acl(&mut self, _: i64, _: Vec<Acl>) -> Result<(), ReplayFault> {
        Ok(())
    }

    fn node(
        &mut self,
        _: &str,
        _: Option<&[u8]>,
        _: i64,
        _: &StatPersisted,
    ) -> Result<(), ReplayFault> {
        Ok(())
    }
}

/// A learner of ours whose disk takes no time.
pub struct Pupil {
    pub desk: Desk,
    learner: Learner,
    leader: ServerId,
    pub sent: Vec<QuorumPacket>,
    pub role: Option<Role>,
    receives: Option<Zxid>,
    /// Configurations by their versions, and what became of them.
    pub configs: Vec<(i64, ConfigStep)>,
}

impl Pupil {
    pub fn new(mut desk: Desk, leader: ServerId, is_observer: bool) -> Pupil {
        let learner = desk.with(|cx| Learner::start(NOW, leader, is_observer, cx));
        let (sent, configs) = (Vec::new(), Vec::new());
        Pupil { desk, learner, leader, sent, role: None, receives: None, configs }
    }

    /// Why it left its leader.
    pub fn lost(&self) -> Option<&str> {
        self.desk.events.iter().find_map(|event| match event {
            Event::Lost(why) => Some(why.as_str()),
            _ => None,
        })
    }

    /// Hears the leader's part of a conversation, or as much as it listens to. Returns the kinds of
    /// packets there were.
    pub fn hear(&mut self, conversation: &Conversation) -> BTreeSet<String> {
        let mut kinds = BTreeSet::new();
        let context = format!("connection {}: {}", conversation.connection, conversation.step);
        self.step(Input::Connected { link: LINK, to: self.leader });
        let mut stream = QuorumStream::of_leader(FIELD_BYTES_MAX);
        for (_, _, bytes) in conversation.said.iter().filter(|(forth, ..)| !forth) {
            stream.feed(bytes);
            loop {
                if stream.is_in_snapshot() {
                    assert!(self.receives.is_some(), "{context}: a snapshot is taken");
                    match stream.snapshot(&mut Anything).map_err(|error| error.to_string()) {
                        Ok(true) => self.step(Input::SnapshotReceived(LINK)),
                        Ok(false) => break,
                        Err(error) => panic!("{context}: {error}"),
                    }
                }
                match stream.next_packet().expect("packets") {
                    Some(packet) => {
                        kinds.insert(format!("{:?}", packet.kind));
                        self.step(Input::Packet(LINK, packet));
                    }
                    None if stream.is_in_snapshot() => {}
                    None => break,
                }
            }
        }
        kinds
    }

    fn step(&mut self, input: Input) {
        let mut inputs = vec![input];
        while !inputs.is_empty() {
            let input = inputs.remove(0);
            if let Input::LogDurable(zxid) = &input {
                self.desk.history.set_durable(*zxid);
            }
            self.desk.with(|cx| self.learner.step(NOW, input, cx));
            for output in std::mem::take(&mut self.desk.out) {
                match output {
                    Output::Send(_, packet) => self.sent.push(packet),
                    Output::WriteEpoch { ticket, .. } => inputs.push(Input::EpochWritten(ticket)),
                    Output::Append(proposal) => inputs.push(Input::LogDurable(proposal.zxid)),
                    Output::Truncate { to, ticket } => {
                        inputs.push(Input::Truncated { ticket, last: to, tail: Vec::new() });
                    }
                    Output::ReceiveSnapshot { zxid, .. } => self.receives = Some(zxid),
                    Output::InstallSnapshot { ticket, zxid } => {
                        inputs.push(Input::SnapshotInstalled { ticket, zxid });
                    }
                    Output::WantTouches => {
                        inputs.push(Input::ToLeader(FromLearner::Touches(Vec::new())));
                    }
                    Output::Role(role) => self.role = Some(role),
                    Output::Config { text, step } => {
                        let text = std::str::from_utf8(&text).expect("a text");
                        let config = ConfigText::parse(text).expect("a configuration");
                        self.configs.push((config.version, step));
                    }
                    _ => {}
                }
            }
        }
    }
}
