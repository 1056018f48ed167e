//! Keeps processors awake while the requests of a few clients follow each other closely.
//!
//! A processor with nothing to do halts, and to wake it, in a virtual machine above all, can take longer than to
//! answer a read or to hand a write on. Under load none halts. But where one connection asks, waits, and asks
//! again, every step of a request wakes a processor. So while that goes on, helpers of the kernel's idle class
//! keep processors from halting: they get what nobody else wants, and give way at once to whoever wakes up.
//! When requests come farther apart than [`PATIENCE`], or from many connections, the helpers sleep.
//! Decision 0006.

use std::hint;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use oxikeeper_node::time::Now;
use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};
use tracing::info;

use crate::clock::Clock;
use crate::error::RunError;
use crate::run::spawn;

/// What comes later than this after the last is not waited for.
const PATIENCE: Duration = Duration::from_millis(1);
/// So many connections are few. With more of them, processors rarely halt.
const FEW: usize = 4;
/// What comes in time from one of few is a point; anything else costs some. With so many it pays to stay awake.
const ENOUGH: u32 = 16;
const SCORE_MAX: u32 = 64;
const LOSS: u32 = 4;
/// Rounds of a helper between two looks at the clock: a microsecond or two.
const ROUNDS: u32 = 32;

/// The helpers.
pub struct Awake {
    /// The server's microsecond until which they stay awake.
    until_us: Arc<AtomicU64>,
    helpers: Vec<Helper>,
}

struct Helper {
    thread: Thread,
    is_asleep: Arc<AtomicBool>,
}

impl Awake {
    /// Starts so many helpers, asleep.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(count: usize, clock: Clock) -> Result<Awake, RunError> {
        let until_us = Arc::new(AtomicU64::new(0));
        let helpers = (0..count).map(|index| {
            let is_asleep = Arc::new(AtomicBool::new(false));
            let (until_us, asleep) = (Arc::clone(&until_us), Arc::clone(&is_asleep));
            let thread = spawn(&format!("awake-{index}"), move || help(&until_us, &asleep, clock))?;
            Ok(Helper { thread: thread.thread().clone(), is_asleep })
        });
        let helpers = helpers.collect::<Result<_, RunError>>()?;
        Ok(Awake { until_us, helpers })
    }

    /// More is expected soon.
    fn stay(&self, now: Now) {
        self.until_us.store(now.after(PATIENCE).micros(), Ordering::SeqCst);
        for helper in &self.helpers {
            if helper.is_asleep.swap(false, Ordering::SeqCst) {
                helper.thread.unpark();
            }
        }
    }
}

/// One helper's life, which ends with the process.
fn help(until_us: &AtomicU64, is_asleep: &AtomicBool, clock: Clock) {
    let policy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    if let Err(error) =
        set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, policy)
    {
        info!(?error, "processors are not kept awake for a few clients: no idle class here");
        return;
    }
    let is_wanted = || clock.now().micros() < until_us.load(Ordering::SeqCst);
    loop {
        while is_wanted() {
            (0..ROUNDS).for_each(|_| hint::spin_loop());
        }
        is_asleep.store(true, Ordering::SeqCst);
        if is_wanted() {
            is_asleep.store(false, Ordering::SeqCst);
        } else {
            thread::park();
        }
    }
}

/// Somebody who sees whether clients are few.
pub struct Lookout {
    awake: Arc<Awake>,
    /// The connections seen last, each once.
    recent: [u64; FEW],
    /// Whose place there a new one takes.
    oldest: usize,
    /// When it last saw anybody.
    last: Now,
    score: u32,
}

impl Lookout {
    /// One that has seen nobody.
    pub fn new(awake: Arc<Awake>) -> Lookout {
        Lookout { awake, recent: [0; FEW], oldest: 0, last: Now::default(), score: 0 }
    }

    /// A request came on this connection.
    pub fn saw(&mut self, conn: u64, now: Now) {
        let is_known = self.recent.contains(&conn);
        if !is_known {
            self.recent[self.oldest] = conn;
            self.oldest = (self.oldest + 1) % FEW;
        }
        self.count(is_known, now);
    }

    /// So many transactions came together.
    pub fn saw_batch(&mut self, transactions: usize, now: Now) {
        self.count(transactions <= FEW, now);
    }

    fn count(&mut self, is_of_few: bool, now: Now) {
        let since = now.since(std::mem::replace(&mut self.last, now));
        self.score = match is_of_few && since < PATIENCE {
            true => (self.score + 1).min(SCORE_MAX),
            false => self.score.saturating_sub(LOSS),
        };
        if self.score >= ENOUGH {
            self.awake.stay(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookout() -> Lookout {
        let awake = Awake::start(0, Clock::start()).expect("no thread is needed");
        Lookout::new(Arc::new(awake))
    }

    /// Whether it pays to stay awake behind a thousand requests of so many connections in turn, each so long
    /// behind the one before.
    fn pays(connections: u64, gap: Duration) -> bool {
        let mut lookout = lookout();
        let mut now = Now::default();
        for request in 0..1000 {
            now = now.after(gap);
            lookout.saw(1 + request % connections, now);
        }
        lookout.awake.until_us.load(Ordering::SeqCst) == now.after(PATIENCE).micros()
    }

    #[test]
    fn only_few_who_ask_closely_are_waited_for() {
        let close = PATIENCE / 2;
        assert!(pays(1, close));
        assert!(pays(FEW as u64, close));
        assert!(!pays(FEW as u64 + 1, close));
        assert!(!pays(50, close));
        assert!(!pays(1, PATIENCE));
    }

    #[test]
    fn one_late_request_does_not_end_it_and_several_do() {
        let mut lookout = lookout();
        let mut now = Now::default();
        let mut is_awake_after = |gap| {
            now = now.after(gap);
            lookout.saw(7, now);
            lookout.awake.until_us.load(Ordering::SeqCst) > now.micros()
        };
        assert!((0..ENOUGH).all(|_| !is_awake_after(PATIENCE / 4)), "too early to tell");
        assert!((0..SCORE_MAX).all(|_| is_awake_after(PATIENCE / 4)));
        assert!(is_awake_after(PATIENCE));
        assert!((0..SCORE_MAX).map(|_| is_awake_after(PATIENCE)).any(|is_awake| !is_awake));
    }

    #[test]
    fn small_batches_count_and_large_ones_do_not() {
        let pays = |transactions| {
            let mut lookout = lookout();
            (0..1000).for_each(|_| lookout.saw_batch(transactions, Now::default()));
            lookout.awake.until_us.load(Ordering::SeqCst) > 0
        };
        assert!(pays(1) && pays(FEW));
        assert!(!pays(FEW + 1));
    }
}
