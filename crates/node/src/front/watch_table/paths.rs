//! The bytes of watched paths: in slots of eight, sixteen, ... bytes, so that a path costs little more
//! than its length, and what names it four bytes.

/// Slots come in steps of this.
const STEP_BYTES: usize = 8;
/// A longer path has an allocation to itself.
const SLOT_BYTES_MAX: usize = 512;
/// Bytes that a class of slots grows by, about.
const CHUNK_BYTES: usize = 32 * 1024;
/// Stands for a length that says: it has an allocation to itself.
const LONG: u16 = u16::MAX;
/// No free slot.
const NO_SLOT: u32 = u32::MAX;

/// Names a path. Valid until it is taken out.
#[derive(Clone, Copy, Debug)]
pub(super) struct PathRef {
    slot: u32,
    bytes: u16,
}

/// Slots of one size.
#[derive(Debug, Default)]
struct Class {
    chunks: Vec<Box<[u8]>>,
    /// Slots that were used at some time.
    begun: u32,
    /// The slot freed last; each free one names the one freed before it.
    free: Option<u32>,
    used: u32,
}

/// See the module's head.
#[derive(Debug)]
pub(super) struct Paths {
    classes: Vec<Class>,
    long: Vec<Box<str>>,
    free_long: Vec<u32>,
}

impl Paths {
    /// Empty.
    pub fn new() -> Paths {
        let classes = SLOT_BYTES_MAX / STEP_BYTES + 1;
        Paths {
            classes: std::iter::repeat_with(Class::default).take(classes).collect(),
            long: Vec::new(),
            free_long: Vec::new(),
        }
    }

    /// Stores a path.
    pub fn add(&mut self, path: &str) -> PathRef {
        if path.len() > SLOT_BYTES_MAX {
            return PathRef { slot: self.add_long(path), bytes: LONG };
        }
        let class = class_of(path.len());
        let slot = self.classes[class].take_slot(class * STEP_BYTES);
        let place = self.classes[class].slot_mut(slot, class * STEP_BYTES);
        place[..path.len()].copy_from_slice(path.as_bytes());
        PathRef { slot, bytes: path.len() as u16 }
    }

    fn add_long(&mut self, path: &str) -> u32 {
        match self.free_long.pop() {
            Some(slot) => {
                self.long[slot as usize] = path.into();
                slot
            }
            None => {
                self.long.push(path.into());
                u32::try_from(self.long.len() - 1).expect("fewer paths than 2^32")
            }
        }
    }

    /// The bytes of a path.
    pub fn get(&self, path: PathRef) -> &[u8] {
        if path.bytes == LONG {
            return self.long[path.slot as usize].as_bytes();
        }
        let bytes = usize::from(path.bytes);
        let class = class_of(bytes);
        &self.classes[class].slot(path.slot, class * STEP_BYTES)[..bytes]
    }

    /// Takes a path out.
    pub fn remove(&mut self, path: PathRef) {
        if path.bytes == LONG {
            self.long[path.slot as usize] = Box::default();
            self.free_long.push(path.slot);
            return;
        }
        let class = class_of(usize::from(path.bytes));
        self.classes[class].give_back(path.slot, class * STEP_BYTES);
    }
}

/// The steps in a slot; at least one, which is needed for the list of free slots.
fn class_of(bytes: usize) -> usize {
    bytes.div_ceil(STEP_BYTES).max(1)
}

impl Class {
    fn slots_per_chunk(size: usize) -> u32 {
        (CHUNK_BYTES / size) as u32
    }

    fn take_slot(&mut self, size: usize) -> u32 {
        self.used += 1;
        if let Some(slot) = self.free {
            let next = *self.slot(slot, size).first_chunk().expect("slots have eight bytes");
            let next = u32::from_le_bytes(next);
            self.free = (next != NO_SLOT).then_some(next);
            return slot;
        }
        let slot = self.begun;
        assert!(slot < NO_SLOT, "fewer paths than 2^32");
        self.begun += 1;
        if slot.is_multiple_of(Class::slots_per_chunk(size)) {
            let bytes = Class::slots_per_chunk(size) as usize * size;
            self.chunks.push(vec![0; bytes].into_boxed_slice());
        }
        slot
    }

    fn give_back(&mut self, slot: u32, size: usize) {
        self.used -= 1;
        if self.used == 0 {
            // Chunks are given back together: a herd that was told leaves nothing behind.
            *self = Class::default();
            return;
        }
        let next = self.free.replace(slot).unwrap_or(NO_SLOT).to_le_bytes();
        self.slot_mut(slot, size)[..next.len()].copy_from_slice(&next);
    }

    fn slot(&self, slot: u32, size: usize) -> &[u8] {
        let (chunk, at) = place(slot, size);
        &self.chunks[chunk][at..at + size]
    }

    fn slot_mut(&mut self, slot: u32, size: usize) -> &mut [u8] {
        let (chunk, at) = place(slot, size);
        &mut self.chunks[chunk][at..at + size]
    }
}

fn place(slot: u32, size: usize) -> (usize, usize) {
    let per_chunk = Class::slots_per_chunk(size);
    ((slot / per_chunk) as usize, (slot % per_chunk) as usize * size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_come_back_whatever_is_removed_between() {
        let mut paths = Paths::new();
        let mut held: Vec<(PathRef, String)> = Vec::new();
        let mut random = 1u64;
        for step in 0..50_000u64 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let number = (random >> 33) as usize;
            if held.is_empty() || number % 100 < if step / 10_000 % 2 == 0 { 60 } else { 40 } {
                let length = number % [30, 600][usize::from(number.is_multiple_of(7))];
                let path: String =
                    (0..length).map(|at| char::from(b'a' + ((number + at) % 26) as u8)).collect();
                held.push((paths.add(&path), path));
            } else {
                let (path, text) = held.swap_remove(number % held.len());
                assert_eq!(paths.get(path), text.as_bytes());
                paths.remove(path);
            }
        }
        for (path, text) in held {
            assert_eq!(paths.get(path), text.as_bytes());
            paths.remove(path);
        }
        assert!(paths.classes.iter().all(|class| class.chunks.is_empty()));
        assert!(paths.long.iter().all(|path| path.is_empty()));
    }

    #[test]
    fn freed_slots_serve_again() {
        let mut paths = Paths::new();
        let held: Vec<PathRef> = (0..10_000).map(|n| paths.add(&format!("/{n:09}"))).collect();
        let class = class_of(10);
        let chunks = paths.classes[class].chunks.len();
        for &path in &held[1..] {
            paths.remove(path);
        }
        for n in 1..10_000 {
            paths.add(&format!("/{n:09}"));
        }
        assert_eq!(paths.classes[class].chunks.len(), chunks);
        assert_eq!(paths.get(held[0]), b"/000000000");
    }
}
