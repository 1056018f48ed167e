//! What is gathered from the threads for an answer.

use std::time::Duration;

use oxikeeper_node::command::{ClientLine, FrontStats};
use oxikeeper_node::core::CoreStats;
use oxikeeper_node::namespaces::Namespaces;
use oxikeeper_proto::{SessionId, Zxid};
use tokio::time::{Instant, sleep, timeout_at};

use super::State;
use crate::commands::Want;
use crate::engine::Machine;
use crate::metrics::CoreStages;

/// How long a thread may take to answer before it counts as stuck.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the admin thread waits for the Core at a time, before it serves others.
const LOOK_STEP: Duration = Duration::from_millis(2);
/// The rest between two such waits.
const LOOK_REST: Duration = Duration::from_millis(10);

/// All that answers are made of.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Sums over all Fronts.
    pub stats: FrontStats,
    /// Open connections.
    pub connections: usize,
    /// Requests not answered.
    pub outstanding: usize,
    /// Watches.
    pub watches: usize,
    /// Connections, if they were wanted.
    pub clients: Vec<ClientLine>,
    /// What sessions watch, if that was wanted.
    pub watched: Vec<(SessionId, Vec<String>)>,
    /// The last transaction applied.
    pub zxid: Zxid,
    /// Nodes as Apache counts them.
    pub node_count: usize,
    /// Bytes of paths and data.
    pub data_size: u64,
    /// Ephemeral nodes.
    pub ephemerals: usize,
    /// Sessions that live.
    pub sessions: usize,
    /// What the Core counts.
    pub core: CoreStats,
    /// How long its stages take.
    pub stages: CoreStages,
    /// What was read below each node under the root.
    pub reads: Namespaces,
}

impl State {
    /// Has all reactors answer a question.
    ///
    /// # Errors
    /// The one that does not answer, in words.
    pub async fn ask(&self, want: Option<Want>) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        let question = self.commands.ask(want, &self.shared);
        loop {
            let answered = self.answered.notified();
            tokio::pin!(answered);
            // From here on no answer is missed.
            answered.as_mut().enable();
            if self.commands.is_answered(question) {
                return Ok(());
            }
            if timeout_at(deadline, answered).await.is_err() {
                let stuck: Vec<String> = self.commands.silent(question);
                return Err(format!(
                    "{} has not come round for {} s",
                    stuck.join(" and "),
                    PATIENCE.as_secs()
                ));
            }
        }
    }

    /// Looks at the Core, also told how long the log writer has been at its batch.
    ///
    /// # Errors
    /// Somebody holds it for too long, in words.
    pub async fn look_at_core<R>(
        &self,
        mut look: impl FnMut(&mut Machine, Option<Duration>) -> R,
    ) -> Result<R, String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(seen) = self.shared.engine.look(LOOK_STEP, &self.shared, &mut look) {
                return Ok(seen);
            }
            if Instant::now() > deadline {
                return Err(format!("the Core has been held for {} s", PATIENCE.as_secs()));
            }
            sleep(LOOK_REST).await;
        }
    }

    /// Gathers what there is to tell.
    ///
    /// # Errors
    /// The thread that is stuck, in words.
    pub async fn gather(&self, want: Option<Want>) -> Result<Facts, String> {
        let asked = self.ask(want).await;
        let mut facts = Facts::default();
        for desk in self.commands.desks() {
            let report = desk.report.lock();
            facts.stats.merge(&report.stats);
            facts.reads.merge(&report.reads);
            facts.connections += report.connections;
            facts.outstanding += report.outstanding;
            facts.watches += report.watches;
            if want == Some(Want::Clients) {
                facts.clients.extend(report.clients.iter().cloned());
            }
            if want == Some(Want::WatchedPaths) {
                facts.watched.extend(report.watched.iter().cloned());
            }
        }
        if want == Some(Want::WatchedPaths) {
            self.commands.forget_watched();
        }
        asked?;
        (facts.core, facts.stages, facts.sessions) =
            self.look_at_core(|machine, _| machine.stats()).await?;
        let tree = self.shared.tree.read();
        facts.zxid = tree.last_zxid();
        // Apache counts the root twice: once as "", once as "/".
        facts.node_count = tree.node_count() + 1;
        facts.data_size = tree.data_size();
        facts.ephemerals = tree.ephemeral_count();
        Ok(facts)
    }
}
