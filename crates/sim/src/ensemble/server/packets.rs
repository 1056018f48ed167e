//! What comes to a server over its connections, byte by byte.

use oxikeeper_proto::Zxid;
use oxikeeper_proto::quorum::QuorumPacket;
use oxikeeper_proto::quorum::stream::{ElectionItem, ElectionStream, QuorumStream};
use oxikeeper_proto::replay::ReplayTarget;
use oxikeeper_tree::{Restore, Tree, TreeOptions};
use oxikeeper_zab::arbiter::ElectionInput;
use oxikeeper_zab::history::Proposal;
use oxikeeper_zab::io::{Input, LinkId};

use super::super::fabric::{End, Port};
use super::super::ghost::Entry;
use super::{Around, PAYLOAD_BYTES_MAX, Server, Stop, apply, hash};

/// The decoder of one end of a connection.
pub enum Stream {
    /// Of the election port.
    Election(ElectionStream),
    /// Of the quorum port.
    Quorum(QuorumStream),
}

impl Stream {
    /// Of this end of a connection to this port.
    pub fn new(port: Port, side: usize) -> Stream {
        match (port, side) {
            (Port::Election, 0) => Stream::Election(ElectionStream::opened()),
            (Port::Election, _) => Stream::Election(ElectionStream::accepted()),
            (Port::Quorum, 0) => Stream::Quorum(QuorumStream::of_leader(PAYLOAD_BYTES_MAX)),
            (Port::Quorum, _) => Stream::Quorum(QuorumStream::of_learner(PAYLOAD_BYTES_MAX)),
        }
    }
}

/// A state that comes from a leader.
pub struct Received {
    /// On this link.
    pub link: LinkId,
    /// As of this transaction.
    zxid: Zxid,
    state: State,
    /// The history that it holds.
    pub log: Vec<Entry>,
}

enum State {
    Coming(Box<Restore>),
    Whole(Box<Tree>),
}

impl Received {
    /// What follows a SNAP packet.
    pub fn new(link: LinkId, zxid: Zxid, log: Vec<Entry>) -> Received {
        let mut restore = Restore::new(TreeOptions::default());
        restore.begin_snapshot(zxid);
        Received { link, zxid, state: State::Coming(Box::new(restore)), log }
    }

    fn finish(self) -> Result<Received, String> {
        let State::Coming(mut restore) = self.state else { return Ok(self) };
        restore.end_snapshot(self.zxid, None).map_err(|fault| fault.to_string())?;
        Ok(Received { state: State::Whole(Box::new(restore.into_tree())), ..self })
    }

    /// It was committed during the transfer.
    pub fn replay(&mut self, proposal: &Proposal) -> Result<(), String> {
        let State::Whole(tree) = &mut self.state else {
            return Err("a transaction for a state that has not come whole".into());
        };
        if proposal.zxid <= tree.last_zxid() {
            return Ok(());
        }
        apply(tree, proposal)?;
        self.log.push((proposal.zxid, hash(&proposal.payload)));
        Ok(())
    }

    /// The state.
    pub fn into_tree(self) -> Result<(Box<Tree>, Vec<Entry>), String> {
        match self.state {
            State::Whole(tree) => Ok((tree, self.log)),
            State::Coming(_) => Err("a state is installed that has not come whole".into()),
        }
    }
}

enum Next {
    Election(ElectionItem),
    Packet(QuorumPacket),
    Snapshot,
    Nothing,
    Broken,
}

impl Server {
    /// Something has arrived, or may have.
    ///
    /// # Errors
    /// Why the process ends.
    pub fn read(&mut self, end: End, around: &mut Around<'_>) -> Result<(), Stop> {
        loop {
            let max = if around.rng.chance(50) { around.rng.index(60) + 1 } else { 1 << 20 };
            let Some(stream) = self.stream(end) else { return Ok(()) };
            let bytes = around.fabric.read(around.now, end, max);
            if bytes.is_empty() {
                break;
            }
            match stream {
                Stream::Election(stream) => stream.feed(&bytes),
                Stream::Quorum(stream) => stream.feed(&bytes),
            }
            if self.is_receiving(end) {
                self.input(Input::SnapshotProgress(end.link()), around)?;
            }
            self.take_all(end, around)?;
        }
        if around.fabric.is_over(around.now, end) {
            return self.lost(end, around);
        }
        Ok(())
    }

    fn is_receiving(&mut self, end: End) -> bool {
        matches!(self.stream(end), Some(Stream::Quorum(stream)) if stream.is_in_snapshot())
    }

    fn stream(&mut self, end: End) -> Option<&mut Stream> {
        self.process.as_mut()?.streams.get_mut(&end)
    }

    /// A connection is of no use any more.
    fn lost(&mut self, end: End, around: &mut Around<'_>) -> Result<(), Stop> {
        let Some(process) = &mut self.process else { return Ok(()) };
        let Some(stream) = process.streams.remove(&end) else { return Ok(()) };
        self.let_go(end, around);
        let input = match stream {
            Stream::Election(_) => Input::Election(ElectionInput::Closed(end.conn())),
            Stream::Quorum(_) => Input::Closed(end.link()),
        };
        self.input(input, around)
    }

    fn take_all(&mut self, end: End, around: &mut Around<'_>) -> Result<(), Stop> {
        loop {
            let input = match self.next_of(end)? {
                Next::Nothing => return Ok(()),
                Next::Broken => return self.lost(end, around),
                Next::Election(ElectionItem::Initial(message)) => {
                    Input::Election(ElectionInput::Initial(end.conn(), message))
                }
                Next::Election(ElectionItem::Frame(payload)) => {
                    Input::Election(ElectionInput::Frame(end.conn(), payload))
                }
                Next::Packet(packet) => Input::Packet(end.link(), packet),
                Next::Snapshot => Input::SnapshotReceived(end.link()),
            };
            self.input(input, around)?;
        }
    }

    fn next_of(&mut self, end: End) -> Result<Next, Stop> {
        let Some(process) = &mut self.process else { return Ok(Next::Nothing) };
        let Some(stream) = process.streams.get_mut(&end) else { return Ok(Next::Nothing) };
        let next = match stream {
            Stream::Election(stream) => stream.next().map(|item| item.map(Next::Election)),
            Stream::Quorum(stream) if stream.is_in_snapshot() => {
                let of_this = |received: &Received| received.link == end.link();
                let Some(received) = process.received.take_if(|r| of_this(r)) else {
                    return Ok(Next::Nothing);
                };
                let mut received = received;
                let State::Coming(restore) = &mut received.state else {
                    process.received = Some(received);
                    return Ok(Next::Nothing);
                };
                match stream.snapshot(&mut **restore) {
                    Ok(true) => {
                        process.received = Some(received.finish()?);
                        return Ok(Next::Snapshot);
                    }
                    taken => {
                        process.received = Some(received);
                        taken.map(|_| None)
                    }
                }
            }
            Stream::Quorum(stream) => stream.next_packet().map(|packet| packet.map(Next::Packet)),
        };
        Ok(match next {
            Ok(Some(next)) => next,
            Ok(None) => Next::Nothing,
            Err(_) => Next::Broken,
        })
    }
}
