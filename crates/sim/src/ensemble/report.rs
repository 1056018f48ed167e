//! Runs seeds of ensembles, finds out which faults matter, and sums up.

use std::panic::{AssertUnwindSafe, catch_unwind};

use oxikeeper_zab::mutation::Mutation;

use super::knobs::Knobs;
use super::world::{Counts, World};
use crate::marks::Marks;

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
    /// The last events, one a line.
    pub tail: Vec<String>,
    /// What was drawn for it.
    pub knobs: Knobs,
    /// What the processes were told and wanted, if that was to be kept.
    pub story: Vec<String>,
}

/// A defect to inject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// Into agreement.
    Agreement(Mutation),
    /// Into the Core.
    Node(oxikeeper_node::mutation::Mutation),
}

fn arm(defect: Option<Defect>) {
    let (agreement, node) = match defect {
        None => (None, None),
        Some(Defect::Agreement(mutation)) => (Some(mutation), None),
        Some(Defect::Node(mutation)) => (None, Some(mutation)),
    };
    oxikeeper_zab::mutation::arm(agreement);
    oxikeeper_node::mutation::arm(node);
}

/// Runs one seed. A broken assertion inside the code under test is a violation too.
pub fn run_seed(
    seed: u64,
    defect: Option<Defect>,
    keep_story: bool,
    adjust: impl FnOnce(&mut Knobs),
) -> Outcome {
    arm(defect);
    let mut world = World::new(seed, adjust);
    if keep_story {
        world.keep_story();
    }
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
        knobs: world.knobs().clone(),
        story: world.story().to_vec(),
    }
}

/// Leaves out faults of a failed run as long as it still fails. Returns the shortest list of numbers
/// of faults to spare, and how the run ends without them.
pub fn shrink(failed: &Outcome, defect: Option<Defect>) -> Outcome {
    let run = |spared: &[u64]| {
        let spared = spared.to_vec();
        let crowd = failed.knobs.crowd.clone();
        run_seed(failed.seed, defect, false, |knobs| (knobs.spared, knobs.crowd) = (spared, crowd))
    };
    let mut best = failed.clone();
    let mut spared: Vec<u64> = Vec::new();
    let mut piece = best.counts.faults.div_ceil(2).max(1);
    loop {
        let mut from = 0;
        while from < best.counts.faults {
            let more = (from..from + piece).filter(|number| !spared.contains(number));
            let attempt: Vec<u64> = spared.iter().copied().chain(more).collect();
            if attempt.len() > spared.len() {
                let outcome = run(&attempt);
                if !outcome.violations.is_empty() {
                    (best, spared) = (outcome, attempt);
                }
            }
            from += piece;
        }
        if piece == 1 {
            return best;
        }
        piece = piece.div_ceil(2);
    }
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
    /// Runs a seed and adds what came of it. `adjust` may change what was drawn.
    pub fn run(&mut self, seed: u64, defect: Option<Defect>, adjust: fn(u64, &mut Knobs)) {
        let mut outcome = run_seed(seed, defect, false, |knobs| adjust(seed, knobs));
        if seed.is_multiple_of(REPEAT_EVERY) {
            let again = run_seed(seed, defect, false, |knobs| adjust(seed, knobs));
            self.repeated += 1;
            if again.trace_hash != outcome.trace_hash {
                outcome.violations.push("the same seed went another way".to_owned());
            }
        }
        self.seeds += 1;
        let (sum, counts) = (&mut self.counts, &outcome.counts);
        sum.requests += counts.requests;
        sum.committed += counts.committed;
        sum.leaders += counts.leaders;
        sum.crashes += counts.crashes;
        sum.faults += counts.faults;
        sum.connections += counts.connections;
        sum.events += counts.events;
        sum.compared += counts.compared;
        self.marks.add(&outcome.marks);
        if !outcome.violations.is_empty() {
            self.failed.push(outcome);
        }
    }
}
