//! How values are spread, in a kilobyte: counted in steps of a quarter of a power of two.

/// Steps: values up to 2^36 apart, which is 19 hours in microseconds; what is above counts as that.
const STEPS: usize = 144;

/// See the module's head. A quantile is off by a quarter of its value at most.
#[derive(Clone, Copy, Debug)]
pub struct Histogram {
    steps: [u64; STEPS],
    /// Values counted.
    pub count: u64,
    /// Their sum.
    pub sum: u64,
    /// The least of them; 0 without any.
    pub min: u64,
    /// The greatest of them.
    pub max: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { steps: [0; STEPS], count: 0, sum: 0, min: 0, max: 0 }
    }
}

impl Histogram {
    /// Counts a value.
    pub fn count(&mut self, value: u64) {
        self.steps[step_of(value)] += 1;
        self.min = if self.count == 0 { value } else { self.min.min(value) };
        self.max = self.max.max(value);
        self.sum = self.sum.wrapping_add(value);
        self.count += 1;
    }

    /// Adds what another has counted.
    pub fn merge(&mut self, other: &Histogram) {
        if other.count == 0 {
            return;
        }
        self.min = if self.count == 0 { other.min } else { self.min.min(other.min) };
        self.max = self.max.max(other.max);
        self.sum = self.sum.wrapping_add(other.sum);
        self.count += other.count;
        for (mine, others) in self.steps.iter_mut().zip(&other.steps) {
            *mine += others;
        }
    }

    /// The value that this share of the values does not exceed; none without values.
    pub fn quantile(&self, share: f64) -> Option<u64> {
        let rank = (self.count as f64 * share).ceil().max(1.0) as u64;
        let mut passed = 0;
        for (step, counted) in self.steps.iter().enumerate() {
            passed += counted;
            if passed >= rank && *counted > 0 {
                return Some(end_of(step).clamp(self.min, self.max));
            }
        }
        None
    }
}

fn step_of(value: u64) -> usize {
    if value < 4 {
        return value as usize;
    }
    let octave = value.ilog2();
    let quarter = (value >> (octave - 2)) & 3;
    ((octave as usize - 1) * 4 + quarter as usize).min(STEPS - 1)
}

/// The greatest value of a step.
fn end_of(step: usize) -> u64 {
    if step < 4 {
        return step as u64;
    }
    let (octave, quarter) = (step as u32 / 4 + 1, step as u64 % 4);
    ((4 + quarter + 1) << (octave - 2)) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_step() {
        let mut before = 0;
        for step in 0..STEPS {
            let end = end_of(step);
            assert_eq!(step_of(end), step);
            assert!(step == 0 || (end > before && step_of(before + 1) == step));
            before = end;
        }
        assert_eq!(step_of(u64::MAX), STEPS - 1);
    }

    #[test]
    fn quantiles_are_a_quarter_off_at_most() {
        let mut one = Histogram::default();
        let mut other = Histogram::default();
        assert_eq!(one.quantile(0.5), None);
        (1..=5000).for_each(|value| one.count(value));
        (5001..=10_000).for_each(|value| other.count(value));
        one.merge(&other);
        assert_eq!((one.count, one.min, one.max, one.sum), (10_000, 1, 10_000, 50_005_000));
        for (share, exact) in [(0.5, 5000.0), (0.9, 9000.0), (0.99, 9900.0)] {
            let value = one.quantile(share).unwrap() as f64;
            assert!(value >= exact && value <= exact * 1.25, "{share}: {value}");
        }
        assert_eq!(one.quantile(1.0), Some(10_000));
    }
}
