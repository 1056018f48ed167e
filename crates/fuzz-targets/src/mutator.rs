//! Bends inputs: changes, cuts, repeats and joins them, from a seed.

/// A sequence of numbers from a seed (SplitMix64), and what is done with it.
pub struct Mutator {
    state: u64,
    pieces: &'static [&'static [u8]],
}

/// Longer inputs are cut: they would make a run slow and show nothing more.
const INPUT_BYTES_MAX: usize = 256 * 1024;
/// Lengths, counts and versions that programs get wrong.
const ODD: [i32; 12] =
    [0, -1, -2, 1, i32::MIN, i32::MAX, 0x7f, 0xffff, 0x10_0000, 0x4000_0000, 13, 100];

impl Mutator {
    /// From a seed.
    pub fn new(seed: u64, pieces: &'static [&'static [u8]]) -> Mutator {
        Mutator { state: seed, pieces }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// An input made of one of the corpus, or of several.
    pub fn input(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let at = self.below(corpus.len());
        let mut bytes = corpus[at].clone();
        for _ in 0..1 + self.below(6) {
            self.bend(&mut bytes, corpus);
        }
        bytes.truncate(INPUT_BYTES_MAX);
        bytes
    }

    fn bend(&mut self, bytes: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let at = self.below(bytes.len() + 1);
        let rest = bytes.len() - at;
        match self.below(10) {
            0 => bytes.truncate(at),
            1 if rest > 0 => bytes[at] = self.next() as u8,
            2 if rest > 0 => bytes[at] ^= 1 << self.below(8),
            3 => {
                let odd = ODD[self.below(ODD.len())].to_be_bytes();
                let end = at + rest.min(4);
                bytes[at..end].copy_from_slice(&odd[..end - at]);
            }
            4 => bytes.insert(at, self.next() as u8),
            5 => {
                let count = self.below(rest.min(64) + 1);
                bytes.drain(at..at + count);
            }
            6 => {
                // A part once more, at another place.
                let count = self.below(rest.min(400) + 1);
                let part = bytes[at..at + count].to_vec();
                let to = self.below(bytes.len() + 1);
                bytes.splice(to..to, part);
            }
            7 => {
                let other = self.below(corpus.len());
                let other = &corpus[other];
                let from = self.below(other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            8 if !self.pieces.is_empty() => {
                let piece = self.pieces[self.below(self.pieces.len())];
                bytes.splice(at..at, piece.iter().copied());
            }
            _ => {
                let count = self.below(rest.min(600) + 1);
                let value = if self.below(2) == 0 { 0 } else { self.next() as u8 };
                bytes[at..at + count].fill(value);
            }
        }
    }
}
