//! A mutex for short critical sections.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A [`Mutex`] that a panic of an earlier holder does not poison: the state
/// behind it must be valid after each statement that changes it.
///
/// The holder may be a runtime thread, and nothing that blocks may run under the
/// lock: no file, device or network IO, no `.await`, no rendering.
#[derive(Debug, Default)]
pub struct Lock<T>(Mutex<T>);

impl<T> Lock<T> {
    pub const fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    /// Blocks until no other thread holds the lock.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_a_holder_does_not_block_others() {
        let lock = Lock::new(1);
        let panicked = std::thread::scope(|scope| {
            let holder = scope.spawn(|| {
                let mut value = lock.lock();
                *value = 2;
                panic!("while the lock is held");
            });
            holder.join().is_err()
        });
        assert!(panicked);
        assert_eq!(*lock.lock(), 2);
    }
}
