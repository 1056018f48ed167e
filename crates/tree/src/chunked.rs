//! A vector that never moves what it holds: it grows by chunks, without a pause.

const CHUNK_LEN: usize = 1 << 12;

/// Items by number, in chunks of 4,096.
#[derive(Debug)]
pub(crate) struct Chunked<T> {
    chunks: Vec<Vec<T>>,
    len: usize,
}

impl<T> Chunked<T> {
    pub fn new() -> Chunked<T> {
        Chunked { chunks: Vec::new(), len: 0 }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn push(&mut self, item: T) {
        if self.len.is_multiple_of(CHUNK_LEN) {
            self.chunks.push(Vec::with_capacity(CHUNK_LEN));
        }
        self.chunks[self.len / CHUNK_LEN].push(item);
        self.len += 1;
    }

    pub fn get(&self, index: u32) -> &T {
        &self.chunks[index as usize / CHUNK_LEN][index as usize % CHUNK_LEN]
    }

    pub fn get_mut(&mut self, index: u32) -> &mut T {
        &mut self.chunks[index as usize / CHUNK_LEN][index as usize % CHUNK_LEN]
    }
}
