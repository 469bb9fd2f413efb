//! A schema's template: the Arrow message around a frame's columns, and where the columns lie.
//!
//! The template is made once, by whoever brings the schema, and kept in the ring's schema region,
//! so that every process lays frames out and patches them alike. See `docs/reference/ring-layout.md`.

use crate::copy;
use crate::layout::{self, ALIGN, SCHEMA_CAPACITY, WORD, header};
use crate::region::{self, Region};
use crate::sync::{AtomicU64, Ordering};

const VALIDITY: u64 = u64::MAX;
const MAX_WIDTH_BITS: u64 = 1 << 43;

/// One column of the plain table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// The field's name.
    pub name: String,
    /// Arrow's C data interface format string.
    pub format: String,
    /// Bits a row takes; 0 when rows differ.
    pub width_bits: u64,
}

/// Where a record batch message of fixed-width columns wants to be patched.
#[derive(Debug, Clone)]
struct Template {
    message: Vec<u8>,
    body_length_at: usize,
    batch_length_at: usize,
    nodes_at: usize,
    buffers_at: usize,
    values_per_row: Vec<u64>,
    buffer_columns: Vec<u64>,
}

/// What the schema region holds.
#[derive(Debug, Clone)]
pub struct Schema {
    /// The Arrow IPC schema message.
    pub message: Vec<u8>,
    /// The plain table.
    pub columns: Vec<Column>,
    template: Option<Template>,
}

struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken)
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn text(&mut self, count: u32) -> Option<String> {
        Some(String::from_utf8_lossy(self.take(count as usize)?).into_owned())
    }

    fn align(&mut self) -> Option<()> {
        self.take(self.at.next_multiple_of(WORD as usize) - self.at).map(|_| ())
    }
}

impl Schema {
    /// Parse a schema region's bytes: message, plain table, template. `None` if they contradict themselves.
    pub fn parse(bytes: &[u8], message_bytes: usize) -> Option<Self> {
        let mut fields = Fields { bytes, at: 0 };
        let message = fields.take(message_bytes)?.to_vec();
        fields.align()?;
        let _table_bytes = fields.u32()?;
        let count = fields.u32()?;
        let mut columns = Vec::new();
        for _ in 0..count {
            let width_bits = fields.u64()?;
            let (name_bytes, format_bytes) = (fields.u32()?, fields.u32()?);
            let (name, format) = (fields.text(name_bytes)?, fields.text(format_bytes)?);
            fields.align()?;
            if width_bits > MAX_WIDTH_BITS {
                return None;
            }
            columns.push(Column { name, format, width_bits });
        }
        let template = Template::parse(&mut fields, columns.len() as u64)?;
        if template.is_some() && (columns.is_empty() || columns.iter().any(|column| column.width_bits == 0)) {
            return None;
        }
        Some(Self { message, columns, template })
    }

    /// The ring's schema, once there is one. `Some(None)` if the region contradicts itself.
    pub fn load(region: &Region) -> Option<Option<Self>> {
        let word = region.header(header::SCHEMA_LEN_VERSION).load(Ordering::Acquire);
        let (message_bytes, _) = layout::unpack(word);
        if message_bytes == 0 {
            return None;
        }
        let mut words = Vec::new();
        copy::load_words(region.schema(), &mut words);
        let bytes: Vec<u8> = words.into_iter().flat_map(u64::to_le_bytes).collect();
        Some(Self::parse(&bytes, message_bytes as usize))
    }

    /// Publish a schema in an empty schema region: its bytes first, the length last.
    ///
    /// Returns the bytes it would take if there is no room.
    pub fn store(region: &Region, bytes: &[u8], message_bytes: usize) -> Result<(), u64> {
        if bytes.len() > region.schema_capacity() as usize {
            return Err(bytes.len() as u64);
        }
        region::store_bytes(region.schema(), bytes);
        region
            .header(header::SCHEMA_LEN_VERSION)
            .store(layout::pack(message_bytes as u32, layout::VERSION), Ordering::Release);
        Ok(())
    }

    /// True if rows of this schema can be filled in place.
    pub fn has_template(&self) -> bool {
        self.template.is_some()
    }

    /// How frames of this schema look in a ring of this capacity. `None` without a template.
    pub fn row_layout(&self, capacity: u64) -> Option<RowLayout> {
        let template = self.template.as_ref()?;
        let message_bytes = template.message.len() as u64;
        let target = (256 << 10).max(16 * message_bytes).min(capacity / 16);
        let span = |rows: u64| layout::frame_span(message_bytes + self.body_bytes(rows));
        // The bits a row takes bound the rows from above; rounding each column up only takes more.
        let row_bits: u64 = self.columns.iter().map(|column| column.width_bits).sum();
        let (mut fits, mut most) = (1, (target * 8 / row_bits).clamp(1, u32::MAX as u64));
        while fits < most {
            let middle = (fits + most).div_ceil(2);
            if span(middle) <= target {
                fits = middle;
            } else {
                most = middle - 1;
            }
        }
        Some(RowLayout::new(self, template, fits))
    }

    /// How frames with room for so many rows look. `None` without a template.
    #[cfg(loom)]
    pub fn row_layout_of(&self, rows: u64) -> Option<RowLayout> {
        Some(RowLayout::new(self, self.template.as_ref()?, rows))
    }

    /// Bytes of the columns of a frame with room for so many rows.
    pub fn body_bytes(&self, row_capacity: u64) -> u64 {
        self.columns.iter().map(|column| column_bytes(column.width_bits, row_capacity)).sum()
    }

    /// Append rows `from..to` of a frame's columns to `into`, as an Arrow record batch message.
    pub fn read_rows(
        &self,
        body: &[AtomicU64],
        row_capacity: u64,
        from: u64,
        to: u64,
        into: &mut Vec<u64>,
    ) -> Option<()> {
        let template = self.template.as_ref()?;
        let rows = to - from;
        extend_bytes(into, &template.message);
        let message = template.message.len();
        template.patch(&mut as_bytes_mut(into)[..message], &self.columns, rows);
        let mut offset = 0;
        for column in &self.columns {
            let bytes = column_bytes(column.width_bits, row_capacity);
            let words = body.get((offset / WORD) as usize..((offset + bytes) / WORD) as usize)?;
            region::load_bits(words, from * column.width_bits, rows * column.width_bits, into);
            into.resize(into.len().next_multiple_of((ALIGN / WORD) as usize), 0);
            offset += bytes;
        }
        Some(())
    }
}

impl Template {
    fn parse(fields: &mut Fields<'_>, columns: u64) -> Option<Option<Self>> {
        let message_bytes = fields.u32()? as usize;
        let node_count = fields.u32()? as usize;
        let buffer_count = fields.u32()? as usize;
        let places = [fields.u32()?, fields.u32()?, fields.u32()?, fields.u32()?].map(|at| at as usize);
        fields.u32()?;
        if message_bytes == 0 {
            return Some(None);
        }
        let limit = SCHEMA_CAPACITY as usize;
        if !message_bytes.is_multiple_of(ALIGN as usize) || node_count > limit || buffer_count > limit {
            return None;
        }
        let values_per_row: Option<Vec<u64>> = (0..node_count).map(|_| fields.u64()).collect();
        let buffer_columns: Option<Vec<u64>> = (0..buffer_count).map(|_| fields.u64()).collect();
        let message = fields.take(message_bytes)?.to_vec();
        let [body_length_at, batch_length_at, nodes_at, buffers_at] = places;
        let template = Self {
            message,
            body_length_at,
            batch_length_at,
            nodes_at,
            buffers_at,
            values_per_row: values_per_row?,
            buffer_columns: buffer_columns?,
        };
        let inside = |at: usize, bytes: usize| at.is_multiple_of(8) && at + bytes <= message_bytes;
        let sound = inside(body_length_at, 8)
            && inside(batch_length_at, 8)
            && inside(nodes_at, 16 * node_count)
            && inside(buffers_at, 16 * buffer_count)
            && template.values_per_row.iter().all(|&values| values <= MAX_WIDTH_BITS)
            && template.buffer_columns.iter().all(|&column| column == VALIDITY || column < columns);
        sound.then_some(Some(template))
    }

    /// Patch a copy of the message for a body in which each column has room for `rows`.
    fn patch(&self, message: &mut [u8], columns: &[Column], rows: u64) {
        let mut put = |at: usize, value: u64| message[at..at + 8].copy_from_slice(&value.to_le_bytes());
        put(self.batch_length_at, rows);
        for (index, values) in self.values_per_row.iter().enumerate() {
            put(self.nodes_at + 16 * index, rows.saturating_mul(*values));
        }
        let mut offsets = Vec::with_capacity(columns.len());
        let mut body_bytes = 0;
        for column in columns {
            offsets.push(body_bytes);
            body_bytes += column_bytes(column.width_bits, rows);
        }
        put(self.body_length_at, body_bytes);
        for (index, &column) in self.buffer_columns.iter().enumerate() {
            let at = self.buffers_at + 16 * index;
            if column != VALIDITY {
                put(at, offsets[column as usize]);
                put(at + 8, rows.saturating_mul(columns[column as usize].width_bits).div_ceil(8));
            }
        }
    }

    /// Words of the message that sealing stores anew, as (word index, values per row).
    fn row_counts(&self) -> Vec<(usize, u64)> {
        let nodes = self.values_per_row.iter().enumerate();
        let nodes = nodes.map(|(index, &values)| (self.nodes_at / 8 + 2 * index, values));
        core::iter::once((self.batch_length_at / 8, 1)).chain(nodes).collect()
    }
}

/// Frames of one schema in one ring: all are alike.
#[derive(Debug, Clone)]
pub struct RowLayout {
    /// Rows a frame has room for.
    pub row_capacity: u64,
    /// Bytes of the Arrow message before the columns.
    pub body_offset: u64,
    /// Bytes of the payload: message and columns.
    pub length: u64,
    /// The message, laid out for `row_capacity` rows.
    pub message: Vec<u64>,
    /// For each column: words from the columns' start, and bits a row.
    pub columns: Vec<(usize, u64)>,
    row_counts: Vec<(usize, u64)>,
}

impl RowLayout {
    fn new(schema: &Schema, template: &Template, rows: u64) -> Self {
        let mut message = template.message.clone();
        template.patch(&mut message, &schema.columns, rows);
        let mut columns = Vec::with_capacity(schema.columns.len());
        let mut offset = 0;
        for column in &schema.columns {
            columns.push(((offset / WORD) as usize, column.width_bits));
            offset += column_bytes(column.width_bits, rows);
        }
        let mut words = Vec::new();
        extend_bytes(&mut words, &message);
        Self {
            row_capacity: rows,
            body_offset: message.len() as u64,
            length: message.len() as u64 + offset,
            message: words,
            columns,
            row_counts: template.row_counts(),
        }
    }

    /// Store the row counts of a frame that is about to be sealed.
    pub fn patch_row_counts(&self, payload: &[AtomicU64], rows: u64) {
        for &(word, values) in &self.row_counts {
            payload[word].store(rows.saturating_mul(values), Ordering::Relaxed);
        }
    }
}

fn column_bytes(width_bits: u64, rows: u64) -> u64 {
    layout::align_up(width_bits.saturating_mul(rows).div_ceil(8).min(layout::MAX_CAPACITY))
}

fn extend_bytes(words: &mut Vec<u64>, bytes: &[u8]) {
    let (chunks, _) = bytes.as_chunks::<8>();
    words.extend(chunks.iter().map(|chunk| u64::from_le_bytes(*chunk)));
}

fn as_bytes_mut(words: &mut [u64]) -> &mut [u8] {
    // SAFETY: any bytes are valid words and the other way round; the slice covers the same memory.
    unsafe { core::slice::from_raw_parts_mut(words.as_mut_ptr().cast::<u8>(), size_of_val(words)) }
}
