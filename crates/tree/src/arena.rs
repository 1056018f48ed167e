//! Memory for records: byte blocks of a few sizes, carved out of 64 KiB chunks.
//!
//! A block is named by a 32-bit handle: chunk number and slot. Freed blocks of a size form a list
//! through their own first bytes, so bookkeeping costs nothing per block. A record too long for
//! the classes has a chunk to itself.

/// Names a block. Valid until it is freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Handle(u32);

impl Handle {
    /// No block.
    pub const NONE: Handle = Handle(u32::MAX);

    fn new(chunk: usize, slot: usize) -> Handle {
        let chunk = u32::try_from(chunk).expect("chunk numbers are bounded");
        assert!(chunk < CHUNK_COUNT_MAX, "the tree holds {CHUNK_COUNT_MAX} chunks of records");
        Handle((chunk << SLOT_BITS) | slot as u32)
    }

    fn chunk(self) -> usize {
        (self.0 >> SLOT_BITS) as usize
    }

    fn slot(self) -> usize {
        (self.0 & ((1 << SLOT_BITS) - 1)) as usize
    }
}

const CHUNK_BYTES: usize = 64 * 1024;
const SLOT_BITS: u32 = 12;
const CHUNK_COUNT_MAX: u32 = (1 << (32 - SLOT_BITS)) - 1;
/// Blocks come in steps of 16 bytes up to here.
const FINE_MAX: usize = 512;
/// And in steps of an eighth up to here; beyond, a block has its own chunk.
const CLASS_MAX: usize = 8192;

#[derive(Debug)]
struct Chunk {
    bytes: Box<[u8]>,
    block_bytes: u32,
}

#[derive(Debug)]
struct Class {
    block_bytes: usize,
    free: Handle,
    /// The chunk that has slots never used yet, and the first of them.
    fresh: Option<(usize, usize)>,
}

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Arena {
    chunks: Vec<Chunk>,
    free_chunks: Vec<usize>,
    classes: Vec<Class>,
}

impl Arena {
    pub fn new() -> Arena {
        let class = |block_bytes| Class { block_bytes, free: Handle::NONE, fresh: None };
        let mut classes: Vec<Class> = (1..=FINE_MAX / 16).map(|step| class(step * 16)).collect();
        let mut size = FINE_MAX;
        while size < CLASS_MAX {
            size = (size + size / 8).next_multiple_of(16).min(CLASS_MAX);
            classes.push(class(size));
        }
        Arena { chunks: Vec::new(), free_chunks: Vec::new(), classes }
    }

    /// Stores a record; the block may be longer than it.
    pub fn store(&mut self, record: &[u8]) -> Handle {
        let handle = match self.class_of(record.len()) {
            Some(class) => self.take(class),
            None => {
                let chunk = self.add_chunk(record.len(), record.len());
                Handle::new(chunk, 0)
            }
        };
        self.block_mut(handle)[..record.len()].copy_from_slice(record);
        handle
    }

    /// The block of a handle; a record says itself where it ends.
    pub fn block(&self, handle: Handle) -> &[u8] {
        let chunk = &self.chunks[handle.chunk()];
        let size = chunk.block_bytes as usize;
        &chunk.bytes[handle.slot() * size..][..size]
    }

    /// Gives a block back.
    pub fn free(&mut self, handle: Handle) {
        let size = self.chunks[handle.chunk()].block_bytes as usize;
        match self.class_of(size) {
            Some(class) if self.chunks[handle.chunk()].bytes.len() > size => {
                let next = std::mem::replace(&mut self.classes[class].free, handle);
                self.block_mut(handle)[..4].copy_from_slice(&next.0.to_le_bytes());
            }
            _ => {
                self.chunks[handle.chunk()].bytes = Box::default();
                self.free_chunks.push(handle.chunk());
            }
        }
    }

    fn take(&mut self, class: usize) -> Handle {
        let free = self.classes[class].free;
        if free != Handle::NONE {
            let block = self.block(free);
            let next = u32::from_le_bytes([block[0], block[1], block[2], block[3]]);
            self.classes[class].free = Handle(next);
            return free;
        }
        let size = self.classes[class].block_bytes;
        let (chunk, slot) = match self.classes[class].fresh {
            Some(place) => place,
            None => (self.add_chunk(CHUNK_BYTES, size), 0),
        };
        let more = (slot + 2) * size <= CHUNK_BYTES;
        self.classes[class].fresh = more.then_some((chunk, slot + 1));
        Handle::new(chunk, slot)
    }

    fn add_chunk(&mut self, bytes: usize, block_bytes: usize) -> usize {
        let chunk = Chunk {
            bytes: vec![0; bytes].into_boxed_slice(),
            block_bytes: u32::try_from(block_bytes).expect("records are bounded by the frame"),
        };
        match self.free_chunks.pop() {
            Some(number) => {
                self.chunks[number] = chunk;
                number
            }
            None => {
                self.chunks.push(chunk);
                self.chunks.len() - 1
            }
        }
    }

    fn class_of(&self, len: usize) -> Option<usize> {
        if len <= FINE_MAX {
            Some(len.max(1).div_ceil(16) - 1)
        } else if len <= CLASS_MAX {
            let coarse = &self.classes[FINE_MAX / 16..];
            Some(FINE_MAX / 16 + coarse.partition_point(|class| class.block_bytes < len))
        } else {
            None
        }
    }

    fn block_mut(&mut self, handle: Handle) -> &mut [u8] {
        let chunk = &mut self.chunks[handle.chunk()];
        let size = chunk.block_bytes as usize;
        &mut chunk.bytes[handle.slot() * size..][..size]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_keep_their_bytes_and_are_used_again() {
        let mut arena = Arena::new();
        let lengths = [1, 15, 16, 17, 511, 512, 513, 600, 4096, 8191, 8192, 8193, 100_000];
        let record = |len: usize| vec![(len % 251) as u8; len];
        let handles: Vec<_> = lengths.iter().map(|&len| arena.store(&record(len))).collect();
        for (&handle, &len) in handles.iter().zip(&lengths) {
            assert_eq!(&arena.block(handle)[..len], record(len));
        }
        let chunks = arena.chunks.len();
        for _ in 0..3 {
            handles.iter().for_each(|&handle| arena.free(handle));
            for &len in &lengths {
                let handle = arena.store(&record(len));
                assert_eq!(&arena.block(handle)[..len], record(len));
            }
            assert_eq!(arena.chunks.len(), chunks, "freed blocks serve again");
        }
    }

    #[test]
    fn a_chunk_is_used_to_its_end() {
        let mut arena = Arena::new();
        let handles: Vec<_> = (0..4096u32).map(|i| arena.store(&i.to_le_bytes())).collect();
        assert_eq!(arena.chunks.len(), 1);
        for (i, &handle) in handles.iter().enumerate() {
            assert_eq!(arena.block(handle)[..4], (i as u32).to_le_bytes());
        }
        arena.store(&[0; 16]);
        assert_eq!(arena.chunks.len(), 2);
    }
}
