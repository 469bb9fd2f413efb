//! A memory-mapped, lock-free ring of frames: one producer, any number of readers, any process.
//!
//! The producer claims space, fills it and publishes it without ever waiting for a reader; a reader
//! copies and then validates that nothing was overwritten meanwhile. Every row carries its absolute
//! index, so a reader that was overtaken knows exactly how much it lost. The bytes are described in
//! [`layout`]; the algorithm ([`producer`], [`cursor`]) knows only a slice of atomic words
//! ([`region`]) and runs unchanged on a mapped file and on the heap.

pub mod claim;
mod copy;
pub mod cursor;
pub mod error;
pub mod frame;
pub mod layout;
#[cfg(not(loom))]
pub mod lock;
#[cfg(not(loom))]
pub mod mapped;
pub mod producer;
pub mod region;
pub mod reopen;
pub mod rows;
#[cfg(not(loom))]
mod sigbus;
pub mod sync;
pub mod walk;
