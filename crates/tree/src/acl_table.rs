//! Each distinct ACL is kept once, counted by the nodes that have it.

use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use oxikeeper_proto::Acl;

/// Number of the open ACL; it is never freed, and snapshots call it -1.
pub(crate) const OPEN: u32 = 0;

/// A list that nodes share.
#[derive(Clone, Debug)]
struct Slot {
    acl: Arc<[Acl]>,
    nodes: u32,
}

/// See the module's head.
#[derive(Debug)]
pub(crate) struct AclTable {
    slots: Vec<Slot>,
    free: Vec<u32>,
    by_list: HashMap<Arc<[Acl]>, u32, FixedState>,
}

impl AclTable {
    pub fn new(seed: u64) -> AclTable {
        let open: Arc<[Acl]> = Arc::from([Acl::open()]);
        let mut by_list = HashMap::with_hasher(FixedState::with_seed(seed));
        by_list.insert(Arc::clone(&open), OPEN);
        AclTable { slots: vec![Slot { acl: open, nodes: 1 }], free: Vec::new(), by_list }
    }

    /// Counts one more node with this list.
    pub fn acquire(&mut self, acl: &[Acl]) -> u32 {
        if let Some(&number) = self.by_list.get(acl) {
            self.slots[number as usize].nodes += 1;
            return number;
        }
        let slot = Slot { acl: acl.into(), nodes: 1 };
        let shared = Arc::clone(&slot.acl);
        let number = match self.free.pop() {
            Some(number) => {
                self.slots[number as usize] = slot;
                number
            }
            None => {
                self.slots.push(slot);
                u32::try_from(self.slots.len() - 1).expect("fewer lists than nodes")
            }
        };
        self.by_list.insert(shared, number);
        number
    }

    /// Counts one more node with a list in use.
    pub fn acquire_again(&mut self, number: u32) -> u32 {
        self.slots[number as usize].nodes += 1;
        number
    }

    /// Counts one node less.
    pub fn release(&mut self, number: u32) {
        let slot = &mut self.slots[number as usize];
        slot.nodes -= 1;
        if slot.nodes == 0 {
            self.by_list.remove(&slot.acl);
            slot.acl = Arc::default();
            self.free.push(number);
        }
    }

    /// The list of a number in use.
    pub fn get(&self, number: u32) -> &Arc<[Acl]> {
        &self.slots[number as usize].acl
    }

    /// All lists in use but the open one, by number.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Arc<[Acl]>)> {
        let used = |(_, slot): &(u32, &Slot)| slot.nodes > 0;
        (0..).zip(&self.slots).skip(1).filter(used).map(|(number, slot)| (number, &slot.acl))
    }

    /// How many nodes have each list; the open one has one more.
    pub fn counts(&self) -> impl Iterator<Item = (u32, u32)> {
        (0..).zip(&self.slots).map(|(number, slot)| (number, slot.nodes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oxikeeper_proto::Id;

    #[test]
    fn lists_are_shared_and_freed() {
        let mut table = AclTable::new(0);
        let read = [Acl { perms: 1, id: Id::anyone() }];
        assert_eq!(table.acquire(&[Acl::open()]), OPEN);
        let number = table.acquire(&read);
        assert_eq!(table.acquire(&read), number);
        assert_eq!(**table.get(number), read);
        table.release(number);
        assert_eq!(table.iter().count(), 1);
        table.release(number);
        assert_eq!(table.iter().count(), 0);
        assert_eq!(table.acquire(&[]), number, "the number serves again");
    }
}
