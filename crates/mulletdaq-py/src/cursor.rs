//! `_core.Cursor` and `_core.Frame`: reading, with and without waiting.

use crate::errors::{closed, read_error};
use crate::ring::{Shared, schema_message};
use crate::spare;
use mulletdaq_ring::cursor::{Cause, Cursor as RingCursor, Delivery};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const FIRST_WAIT: Duration = Duration::from_micros(50);
const LONGEST_WAIT: Duration = Duration::from_millis(5);

/// One reader's place in a ring; see `_core.pyi`.
#[pyclass(frozen, module = "mulletdaq._core")]
pub struct Cursor {
    inner: Mutex<Option<RingCursor>>,
    shared: Arc<Shared>,
}

impl Cursor {
    /// Wrap a cursor.
    pub fn new(inner: RingCursor, shared: Arc<Shared>) -> Self {
        Self { inner: Mutex::new(Some(inner)), shared }
    }

    fn lock(&self) -> MutexGuard<'_, Option<RingCursor>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, f: impl FnOnce(&mut RingCursor) -> T) -> PyResult<T> {
        match self.lock().as_mut() {
            Some(cursor) => Ok(f(cursor)),
            None => Err(closed(&self.shared.path, "cursor")),
        }
    }

    fn poll(&self, py: Python<'_>, max_rows: u64) -> PyResult<Option<Frame>> {
        if let Some(length) = self.with(|cursor| cursor.next_message_bytes())?
            && let Some(frame) = self.poll_message(py, length)?
        {
            return Ok(Some(frame));
        }
        let read = || {
            let mut words = spare::take();
            let result = self.with(|cursor| cursor.read(max_rows, &mut words));
            let read = matches!(result, Ok(Ok(Some(_))));
            if read {
                return (result, spare::fitted(words));
            }
            spare::give(words);
            (result, Vec::new())
        };
        let (result, words) = py.detach(read);
        let delivery = result?.map_err(|reason| read_error(&self.shared.path, reason))?;
        Ok(delivery.map(|delivery| Frame { delivery, payload: Payload::Words(words) }))
    }

    /// An opaque message, copied once: to where it stays.
    fn poll_message(&self, py: Python<'_>, length: u64) -> PyResult<Option<Frame>> {
        // SAFETY: the interpreter makes an object of this length, whose bytes are not initialized, or sets an error.
        let message: Bound<'_, PyBytes> = unsafe {
            let made = ffi::PyBytes_FromStringAndSize(std::ptr::null(), length as ffi::Py_ssize_t);
            Bound::from_owned_ptr_or_err(py, made)?.cast_into_unchecked()
        };
        // SAFETY: it is an object of bytes.
        let address = unsafe { ffi::PyBytes_AsString(message.as_ptr()) } as usize;
        let read = || {
            // SAFETY: nobody else knows the object yet, and it stays alive meanwhile.
            let room = unsafe { std::slice::from_raw_parts_mut(address as *mut MaybeUninit<u8>, length as usize) };
            self.with(|cursor| cursor.read_message(room))
        };
        let delivery = py.detach(read)?.map_err(|reason| read_error(&self.shared.path, reason))?;
        Ok(delivery.map(|delivery| Frame { delivery, payload: Payload::Message(message.unbind()) }))
    }
}

#[pymethods]
impl Cursor {
    #[pyo3(signature = (max_rows=None, timeout_s=0.0))]
    fn read(&self, py: Python<'_>, max_rows: Option<u64>, timeout_s: f64) -> PyResult<Option<Frame>> {
        let max_rows = max_rows.unwrap_or(u64::MAX);
        let start = Instant::now();
        let mut wait = FIRST_WAIT;
        loop {
            if let Some(frame) = self.poll(py, max_rows)? {
                return Ok(Some(frame));
            }
            let left = timeout_s - start.elapsed().as_secs_f64();
            if left <= 0.0 || left.is_nan() {
                return Ok(None);
            }
            let nap = wait.min(Duration::try_from_secs_f64(left).unwrap_or(wait));
            py.detach(|| std::thread::sleep(nap));
            py.check_signals()?;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    #[getter]
    fn position(&self) -> PyResult<u64> {
        self.with(|cursor| cursor.position())
    }

    #[getter]
    fn row(&self) -> PyResult<u64> {
        self.with(|cursor| cursor.row())
    }

    #[getter]
    fn sequence(&self) -> PyResult<u64> {
        self.with(|cursor| cursor.sequence())
    }

    #[getter]
    fn lost_rows(&self) -> PyResult<u64> {
        self.with(|cursor| cursor.lost_rows())
    }

    #[getter]
    fn lost_frames(&self) -> PyResult<u64> {
        self.with(|cursor| cursor.lost_frames())
    }

    #[getter]
    fn lag_rows(&self) -> PyResult<u64> {
        let newest = self.shared.newest().map_err(|reason| read_error(&self.shared.path, reason))?.place.row;
        self.with(|cursor| newest.saturating_sub(cursor.row()))
    }

    fn schema_message<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        schema_message(py, &self.shared)
    }

    fn seek(&self, position: u64) -> PyResult<()> {
        self.with(|cursor| *cursor = RingCursor::at_position(cursor.region().clone(), position))
    }

    fn set_verify(&self, verify: bool) -> PyResult<()> {
        self.with(|cursor| cursor.set_verify(verify))
    }

    fn close(&self) {
        *self.lock() = None;
    }
}

/// A validated copy of a frame's payload, or of some rows of it; see `_core.pyi`.
#[pyclass(frozen, module = "mulletdaq._core")]
pub struct Frame {
    delivery: Delivery,
    payload: Payload,
}

enum Payload {
    Words(Vec<u64>),
    Message(Py<PyBytes>),
}

impl Drop for Frame {
    fn drop(&mut self) {
        if let Payload::Words(words) = &mut self.payload {
            spare::give(std::mem::take(words));
        }
    }
}

#[pymethods]
impl Frame {
    #[getter]
    fn kind(&self) -> u32 {
        self.delivery.kind
    }

    #[getter]
    fn position(&self) -> u64 {
        self.delivery.position
    }

    #[getter]
    fn sequence(&self) -> u64 {
        self.delivery.sequence
    }

    #[getter]
    fn timestamp_ns(&self) -> u64 {
        self.delivery.timestamp_ns
    }

    #[getter]
    fn first_row(&self) -> u64 {
        self.delivery.first_row
    }

    #[getter]
    fn rows(&self) -> u64 {
        self.delivery.rows
    }

    #[getter]
    fn skip(&self) -> u64 {
        self.delivery.skip
    }

    #[getter]
    fn loss(&self) -> Option<(u64, u64, u64, u64, &'static str)> {
        self.delivery.loss.map(|loss| {
            let cause = match loss.cause {
                Cause::Overwritten => "overwritten",
                Cause::Corrupt => "corrupt",
            };
            (loss.first_row, loss.rows, loss.first_sequence, loss.frames, cause)
        })
    }

    fn __len__(&self) -> usize {
        self.delivery.bytes as usize
    }

    fn __bytes__(&self, py: Python<'_>) -> Py<PyBytes> {
        match &self.payload {
            Payload::Message(message) => message.clone_ref(py),
            Payload::Words(words) => {
                // SAFETY: the words hold at least so many bytes, each of them initialized.
                let bytes = unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), self.delivery.bytes as usize) };
                PyBytes::new(py, bytes).unbind()
            }
        }
    }

    /// # Safety
    /// Called by the interpreter with a valid `view`.
    unsafe fn __getbuffer__(slf: &Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let this = slf.get();
        let address: *const u8 = match &this.payload {
            Payload::Words(words) => words.as_ptr().cast(),
            Payload::Message(message) => message.as_bytes(slf.py()).as_ptr(),
        };
        // SAFETY: they are this object's own, or of one that it holds, never changed, and hold at least `bytes` bytes.
        let result = unsafe {
            ffi::PyBuffer_FillInfo(
                view,
                slf.as_ptr(),
                address.cast_mut().cast(),
                this.delivery.bytes as ffi::Py_ssize_t,
                1,
                flags,
            )
        };
        if result == 0 { Ok(()) } else { Err(PyErr::fetch(slf.py())) }
    }
}
