//! An allocator that counts what the thread asks of it: calls and bytes.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Allocations and reallocations, and the bytes asked for by them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allocated {
    pub count: usize,
    pub bytes: usize,
}

thread_local! {
    static ASKED: Cell<Allocated> = const { Cell::new(Allocated { count: 0, bytes: 0 }) };
}

struct Counting;

fn asked(bytes: usize) {
    ASKED.with(|asked| {
        let Allocated { count, bytes: before } = asked.get();
        asked.set(Allocated { count: count + 1, bytes: before + bytes });
    });
}

// SAFETY: every call is handed to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        asked(layout.size());
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `alloc` above, hence from the system allocator.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        asked(size);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What this thread asks for while `work` runs.
pub fn allocated<T>(work: impl FnOnce() -> T) -> (Allocated, T) {
    let before = ASKED.with(Cell::get);
    let result = work();
    let after = ASKED.with(Cell::get);
    (Allocated { count: after.count - before.count, bytes: after.bytes - before.bytes }, result)
}
