//! Claim and publish: how the producer takes room in the ring and makes what it wrote visible.

use crate::error::WriteError;
use crate::frame::FrameHeader;
use crate::layout::{self, FRAME_HEADER_BYTES, WORD, header, kind};
use crate::producer::Producer;
use crate::sync::{Ordering, fence};

impl Producer {
    pub(crate) fn payload(&self, header: &FrameHeader) -> &[crate::sync::AtomicU64] {
        let bytes = header.length.next_multiple_of(WORD);
        self.region.data(header.position + FRAME_HEADER_BYTES, bytes)
    }

    /// Refuse a payload that could never be claimed.
    pub fn check_fits(&self, payload_bytes: u64) -> Result<(), WriteError> {
        let span = layout::frame_span(payload_bytes);
        if span <= layout::max_span(self.region.capacity()) {
            return Ok(());
        }
        Err(WriteError::TooLarge { span, sufficient_capacity: span * 4 })
    }

    /// Take room for a frame, filling the ring's end with padding where it would wrap.
    ///
    /// Returns the header with its position. From here to [`Self::publish`] nothing may fail.
    pub(crate) fn claim(&mut self, header: FrameHeader) -> Result<FrameHeader, WriteError> {
        self.check_fits(header.length)?;
        if self.region.truncated() {
            return Err(WriteError::Truncated);
        }
        let capacity = self.region.capacity();
        let left = capacity - self.head % capacity;
        let padding = if header.span() > left { left } else { 0 };
        let end = self.head + padding + header.span();
        if self.keep_uncommitted {
            let tail = self.region.header(header::READ_TAIL).load(Ordering::Acquire);
            if end.saturating_sub(tail) > capacity {
                return Err(WriteError::Full);
            }
        }
        self.move_oldest(end);
        self.region.header(header::WRITE_INTENT).store(end, Ordering::Relaxed);
        // Nothing of the claim may be seen before its intent: pairs with the fence in `frame::intact`.
        fence(Ordering::Release);
        if padding != 0 {
            self.store_padding(self.head, padding);
        }
        Ok(FrameHeader { position: self.head + padding, ..header })
    }

    /// Write a padding frame's header; it tells sequence and row, so that a walk finds them.
    pub(crate) fn store_padding(&self, position: u64, span: u64) {
        let padding = FrameHeader {
            position,
            length: span - FRAME_HEADER_BYTES,
            sequence: self.sequence,
            first_row: self.row,
            rows: 0,
            sealed: true,
            timestamp_ns: self.last_stamp_ns,
            kind: kind::PADDING,
            crc: 0,
            row_capacity: 0,
            body_offset: 0,
        };
        padding.store(&self.region);
    }

    /// Move `oldest` past every frame that a claim up to `end` overwrites.
    fn move_oldest(&mut self, end: u64) {
        let capacity = self.region.capacity();
        let before = self.oldest;
        let mut tail = None;
        while end - self.oldest > capacity {
            let Ok(frame) = FrameHeader::load_own(&self.region, self.oldest, self.head) else {
                // Somebody wrote over a header. Where the next frame starts is lost, and with it all
                // that is old; recording goes on, and cursors count what they miss by their rows.
                self.oldest = self.head;
                break;
            };
            let tail = *tail.get_or_insert_with(|| self.region.header(header::READ_TAIL).load(Ordering::Relaxed));
            if frame.position >= tail {
                self.rows_overwritten += frame.rows;
            }
            self.oldest = frame.end();
        }
        if self.oldest != before {
            self.region.header(header::OLDEST).store(self.oldest, Ordering::Relaxed);
        }
    }

    /// Make a claimed and filled frame visible.
    pub(crate) fn publish(&mut self, header: &FrameHeader) {
        let half = self.region.capacity() / 2;
        let crossed = header.end() / half != self.head / half;
        self.head = header.end();
        self.sequence += 1;
        self.region.header(header::WRITE_HEAD).store(self.head, Ordering::Release);
        if crossed {
            self.region.header(header::MIDWAY).store(header.position, Ordering::Relaxed);
        }
        self.region.header(header::NEXT_SEQUENCE).store(self.sequence, Ordering::Relaxed);
        self.region.header(header::NEXT_ROW).store(self.row, Ordering::Relaxed);
    }
}
