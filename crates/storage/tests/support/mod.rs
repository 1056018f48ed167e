//! Lives of a log on a simulated disk, the states a crash can leave of them, and their judge.
#![allow(dead_code, reason = "each test program uses a part")]

pub mod crash;
pub mod life;
pub mod past;

/// A sequence that depends on its seed alone.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        random.below(2);
        random
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) % end.max(1)
    }
}

/// How much more than usual is to be explored: `OXIKEEPER_EXPLORE=10` for a long run.
pub fn effort() -> u64 {
    let effort = std::env::var("OXIKEEPER_EXPLORE").ok();
    effort.and_then(|effort| effort.parse().ok()).unwrap_or(1)
}
