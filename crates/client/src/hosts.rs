//! Which server next, and when: one pass over all hosts in an order of chance, then a pause that grows.

use std::time::Duration;

/// A pause after the first pass in vain; each further pass doubles it.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
/// No pause is longer.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// The order in which hosts are tried.
#[derive(Clone, Debug)]
pub(crate) struct HostOrder {
    order: Vec<usize>,
    /// Place in `order` of the next one.
    next: usize,
    /// Hosts tried since one served.
    failed: usize,
    random: Random,
}

impl HostOrder {
    /// An order of `count` hosts.
    pub fn new(count: usize, seed: u64) -> HostOrder {
        let mut random = Random(seed);
        let mut order: Vec<usize> = (0..count).collect();
        for end in (1..count).rev() {
            order.swap(end, random.below(end as u64 + 1) as usize);
        }
        HostOrder { order, next: 0, failed: 0, random }
    }

    /// The host to try now.
    pub fn take(&mut self) -> usize {
        let host = self.order[self.next];
        self.next = (self.next + 1) % self.order.len();
        host
    }

    /// This host is the next one.
    pub fn prefer(&mut self, host: usize) {
        if let Some(place) = self.order.iter().position(|&other| other == host) {
            self.next = place;
        }
    }

    /// The host last taken does not serve. Returns how long to wait before the next try: not at all
    /// before every host had its turn.
    pub fn failed(&mut self) -> Duration {
        self.failed += 1;
        if !self.failed.is_multiple_of(self.order.len()) {
            return Duration::ZERO;
        }
        let passes = (self.failed / self.order.len()).min(8) as u32;
        let pause = PAUSE_MAX.min(PAUSE_FIRST * 2u32.pow(passes - 1));
        // Clients that lost the same server do not come back all at once.
        let micros = pause.as_micros() as u64;
        Duration::from_micros(micros / 2 + self.random.below(micros / 2 + 1))
    }

    /// The host last taken serves.
    pub fn served(&mut self) {
        self.failed = 0;
    }
}

/// SplitMix64: chance from a seed.
#[derive(Clone, Debug)]
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_host_has_its_turn_before_a_pause() {
        let mut hosts = HostOrder::new(4, 7);
        let mut pauses = Vec::new();
        for _ in 0..3 {
            let mut tried: Vec<usize> = (0..3)
                .map(|_| {
                    let host = hosts.take();
                    assert_eq!(hosts.failed(), Duration::ZERO);
                    host
                })
                .collect();
            tried.push(hosts.take());
            pauses.push(hosts.failed());
            tried.sort_unstable();
            assert_eq!(tried, [0, 1, 2, 3]);
        }
        assert!(pauses[0] >= PAUSE_FIRST / 2 && pauses[0] <= PAUSE_FIRST);
        assert!(pauses[2] >= PAUSE_FIRST * 2 && pauses[2] <= PAUSE_FIRST * 4);
        for _ in 0..400 {
            hosts.take();
            assert!(hosts.failed() <= PAUSE_MAX);
        }
    }

    #[test]
    fn the_order_is_the_seeds() {
        let order = |seed| HostOrder::new(50, seed).order;
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
    }
}
