//! What one half of a peer needs around it.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::sync::Arc;

use oxikeeper_proto::id::ServerId;
use oxikeeper_proto::quorum::QuorumPacket;
use oxikeeper_zab::config::PeerConfig;
use oxikeeper_zab::context::{Context, Epochs, Event};
use oxikeeper_zab::history::History;
use oxikeeper_zab::io::{Input, Output};
use oxikeeper_zab::verifier::{Quorums, Verifier};

/// What a half works with, of server 1 of three.
pub struct Desk {
    pub config: Arc<PeerConfig>,
    pub quorums: Quorums,
    pub history: History,
    pub epochs: Epochs,
    pub out: Vec<Output>,
    pub events: Vec<Event>,
    pub last_ticket: u64,
}

impl Desk {
    pub fn new(history: History, epochs: Epochs) -> Desk {
        Desk::of(1, [1, 2, 3], history, epochs)
    }

    /// Of this server among these voters.
    pub fn of(
        my_id: i64,
        voters: impl IntoIterator<Item = i64>,
        history: History,
        epochs: Epochs,
    ) -> Desk {
        let verifier = Verifier::majority(voters.into_iter().map(ServerId), []).unwrap();
        Desk {
            config: Arc::new(PeerConfig::new(ServerId(my_id))),
            quorums: Quorums::new(Arc::new(verifier)),
            history,
            epochs,
            out: Vec::new(),
            events: Vec::new(),
            last_ticket: 0,
        }
    }

    pub fn with<R>(&mut self, work: impl FnOnce(&mut Context<'_>) -> R) -> R {
        work(&mut Context {
            config: &self.config,
            quorums: &mut self.quorums,
            history: &mut self.history,
            epochs: &mut self.epochs,
            out: &mut self.out,
            events: &mut self.events,
            last_ticket: &mut self.last_ticket,
        })
    }

    /// The packets sent since the last call.
    pub fn sent(&mut self) -> Vec<QuorumPacket> {
        let sent = |output| match output {
            Output::Send(_, packet) => Some(packet),
            _ => None,
        };
        self.out.drain(..).filter_map(sent).collect()
    }

    /// The epoch file that is to be written.
    pub fn epoch_file(&self) -> Option<(u32, Input)> {
        self.out.iter().rev().find_map(|output| match output {
            Output::WriteEpoch { epoch, ticket, .. } => {
                Some((*epoch, Input::EpochWritten(*ticket)))
            }
            _ => None,
        })
    }
}
