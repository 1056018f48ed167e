//! From the hash of a path to a node: open addressing over 32-bit node numbers.
//!
//! It grows without a pause: a table twice the size is begun, and every insert moves a few runs of
//! the old one. The hash of a stored node is asked of the caller, so a place costs five bytes: the
//! node's number, and one byte of its hash that spares most looks at nodes that are not meant.

/// Tag of a free place. 0, so that a new table is untouched zero pages.
const FREE: u8 = 0;
/// Tag of a place of the old table whose node was removed: a search goes on behind it.
const GONE: u8 = 1;
/// Tags of nodes begin here.
const TAG_MIN: u8 = 2;
const PLACES_MIN: usize = 1 << 10;
/// Places of the old table that an insert moves at least. Two would do to be through with the old
/// table before the new one is full.
const MOVES_PER_INSERT: usize = 16;

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Index {
    table: Table,
    /// The table before the last growth, while it still holds something.
    old: Table,
    /// Where in `old` the next run to move begins. The places of all runs before it are free.
    next: usize,
    /// Places of `old` from `next` on, around its end, that are not moved yet.
    left: usize,
    len: usize,
}

#[derive(Debug)]
struct Table {
    tags: Vec<u8>,
    nodes: Vec<u32>,
}

impl Index {
    pub fn new() -> Index {
        Index { table: Table::new(PLACES_MIN), old: Table::new(0), next: 0, left: 0, len: 0 }
    }

    /// Nodes it holds.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The node of this hash for which `is_it` holds.
    pub fn find(&self, hash: u32, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let place = self.table.probe(hash, &mut is_it);
        if let Some(place) = place {
            return Some(self.table.nodes[place]);
        }
        self.old.probe(hash, &mut is_it).map(|place| self.old.nodes[place])
    }

    /// Adds a node that is not in it yet.
    pub fn insert(&mut self, hash: u32, node: u32, hash_of: impl Fn(u32) -> u32) {
        if (self.len + 1) * 5 > self.table.len() * 4 {
            self.move_some(usize::MAX, &hash_of);
            self.grow();
        }
        self.move_some(MOVES_PER_INSERT, &hash_of);
        self.table.place(hash, node);
        self.len += 1;
    }

    /// Makes room for so many nodes at once: whoever loads a tree need not grow with it.
    pub fn reserve(&mut self, nodes: usize, hash_of: impl Fn(u32) -> u32) {
        let places = (nodes.saturating_mul(5) / 4 + 1).next_power_of_two();
        if places > self.table.len() {
            self.move_some(usize::MAX, &hash_of);
            self.begin(places);
            self.move_some(usize::MAX, &hash_of);
        }
    }

    /// Takes a node out.
    ///
    /// # Panics
    /// If it is not in it.
    pub fn remove(&mut self, hash: u32, node: u32, hash_of: impl Fn(u32) -> u32) {
        let mut is_it = |candidate| candidate == node;
        if let Some(place) = self.table.probe(hash, &mut is_it) {
            self.table.close_gap(place, hash_of);
        } else {
            let place = self.old.probe(hash, &mut is_it).expect("the node is in the index");
            self.old.tags[place] = GONE;
        }
        self.len -= 1;
    }

    /// Begins a table twice the size. The old one is empty by now.
    fn grow(&mut self) {
        self.begin(self.table.len() * 2);
    }

    fn begin(&mut self, places: usize) {
        let bigger = Table::new(places);
        self.old = std::mem::replace(&mut self.table, bigger);
        self.left = self.old.len();
        // A run must be moved as a whole, so begin between two.
        let free = self.old.tags.iter().position(|&tag| tag == FREE);
        self.next = free.expect("a table is never full");
    }

    /// Moves whole runs of the old table, `count` places or a little more. Whole ones, because a
    /// search in what is left stops at the first free place.
    fn move_some(&mut self, count: usize, hash_of: &impl Fn(u32) -> u32) {
        let mut moved = 0;
        while self.left > 0 && (moved < count || self.old.tags[self.next] != FREE) {
            let tag = std::mem::replace(&mut self.old.tags[self.next], FREE);
            if tag >= TAG_MIN {
                let node = self.old.nodes[self.next];
                self.table.place(hash_of(node), node);
            }
            self.next = (self.next + 1) & (self.old.len() - 1);
            self.left -= 1;
            moved += 1;
        }
        if self.left == 0 && self.old.len() > 0 {
            self.old = Table::new(0);
        }
    }
}

impl Table {
    /// `len` is a power of two, or 0 for the table that holds nothing and never will.
    fn new(len: usize) -> Table {
        Table { tags: vec![FREE; len], nodes: vec![0; len] }
    }

    fn len(&self) -> usize {
        self.tags.len()
    }

    /// The place of the node of this hash for which `is_it` holds.
    fn probe(&self, hash: u32, is_it: &mut impl FnMut(u32) -> bool) -> Option<usize> {
        let mask = self.len().checked_sub(1)?;
        let tag = tag(hash);
        let mut place = hash as usize & mask;
        loop {
            match self.tags[place] {
                FREE => return None,
                found if found == tag && is_it(self.nodes[place]) => return Some(place),
                _ => place = (place + 1) & mask,
            }
        }
    }

    fn place(&mut self, hash: u32, node: u32) {
        let mask = self.len() - 1;
        let mut place = hash as usize & mask;
        while self.tags[place] != FREE {
            place = (place + 1) & mask;
        }
        self.tags[place] = tag(hash);
        self.nodes[place] = node;
    }

    /// Frees a place and moves later ones of the same run back, so that no search stops early.
    fn close_gap(&mut self, mut gap: usize, hash_of: impl Fn(u32) -> u32) {
        let mask = self.len() - 1;
        let mut place = gap;
        loop {
            place = (place + 1) & mask;
            if self.tags[place] == FREE {
                self.tags[gap] = FREE;
                return;
            }
            let home = hash_of(self.nodes[place]) as usize & mask;
            if (place.wrapping_sub(home) & mask) >= (place.wrapping_sub(gap) & mask) {
                self.tags[gap] = self.tags[place];
                self.nodes[gap] = self.nodes[place];
                gap = place;
            }
        }
    }
}

/// From the bits that choose no place in tables of up to 2^24.
fn tag(hash: u32) -> u8 {
    ((hash >> 24) as u8).max(TAG_MIN)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::BTreeSet;

    use super::*;

    /// Hashes that collide often: eight neighbours share each home, and few tags are in use.
    fn colliding(node: u32) -> u32 {
        node.wrapping_mul(0x9E37_79B9) >> 12 & !7
    }

    /// Hashes as good as a keyed hash gives.
    fn spread(node: u32) -> u32 {
        let mixed = u64::from(node).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (mixed ^ (mixed >> 32)) as u32
    }

    fn check_against_a_set(hash: fn(u32) -> u32, steps: u32, removals: u64) {
        let mut index = Index::new();
        let mut model = BTreeSet::new();
        let mut random = 1u64;
        for step in 0..steps {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let pick = (random >> 33) as u32 % (step + 1);
            if model.contains(&pick) && (random >> 20) % 4 < removals {
                index.remove(hash(pick), pick, hash);
                model.remove(&pick);
            } else if model.insert(step) {
                index.insert(hash(step), step, hash);
            }
            assert_eq!(index.find(hash(pick), |n| n == pick).is_some(), model.contains(&pick));
        }
        assert_eq!(index.len(), model.len());
        for node in 0..steps {
            assert_eq!(index.find(hash(node), |n| n == node).is_some(), model.contains(&node));
        }
    }

    #[test]
    fn finds_what_is_in_it_through_growth_and_removal() {
        for removals in 0..=3 {
            check_against_a_set(colliding, 30_000, removals);
            check_against_a_set(spread, 60_000, removals);
        }
    }

    #[test]
    fn room_made_at_once_is_enough_and_loses_nothing() {
        let mut index = Index::new();
        (0..500).for_each(|node| index.insert(spread(node), node, spread));
        index.reserve(100_000, spread);
        let places = index.table.len();
        (500..100_000).for_each(|node| index.insert(spread(node), node, spread));
        assert_eq!((index.table.len(), index.left), (places, 0), "it did not grow");
        for node in 0..100_000 {
            assert!(index.find(spread(node), |n| n == node).is_some(), "{node}");
        }
        index.reserve(10, spread);
        assert_eq!(index.table.len(), places, "it never shrinks");
    }

    /// A run that goes around the end of the table is moved as a whole, too.
    #[test]
    fn growth_moves_a_run_around_the_end() {
        let hash = |node: u32| if node < 300 { u32::MAX - node % 3 } else { spread(node) };
        let mut index = Index::new();
        for node in 0..900 {
            index.insert(hash(node), node, hash);
            for earlier in 0..=node {
                assert!(index.find(hash(earlier), |n| n == earlier).is_some(), "{node} {earlier}");
            }
        }
        assert_eq!(index.table.len(), 2 * PLACES_MIN);
    }

    /// No insert and no search looks at many nodes, in the middle of a growth neither.
    #[test]
    fn growth_makes_nobody_wait() {
        let mut index = Index::new();
        let mut growing = 0;
        for node in 0..300_000 {
            let asked = Cell::new(0);
            let hash_of = |node| {
                asked.set(asked.get() + 1);
                spread(node)
            };
            index.insert(spread(node), node, hash_of);
            assert!(asked.get() < 2_000, "insert {node} moved {}", asked.get());
            if index.left > 0 {
                growing += 1;
                // Absent ones search both tables to a free place.
                let absent = spread(node + 1_000_000);
                assert!(index.table.run_length(absent) < 2_000);
                assert!(index.old.run_length(absent) < 2_000);
            }
        }
        assert!(growing > 10_000, "growth was watched: {growing}");
    }

    impl Table {
        fn run_length(&self, hash: u32) -> usize {
            let mask = self.len() - 1;
            (0..).take_while(|step| self.tags[(hash as usize + step) & mask] != FREE).count()
        }
    }
}
