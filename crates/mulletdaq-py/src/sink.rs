//! `_core.Sink`: the persisting sink's role.

use crate::clock::now_ns;
use crate::errors::{closed, read_error};
use crate::ring::Shared;
use mulletdaq_ring::error::ReadError;
use mulletdaq_ring::layout::{ALIGN, header};
use mulletdaq_ring::lock::ByteLock;
use mulletdaq_ring::mapped::move_read_tail;
use mulletdaq_ring::sync::Ordering as RingOrdering;
use pyo3::prelude::*;
use std::sync::{Arc, Mutex, PoisonError};

/// The persisting sink's lock and the tail it moves; see `_core.pyi`.
#[pyclass(frozen, module = "mulletdaq._core")]
pub struct Sink {
    lock: Mutex<Option<ByteLock>>,
    shared: Arc<Shared>,
}

impl Sink {
    /// The sink whose lock is given.
    pub fn new(shared: Arc<Shared>, lock: ByteLock) -> Self {
        Self { lock: Mutex::new(Some(lock)), shared }
    }
}

#[pymethods]
impl Sink {
    fn advance(&self, position: u64) -> PyResult<()> {
        let guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        match guard.as_ref() {
            Some(lock) if !lock.lost_by_fork() => {
                let region = self.shared.mapped.region();
                let head = region.header(header::WRITE_HEAD).load(RingOrdering::Acquire);
                if position > head || !position.is_multiple_of(ALIGN) {
                    return Err(read_error(&self.shared.path, ReadError::Position(position)));
                }
                move_read_tail(region, position, now_ns());
                Ok(())
            }
            _ => Err(closed(&self.shared.path, "sink")),
        }
    }

    fn close(&self) {
        *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
