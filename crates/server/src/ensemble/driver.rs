//! From the peer's outputs to the threads that carry them out.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use oxikeeper_node::time::Now;
use oxikeeper_proto::Encode;
use oxikeeper_proto::Zxid;
use oxikeeper_proto::id::ServerId;
use oxikeeper_proto::quorum::{ConfigText, PacketKind};
use oxikeeper_zab::io::{ConfigStep, Output};
use oxikeeper_zab::peer::Peer;
use tracing::error;

use super::disk::DiskJob;
use super::feeder::FeedJob;
use super::net::{NetHandle, Order};
use super::outlet::Outlet;
use super::standing::SharedStanding;
use crate::log_writer::LogJob;
use crate::shared::Shared;

/// Connections with other servers that something waits to be sent on.
#[derive(Default)]
pub struct Unsent {
    /// The connections, some of them perhaps twice.
    pub outlets: Vec<Arc<Outlet>>,
    /// Something else than proposals is among it.
    pub is_urgent: bool,
}

/// See the module's head. Called by whoever runs the Core, one at a time.
pub struct Driver {
    /// The thread of the ports.
    pub net: Arc<NetHandle>,
    /// The log writer.
    pub log: Sender<LogJob>,
    /// Whoever reads for learners.
    pub feeder: Sender<FeedJob>,
    /// This server.
    pub my_id: ServerId,
    /// For operators.
    pub standing: Arc<SharedStanding>,
}

impl Driver {
    /// Hands out what the peer wants done, in order, and says when it wants to be told of the time.
    /// What is to be sent waits in its connection, which is added to `unsent` for the caller to flush.
    pub fn carry_out(
        &self,
        outputs: &mut Vec<Output>,
        unsent: &mut Unsent,
        peer: &Peer,
        shared: &Shared,
        now: Now,
        deadline: Option<Now>,
    ) {
        if outputs.is_empty() {
            return self.net.tick_by(deadline);
        }
        let mut orders = Vec::new();
        // What `/zookeeper/config` shows from now on.
        let mut shown = None;
        let outlets = self.net.outlets.lock();
        let mut standing = self.standing.lock();
        standing.set_role(peer.role(), self.my_id, now);
        for output in outputs.drain(..) {
            standing.note(&output, |server| peer.quorums().is_voter(server));
            match output {
                Output::Send(link, packet) => {
                    let Some(outlet) = outlets.get(&link) else { continue };
                    unsent.is_urgent |= packet.kind != PacketKind::Proposal;
                    if outlet.put(|out| packet.encode(out)) {
                        unsent.outlets.push(Arc::clone(outlet));
                    }
                }
                // Nobody takes a job any more when the process ends.
                Output::WriteEpoch { kind, epoch, ticket } => {
                    let _ = self.log.send(LogJob::Peer(DiskJob::Epoch { kind, epoch, ticket }));
                }
                Output::Truncate { to, ticket } => {
                    let _ = self.log.send(LogJob::Peer(DiskJob::Truncate { to, ticket }));
                }
                Output::ReadLog { from, to, ticket } => {
                    let _ = self.feeder.send(FeedJob::Read { from, to, ticket });
                }
                Output::Halt(reason) => {
                    error!("{reason}");
                    std::process::exit(1);
                }
                Output::Config { text, step } => {
                    let config = Arc::new(parsed(&text));
                    if let ConfigStep::Committed { in_log } = step {
                        self.move_client_port(standing.members.as_deref(), &config, shared);
                        standing.members = Some(Arc::clone(&config));
                        if !in_log {
                            shown = Some((text, Zxid::from_wire(config.version)));
                        }
                    }
                    let job = DiskJob::Config { config: Arc::clone(&config), step };
                    let _ = self.log.send(LogJob::Peer(job));
                    orders.push(Order::Members { config, step });
                }
                Output::Election(output) => orders.push(Order::Election(output)),
                output => orders.push(Order::Peer(output)),
            }
        }
        // Who answers an operator holds the tree and asks for these.
        drop(standing);
        drop(outlets);
        if let Some((text, version)) = shown {
            shared.tree.write().set_config(&text, version);
        }
        if !orders.is_empty() {
            self.net.order(orders);
        }
        self.net.tick_by(deadline);
    }

    /// Clients connect where the own line says, if it has begun to say so or says otherwise than before.
    fn move_client_port(&self, old: Option<&ConfigText>, new: &ConfigText, shared: &Shared) {
        let place = |config: &ConfigText| config.servers.get(&self.my_id)?.client.clone();
        if let Some(wanted) = place(new)
            && old.and_then(place).as_ref() != Some(&wanted)
        {
            shared.client_port.move_to(wanted);
        }
    }
}

fn parsed(text: &[u8]) -> ConfigText {
    let text = std::str::from_utf8(text).expect("a peer names configurations as it prints them");
    ConfigText::parse(text).expect("a peer names configurations that it has read")
}
