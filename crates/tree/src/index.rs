//! From the hash of a path to a node: open addressing over 32-bit node numbers.
//!
//! It grows without a pause: a table twice the size is begun, and every insert moves a few
//! places of the old one. The hash of a stored node is asked of the caller, so a place costs four
//! bytes. A place holds the node's number plus one; 0 is free, so that a new table is untouched
//! zero pages.

/// A free place.
const FREE: u32 = 0;
/// A place of the old table whose node has moved or gone.
const GONE: u32 = u32::MAX;
const PLACES_MIN: usize = 1 << 10;
/// Places of the old table moved per insert.
const MOVES_PER_INSERT: usize = 64;

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Index {
    places: Vec<u32>,
    old: Vec<u32>,
    /// Places of `old` below this one are empty.
    moved: usize,
    len: usize,
}

impl Index {
    pub fn new() -> Index {
        Index { places: vec![FREE; PLACES_MIN], old: Vec::new(), moved: 0, len: 0 }
    }

    /// Nodes it holds.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The node of this hash for which `is_it` holds.
    pub fn find(&self, hash: u32, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        probe(&self.places, hash, &is_it)
            .or_else(|| probe(&self.old, hash, &is_it))
            .map(|(_, node)| node)
    }

    /// Adds a node that is not in it yet.
    pub fn insert(&mut self, hash: u32, node: u32, hash_of: impl Fn(u32) -> u32) {
        if (self.len + 1) * 20 > self.places.len() * 17 {
            self.move_some(self.old.len(), &hash_of);
            let bigger = vec![FREE; self.places.len() * 2];
            self.old = std::mem::replace(&mut self.places, bigger);
            self.moved = 0;
        }
        self.move_some(MOVES_PER_INSERT, &hash_of);
        place(&mut self.places, hash, node);
        self.len += 1;
    }

    /// Takes a node out.
    pub fn remove(&mut self, hash: u32, node: u32, hash_of: impl Fn(u32) -> u32) {
        let is_it = |candidate| candidate == node;
        if let Some((at, _)) = probe(&self.places, hash, &is_it) {
            self.close_gap(at, hash_of);
        } else if let Some((at, _)) = probe(&self.old, hash, &is_it) {
            self.old[at] = GONE;
        } else {
            panic!("node {node} is not in the index");
        }
        self.len -= 1;
    }

    /// Moves up to `count` places of the old table.
    fn move_some(&mut self, count: usize, hash_of: &impl Fn(u32) -> u32) {
        let end = (self.moved + count).min(self.old.len());
        for at in self.moved..end {
            let value = std::mem::replace(&mut self.old[at], GONE);
            if value != FREE && value != GONE {
                place(&mut self.places, hash_of(value - 1), value - 1);
            }
        }
        self.moved = end;
        if end == self.old.len() {
            self.old = Vec::new();
            self.moved = 0;
        }
    }

    /// Frees a place and moves later ones of the same run back, so that no search stops early.
    fn close_gap(&mut self, mut gap: usize, hash_of: impl Fn(u32) -> u32) {
        let mask = self.places.len() - 1;
        let mut at = gap;
        loop {
            at = (at + 1) & mask;
            let value = self.places[at];
            if value == FREE {
                self.places[gap] = FREE;
                return;
            }
            let home = hash_of(value - 1) as usize & mask;
            if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(gap) & mask) {
                self.places[gap] = value;
                gap = at;
            }
        }
    }
}

fn probe(places: &[u32], hash: u32, is_it: &impl Fn(u32) -> bool) -> Option<(usize, u32)> {
    if places.is_empty() {
        return None;
    }
    let mask = places.len() - 1;
    let mut at = hash as usize & mask;
    for _ in 0..places.len() {
        match places[at] {
            FREE => return None,
            GONE => {}
            value if is_it(value - 1) => return Some((at, value - 1)),
            _ => {}
        }
        at = (at + 1) & mask;
    }
    None
}

fn place(places: &mut [u32], hash: u32, node: u32) {
    let mask = places.len() - 1;
    let mut at = hash as usize & mask;
    while places[at] != FREE {
        at = (at + 1) & mask;
    }
    places[at] = node + 1;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Hashes that collide often.
    fn hash(node: u32) -> u32 {
        node.wrapping_mul(0x9E37_79B9) >> 12 & !7
    }

    #[test]
    fn finds_what_is_in_it_through_growth_and_removal() {
        let mut index = Index::new();
        let mut model = BTreeSet::new();
        let mut random = 1u64;
        for step in 0..60_000u32 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let pick = (random >> 33) as u32 % (step + 1);
            if model.contains(&pick) && random & 4 == 0 {
                index.remove(hash(pick), pick, hash);
                model.remove(&pick);
            } else if model.insert(step) {
                index.insert(hash(step), step, hash);
            }
            assert_eq!(index.find(hash(pick), |n| n == pick).is_some(), model.contains(&pick));
        }
        assert_eq!(index.len(), model.len());
        for node in 0..60_000 {
            assert_eq!(index.find(hash(node), |n| n == node).is_some(), model.contains(&node));
        }
    }
}
