//! Runs seeds, and sums up what came of them.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::marks::Marks;
use crate::options::Injected;
use crate::world::{Counts, World};

/// What came of one seed.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// What was wrong.
    pub violations: Vec<String>,
    /// What was counted.
    pub counts: Counts,
    /// Where it has been.
    pub marks: Marks,
    /// Differs if anything went another way.
    pub trace_hash: u64,
    /// The last turns, one a line.
    pub tail: Vec<String>,
    /// What was drawn for it.
    pub knobs: String,
}

/// Runs one seed. A broken assertion inside the code under test is a violation too.
pub fn run_seed(seed: u64, mutation: Option<Injected>) -> Outcome {
    arm(mutation);
    let mut world = World::new(seed, mutation);
    let violations = match catch_unwind(AssertUnwindSafe(|| world.run())) {
        Ok(violations) => violations,
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            vec![format!("panic: {}", text.unwrap_or_default())]
        }
    };
    arm(None);
    Outcome {
        seed,
        violations,
        counts: world.counts.clone(),
        marks: world.marks().clone(),
        trace_hash: world.trace_hash(),
        tail: world.tail(),
        knobs: format!("{:?}", world.knobs()),
    }
}

fn arm(mutation: Option<Injected>) {
    oxikeeper_node::mutation::arm(match mutation {
        Some(Injected::Node(mutation)) => Some(mutation),
        _ => None,
    });
}

/// The sum of many runs.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Seeds run.
    pub seeds: u64,
    /// Runs that were repeated, and went the same way.
    pub repeated: u64,
    /// Sums.
    pub counts: Counts,
    /// Sums.
    pub marks: Marks,
    /// Runs with violations.
    pub failed: Vec<Outcome>,
}

/// Every so many seeds one runs twice and has to go the same way.
const REPEAT_EVERY: u64 = 100;

impl Report {
    /// Runs a seed and adds what came of it.
    pub fn run(&mut self, seed: u64, mutation: Option<Injected>) {
        let mut outcome = run_seed(seed, mutation);
        if seed.is_multiple_of(REPEAT_EVERY) {
            let again = run_seed(seed, mutation);
            self.repeated += 1;
            if again.trace_hash != outcome.trace_hash {
                outcome.violations.push("the same seed went another way".to_owned());
            }
        }
        self.seeds += 1;
        let (sum, counts) = (&mut self.counts, &outcome.counts);
        sum.requests += counts.requests;
        sum.replies += counts.replies;
        sum.events += counts.events;
        sum.txns += counts.txns;
        sum.crashes += counts.crashes;
        sum.connections += counts.connections;
        sum.compared += counts.compared;
        sum.turns += counts.turns;
        self.marks.add(&outcome.marks);
        if !outcome.violations.is_empty() {
            self.failed.push(outcome);
        }
    }
}
