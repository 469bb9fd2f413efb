//! Buffers of frames that were given back, for the next frames.
//!
//! What the allocator gets back of such sizes goes to the system, and comes again page by page: a fault for each 4 KiB,
//! which together take several times as long as the copy itself.

use std::sync::Mutex;

const LEAST_WORDS: usize = (64 << 10) / 8;
/// What is kept at most in one process.
const MOST_WORDS: usize = (32 << 20) / 8;

// Nobody waits for it: who finds it locked, perhaps for ever by a thread that a fork left behind, goes without.
static SPARE: Mutex<Spare> = Mutex::new(Spare { buffers: Vec::new(), words: 0 });

struct Spare {
    buffers: Vec<Vec<u64>>,
    words: usize,
}

/// An empty buffer, with room if there is one that has.
pub fn take() -> Vec<u64> {
    let Ok(mut spare) = SPARE.try_lock() else { return Vec::new() };
    let buffer = spare.buffers.pop().unwrap_or_default();
    spare.words -= buffer.capacity();
    buffer
}

/// What was read, in a buffer of about its size: a small frame must not hold a large one for as long as it lives.
pub fn fitted(words: Vec<u64>) -> Vec<u64> {
    if words.capacity() < LEAST_WORDS || words.len() >= words.capacity() / 4 {
        return words;
    }
    let small = words.as_slice().to_vec();
    give(words);
    small
}

/// Give a buffer back.
pub fn give(mut words: Vec<u64>) {
    if words.capacity() < LEAST_WORDS {
        return;
    }
    words.clear();
    let Ok(mut spare) = SPARE.try_lock() else { return };
    if spare.words + words.capacity() <= MOST_WORDS {
        spare.words += words.capacity();
        spare.buffers.push(words);
    }
}
