//! Writing: claim → fill → publish, and rows filled in place.

use crate::copy::Stores;
use crate::error::WriteError;
use crate::frame::FrameHeader;
use crate::layout::{self, FRAME_HEADER_BYTES, SEALED, WORD, flag, frame, header, kind};
use crate::region::{self, Region};
use crate::rows::{RowLayout, Schema};
use crate::sync::Ordering;

/// Blocks at least this large are stored past the caches, as copies of that size are in the C library.
const STREAMING_BYTES: usize = 4 << 20;

/// One column of a block: bits from `first_bit` on, rows one after another.
#[derive(Debug, Clone, Copy)]
pub struct Bits<'a> {
    /// Where the values lie.
    pub bytes: &'a [u8],
    /// Bit at which the first row starts.
    pub first_bit: u64,
}

/// The one writer of a ring. Whoever makes one holds the ring's producer lock.
pub struct Producer {
    pub(crate) region: Region,
    pub(crate) head: u64,
    pub(crate) oldest: u64,
    pub(crate) sequence: u64,
    pub(crate) row: u64,
    pub(crate) last_stamp_ns: u64,
    pub(crate) rows_overwritten: u64,
    pub(crate) keep_uncommitted: bool,
    pub(crate) checksums: bool,
    pub(crate) schema: Option<Schema>,
    pub(crate) rows: Option<RowLayout>,
    pub(crate) open: Option<FrameHeader>,
    // The open frame again, in the form that an append needs; both counts are 0 when none is open.
    open_rows: u64,
    open_capacity: u64,
    // Word indices: a division by the capacity per value would be half the cost of an append.
    open_state: usize,
    open_body: usize,
}

impl Producer {
    /// A producer that goes on from the given places; [`Producer::reopen`] finds them.
    pub(crate) fn at(region: Region, head: u64, oldest: u64, sequence: u64, row: u64) -> Self {
        let checksums = region.flags() & flag::CHECKSUMS != 0;
        Self {
            region,
            head,
            oldest,
            sequence,
            row,
            last_stamp_ns: 0,
            rows_overwritten: 0,
            keep_uncommitted: false,
            checksums,
            schema: None,
            rows: None,
            open: None,
            open_rows: 0,
            open_capacity: 0,
            open_state: 0,
            open_body: 0,
        }
    }

    /// The region written to.
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// Absolute index of the next row.
    #[inline]
    pub fn row(&self) -> u64 {
        self.row
    }

    /// Sequence of the next frame.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Position of the next frame.
    pub fn head(&self) -> u64 {
        self.head
    }

    /// Rows overwritten by this producer in frames that the persisting sink had not wholly committed.
    pub fn rows_overwritten(&self) -> u64 {
        self.rows_overwritten
    }

    /// The schema, once there is one.
    pub fn schema(&self) -> Option<&Schema> {
        self.schema.as_ref()
    }

    /// Words from the columns' start to each column, if rows are filled in place.
    pub fn column_offsets(&self) -> Option<impl Iterator<Item = usize>> {
        self.rows.as_ref().map(|layout| layout.columns.iter().map(|&(offset, _)| offset))
    }

    /// Refuse claims that would overwrite what the persisting sink has not committed.
    pub fn set_keep_uncommitted(&mut self, keep: bool) {
        self.keep_uncommitted = keep;
    }

    /// A stamp that never goes back: `now`, or the last one if the clock was set back.
    #[inline]
    pub fn stamp(&mut self, now_ns: u64) -> u64 {
        self.last_stamp_ns = self.last_stamp_ns.max(now_ns);
        self.last_stamp_ns
    }

    /// Tell the world that this producer is at work.
    pub fn heartbeat(&self, now_ns: u64) {
        self.region.header(header::PRODUCER_HEARTBEAT).store(now_ns, Ordering::Relaxed);
    }

    /// Fix the ring's schema, or check that it has this one already.
    ///
    /// `bytes` are the schema region's: `message_bytes` of IPC schema message, table and template.
    pub fn set_schema(&mut self, bytes: &[u8], message_bytes: usize) -> Result<(), WriteError> {
        if self.region.flags() & flag::OPAQUE != 0 {
            return Err(WriteError::Content { holds_arrow: false });
        }
        if self.schema.is_none() {
            let parsed = Schema::parse(bytes, message_bytes).ok_or(WriteError::SchemaDiffers)?;
            Schema::store(&self.region, bytes, message_bytes)
                .map_err(|needed| WriteError::SchemaTooLarge { needed })?;
            self.region.set_flags(flag::ARROW);
            self.rows = parsed.row_layout(self.region.capacity());
            self.schema = Some(parsed);
        }
        match &self.schema {
            Some(schema) if schema.message == bytes[..message_bytes] => Ok(()),
            _ => Err(WriteError::SchemaDiffers),
        }
    }

    /// Choose how many rows a frame holds, for model checkers.
    #[cfg(loom)]
    pub fn set_row_capacity(&mut self, rows: u64) {
        self.rows = self.schema.as_ref().and_then(|schema| schema.row_layout_of(rows));
    }

    // ---- whole messages

    /// Write one opaque message as one row.
    pub fn write_opaque(&mut self, payload: &[u8], timestamp_ns: u64) -> Result<u64, WriteError> {
        if self.region.flags() & (flag::OPAQUE | flag::ARROW) != flag::OPAQUE {
            if self.region.flags() & flag::ARROW != 0 {
                return Err(WriteError::Content { holds_arrow: true });
            }
            self.check_fits(payload.len() as u64)?;
            self.region.set_flags(flag::OPAQUE);
        }
        self.write_message(kind::OPAQUE, payload, 1, timestamp_ns)
    }

    /// Write Arrow IPC messages, dictionaries before their record batch, as one frame of `rows` rows.
    pub fn write_arrow(&mut self, messages: &[u8], rows: u64, timestamp_ns: u64) -> Result<u64, WriteError> {
        self.check_fits(messages.len() as u64)?;
        self.seal(timestamp_ns);
        self.write_message(kind::ARROW, messages, rows, timestamp_ns)
    }

    fn write_message(&mut self, kind: u32, payload: &[u8], rows: u64, timestamp_ns: u64) -> Result<u64, WriteError> {
        let mut header = self.claim(FrameHeader {
            position: 0,
            length: payload.len() as u64,
            sequence: self.sequence,
            first_row: self.row,
            rows,
            sealed: true,
            timestamp_ns,
            kind,
            crc: 0,
            row_capacity: rows.min(u32::MAX as u64) as u32,
            body_offset: 0,
        })?;
        let words = self.payload(&header);
        region::store_bytes(words, payload);
        if self.checksums {
            header.crc = header.checksum_own(&self.region);
        }
        header.store(&self.region);
        self.row += rows;
        self.publish(&header);
        Ok(header.position)
    }

    // ---- rows in place

    /// Make sure that a frame with room for one more row is open.
    #[inline]
    pub fn begin_row(&mut self, now_ns: u64) -> Result<(), WriteError> {
        if self.has_room() { Ok(()) } else { self.open_frame(now_ns) }
    }

    /// Store a value of at most 64 bits in the row begun; bits above the column's width must be 0.
    #[inline]
    pub fn put(&self, column: usize, bits: u64) {
        let Some(layout) = &self.rows else { return };
        let (offset, width) = layout.columns[column];
        let bit = self.open_rows * width;
        let word = self.region.word(self.open_body + offset + (bit / 64) as usize);
        let lead = bit % 64;
        // A row that starts a word clears what an earlier lap left behind it.
        let kept = if lead == 0 { 0 } else { word.load(Ordering::Relaxed) & ((1 << lead) - 1) };
        word.store(kept | bits << lead, Ordering::Relaxed);
    }

    /// True if the open frame takes one more row, so that a row can be begun without a claim.
    #[inline]
    pub fn has_room(&self) -> bool {
        self.open_rows < self.open_capacity
    }

    /// Store a value of exactly 64 bits in the row begun.
    #[inline]
    pub fn put_word(&self, offset: usize, bits: u64) {
        let index = self.open_body + offset + self.open_rows as usize;
        self.region.word(index).store(bits, Ordering::Relaxed);
    }

    /// Store a value of any width in the row begun.
    pub fn put_bits(&self, column: usize, value: Bits<'_>) {
        self.store_column(column, value, 0, 1, Stores::Near);
    }

    /// Publish the row begun: from here on every process sees it.
    #[inline]
    pub fn commit_row(&mut self, now_ns: u64) {
        self.commit_rows(1, now_ns);
    }

    /// Write the rows of a block.
    ///
    /// An error tells how many rows it came after: these are in the ring.
    pub fn append_block(&mut self, rows: u64, columns: &[Bits<'_>], now_ns: u64) -> Result<(), (u64, WriteError)> {
        // What is read again at once, for a checksum or by a reader that waits, stays near.
        let bytes: usize = columns.iter().map(|column| column.bytes.len()).sum();
        let stores = if bytes >= STREAMING_BYTES && !self.checksums { Stores::Streaming } else { Stores::Near };
        let mut done = 0;
        while done < rows {
            self.begin_row(now_ns).map_err(|error| (done, error))?;
            let count = (rows - done).min(self.open_capacity - self.open_rows);
            for (index, &column) in columns.iter().enumerate() {
                self.store_column(index, column, done, count, stores);
            }
            self.commit_rows(count, now_ns);
            done += count;
        }
        Ok(())
    }

    fn store_column(&self, column: usize, source: Bits<'_>, from: u64, count: u64, stores: Stores) {
        let Some(layout) = &self.rows else { return };
        let (offset, width) = layout.columns[column];
        let body = self.region.words_from(self.open_body, (layout.length - layout.body_offset) / WORD);
        let source_bit = source.first_bit + from * width;
        let bits = count * width;
        region::store_bits(&body[offset..], self.open_rows * width, source.bytes, source_bit, bits, stores);
    }

    #[inline]
    fn commit_rows(&mut self, count: u64, now_ns: u64) {
        self.open_rows += count;
        self.row += count;
        self.region.word(self.open_state).store(self.open_rows, Ordering::Release);
        if self.open_rows == self.open_capacity {
            self.seal(now_ns);
        }
    }

    fn open_frame(&mut self, now_ns: u64) -> Result<(), WriteError> {
        let layout = self.rows.as_ref().ok_or(WriteError::NoTemplate)?;
        let wanted = FrameHeader {
            position: 0,
            length: layout.length,
            sequence: self.sequence,
            first_row: self.row,
            rows: 0,
            sealed: false,
            timestamp_ns: now_ns,
            kind: kind::ROWS,
            crc: 0,
            row_capacity: layout.row_capacity as u32,
            body_offset: layout.body_offset as u32,
        };
        let header = self.claim(wanted)?;
        header.store(&self.region);
        let Some(layout) = &self.rows else { return Ok(()) };
        for (word, &value) in self.payload(&header).iter().zip(&layout.message) {
            word.store(value, Ordering::Relaxed);
        }
        self.open_state = self.region.index(header.position) + frame::STATE;
        self.open_body = self.region.index(header.position + FRAME_HEADER_BYTES + layout.body_offset);
        self.open_rows = 0;
        self.open_capacity = layout.row_capacity;
        self.publish(&header);
        self.heartbeat(now_ns);
        self.open = Some(header);
        Ok(())
    }

    /// Close the open frame, if there is one: from here on it is a valid Arrow message.
    pub fn seal(&mut self, now_ns: u64) {
        let Some(mut open) = self.open.take() else { return };
        open.rows = self.open_rows;
        (self.open_rows, self.open_capacity) = (0, 0);
        self.seal_frame(open, now_ns);
    }

    /// Seal a frame, one's own or one that an earlier producer left open.
    pub(crate) fn seal_frame(&self, mut open: FrameHeader, now_ns: u64) {
        if let Some(layout) = &self.rows {
            layout.patch_row_counts(self.payload(&open), open.rows);
        }
        if self.checksums {
            open.crc = open.checksum_own(&self.region);
        }
        let words = self.region.data(open.position, FRAME_HEADER_BYTES);
        words[frame::KIND_CRC].store(layout::pack(open.kind, open.crc), Ordering::Relaxed);
        words[frame::STATE].store(open.rows | SEALED, Ordering::Release);
        self.region.header(header::NEXT_ROW).store(self.row, Ordering::Relaxed);
        self.heartbeat(now_ns);
    }
}
