//! Gathers what the four-letter words tell.
//!
//! A word asks all reactors to report; the one that has to answer does so once all have.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use oxikeeper_node::command::{self, FourLetterWord, FrontStats, ServerView};

use crate::environment;
use crate::reactor::Desk;
use crate::shared::Shared;

/// Knows all reactors' desks.
pub struct Commands {
    desks: Vec<Arc<Desk>>,
    /// The number of the last question.
    asked: AtomicU64,
}

impl Commands {
    /// For these reactors.
    pub fn new(desks: Vec<Arc<Desk>>) -> Commands {
        Commands { desks, asked: AtomicU64::new(0) }
    }

    /// The number of the last question: whoever has not answered it should.
    pub fn last_question(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    /// Asks all reactors to report; returns the question's number.
    pub fn ask(&self, shared: &Shared) -> u64 {
        let question = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        poke_all(shared);
        question
    }

    /// Whether all reactors have reported since this question.
    pub fn is_answered(&self, question: u64) -> bool {
        self.desks.iter().all(|desk| desk.answered.load(Ordering::SeqCst) >= question)
    }

    /// The answer to a word that is allowed, from what the reactors have reported.
    pub fn answer(&self, word: FourLetterWord, shared: &Shared) -> String {
        let mut view = ServerView {
            version: crate::version().to_owned(),
            mode: "standalone",
            environment: environment::lines(),
            ..ServerView::default()
        };
        {
            let tree = shared.tree.read();
            view.zxid = tree.last_zxid();
            // Apache counts the root twice: once as "", once as "/".
            view.node_count = tree.node_count() + 1;
        }
        let mut stats = FrontStats::default();
        for desk in &self.desks {
            let report = desk.report.lock();
            stats.merge(&report.stats);
            view.connections += report.connections;
            view.outstanding += report.outstanding;
            view.clients.extend(report.clients.iter().cloned());
        }
        view.stats = stats;
        command::answer(word, &view)
    }
}

/// Ends the sleep of all reactors.
pub fn poke_all(shared: &Shared) {
    shared.mailboxes.iter().for_each(|mailbox| mailbox.poke());
}
