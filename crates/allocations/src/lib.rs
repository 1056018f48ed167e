//! Counts allocations. For tests only; this is the one crate of the workspace with unsafe code of its
//! own: the trait of allocators is unsafe to implement.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

/// The system's allocator, with a count of how often it was asked for memory.
pub struct Counting {
    count: AtomicU64,
}

impl Counting {
    /// Nothing counted yet.
    pub const fn new() -> Counting {
        Counting { count: AtomicU64::new(0) }
    }

    /// Allocations and reallocations of all threads so far.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    fn note(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }
}

impl Default for Counting {
    fn default() -> Counting {
        Counting::new()
    }
}

// SAFETY: every call goes to `System` with the arguments as they came, so the caller's promises to us
// are our promises to it, and its promises to us are ours to the caller. Counting neither allocates
// nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.note();
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.note();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        self.note();
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[global_allocator]
    static COUNTING: Counting = Counting::new();

    #[test]
    fn a_box_is_one() {
        let before = COUNTING.count();
        let value = std::hint::black_box(Box::new(7u64));
        assert!(COUNTING.count() > before, "{value}");
    }
}
