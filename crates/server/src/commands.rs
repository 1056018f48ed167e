//! Gathers what operators ask for.
//!
//! A question goes to all reactors, which report each on its desk; who has to answer does so once all
//! have.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use oxikeeper_node::command::{Asked, FourLetterWord};
use parking_lot::Mutex;

use crate::clock::Clock;
use crate::limits::ConnectionLimits;
use crate::reactor::Desk;
use crate::shared::{FrontReport, Shared};
use crate::words::{self, Settings};

/// What a question wants of the reactors besides their ordinary report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// What each session watches.
    WatchedPaths,
    /// That they count anew, for the server.
    ResetServer,
    /// That they count anew, for each connection.
    ResetConnections,
    /// A line for each connection. Wanted unless a question says otherwise.
    Clients,
    /// No more than counters.
    Counters,
}

/// Apache's trace mask before anybody sets one. It changes nothing here.
const TRACE_MASK: i64 = 306;

/// Knows all reactors' desks.
pub struct Commands {
    desks: Vec<Arc<Desk>>,
    /// What `conf` tells.
    pub(crate) settings: Settings,
    pub(crate) clock: Clock,
    pub(crate) limits: Arc<ConnectionLimits>,
    /// Taken by who asks.
    asking: Mutex<()>,
    /// The number of the last question.
    asked: AtomicU64,
    /// For each [`Want`] the number of the last question that had it.
    wanted: [AtomicU64; 5],
    /// Questions for watched paths that are not answered yet: the lists are kept as long.
    watch_questions: AtomicU64,
    pub(crate) trace_mask: AtomicI64,
    /// Whether `srst` resets every counter; with metrics of Prometheus only what shows the server's traffic.
    pub(crate) resets_everything: bool,
    /// Called whenever a reactor has answered.
    on_answer: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Commands {
    /// For these reactors.
    pub fn new(
        desks: Vec<Arc<Desk>>,
        settings: Settings,
        clock: Clock,
        limits: Arc<ConnectionLimits>,
        resets_everything: bool,
    ) -> Commands {
        Commands {
            desks,
            settings,
            clock,
            limits,
            resets_everything,
            asking: Mutex::new(()),
            asked: AtomicU64::new(0),
            wanted: Default::default(),
            watch_questions: AtomicU64::new(0),
            trace_mask: AtomicI64::new(TRACE_MASK),
            on_answer: OnceLock::new(),
        }
    }

    /// Has somebody called whenever a reactor has answered.
    pub fn set_on_answer(&self, call: impl Fn() + Send + Sync + 'static) {
        // There is one AdminServer.
        let _ = self.on_answer.set(Box::new(call));
    }

    /// A reactor has answered.
    pub fn answered(&self, shared: &Shared) {
        poke_all(shared);
        if let Some(call) = self.on_answer.get() {
            call();
        }
    }

    /// The reactors' desks.
    pub fn desks(&self) -> &[Arc<Desk>] {
        &self.desks
    }

    /// The reactors that have not answered a question, for people.
    pub fn silent(&self, question: u64) -> Vec<String> {
        let silent = |desk: &Desk| desk.answered.load(Ordering::SeqCst) < question;
        let desks = self.desks.iter().enumerate().filter(|(_, desk)| silent(desk));
        desks.map(|(index, _)| format!("reactor {index}")).collect()
    }

    /// Who asked for watched paths has read them: the lists go with the last one.
    pub fn forget_watched(&self) {
        if self.watch_questions.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.desks.iter().for_each(|desk| desk.report.lock().watched = Vec::new());
        }
    }

    /// `srst`, for what is not counted by reactors.
    pub fn reset_counters(&self, shared: &Shared) {
        if self.resets_everything {
            shared.engine.reset_stats(shared);
            shared.counters.reset();
            self.limits.reset_refused();
        }
    }

    /// The number of the last question: whoever has not answered it should.
    pub fn last_question(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    /// Whether any question behind this one has a wish.
    pub fn wants(&self, want: Want, since: u64) -> bool {
        self.wanted[want as usize].load(Ordering::SeqCst) > since
    }

    /// Asks all reactors to report; returns the question's number.
    pub fn ask(&self, want: Option<Want>, shared: &Shared) -> u64 {
        let asking = self.asking.lock();
        let question = self.last_question() + 1;
        if let Some(want) = want {
            self.wanted[want as usize].store(question, Ordering::SeqCst);
        }
        if want != Some(Want::Counters) {
            self.wanted[Want::Clients as usize].store(question, Ordering::SeqCst);
        }
        if want == Some(Want::WatchedPaths) {
            self.watch_questions.fetch_add(1, Ordering::SeqCst);
        }
        self.asked.store(question, Ordering::SeqCst);
        drop(asking);
        poke_all(shared);
        question
    }

    /// Whether all reactors have reported since this question.
    pub fn is_answered(&self, question: u64) -> bool {
        self.desks.iter().all(|desk| desk.answered.load(Ordering::SeqCst) >= question)
    }

    /// What all reactors have reported, as one.
    pub fn report(&self) -> FrontReport {
        let mut sum = FrontReport::default();
        for desk in &self.desks {
            sum.merge(&desk.report.lock());
        }
        sum
    }

    /// What a word wants of the reactors.
    pub fn want_of(word: FourLetterWord) -> Option<Want> {
        match word.0 {
            "wchs" | "wchc" | "wchp" => Some(Want::WatchedPaths),
            "srst" => Some(Want::ResetServer),
            "crst" => Some(Want::ResetConnections),
            _ => None,
        }
    }

    /// The answer to a word that is allowed, from what the reactors have reported. To be asked for once
    /// for each question.
    pub fn answer(&self, asked: Asked, shared: &Shared) -> String {
        let report = self.report();
        if Commands::want_of(asked.word) == Some(Want::WatchedPaths) {
            self.forget_watched();
        }
        match (asked.word.0, asked.mask) {
            ("gtmk", _) => self.trace_mask.load(Ordering::Relaxed).to_string(),
            // Apache says nothing to a mask that is not whole.
            ("stmk", None) => String::new(),
            ("stmk", Some(mask)) => {
                self.trace_mask.store(mask, Ordering::Relaxed);
                mask.to_string()
            }
            (word, _) => words::answer(word, &report, self, shared),
        }
    }
}

/// Ends the sleep of all reactors.
pub fn poke_all(shared: &Shared) {
    shared.mailboxes.iter().for_each(|mailbox| mailbox.poke());
}
