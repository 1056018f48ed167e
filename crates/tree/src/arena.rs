//! Memory for records: byte blocks of a few sizes, carved out of 256 KiB chunks.
//!
//! A block is named by a 32-bit handle: chunk and slot. Freed blocks of a chunk form a list through
//! their own first bytes, so bookkeeping costs nothing per block; a chunk whose last block is freed
//! goes back to the allocator. Blocks left over in chunks that are mostly free are moved together
//! when their owner offers them to [`Arena::relocate`]. A record too long for the classes has an allocation to itself.

/// Names a block. Valid until it is freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Handle(u32);

impl Handle {
    /// No block.
    pub const NONE: Handle = Handle(u32::MAX);

    fn place(self) -> Place {
        if self.0 & LARGE != 0 {
            Place::Large((self.0 & !LARGE) as usize)
        } else {
            let (chunk, slot) = (self.0 >> SLOT_BITS, self.0 & ((1 << SLOT_BITS) - 1));
            Place::Slot { chunk: chunk as usize, slot: slot as u16 }
        }
    }
}

/// What a handle says.
enum Place {
    /// A block of a chunk.
    Slot { chunk: usize, slot: u16 },
    /// A record of its own.
    Large(usize),
}

/// Large enough that the server's allocator keeps nothing else in the same pages, and gives them
/// back.
const CHUNK_BYTES: usize = 256 * 1024;
/// Enough for the smallest blocks.
const SLOT_BITS: u32 = 13;
/// Marks the handle of a record of its own.
const LARGE: u32 = 1 << 31;
/// 64 GiB of records, those of their own not counted.
const CHUNK_COUNT_MAX: usize = 1 << (31 - SLOT_BITS);
/// Blocks come in steps of 16 bytes from here
const FINE_MIN: usize = 32;
/// up to here,
const FINE_MAX: usize = 512;
/// and in steps of an eighth up to here.
const CLASS_MAX: usize = 8192;
/// No slot.
const NO_SLOT: u16 = u16::MAX;

#[derive(Debug)]
struct Chunk {
    bytes: Box<[u8]>,
    block_bytes: u32,
    /// Its place among the chunks with room of its class; meaningless if it has none.
    roomy_at: u32,
    /// How many blocks are in use.
    used: u16,
    /// The first slot that was never used.
    fresh: u16,
    /// The slot freed last.
    free: u16,
}

impl Chunk {
    fn slots(&self) -> u16 {
        (CHUNK_BYTES / self.block_bytes as usize) as u16
    }

    fn has_room(&self) -> bool {
        self.used < self.slots()
    }

    fn block(&self, slot: u16) -> &[u8] {
        let size = self.block_bytes as usize;
        &self.bytes[usize::from(slot) * size..][..size]
    }

    fn block_mut(&mut self, slot: u16) -> &mut [u8] {
        let size = self.block_bytes as usize;
        &mut self.bytes[usize::from(slot) * size..][..size]
    }
}

/// Blocks of one size.
#[derive(Debug)]
struct Class {
    block_bytes: usize,
    /// Its chunks that have room.
    roomy: Vec<usize>,
}

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Arena {
    chunks: Vec<Chunk>,
    free_chunks: Vec<usize>,
    classes: Vec<Class>,
    large: Vec<Box<[u8]>>,
    free_large: Vec<usize>,
    /// Bytes of all chunks.
    chunk_bytes: usize,
    /// Bytes of the blocks in use in them.
    used_bytes: usize,
}

/// Free bytes in chunks that are not worth an effort.
const WASTE_MIN: usize = 1 << 20;

impl Arena {
    pub fn new() -> Arena {
        let class = |block_bytes| Class { block_bytes, roomy: Vec::new() };
        let mut classes: Vec<Class> = (FINE_MIN..=FINE_MAX).step_by(16).map(class).collect();
        let mut size = FINE_MAX;
        while size < CLASS_MAX {
            size = (size + size / 8).next_multiple_of(16).min(CLASS_MAX);
            classes.push(class(size));
        }
        Arena {
            chunks: Vec::new(),
            free_chunks: Vec::new(),
            classes,
            large: Vec::new(),
            free_large: Vec::new(),
            chunk_bytes: 0,
            used_bytes: 0,
        }
    }

    /// Stores a record; the block may be longer than it.
    pub fn store(&mut self, record: &[u8]) -> Handle {
        match self.class_of(record.len()) {
            Some(class) => self.store_in(class, record),
            None => self.store_large(record.into()),
        }
    }

    /// The block of a handle; a record says itself where it ends.
    pub fn block(&self, handle: Handle) -> &[u8] {
        match handle.place() {
            Place::Slot { chunk, slot } => self.chunks[chunk].block(slot),
            Place::Large(number) => &self.large[number],
        }
    }

    /// Gives a block back.
    pub fn free(&mut self, handle: Handle) {
        match handle.place() {
            Place::Slot { chunk, slot } => self.free_slot(chunk, slot),
            Place::Large(number) => {
                self.large[number] = Box::default();
                self.free_large.push(number);
            }
        }
    }

    /// True if an eighth of the chunks' bytes is free, and [`relocate`](Self::relocate) may help.
    pub fn is_wasteful(&self) -> bool {
        let waste = self.chunk_bytes - self.used_bytes;
        waste > WASTE_MIN && waste > self.chunk_bytes / 8
    }

    /// Moves a block out of a chunk of which an eighth is free, so that the chunk empties. The new
    /// handle, if it moved; the old one is free then.
    pub fn relocate(&mut self, handle: Handle) -> Option<Handle> {
        let Place::Slot { chunk: number, slot } = handle.place() else { return None };
        let chunk = &self.chunks[number];
        if u32::from(chunk.used) * 8 > u32::from(chunk.slots()) * 7 {
            return None;
        }
        let class = self.class_of(chunk.block_bytes as usize)?;
        // The one that is being filled stays.
        if self.classes[class].roomy.last() == Some(&number) {
            return None;
        }
        let block: Box<[u8]> = chunk.block(slot).into();
        let moved = self.store_in(class, &block);
        self.free_slot(number, slot);
        Some(moved)
    }

    /// Blocks in use.
    pub fn used(&self) -> usize {
        let small: usize = self.chunks.iter().map(|chunk| usize::from(chunk.used)).sum();
        small + self.large.len() - self.free_large.len()
    }

    fn store_large(&mut self, record: Box<[u8]>) -> Handle {
        let number = match self.free_large.pop() {
            Some(number) => {
                self.large[number] = record;
                number
            }
            None => {
                self.large.push(record);
                self.large.len() - 1
            }
        };
        let number = u32::try_from(number).expect("there are fewer records than node numbers");
        assert!(number < !LARGE, "the tree holds {} large records", !LARGE);
        Handle(LARGE | number)
    }

    fn store_in(&mut self, class: usize, record: &[u8]) -> Handle {
        let number = match self.classes[class].roomy.last() {
            Some(&number) => number,
            None => self.add_chunk(class),
        };
        let chunk = &mut self.chunks[number];
        let slot = match chunk.free {
            NO_SLOT => {
                chunk.fresh += 1;
                chunk.fresh - 1
            }
            slot => {
                let block = chunk.block(slot);
                chunk.free = u16::from_le_bytes([block[0], block[1]]);
                slot
            }
        };
        chunk.used += 1;
        self.used_bytes += chunk.block_bytes as usize;
        chunk.block_mut(slot)[..record.len()].copy_from_slice(record);
        if !chunk.has_room() {
            self.classes[class].roomy.pop();
        }
        Handle((number as u32) << SLOT_BITS | u32::from(slot))
    }

    fn free_slot(&mut self, number: usize, slot: u16) {
        let chunk = &mut self.chunks[number];
        let had_room = chunk.has_room();
        let next = std::mem::replace(&mut chunk.free, slot);
        chunk.block_mut(slot)[..2].copy_from_slice(&next.to_le_bytes());
        chunk.used -= 1;
        let unused = chunk.used == 0;
        let size = chunk.block_bytes as usize;
        self.used_bytes -= size;
        let class = self.class_of(size).expect("blocks of chunks have a class");
        if !had_room {
            self.add_roomy(class, number);
        }
        // The last one with room stays, or a block stored and freed in turn would cost a chunk.
        if unused && self.classes[class].roomy.len() > 1 {
            self.release_chunk(class, number);
        }
    }

    fn add_roomy(&mut self, class: usize, number: usize) {
        let roomy = &mut self.classes[class].roomy;
        self.chunks[number].roomy_at = u32::try_from(roomy.len()).expect("chunks are bounded");
        roomy.push(number);
    }

    fn release_chunk(&mut self, class: usize, number: usize) {
        let at = self.chunks[number].roomy_at as usize;
        let roomy = &mut self.classes[class].roomy;
        assert_eq!(roomy[at], number, "a chunk knows its place");
        // The last one is being filled and stays the last.
        let behind = at.max(roomy.len().saturating_sub(2));
        roomy.swap(at, behind);
        roomy.swap_remove(behind);
        for place in [at, behind] {
            if let Some(&moved) = roomy.get(place) {
                self.chunks[moved].roomy_at = place as u32;
            }
        }
        self.chunks[number].bytes = Box::default();
        self.chunk_bytes -= CHUNK_BYTES;
        self.free_chunks.push(number);
    }

    fn add_chunk(&mut self, class: usize) -> usize {
        let block_bytes = self.classes[class].block_bytes as u32;
        let bytes = vec![0; CHUNK_BYTES].into_boxed_slice();
        self.chunk_bytes += CHUNK_BYTES;
        let (used, fresh, free) = (0, 0, NO_SLOT);
        let chunk = Chunk { bytes, block_bytes, roomy_at: 0, used, fresh, free };
        let number = match self.free_chunks.pop() {
            Some(number) => {
                self.chunks[number] = chunk;
                number
            }
            None => {
                assert!(self.chunks.len() < CHUNK_COUNT_MAX, "the tree holds 64 GiB of records");
                self.chunks.push(chunk);
                self.chunks.len() - 1
            }
        };
        self.add_roomy(class, number);
        number
    }

    fn class_of(&self, len: usize) -> Option<usize> {
        const FINE_CLASSES: usize = (FINE_MAX - FINE_MIN) / 16 + 1;
        if len <= FINE_MAX {
            Some(len.saturating_sub(FINE_MIN).div_ceil(16))
        } else if len <= CLASS_MAX {
            let coarse = &self.classes[FINE_CLASSES..];
            Some(FINE_CLASSES + coarse.partition_point(|class| class.block_bytes < len))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTHS: [usize; 15] =
        [0, 1, 31, 32, 33, 48, 49, 512, 513, 600, 4096, 8191, 8192, 8193, 100_000];

    fn record(len: usize) -> Vec<u8> {
        vec![(len % 251) as u8; len]
    }

    impl Arena {
        fn chunks_in_use(&self) -> usize {
            self.chunks.len() - self.free_chunks.len()
        }
    }

    #[test]
    fn blocks_keep_their_bytes_and_are_used_again() {
        let mut arena = Arena::new();
        let mut handles: Vec<_> = LENGTHS.iter().map(|&len| arena.store(&record(len))).collect();
        let chunks = arena.chunks.len();
        for _ in 0..3 {
            for (&handle, &len) in handles.iter().zip(&LENGTHS) {
                assert_eq!(&arena.block(handle)[..len], record(len));
            }
            handles.iter().for_each(|&handle| arena.free(handle));
            assert_eq!(arena.used(), 0);
            handles = LENGTHS.iter().map(|&len| arena.store(&record(len))).collect();
            assert_eq!(arena.chunks.len(), chunks, "freed blocks serve again");
            assert_eq!(arena.large.len(), 2);
        }
    }

    #[test]
    fn a_block_is_hardly_longer_than_its_record() {
        let mut arena = Arena::new();
        for len in 0..=CLASS_MAX {
            let handle = arena.store(&record(len));
            let block = arena.block(handle).len();
            assert!(block >= len && block <= FINE_MIN.max(len + 15).max(len * 9 / 8 + 16));
        }
    }

    #[test]
    fn a_chunk_is_used_to_its_end() {
        let mut arena = Arena::new();
        let store = |i: u32| (i, arena.store(&i.to_le_bytes()));
        let handles: Vec<_> = (0..8192).map(store).collect();
        assert_eq!(arena.chunks.len(), 1);
        for (i, handle) in handles {
            assert_eq!(arena.block(handle)[..4], i.to_le_bytes());
        }
        arena.store(&[0; 16]);
        assert_eq!(arena.chunks.len(), 2);
    }

    #[test]
    fn empty_chunks_go_back() {
        let mut arena = Arena::new();
        let handles: Vec<_> = (0..50_000).map(|_| arena.store(&[1; 100])).collect();
        assert!(arena.chunks_in_use() > 20);
        // In an order that empties many chunks late and together.
        for step in 0..handles.len() {
            arena.free(handles[step * 7919 % handles.len()]);
        }
        assert_eq!(arena.chunks_in_use(), 1, "one stays for the next block");
        assert_eq!(arena.used(), 0);
    }

    /// One block in eight stays, everywhere: offered once, they move together.
    #[test]
    fn scattered_blocks_move_together() {
        let mut arena = Arena::new();
        let record = |number: usize| vec![(number % 251) as u8; 100];
        let handles: Vec<_> = (0..320_000).map(|number| arena.store(&record(number))).collect();
        let full = arena.chunks_in_use();
        assert!(!arena.is_wasteful());
        let mut left = Vec::new();
        for (number, handle) in handles.into_iter().enumerate() {
            if number % 8 == 0 {
                left.push((number, handle));
            } else {
                arena.free(handle);
            }
        }
        assert_eq!(arena.chunks_in_use(), full);
        assert!(arena.is_wasteful());
        for (_, handle) in &mut left {
            *handle = arena.relocate(*handle).unwrap_or(*handle);
        }
        assert!(!arena.is_wasteful(), "{} of {full}", arena.chunks_in_use());
        assert!(arena.chunks_in_use() <= full / 8 + 2, "{} of {full}", arena.chunks_in_use());
        assert_eq!(arena.used(), left.len());
        for (number, handle) in left {
            assert_eq!(arena.block(handle)[..100], record(number));
        }
    }

    #[test]
    fn random_stores_and_frees_disturb_nobody() {
        let mut arena = Arena::new();
        let mut held: Vec<(Handle, Vec<u8>)> = Vec::new();
        let mut random = 1u64;
        for step in 0..200_000u64 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let number = (random >> 33) as usize;
            // Waves of more stores, then more frees.
            if held.is_empty() || number % 100 < if step / 20_000 % 2 == 0 { 60 } else { 40 } {
                let len = number % [40, 200, 9000][number % 3];
                let bytes: Vec<u8> = (0..len).map(|at| (number + at) as u8).collect();
                held.push((arena.store(&bytes), bytes));
            } else {
                let (handle, bytes) = held.swap_remove(number % held.len());
                assert_eq!(&arena.block(handle)[..bytes.len()], bytes);
                arena.free(handle);
            }
            assert_eq!(arena.used(), held.len());
        }
        for (handle, bytes) in held {
            assert_eq!(&arena.block(handle)[..bytes.len()], bytes);
        }
    }
}
