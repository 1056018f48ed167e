//! The paths that one connection watches, by number: most watch a few, some a million.

use roaring::RoaringBitmap;

/// Up to here a sorted list is smaller than a bitmap, and as fast.
const FEW_MAX: usize = 64;

/// A set of numbers.
#[derive(Debug)]
pub(super) enum Ids {
    /// Sorted.
    Few(Vec<u32>),
    /// Two to four bytes each, however they are spread.
    Many(Box<RoaringBitmap>),
}

impl Ids {
    /// Empty.
    pub fn new() -> Ids {
        Ids::Few(Vec::new())
    }

    /// Adds a number; nothing if it is there.
    pub fn insert(&mut self, id: u32) {
        match self {
            Ids::Few(ids) => {
                let Err(at) = ids.binary_search(&id) else { return };
                if ids.len() < FEW_MAX {
                    ids.insert(at, id);
                } else {
                    let mut many: RoaringBitmap = ids.iter().copied().collect();
                    many.insert(id);
                    *self = Ids::Many(Box::new(many));
                }
            }
            Ids::Many(ids) => {
                ids.insert(id);
            }
        }
    }

    /// Takes a number out.
    pub fn remove(&mut self, id: u32) {
        match self {
            Ids::Few(ids) => {
                if let Ok(at) = ids.binary_search(&id) {
                    ids.remove(at);
                }
            }
            Ids::Many(ids) => {
                ids.remove(id);
            }
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        match self {
            Ids::Few(ids) => ids.is_empty(),
            Ids::Many(ids) => ids.is_empty(),
        }
    }

    /// All, from the smallest.
    pub fn to_sorted(&self) -> Vec<u32> {
        match self {
            Ids::Few(ids) => ids.clone(),
            Ids::Many(ids) => ids.iter().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_set_like_any_other() {
        let (mut ids, mut model) = (Ids::new(), BTreeSet::new());
        let mut random = 1u64;
        for step in 0..20_000u64 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let id = (random >> 33) as u32 % 5000 * 40;
            // Waves of more inserts, then more removals.
            if (random >> 20) % 100 < if step / 5000 % 2 == 0 { 70 } else { 20 } {
                ids.insert(id);
                model.insert(id);
            } else {
                ids.remove(id);
                model.remove(&id);
            }
            assert_eq!(ids.is_empty(), model.is_empty());
        }
        assert!(matches!(ids, Ids::Many(_)));
        assert_eq!(ids.to_sorted(), model.into_iter().collect::<Vec<_>>());
    }
}
