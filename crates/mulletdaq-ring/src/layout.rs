//! Layout version 1: the one place that knows the bytes.
//!
//! Everything is little-endian and accessed as 64-bit words; two 32-bit fields share a word where
//! the layout says so. `docs/reference/ring-layout.md` describes the same in prose.

#[cfg(not(target_endian = "little"))]
compile_error!("the ring's layout is little-endian");

/// First word of a finished ring.
pub const MAGIC: u64 = 0xDADA_DADA_0000_0001;
/// The layout version this crate reads and writes.
pub const VERSION: u32 = 1;
/// Bytes a word holds.
pub const WORD: u64 = 8;
/// Frames start at multiples of this many bytes.
#[cfg(not(loom))]
pub const ALIGN: u64 = 64;
/// A model checker pays for every word: small frames, packed.
#[cfg(loom)]
pub const ALIGN: u64 = WORD;
/// Bytes of the file's header.
pub const HEADER_BYTES: u64 = 128;
/// Bytes of a frame's header.
pub const FRAME_HEADER_BYTES: u64 = 64;
/// Words of a frame's header.
pub const FRAME_HEADER_WORDS: usize = 8;
/// Bytes reserved behind the data for the schema.
pub const SCHEMA_CAPACITY: u32 = 1 << 20;
/// Smallest data region: four frames of one cache line and their headers, times eight.
pub const MIN_CAPACITY: u64 = 4096;
/// Largest data region, far below where positions or lengths could overflow.
pub const MAX_CAPACITY: u64 = 1 << 46;

/// Indices of the header's words.
pub mod header {
    /// [`super::MAGIC`], stored last at creation.
    pub const MAGIC: usize = 0;
    /// Bytes of the data region.
    pub const CAPACITY: usize = 1;
    /// Position up to which frames are published.
    pub const WRITE_HEAD: usize = 2;
    /// Start of the first frame that the persisting sink has not wholly committed.
    pub const READ_TAIL: usize = 3;
    /// Low half: bytes of the schema message; high half: layout version.
    pub const SCHEMA_LEN_VERSION: usize = 4;
    /// Position up to which the producer may be writing.
    pub const WRITE_INTENT: usize = 5;
    /// Start of the oldest whole frame.
    pub const OLDEST: usize = 6;
    /// Start of the frame that last crossed a half-ring mark.
    pub const MIDWAY: usize = 7;
    /// Random, new at each creation.
    pub const STREAM_ID: usize = 8;
    /// Creation time in ns since the Unix epoch.
    pub const CREATED_NS: usize = 9;
    /// Low half: the producer's pid; high half: the persisting sink's.
    pub const PIDS: usize = 10;
    /// When the producer last claimed, sealed or waited, ns.
    pub const PRODUCER_HEARTBEAT: usize = 11;
    /// When the sink last moved the tail, ns.
    pub const SINK_HEARTBEAT: usize = 12;
    /// Hint: sequence of the next frame.
    pub const NEXT_SEQUENCE: usize = 13;
    /// Hint: first row of the next frame.
    pub const NEXT_ROW: usize = 14;
    /// Low half: bytes of the schema region; high half: [`super::flag`]s.
    pub const SCHEMA_CAPACITY_FLAGS: usize = 15;
}

/// Bits of the header's flags.
pub mod flag {
    /// The first write was opaque bytes.
    pub const OPAQUE: u32 = 1;
    /// The first write was Arrow data.
    pub const ARROW: u32 = 2;
    /// Sealed frames carry a CRC32C.
    pub const CHECKSUMS: u32 = 4;
    /// A new ring took this one's path.
    pub const REPLACED: u32 = 8;
}

/// Indices of a frame header's words.
pub mod frame {
    /// The frame's own position.
    pub const POSITION: usize = 0;
    /// Bytes of the payload behind the header.
    pub const LENGTH: usize = 1;
    /// Count of data frames before this one.
    pub const SEQUENCE: usize = 2;
    /// Absolute index of the frame's first row.
    pub const FIRST_ROW: usize = 3;
    /// Rows so far; the top bit says sealed.
    pub const STATE: usize = 4;
    /// When the frame was claimed, or the message's own stamp, ns.
    pub const TIMESTAMP_NS: usize = 5;
    /// Low half: [`super::kind`]; high half: CRC32C.
    pub const KIND_CRC: usize = 6;
    /// Low half: row capacity; high half: body offset within the payload.
    pub const ROW_CAPACITY_BODY: usize = 7;
}

/// What a frame holds.
pub mod kind {
    /// Nothing: fills the rest of the ring, or what a killed producer left.
    pub const PADDING: u32 = 0;
    /// One opaque message.
    pub const OPAQUE: u32 = 1;
    /// Columns of fixed-width rows behind a template: an Arrow record batch message once sealed.
    pub const ROWS: u32 = 2;
    /// Arrow IPC messages: dictionaries, then one record batch.
    pub const ARROW: u32 = 3;
}

/// Top bit of a frame's state: nothing in it changes any more.
pub const SEALED: u64 = 1 << 63;

/// `bytes` rounded up to whole frames' alignment.
#[inline]
pub const fn align_up(bytes: u64) -> u64 {
    (bytes + (ALIGN - 1)) & !(ALIGN - 1)
}

/// Bytes that a frame with this payload takes in the ring.
#[inline]
pub const fn frame_span(payload_bytes: u64) -> u64 {
    FRAME_HEADER_BYTES + align_up(payload_bytes)
}

/// Bytes of the whole file.
#[inline]
pub const fn file_bytes(capacity: u64, schema_capacity: u32) -> u64 {
    HEADER_BYTES + capacity + schema_capacity as u64
}

/// A frame takes at most one part in so many of the ring.
#[cfg(not(loom))]
const FRAMES_AT_LEAST: u64 = 4;
/// For a model checker: overtaken after two frames, not four.
#[cfg(loom)]
const FRAMES_AT_LEAST: u64 = 2;

/// The largest span a frame may have in a ring of this capacity.
#[inline]
pub const fn max_span(capacity: u64) -> u64 {
    capacity / FRAMES_AT_LEAST / ALIGN * ALIGN
}

/// Two 32-bit fields as the word they share.
#[inline]
pub const fn pack(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

/// The two 32-bit fields of a word, low half first.
#[inline]
pub const fn unpack(word: u64) -> (u32, u32) {
    (word as u32, (word >> 32) as u32)
}
