//! From the ring's errors to the classes in `mulletdaq.errors`.

use mulletdaq_ring::error::{LockError, OpenError, ReadError, WriteError};
use pyo3::prelude::*;
use std::fmt::Display;

/// An error of a class in `mulletdaq.errors`.
pub fn error(class: &str, message: impl Display) -> PyErr {
    Python::attach(|py| {
        let made = py
            .import("mulletdaq.errors")
            .and_then(|module| module.getattr(class))
            .and_then(|class| class.call1((message.to_string(),)));
        match made {
            Ok(instance) => PyErr::from_value(instance),
            Err(error) => error,
        }
    })
}

/// The same, for what concerns a ring at a path.
fn ring_error(class: &str, path: &str, message: impl Display) -> PyErr {
    error(class, format_args!("ring {path}: {message}"))
}

/// Why a ring could not be created or opened.
pub fn open_error(path: &str, reason: OpenError) -> PyErr {
    let class = match &reason {
        OpenError::Io(io) => match io.kind() {
            std::io::ErrorKind::NotFound => "RingNotFoundError",
            std::io::ErrorKind::PermissionDenied => "RingAccessError",
            _ => return PyErr::from(std::io::Error::new(io.kind(), format!("ring {path}: {io}"))),
        },
        OpenError::Exists => "RingExistsError",
        OpenError::Held(_) => "ProducerLockedError",
        OpenError::Space { .. } => "RingSpaceError",
        OpenError::Access(_) => "RingAccessError",
        OpenError::Format(_) => "RingFormatError",
        OpenError::Version(_) => "RingVersionError",
        OpenError::Truncated { .. } => "RingTruncatedError",
        OpenError::Capacity(_) => "RingCapacityError",
    };
    ring_error(class, path, reason)
}

/// Why a lock could not be had; `role` is "producer" or "persisting sink".
pub fn lock_error(path: &str, role: &str, reason: LockError) -> PyErr {
    match reason {
        LockError::Held(held) => {
            let class = if role == "producer" { "ProducerLockedError" } else { "SinkLockedError" };
            ring_error(class, path, format_args!("another {role} holds it (pid {})", held.pid))
        }
        LockError::Replaced => ring_error("RingReplacedError", path, "the path now leads to another file"),
        LockError::Io(io) if io.kind() == std::io::ErrorKind::PermissionDenied => {
            ring_error("RingAccessError", path, format_args!("another user's ring can only be read, not by a {role}"))
        }
        LockError::Io(io) => PyErr::from(std::io::Error::new(io.kind(), format!("ring {path}: {io}"))),
    }
}

/// Why a write was refused.
pub fn write_error(path: &str, reason: WriteError) -> PyErr {
    let class = match &reason {
        WriteError::TooLarge { .. } => "FrameTooLargeError",
        WriteError::Full => "RingFullError",
        WriteError::NoTemplate => "SchemaError",
        WriteError::Content { .. } => "RingContentError",
        WriteError::SchemaDiffers => "SchemaMismatchError",
        WriteError::SchemaTooLarge { .. } => "SchemaError",
        WriteError::Corrupt(_) => "FrameCorruptError",
        WriteError::Truncated => "RingTruncatedError",
    };
    ring_error(class, path, reason)
}

/// Why a read failed.
pub fn read_error(path: &str, reason: ReadError) -> PyErr {
    let class = match &reason {
        ReadError::Position(_) => "RingPositionError",
        ReadError::Corrupt(_) => "FrameCorruptError",
        ReadError::Replaced => "RingReplacedError",
        ReadError::Truncated => "RingTruncatedError",
    };
    ring_error(class, path, reason)
}

/// A handle that was closed.
pub fn closed(path: &str, what: &str) -> PyErr {
    ring_error("RingClosedError", path, format_args!("the {what} was closed"))
}
