//! One enum per operation that can fail.

use core::fmt;

/// Why a ring could not be created or opened.
#[derive(Debug)]
pub enum OpenError {
    /// The operating system said no.
    Io(std::io::Error),
    /// A ring is there already.
    Exists,
    /// A new one cannot take the place of a ring that a producer holds.
    Held(Held),
    /// The file system has no room.
    Space {
        /// Bytes that were asked for.
        needed: u64,
    },
    /// The path is a symbolic link, folder, FIFO, device, or belongs to or is writable by others.
    Access(String),
    /// Not a ring, or its header contradicts itself.
    Format(String),
    /// Made by another layout version.
    Version(u32),
    /// Shorter than its header says.
    Truncated {
        /// Bytes there.
        found: u64,
        /// Bytes that the header asks for.
        needed: u64,
    },
    /// The capacity asked for is impossible.
    Capacity(String),
}

/// Somebody else holds a lock of the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The pid that the holder left in the header; 0 when it left none.
    pub pid: u32,
}

/// Why a lock could not be had.
#[derive(Debug)]
pub enum LockError {
    /// Somebody else holds it.
    Held(Held),
    /// The path now leads to another file.
    Replaced,
    /// The operating system said no.
    Io(std::io::Error),
}

/// Why a write was refused; the ring is as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteError {
    /// The frame would be larger than a quarter of the ring.
    TooLarge {
        /// Bytes that the frame would take.
        span: u64,
        /// A capacity in which it would fit.
        sufficient_capacity: u64,
    },
    /// No room, and the policy forbids overwriting what the sink has not committed.
    Full,
    /// Rows need a schema whose columns all have fixed width.
    NoTemplate,
    /// The ring holds the other kind of content.
    Content {
        /// What the ring holds already.
        holds_arrow: bool,
    },
    /// The ring already has a schema, and it is not this one.
    SchemaDiffers,
    /// The schema does not fit the region reserved for it.
    SchemaTooLarge {
        /// Bytes that it would take.
        needed: u64,
    },
    /// A frame in the ring contradicts itself.
    Corrupt(Corrupt),
    /// The file was cut under the mapping.
    Truncated,
}

/// A frame that contradicts itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corrupt {
    /// Where it was read.
    pub position: u64,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// Why a read failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadError {
    /// No frame starts at the position asked for.
    Position(u64),
    /// A frame contradicts itself, or its checksum is wrong.
    Corrupt(Corrupt),
    /// A new ring took this one's path, and everything in the old one was read.
    Replaced,
    /// The file was cut under the mapping.
    Truncated,
}

impl From<Corrupt> for WriteError {
    fn from(corrupt: Corrupt) -> Self {
        Self::Corrupt(corrupt)
    }
}

impl From<Corrupt> for ReadError {
    fn from(corrupt: Corrupt) -> Self {
        Self::Corrupt(corrupt)
    }
}

impl From<std::io::Error> for OpenError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<std::io::Error> for LockError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "frame at position {}: {}", self.position, self.reason)
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "{error}"),
            Self::Exists => write!(f, "a ring is there already"),
            Self::Held(held) => write!(f, "a producer (pid {}) holds it", held.pid),
            Self::Space { needed } => write!(f, "no room for {needed} bytes"),
            Self::Access(reason) | Self::Format(reason) | Self::Capacity(reason) => write!(f, "{reason}"),
            Self::Version(found) => {
                write!(f, "layout version {found}, this mulletdaq reads version {}", crate::layout::VERSION)
            }
            Self::Truncated { found, needed } => {
                write!(f, "the file has {found} bytes where its header asks for {needed}")
            }
        }
    }
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { span, sufficient_capacity } => write!(
                f,
                "a frame of {span} bytes is more than a quarter of the ring; capacity_mb={} would do",
                sufficient_capacity.div_ceil(1 << 20)
            ),
            Self::Full => write!(f, "the ring is full of rows that the sink has not committed"),
            Self::NoTemplate => write!(f, "rows need a schema whose columns all have fixed width"),
            Self::Content { holds_arrow: true } => write!(f, "the ring holds Arrow data, not opaque bytes"),
            Self::Content { holds_arrow: false } => write!(f, "the ring holds opaque bytes, not Arrow data"),
            Self::SchemaDiffers => write!(f, "the ring has another schema"),
            Self::SchemaTooLarge { needed } => {
                write!(f, "the schema takes {needed} bytes, more than the ring reserves for it")
            }
            Self::Corrupt(corrupt) => write!(f, "{corrupt}"),
            Self::Truncated => write!(f, "the ring's file was cut while mapped"),
        }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Position(position) => write!(f, "no frame starts at position {position}"),
            Self::Corrupt(corrupt) => write!(f, "{corrupt}"),
            Self::Replaced => write!(f, "the ring was made anew at the same path"),
            Self::Truncated => write!(f, "the ring's file was cut while mapped"),
        }
    }
}

impl std::error::Error for OpenError {}
impl std::error::Error for WriteError {}
impl std::error::Error for ReadError {}
