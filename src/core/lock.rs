//! Locks that a panic elsewhere does not close.
//!
//! What podgate locks is changed in steps that leave it whole: a thread that panics while it holds a lock costs its own
//! work, and the others go on. One way to say so, where the standard library wants it said at each lock.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// See the module.
pub trait Locked<T: ?Sized> {
    /// The value, once it is free, also after a panic of whoever held it.
    fn locked(&self) -> MutexGuard<'_, T>;
}

impl<T: ?Sized> Locked<T> for Mutex<T> {
    fn locked(&self) -> MutexGuard<'_, T> {
        self.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_panic_of_one_holder_leaves_the_value_to_the_others() {
        let shared = Arc::new(Mutex::new(1));
        let held = shared.clone();
        let panicked = std::thread::spawn(move || {
            let mut value = held.locked();
            *value = 2;
            panic!("meant");
        });
        assert!(panicked.join().is_err());
        assert!(shared.is_poisoned());
        assert_eq!(*shared.locked(), 2);
    }
}
