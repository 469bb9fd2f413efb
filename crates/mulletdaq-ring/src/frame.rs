//! A frame's header: written by the producer, loaded and validated by everybody else.

use crate::error::Corrupt;
use crate::layout::{self, FRAME_HEADER_BYTES, SEALED, WORD, frame, header, kind};
use crate::region::Region;
use crate::sync::{Ordering, fence};

/// The fields of a frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// Where the frame starts.
    pub position: u64,
    /// Bytes of the payload.
    pub length: u64,
    /// Count of data frames before this one.
    pub sequence: u64,
    /// Absolute index of the first row.
    pub first_row: u64,
    /// Rows committed.
    pub rows: u64,
    /// True when nothing in the frame changes any more.
    pub sealed: bool,
    /// Time stamp, ns since the Unix epoch.
    pub timestamp_ns: u64,
    /// One of [`layout::kind`].
    pub kind: u32,
    /// CRC32C of header and payload, if the ring has checksums and the frame is sealed.
    pub crc: u32,
    /// Rows that fit.
    pub row_capacity: u32,
    /// Where the columns start within the payload.
    pub body_offset: u32,
}

impl FrameHeader {
    /// Bytes the frame takes in the ring.
    pub fn span(&self) -> u64 {
        layout::frame_span(self.length)
    }

    /// Position of the frame behind this one.
    pub fn end(&self) -> u64 {
        self.position + self.span()
    }

    /// First row of the frame behind this one.
    pub fn end_row(&self) -> u64 {
        self.first_row.wrapping_add(self.rows)
    }

    /// Sequence of the frame behind this one; padding does not count.
    pub fn end_sequence(&self) -> u64 {
        self.sequence.wrapping_add((self.kind != kind::PADDING) as u64)
    }

    fn words(&self) -> [u64; layout::FRAME_HEADER_WORDS] {
        let mut words = [0; layout::FRAME_HEADER_WORDS];
        words[frame::POSITION] = self.position;
        words[frame::LENGTH] = self.length;
        words[frame::SEQUENCE] = self.sequence;
        words[frame::FIRST_ROW] = self.first_row;
        words[frame::STATE] = self.rows | if self.sealed { SEALED } else { 0 };
        words[frame::TIMESTAMP_NS] = self.timestamp_ns;
        words[frame::KIND_CRC] = layout::pack(self.kind, self.crc);
        words[frame::ROW_CAPACITY_BODY] = layout::pack(self.row_capacity, self.body_offset);
        words
    }

    /// Store the header; the caller is the producer and has not published the frame yet.
    pub fn store(&self, region: &Region) {
        let words = region.data(self.position, FRAME_HEADER_BYTES);
        for (word, value) in words.iter().zip(self.words()) {
            word.store(value, Ordering::Relaxed);
        }
    }

    /// CRC32C of the sealed header, its own field taken as 0, and the payload in whole words.
    pub fn checksum(&self, region: &Region) -> u32 {
        let sealed = Self { crc: 0, sealed: true, ..*self };
        let mut crc = crc_of_words(0, &sealed.words());
        let payload = region.data(self.position + FRAME_HEADER_BYTES, self.length.next_multiple_of(WORD));
        let mut copy = [0; 512];
        for chunk in payload.chunks(copy.len()) {
            for (value, word) in copy.iter_mut().zip(chunk) {
                *value = word.load(Ordering::Relaxed);
            }
            crc = crc_of_words(crc, &copy[..chunk.len()]);
        }
        crc
    }

    /// The same as the frame's only writer, straight from the ring.
    pub(crate) fn checksum_own(&self, region: &Region) -> u32 {
        #[cfg(loom)]
        return self.checksum(region);
        #[cfg(not(loom))]
        {
            let sealed = Self { crc: 0, sealed: true, ..*self };
            let length = self.length.next_multiple_of(WORD);
            let payload = region.data(self.position + FRAME_HEADER_BYTES, length);
            // SAFETY: the words are there, and nobody but the caller stores to them, so that plain
            // loads race with nothing: readers only load.
            let bytes = unsafe { core::slice::from_raw_parts(payload.as_ptr().cast::<u8>(), length as usize) };
            crc32c::crc32c_append(crc_of_words(0, &sealed.words()), bytes)
        }
    }

    /// Load the header at a position without knowing whether it may be overwritten meanwhile.
    fn load(region: &Region, position: u64) -> Self {
        let words = region.data(position, FRAME_HEADER_BYTES);
        // First, and never again: the fence behind it in `intact` makes the rows it counts, and only
        // those, visible.
        let state = words[frame::STATE].load(Ordering::Relaxed);
        let word = |index: usize| words[index].load(Ordering::Relaxed);
        let (kind, crc) = layout::unpack(word(frame::KIND_CRC));
        let (row_capacity, body_offset) = layout::unpack(word(frame::ROW_CAPACITY_BODY));
        Self {
            position: word(frame::POSITION),
            length: word(frame::LENGTH),
            sequence: word(frame::SEQUENCE),
            first_row: word(frame::FIRST_ROW),
            rows: state & !SEALED,
            sealed: state & SEALED != 0,
            timestamp_ns: word(frame::TIMESTAMP_NS),
            kind,
            crc,
            row_capacity,
            body_offset,
        }
    }

    /// Load and check a header as its only writer: nothing can be overwritten meanwhile.
    pub fn load_own(region: &Region, position: u64, head: u64) -> Result<Self, Corrupt> {
        check_place(position, head)?;
        let header = Self::load(region, position);
        header.check(region, position, head)?;
        Ok(header)
    }

    /// Load and check a header as a reader; `None` when the producer has overtaken the position.
    pub fn look(region: &Region, position: u64, head: u64) -> Result<Option<Self>, Corrupt> {
        check_place(position, head)?;
        let header = Self::load(region, position);
        if !intact(region, position) {
            return Ok(None);
        }
        header.check(region, position, head)?;
        Ok(Some(header))
    }

    fn check(&self, region: &Region, position: u64, head: u64) -> Result<(), Corrupt> {
        let capacity = region.capacity();
        let bad = |reason| Err(Corrupt { position, reason });
        if self.position != position {
            return bad("its header names another position");
        }
        if self.length > capacity || position % capacity + self.span() > capacity {
            return bad("it reaches past the ring's end");
        }
        if self.span() > head.wrapping_sub(position) {
            return bad("it reaches past what is published");
        }
        if self.kind != kind::PADDING && self.span() > layout::max_span(capacity) {
            return bad("it is larger than a quarter of the ring");
        }
        match self.kind {
            kind::PADDING if self.rows != 0 => bad("padding with rows"),
            kind::OPAQUE if self.rows != 1 => bad("a message that is not one row"),
            kind::ROWS if self.rows > self.row_capacity as u64 => bad("more rows than it has room for"),
            kind::ROWS
                if self.body_offset as u64 > self.length
                    || !(self.body_offset as u64).is_multiple_of(layout::ALIGN) =>
            {
                bad("its columns start outside it")
            }
            kind::PADDING | kind::OPAQUE | kind::ARROW if !self.sealed => bad("not sealed"),
            kind::PADDING..=kind::ARROW => Ok(()),
            _ => bad("of no known kind"),
        }
    }
}

/// No header can lie at an odd place or behind what is published: there may be no memory, even.
fn check_place(position: u64, head: u64) -> Result<(), Corrupt> {
    if position.is_multiple_of(layout::ALIGN) && position < head {
        return Ok(());
    }
    Err(Corrupt { position, reason: "no frame can start there" })
}

/// True if nothing at or behind `position` was overwritten before everything loaded so far.
///
/// The acquire fence pairs with the release fence in the producer's claim: a load before it that
/// saw a byte of a later claim makes that claim's `write_intent` visible here.
#[inline]
pub fn intact(region: &Region, position: u64) -> bool {
    fence(Ordering::Acquire);
    let intent = region.header(header::WRITE_INTENT).load(Ordering::Relaxed);
    intent.wrapping_sub(position) <= region.capacity()
}

fn crc_of_words(crc: u32, words: &[u64]) -> u32 {
    // SAFETY: any u64 is eight valid bytes, and the slice is as long as the words are.
    let bytes = unsafe { core::slice::from_raw_parts(words.as_ptr().cast::<u8>(), size_of_val(words)) };
    crc32c::crc32c_append(crc, bytes)
}
