//! The thread that reads for learners: parts of the log, and snapshots of the tree, which it writes to
//! their connections itself, a piece at a time, with rests, and no faster than each learner takes them.
//! No ping waits for it.

use std::io::{self, Write};
use std::net::TcpStream as StdStream;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use oxikeeper_node::core::Input as CoreInput;
use oxikeeper_proto::Zxid;
use oxikeeper_proto::quorum::stream::SnapshotSender;
use oxikeeper_storage::{Disk, LogRange, StorageError, sync_limit};
use oxikeeper_zab::history::Proposal;
use oxikeeper_zab::io::{Input, LinkId, Ticket};
use tracing::{info, warn};

use super::outlet::Outlet;
use crate::bursts::Bursts;
use crate::clock::Clock;
use crate::engine::{Runner, Work};
use crate::files::Files;
use crate::shared::Shared;

/// Nodes walked in one hold of the tree's lock.
const NODES_PER_HOLD: usize = 1024;
/// Bytes of the log read at a time.
const READ_BYTES: usize = 4 << 20;
/// How often to look whether the tree stands where it has to, and no other walk is under way.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// Something for the thread.
pub enum FeedJob {
    /// Read the log.
    Read {
        /// The learner's last zxid.
        from: Zxid,
        /// No further than this.
        to: Zxid,
        /// Of the request.
        ticket: Ticket,
    },
    /// Send SNAP and the state, as soon as it stands at `at_least`.
    Snapshot {
        /// To whom.
        link: LinkId,
        /// The state must contain this.
        at_least: Zxid,
        /// The connection.
        outlet: Arc<Outlet>,
        /// What has to leave before.
        before: Vec<u8>,
    },
}

/// What the thread needs.
pub struct Feeder<D: Disk> {
    /// The logs.
    pub files: Files<D>,
    /// `snapshotSizeFactor`; none is off.
    pub size_factor: Option<f64>,
    /// The tree, and where it reports.
    pub shared: Arc<Shared>,
    /// How long things take.
    pub clock: Clock,
    /// A learner that takes nothing for so long is given up.
    pub patience: Duration,
}

impl<D: Disk> Feeder<D> {
    /// Does jobs until nobody gives any more.
    pub fn run(self, jobs: &Receiver<FeedJob>) {
        while let Ok(job) = jobs.recv() {
            match job {
                FeedJob::Read { from, to, ticket } => {
                    let records = self.read(from, to).unwrap_or_else(|error| {
                        warn!(%error, "the log cannot be read for a learner; it gets a snapshot");
                        None
                    });
                    self.say(Input::LogRead { ticket, records });
                }
                FeedJob::Snapshot { link, at_least, outlet, before } => {
                    match self.send(at_least, outlet.socket(), before) {
                        Ok(zxid) => {
                            outlet.give_back();
                            self.say(Input::SnapshotSent { link, zxid });
                        }
                        // The thread of the ports sees that it is over, and tells the peer.
                        Err(error) => {
                            warn!(%error, "a learner did not take its snapshot");
                            outlet.shut_down();
                        }
                    }
                }
            }
        }
    }

    fn say(&self, input: Input) {
        self.shared.run_core([Work::Peer(input)], Runner::Other);
    }

    fn read(&self, from: Zxid, to: Zxid) -> Result<Option<Vec<Proposal>>, StorageError> {
        let Files { disk, dirs, recover, .. } = &self.files;
        let Some(factor) = self.size_factor else { return Ok(None) };
        let Some(limit) = sync_limit(&**disk, dirs, factor)? else { return Ok(None) };
        let range = LogRange::open(disk, dirs, from, to, limit, recover.payload_bytes_max)?;
        let Some(mut range) = range else { return Ok(None) };
        let mut found = Vec::new();
        loop {
            let piece = range.read(READ_BYTES)?;
            if range.is_too_long() {
                return Ok(None);
            }
            if piece.is_empty() {
                return Ok(Some(found));
            }
            found.extend(
                piece
                    .into_iter()
                    .map(|record| Proposal { zxid: record.zxid, payload: record.payload.into() }),
            );
        }
    }

    /// Sends the state; returns where it stands.
    fn send(&self, at_least: Zxid, stream: &StdStream, before: Vec<u8>) -> io::Result<Zxid> {
        let began = self.clock.now();
        let mut walk = loop {
            match self.shared.engine.begin_walk(&self.shared, at_least) {
                Some(walk) => break walk,
                None if self.shared.is_stopping() => return Err(io::ErrorKind::Interrupted.into()),
                None => thread::sleep(LOOK_INTERVAL),
            }
        };
        let zxid = walk.zxid();
        info!(%zxid, "sending a snapshot to a learner");
        let mut writer = PatientWriter::new(stream, self.patience);
        let sent =
            writer.as_mut().map_err(|error| io::Error::from(error.kind())).and_then(|writer| {
                let mut bytes = before;
                let mut sender = SnapshotSender::begin(zxid, &mut bytes);
                let mut bursts = Bursts::to_network();
                writer.write_all(&bytes)?;
                loop {
                    bytes.clear();
                    let tree = self.shared.tree.read();
                    if !tree.has_walk() {
                        return Err(io::Error::other("the state was replaced"));
                    }
                    let is_done = tree.walk_snapshot(&mut walk, &mut bytes, NODES_PER_HOLD);
                    drop(tree);
                    writer.write_all(sender.part(&bytes))?;
                    if is_done {
                        break;
                    }
                    bursts.wrote(bytes.len());
                }
                bytes.clear();
                sender.end(&mut bytes);
                writer.write_all(&bytes)
            });
        let mut tree = self.shared.tree.write();
        if tree.has_walk() {
            tree.end_snapshot(walk);
        }
        drop(tree);
        let took_ms = self.clock.now().since(began).as_millis() as u64;
        self.shared.run_core([CoreInput::SnapshotFinished { took_ms: 0 }], Runner::Other);
        sent?;
        info!(%zxid, took_ms, "sent a snapshot to a learner");
        Ok(zxid)
    }
}

/// Writes to a socket that does not block, and waits for room, but not for ever.
struct PatientWriter {
    socket: TcpStream,
    poll: Poll,
    events: Events,
    patience: Duration,
}

impl PatientWriter {
    fn new(stream: &StdStream, patience: Duration) -> io::Result<PatientWriter> {
        let mut socket = TcpStream::from_std(stream.try_clone()?);
        let poll = Poll::new()?;
        poll.registry().register(&mut socket, Token(0), Interest::WRITABLE)?;
        Ok(PatientWriter { socket, poll, events: Events::with_capacity(4), patience })
    }
}

impl Write for PatientWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.socket.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.poll.poll(&mut self.events, Some(self.patience))?;
                    if self.events.is_empty() {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                }
                done => return done,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
