//! The states a crash can leave, and the judge of each.

use oxikeeper_proto::Zxid;
use oxikeeper_storage::check::cut;
use oxikeeper_storage::sim_disk::SimDisk;
use oxikeeper_storage::{RecoverOptions, StorageError, recover};
use oxikeeper_tree::{Restore, TreeOptions};

use super::Random;
use super::life::{Known, Plan};

/// Shows up to `limit` states that a crash can leave: all of them if there are no more; otherwise
/// everything lost, everything kept, single things lost and kept, and any mixture.
pub fn crash_states(
    disk: &SimDisk,
    limit: u64,
    random: &mut Random,
    mut visit: impl FnMut(SimDisk, &[u64]),
) {
    let mut sizes = Vec::new();
    let _ = disk.crash(|size| {
        sizes.push(size);
        0
    });
    let mut show = |choices: &[u64]| {
        let mut next = choices.iter();
        let state = disk.crash(|size| {
            let choice = next.next().copied().expect("the choices are always the same");
            assert!(choice < size);
            choice
        });
        visit(state, choices);
    };
    let product = sizes.iter().try_fold(1u64, |product, size| product.checked_mul(*size));
    if product.is_some_and(|product| product <= limit) {
        let mut choices = vec![0; sizes.len()];
        loop {
            show(&choices);
            let Some(at) = (0..sizes.len()).rev().find(|&at| choices[at] + 1 < sizes[at]) else {
                return;
            };
            choices[at] += 1;
            choices[at + 1..].fill(0);
        }
    }
    let lost = vec![0; sizes.len()];
    let kept: Vec<u64> = sizes.iter().map(|size| size - 1).collect();
    show(&lost);
    show(&kept);
    for state in 2..limit.max(2) {
        let mut choices = match state % 3 {
            0 => lost.clone(),
            1 => kept.clone(),
            _ => sizes.iter().map(|&size| random.below(size)).collect(),
        };
        if state % 3 < 2 {
            let one = random.below(sizes.len() as u64) as usize;
            choices[one] = random.below(sizes[one]);
        }
        show(&choices);
    }
}

/// What became of one state.
pub enum Verdict {
    Sound,
    /// Refused by the rule about holes; a cut on request led to a sound state.
    SoundAfterCut,
    Violation(String),
}

/// Everything acknowledged is there; what is there is what was appended, up to some transaction;
/// nobody has to help, but where sound transactions stand behind damage.
pub fn judge(disk: &SimDisk, plan: &Plan, known: &Known) -> Verdict {
    match judge_once(disk, plan, known) {
        Err(StorageError::Refused { problem, .. }) if problem.contains("sound transaction") => {
            let mut restore = Restore::new(TreeOptions::default());
            match cut(disk, &plan.dirs, &RecoverOptions::default(), &mut restore) {
                Ok(Some(_)) => {}
                Ok(None) => return Verdict::Violation(format!("nothing to cut: {problem}")),
                Err(error) => return Verdict::Violation(format!("cannot be cut: {error}")),
            }
            match judge_once(disk, plan, known) {
                Ok(None) => Verdict::SoundAfterCut,
                Ok(Some(violation)) => Verdict::Violation(format!("after the cut: {violation}")),
                Err(error) => Verdict::Violation(format!("refused after the cut: {error}")),
            }
        }
        Err(error) => Verdict::Violation(format!("refused: {error}")),
        Ok(None) => Verdict::Sound,
        Ok(Some(violation)) => Verdict::Violation(violation),
    }
}

/// What is wrong with what recovery makes of the disk.
pub fn judge_once(
    disk: &SimDisk,
    plan: &Plan,
    known: &Known,
) -> Result<Option<String>, StorageError> {
    let mut restore = Restore::new(TreeOptions::default());
    plan.dirs.prepare(disk, true)?;
    recover(disk, &plan.dirs, &RecoverOptions::default(), &mut restore)?;
    if let Some((count, first)) = restore.digest_mismatches() {
        return Ok(Some(format!("{count} digests differ, first at {first}")));
    }
    let tree = restore.into_tree();
    let last = tree.last_zxid();
    if last < known.acknowledged {
        return Ok(Some(format!("recovered {last}, acknowledged {}", known.acknowledged)));
    }
    Ok(match known.digests.get(&last) {
        _ if last == Zxid::ZERO => None,
        Some(&digest) if digest == tree.digest() => None,
        Some(_) => Some(format!("the tree at {last} is another one")),
        None => Some(format!("{last} was never appended")),
    })
}
