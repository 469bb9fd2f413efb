//! The only file that names atomics: `core`'s, or loom's when its model checker runs the crate.

#[cfg(not(any(loom, feature = "faults")))]
pub use core::sync::atomic::{AtomicU64, Ordering, fence};

#[cfg(loom)]
pub use loom::sync::atomic::{AtomicU64, Ordering, fence};

/// Let others run before looking again.
#[cfg(not(loom))]
pub use std::thread::yield_now;

#[cfg(loom)]
pub use loom::thread::yield_now;

#[cfg(all(feature = "faults", not(loom)))]
pub use core::sync::atomic::{Ordering, fence};
#[cfg(all(feature = "faults", not(loom)))]
pub use faults::{AtomicU64, stop_before_store};

/// Words that can end their thread before any store, for tests of what a kill leaves behind.
#[cfg(all(feature = "faults", not(loom)))]
mod faults {
    use core::sync::atomic::Ordering;
    use std::cell::Cell;

    thread_local! { static STORES_LEFT: Cell<Option<u64>> = const { Cell::new(None) } }

    /// Panic instead of making this thread's store number `stores`, from 0; `None` ends that.
    pub fn stop_before_store(stores: Option<u64>) {
        STORES_LEFT.set(stores);
    }

    fn count() {
        if let Some(left) = STORES_LEFT.get() {
            if left == 0 {
                STORES_LEFT.set(None);
                std::panic::panic_any("stopped before a store");
            }
            STORES_LEFT.set(Some(left - 1));
        }
    }

    /// A word like `core`'s.
    #[repr(transparent)]
    pub struct AtomicU64(core::sync::atomic::AtomicU64);

    #[allow(missing_docs, reason = "as in core")]
    impl AtomicU64 {
        pub const fn new(value: u64) -> Self {
            Self(core::sync::atomic::AtomicU64::new(value))
        }

        pub fn load(&self, order: Ordering) -> u64 {
            self.0.load(order)
        }

        pub fn store(&self, value: u64, order: Ordering) {
            count();
            self.0.store(value, order);
        }

        pub fn fetch_or(&self, value: u64, order: Ordering) -> u64 {
            count();
            self.0.fetch_or(value, order)
        }

        pub fn compare_exchange(&self, old: u64, new: u64, good: Ordering, bad: Ordering) -> Result<u64, u64> {
            count();
            self.0.compare_exchange(old, new, good, bad)
        }
    }
}
