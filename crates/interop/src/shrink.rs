//! Makes a failing script short: parts are left out as long as what is left still fails.

use crate::generate::Sent;
use crate::script::Step;

/// What is left out or kept as a whole.
#[derive(Clone, Debug)]
enum Atom {
    /// A request, and the burst it is of.
    Request { burst: usize, at: usize, sent: Sent },
    /// Another step.
    Other(Step),
}

/// Leaves out parts of a script that fails, halves first, then ever smaller ones, until no single
/// request can be spared or `trials` have been made. `fails` is asked whether a script still does.
pub fn minimise(
    steps: &[Step],
    trials: usize,
    mut fails: impl FnMut(&[Step]) -> bool,
) -> Vec<Step> {
    let mut kept = atoms(steps);
    let mut parts = 2;
    let mut left = trials;
    while kept.len() > 1 {
        let size = kept.len().div_ceil(parts).max(1);
        // What failed did so at its end: what stands first is most likely to be spared.
        let found = (0..kept.len()).step_by(size).find_map(|from| {
            left = left.checked_sub(1)?;
            let mut shorter = kept.clone();
            shorter.drain(from..(from + size).min(kept.len()));
            fails(&join(&shorter)).then_some(shorter)
        });
        match found {
            Some(shorter) => {
                kept = shorter;
                parts = (parts - 1).max(2);
            }
            None if left == 0 || size == 1 => break,
            None => parts = (parts * 2).min(kept.len()),
        }
    }
    join(&kept)
}

fn atoms(steps: &[Step]) -> Vec<Atom> {
    let mut atoms = Vec::new();
    for (burst, step) in steps.iter().enumerate() {
        match step {
            Step::Burst { at, requests } => {
                let atom = |sent: &Sent| Atom::Request { burst, at: *at, sent: sent.clone() };
                atoms.extend(requests.iter().map(atom));
            }
            other => atoms.push(Atom::Other(other.clone())),
        }
    }
    atoms
}

/// Bursts again: requests of one that follow one another. A rest behind a rest says nothing.
fn join(atoms: &[Atom]) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut last = None;
    for atom in atoms {
        match (atom, steps.last_mut()) {
            (Atom::Request { burst, sent, .. }, Some(Step::Burst { requests, .. }))
                if last == Some(*burst) =>
            {
                requests.push(sent.clone());
            }
            (Atom::Request { burst, at, sent }, _) => {
                last = Some(*burst);
                steps.push(Step::Burst { at: *at, requests: vec![sent.clone()] });
            }
            (Atom::Other(Step::Rest), Some(Step::Rest)) => {}
            (Atom::Other(step), _) => {
                last = None;
                steps.push(step.clone());
            }
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(op: i32) -> Sent {
        Sent { op, frame: vec![0; 4], text: op.to_string(), alone: false, ends: false }
    }

    fn ops(steps: &[Step]) -> Vec<i32> {
        let burst = |step: &Step| match step {
            Step::Burst { requests, .. } => requests.iter().map(|sent| sent.op).collect(),
            Step::Rest | Step::Reconnect { .. } => Vec::new(),
        };
        steps.iter().flat_map(burst).collect()
    }

    #[test]
    fn what_does_not_matter_goes() {
        let burst =
            |at: usize| Step::Burst { at, requests: (0..5).map(|i| sent(i + 10)).collect() };
        let mut steps: Vec<Step> = (0..100).flat_map(|at| [burst(at % 3), Step::Rest]).collect();
        steps.insert(40, Step::Burst { at: 1, requests: vec![sent(1)] });
        steps.insert(150, Step::Burst { at: 2, requests: vec![sent(2)] });
        // It fails when 1 comes before 2.
        let mut trials = 0;
        let short = minimise(&steps, 1000, |steps| {
            trials += 1;
            let ops = ops(steps);
            let at = |wanted| ops.iter().position(|op| *op == wanted);
            matches!((at(1), at(2)), (Some(one), Some(two)) if one < two)
        });
        assert_eq!(ops(&short), [1, 2]);
        assert!(short.len() <= 3, "{short:?}");
        assert!(trials < 200, "{trials} trials");
    }

    #[test]
    fn trials_are_bounded() {
        let steps = vec![Step::Burst { at: 0, requests: (0..64).map(sent).collect() }];
        let mut trials = 0;
        let short = minimise(&steps, 7, |_| {
            trials += 1;
            false
        });
        assert_eq!((trials, ops(&short).len()), (7, 64));
    }
}
