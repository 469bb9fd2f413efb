//! Memory as a slice of atomic words: what the algorithm runs on, wherever the memory comes from.

use crate::copy::{self, Stores};
use crate::layout::{self, HEADER_BYTES, WORD, header};
use crate::sync::{AtomicU64, Ordering};
use core::ptr::NonNull;
use std::sync::Arc;

/// What keeps a region's memory alive, and knows whether it is still all there.
pub trait Memory: Send + Sync {
    /// True once a part of the memory was lost and replaced by zeros.
    fn truncated(&self) -> bool {
        false
    }
}

struct Heap {
    _words: Box<[AtomicU64]>,
}

impl Memory for Heap {}

/// A ring's header, data and schema regions. Cheap to clone; clones see the same memory.
#[derive(Clone)]
pub struct Region {
    words: NonNull<AtomicU64>,
    len: usize,
    capacity: u64,
    schema_capacity: u32,
    memory: Arc<dyn Memory>,
}

// SAFETY: `words` points to atomics, which may be shared, and `memory` keeps them alive.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// A region around memory that somebody else made.
    ///
    /// # Safety
    /// `words` must be valid for `file_bytes(capacity, schema_capacity)` bytes as long as `memory`
    /// lives, aligned to 8, and only ever be accessed as atomic words.
    pub unsafe fn from_raw(
        words: NonNull<AtomicU64>,
        capacity: u64,
        schema_capacity: u32,
        memory: Arc<dyn Memory>,
    ) -> Self {
        let len = (layout::file_bytes(capacity, schema_capacity) / WORD) as usize;
        Self { words, len, capacity, schema_capacity, memory }
    }

    /// A ring on the heap, for tests and model checkers.
    pub fn heap(capacity: u64, schema_capacity: u32) -> Self {
        let len = (layout::file_bytes(capacity, schema_capacity) / WORD) as usize;
        let words: Box<[AtomicU64]> = (0..len).map(|_| AtomicU64::new(0)).collect();
        let pointer = NonNull::from(&words[0]);
        // SAFETY: the box holds exactly `len` words, and moving it into the Arc moves no word.
        let region = unsafe { Self::from_raw(pointer, capacity, schema_capacity, Arc::new(Heap { _words: words })) };
        region.initialize(1, 0, 0);
        region
    }

    /// Write a new ring's header, the magic last.
    pub fn initialize(&self, stream_id: u64, created_ns: u64, flags: u32) {
        use Ordering::{Relaxed, Release};
        self.header(header::CAPACITY).store(self.capacity, Relaxed);
        self.header(header::SCHEMA_LEN_VERSION).store(layout::pack(0, layout::VERSION), Relaxed);
        self.header(header::STREAM_ID).store(stream_id, Relaxed);
        self.header(header::CREATED_NS).store(created_ns, Relaxed);
        self.header(header::SCHEMA_CAPACITY_FLAGS).store(layout::pack(self.schema_capacity, flags), Relaxed);
        self.header(header::MAGIC).store(layout::MAGIC, Release);
    }

    /// Bytes of the data region.
    #[inline]
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Bytes of the schema region.
    #[inline]
    pub fn schema_capacity(&self) -> u32 {
        self.schema_capacity
    }

    /// True once a part of the memory was lost.
    #[inline]
    pub fn truncated(&self) -> bool {
        self.memory.truncated()
    }

    /// Address of the data region.
    pub fn data_address(&self) -> usize {
        self.words.as_ptr() as usize + HEADER_BYTES as usize
    }

    #[inline]
    fn words(&self) -> &[AtomicU64] {
        // SAFETY: `from_raw`'s contract: valid for `len` words while `memory` lives, atomics only.
        unsafe { core::slice::from_raw_parts(self.words.as_ptr(), self.len) }
    }

    /// A word of the header, by its index in [`layout::header`].
    #[inline]
    pub fn header(&self, index: usize) -> &AtomicU64 {
        debug_assert!(index < (HEADER_BYTES / WORD) as usize);
        &self.words()[index]
    }

    /// The `bytes / 8` words at a position; the range must not wrap.
    #[inline]
    pub fn data(&self, position: u64, bytes: u64) -> &[AtomicU64] {
        let first = self.index(position);
        &self.words()[first..first + (bytes / WORD) as usize]
    }

    /// Index of the word at a position, for [`Self::word`].
    #[inline]
    pub fn index(&self, position: u64) -> usize {
        ((HEADER_BYTES + position % self.capacity) / WORD) as usize
    }

    /// The word with this index.
    #[inline]
    pub fn word(&self, index: usize) -> &AtomicU64 {
        &self.words()[index]
    }

    /// So many words from an index on.
    #[inline]
    pub fn words_from(&self, index: usize, count: u64) -> &[AtomicU64] {
        &self.words()[index..index + count as usize]
    }

    /// The words of the schema region.
    pub fn schema(&self) -> &[AtomicU64] {
        let first = ((HEADER_BYTES + self.capacity) / WORD) as usize;
        &self.words()[first..]
    }

    /// The flags in the header.
    pub fn flags(&self) -> u32 {
        layout::unpack(self.header(header::SCHEMA_CAPACITY_FLAGS).load(Ordering::Relaxed)).1
    }

    /// Set flags in the header; other processes may set others at the same time.
    pub fn set_flags(&self, flags: u32) {
        self.header(header::SCHEMA_CAPACITY_FLAGS).fetch_or(layout::pack(0, flags), Ordering::Relaxed);
    }

    /// The pids of producer and sink, 0 for none.
    pub fn pids(&self) -> (u32, u32) {
        layout::unpack(self.header(header::PIDS).load(Ordering::Relaxed))
    }

    /// Leave a pid in the header; producer and sink share the word.
    pub fn set_pid(&self, sink: bool, pid: u32) {
        let word = self.header(header::PIDS);
        let mut old = word.load(Ordering::Relaxed);
        loop {
            let (producer_pid, sink_pid) = layout::unpack(old);
            let new = if sink { layout::pack(producer_pid, pid) } else { layout::pack(pid, sink_pid) };
            match word.compare_exchange(old, new, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => old = now,
            }
        }
    }
}

/// Store bytes as relaxed words; the last word is filled up with zeros.
pub fn store_bytes(words: &[AtomicU64], bytes: &[u8]) {
    let (whole, rest) = bytes.as_chunks::<8>();
    copy::store_words(&words[..whole.len()], whole, Stores::Near);
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        words[whole.len()].store(u64::from_le_bytes(last), Ordering::Relaxed);
    }
}

/// Store `bit_len` bits of `source`, from its bit `source_bit` on, at bit `bit` of `words`.
///
/// Bits before `bit` are kept; bits behind the range, up to the end of the last word, become zero.
/// The caller is the words' only writer.
pub fn store_bits(words: &[AtomicU64], bit: u64, source: &[u8], source_bit: u64, bit_len: u64, stores: Stores) {
    let mut done = 0;
    let lead = bit % 64;
    if lead != 0 && bit_len != 0 {
        let word = &words[(bit / 64) as usize];
        let taken = bit_len.min(64 - lead);
        let kept = word.load(Ordering::Relaxed) & ((1 << lead) - 1);
        word.store(kept | take_bits(source, source_bit, taken) << lead, Ordering::Relaxed);
        done = taken;
    }
    let first = ((bit + done) / 64) as usize;
    if (source_bit + done).is_multiple_of(8) {
        let start = ((source_bit + done) / 8) as usize;
        let whole = ((bit_len - done) / 64) as usize;
        let (chunks, _) = source[start..start + whole * 8].as_chunks::<8>();
        copy::store_words(&words[first..first + whole], chunks, stores);
        done += whole as u64 * 64;
    }
    while done < bit_len {
        let taken = (bit_len - done).min(64);
        let word = &words[((bit + done) / 64) as usize];
        word.store(take_bits(source, source_bit + done, taken), Ordering::Relaxed);
        done += taken;
    }
}

/// Up to 64 bits of a byte slice, from bit `start` on, in the low end of a word.
fn take_bits(source: &[u8], start: u64, count: u64) -> u64 {
    let first = (start / 8) as usize;
    let shift = start % 8;
    let mut bytes = [0; 16];
    let available = &source[first..source.len().min(first + 9)];
    bytes[..available.len()].copy_from_slice(available);
    let value = (u128::from_le_bytes(bytes) >> shift) as u64;
    if count == 64 { value } else { value & ((1 << count) - 1) }
}

/// Append a copy of `bit_len` bits from bit `bit` of `words` on, filled up to a whole word.
pub fn load_bits(words: &[AtomicU64], bit: u64, bit_len: u64, into: &mut Vec<u64>) {
    let first = (bit / 64) as usize;
    let count = bit_len.div_ceil(64) as usize;
    let shift = bit % 64;
    if shift == 0 {
        return copy::load_words(&words[first..first + count], into);
    }
    let last = ((bit + bit_len - 1) / 64) as usize;
    into.extend((0..count).map(|i| {
        let low = words[first + i].load(Ordering::Relaxed) >> shift;
        let high = if first + i < last { words[first + i + 1].load(Ordering::Relaxed) } else { 0 };
        low | high << (64 - shift)
    }));
}
