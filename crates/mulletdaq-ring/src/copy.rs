//! Many relaxed stores or loads at the rate of a copy.
//!
//! The compiler makes one instruction of each atomic word. Where the ring is filled and read in blocks, these are
//! instructions that move more, written in assembler: for Rust each is a series of relaxed atomic accesses of words, in
//! no given order, which is all that the algorithm asks of data. Other processors, loom and the tests of what a kill
//! leaves behind go word by word.

use crate::sync::{AtomicU64, Ordering};
use core::mem::MaybeUninit;

/// Where stored words should go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stores {
    /// Into the caches, whence they are read soon.
    Near,
    /// Past the caches: they are more than these hold, and fetching each line before it is overwritten costs a tenth.
    Streaming,
}

/// Store words relaxed; both slices are equally long.
pub fn store_words(words: &[AtomicU64], values: &[[u8; 8]], stores: Stores) {
    assert_eq!(words.len(), values.len());
    // The tests of kills count stores.
    let done = if cfg!(feature = "faults") { 0 } else { wide::store(words, values, stores) };
    for (word, value) in words[done..].iter().zip(&values[done..]) {
        word.store(u64::from_le_bytes(*value), Ordering::Relaxed);
    }
}

/// Append relaxed copies of words to a vector.
pub fn load_words(words: &[AtomicU64], into: &mut Vec<u64>) {
    into.reserve(words.len());
    let room = &mut into.spare_capacity_mut()[..words.len()];
    // SAFETY: eight bytes are as long as a word and may lie anywhere.
    let done = wide::load(words, unsafe { &mut *(std::ptr::from_mut(room) as *mut [MaybeUninit<[u8; 8]>]) });
    // SAFETY: there is room for as many words, and so many of them have been written.
    unsafe { into.set_len(into.len() + done) };
    into.extend(words[done..].iter().map(|word| word.load(Ordering::Relaxed)));
}

/// Fill all of `into` with relaxed copies of the bytes that the words were stored from.
pub fn load_bytes(words: &[AtomicU64], into: &mut [MaybeUninit<u8>]) {
    let (whole, rest) = into.as_chunks_mut::<8>();
    // SAFETY: an array of bytes that may be uninitialized is one that may be.
    let whole = unsafe { &mut *(std::ptr::from_mut(whole) as *mut [MaybeUninit<[u8; 8]>]) };
    let done = wide::load(&words[..whole.len()], whole);
    for (word, bytes) in words[done..].iter().zip(&mut whole[done..]) {
        bytes.write(word.load(Ordering::Relaxed).to_le_bytes());
    }
    if !rest.is_empty() {
        let last = words[whole.len()].load(Ordering::Relaxed).to_le_bytes();
        for (byte, value) in rest.iter_mut().zip(last) {
            byte.write(value);
        }
    }
}

#[cfg(not(all(target_arch = "x86_64", not(loom), not(miri))))]
mod wide {
    //! Nothing is known that is faster than the compiler's way: none of the words is taken.

    use super::{AtomicU64, Stores};
    use core::mem::MaybeUninit;

    pub fn store(_words: &[AtomicU64], _values: &[[u8; 8]], _stores: Stores) -> usize {
        0
    }

    pub fn load(_words: &[AtomicU64], _into: &mut [MaybeUninit<[u8; 8]>]) -> usize {
        0
    }
}

#[cfg(all(target_arch = "x86_64", not(loom), not(miri)))]
mod wide {
    //! Orderings as in Intel's Software Developer's Manual, volume 3A, "Memory ordering": string operations are not
    //! reordered with other stores, only within themselves; streaming stores are, but for fences.

    use super::{AtomicU64, Ordering, Stores};
    use core::arch::asm;
    use core::mem::MaybeUninit;

    const LINE_WORDS: usize = 8;
    /// Below this a loop over words is as fast.
    const LEAST_WORDS: usize = 64;
    /// Up to here the string operation is faster than lines of wide stores, beyond it slower, each by some 10 to 40 %
    /// on AMD's Zen 5.
    const MOST_STRING_WORDS: usize = 4096;

    /// Store from the first word on as many words as it pays for, and say how many.
    pub fn store(words: &[AtomicU64], values: &[[u8; 8]], stores: Stores) -> usize {
        let count = words.len().min(values.len());
        if count < LEAST_WORDS {
            return 0;
        }
        let (to, from) = (words.as_ptr().cast_mut().cast::<u64>(), values.as_ptr().cast::<u64>());
        if stores == Stores::Near && count <= MOST_STRING_WORDS {
            // SAFETY: both are valid for `count` words and apart; atomic words may be written through a shared
            // reference. The direction flag is clear, as always between functions.
            unsafe {
                asm!("rep movsb", inout("rcx") count * 8 => _, inout("rsi") from => _, inout("rdi") to => _,
                    options(nostack, preserves_flags));
            }
            return count;
        }
        let lead = to.align_offset(LINE_WORDS * 8).min(count);
        for (word, value) in words[..lead].iter().zip(values) {
            word.store(u64::from_le_bytes(*value), Ordering::Relaxed);
        }
        let lines = (count - lead) / LINE_WORDS;
        // SAFETY: as above, from `lead` on, where `to` begins a line.
        unsafe { copy_lines(from.add(lead), to.add(lead), lines, stores) };
        lead + lines * LINE_WORDS
    }

    /// Load from the first word on as many words as it pays for, and say how many. Never by a string operation, of
    /// whose loads the manual says less.
    pub fn load(words: &[AtomicU64], into: &mut [MaybeUninit<[u8; 8]>]) -> usize {
        let count = words.len().min(into.len());
        if count < LEAST_WORDS {
            return 0;
        }
        let lines = count / LINE_WORDS;
        // SAFETY: both are valid for `count` words and apart.
        unsafe { copy_lines(words.as_ptr().cast(), into.as_mut_ptr().cast(), lines, Stores::Near) };
        lines * LINE_WORDS
    }

    /// Copy lines of eight words.
    ///
    /// # Safety
    /// `from` and `to` are valid for so many lines and apart; for streaming stores `to` begins a line. What others
    /// access meanwhile, they access atomically.
    unsafe fn copy_lines(from: *const u64, to: *mut u64, lines: usize, stores: Stores) {
        macro_rules! copy {
            ($fence:literal, $store:literal) => {
                asm!(
                    $fence,
                    "2: cmp {at}, {end}",
                    "jae 3f",
                    "movdqu {a}, [{from} + {at}]",
                    "movdqu {b}, [{from} + {at} + 16]",
                    "movdqu {c}, [{from} + {at} + 32]",
                    "movdqu {d}, [{from} + {at} + 48]",
                    concat!($store, " [{to} + {at}], {a}"),
                    concat!($store, " [{to} + {at} + 16], {b}"),
                    concat!($store, " [{to} + {at} + 32], {c}"),
                    concat!($store, " [{to} + {at} + 48], {d}"),
                    "add {at}, 64",
                    "jmp 2b",
                    "3:",
                    $fence,
                    at = inout(reg) 0usize => _, end = in(reg) lines * LINE_WORDS * 8,
                    from = in(reg) from, to = in(reg) to,
                    a = out(xmm_reg) _, b = out(xmm_reg) _, c = out(xmm_reg) _, d = out(xmm_reg) _,
                    options(nostack)
                )
            };
        }
        // SAFETY: `at` runs over the lines; fences keep streaming stores between what is stored before and after.
        unsafe {
            match stores {
                Stores::Near => copy!("", "movdqu"),
                Stores::Streaming => copy!("sfence", "movntdq"),
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const LENGTHS: [usize; 14] = [0, 1, 7, 8, 63, 64, 65, 127, 4095, 4096, 4097, 4103, 4105, 9000];

    fn words(count: usize) -> Vec<AtomicU64> {
        (0..count as u64).map(|n| AtomicU64::new(n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)).collect()
    }

    /// Every length around the seams, at every place in a line, and not a word beyond.
    #[test]
    fn wide_stores_are_the_words_given() {
        let source: Vec<[u8; 8]> =
            words(10_000).iter().map(|word| word.load(Ordering::Relaxed).to_le_bytes()).collect();
        for stores in [Stores::Near, Stores::Streaming] {
            for (from, to, count) in places() {
                let target: Vec<AtomicU64> = (0..count + 16).map(|_| AtomicU64::new(0)).collect();
                let values = &source[from..from + count];
                let done = wide::store(&target[to..to + count], values, stores);
                assert!(done <= count && (count < 64 || !cfg!(target_arch = "x86_64") || done + 8 > count));
                let found = target.iter().map(|word| word.load(Ordering::Relaxed).to_le_bytes()).collect::<Vec<_>>();
                assert_eq!(found[to..to + done], values[..done]);
                assert!(found[..to].iter().chain(&found[to + done..]).all(|&word| word == [0; 8]));
                store_words(&target[to..to + count], values, stores);
                let found = target.iter().map(|word| word.load(Ordering::Relaxed).to_le_bytes()).collect::<Vec<_>>();
                assert_eq!(found[to..to + count], *values);
            }
        }
    }

    #[test]
    fn loaded_words_are_appended() {
        let source = words(10_000);
        for (from, room, count) in places() {
            let mut into = vec![7; room];
            load_words(&source[from..from + count], &mut into);
            assert_eq!(into[..room], vec![7; room]);
            let expected = source[from..from + count].iter().map(|word| word.load(Ordering::Relaxed));
            assert!(into[room..].iter().copied().eq(expected));
        }
    }

    /// As bytes, also where these do not begin at a word or end with one.
    #[test]
    fn loaded_bytes_are_those_stored() {
        let source = words(10_000);
        let stored: Vec<u8> = source.iter().flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes()).collect();
        for (from, at, count) in places() {
            for end in (count * 8).saturating_sub(at)..=count * 8 {
                let mut into = vec![MaybeUninit::new(7); at + end];
                load_bytes(&source[from..from + count], &mut into[at..]);
                // SAFETY: it was made of initialized bytes, over which others were written.
                let found: Vec<u8> = into.iter().map(|byte| unsafe { byte.assume_init() }).collect();
                assert!(found[..at].iter().all(|&byte| byte == 7));
                assert_eq!(found[at..], stored[from * 8..from * 8 + end]);
            }
        }
    }

    fn places() -> impl Iterator<Item = (usize, usize, usize)> {
        LENGTHS.into_iter().flat_map(|count| (0..8).flat_map(move |from| (0..8).map(move |to| (from, to, count))))
    }
}
