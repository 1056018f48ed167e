//! The only source of chance in a run. Same seed, same run.

/// SplitMix64: small, fast, and good enough to choose schedules with.
#[derive(Clone, Debug)]
pub struct Rng {
    state: u64,
}

impl Rng {
    /// The sequence of this seed.
    pub fn new(seed: u64) -> Rng {
        // Neighbouring seeds are to have nothing in common from the first number on.
        let mut rng = Rng { state: seed ^ 0x5DEE_CE66_D1CE_5EED };
        rng.draw();
        rng
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`, which must not be 0.
    pub fn below(&mut self, end: u64) -> u64 {
        // The bias of the remainder does not matter for choosing schedules.
        self.draw() % end
    }

    /// A number in `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// An index into something of this length, which must not be 0.
    pub fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// True with a probability of `permille` in a thousand.
    pub fn chance(&mut self, permille: u64) -> bool {
        self.below(1000) < permille
    }

    /// One of these.
    pub fn pick<'t, T>(&mut self, items: &'t [T]) -> &'t T {
        &items[self.index(items.len())]
    }

    /// Into any order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            items.swap(end, self.index(end + 1));
        }
    }

    /// A duration of this order of magnitude: mostly about `mean`, now and then ten times that.
    pub fn around(&mut self, mean: u64) -> u64 {
        let scale = if self.chance(50) { 10 } else { 1 };
        self.between(mean / 4, mean * 2) * scale
    }

    /// How long until a thread gets its next turn, in microseconds: mostly at once, sometimes not.
    pub fn turn(&mut self) -> u64 {
        if self.chance(40) { self.between(100, 8000) } else { self.between(1, 70) }
    }
}
