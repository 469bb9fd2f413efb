//! `_core.View`: a frame's payload in place, for whoever checks afterwards whether it is intact.

use crate::errors::{error, read_error};
use crate::ring::Shared;
use mulletdaq_ring::error::ReadError;
use mulletdaq_ring::frame::{self, FrameHeader};
use mulletdaq_ring::layout::{self, FRAME_HEADER_BYTES, header};
use mulletdaq_ring::sync::Ordering;
use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;
use std::ffi::c_int;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering as Plain};

/// Zero-copy view of one frame; see `_core.pyi`.
#[pyclass(frozen, module = "mulletdaq._core")]
pub struct View {
    shared: Arc<Shared>,
    header: FrameHeader,
    exports: AtomicUsize,
    released: AtomicBool,
}

impl View {
    /// A view of the frame at a position.
    pub fn at(shared: Arc<Shared>, position: u64) -> PyResult<Self> {
        let region = shared.mapped.region();
        let head = region.header(header::WRITE_HEAD).load(Ordering::Acquire);
        let wrong = || read_error(&shared.path, ReadError::Position(position));
        if position >= head || !position.is_multiple_of(layout::ALIGN) {
            return Err(wrong());
        }
        match FrameHeader::look(region, position, head) {
            Ok(Some(header)) => {
                shared.views.fetch_add(1, Plain::Relaxed);
                Ok(Self { shared, header, exports: AtomicUsize::new(0), released: AtomicBool::new(false) })
            }
            Ok(None) => {
                let message = format_args!("ring {}: position {position} was overwritten", shared.path);
                Err(error("RingPositionError", message))
            }
            Err(_) => Err(wrong()),
        }
    }

    fn drop_count(&self) {
        if !self.released.swap(true, Plain::Relaxed) {
            self.shared.views.fetch_sub(1, Plain::Relaxed);
        }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.drop_count();
    }
}

#[pymethods]
impl View {
    #[getter]
    fn intact(&self) -> bool {
        let region = self.shared.mapped.region();
        frame::intact(region, self.header.position) && !region.truncated()
    }

    #[getter]
    fn position(&self) -> u64 {
        self.header.position
    }

    #[getter]
    fn sequence(&self) -> u64 {
        self.header.sequence
    }

    #[getter]
    fn kind(&self) -> u32 {
        self.header.kind
    }

    #[getter]
    fn first_row(&self) -> u64 {
        self.header.first_row
    }

    #[getter]
    fn rows(&self) -> u64 {
        self.header.rows
    }

    #[getter]
    fn timestamp_ns(&self) -> u64 {
        self.header.timestamp_ns
    }

    fn release(&self) -> PyResult<()> {
        let exports = self.exports.load(Plain::Relaxed);
        if exports != 0 {
            return Err(PyBufferError::new_err(format!("{exports} buffers still look into this view")));
        }
        self.drop_count();
        Ok(())
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, _exception: &Bound<'_, pyo3::types::PyTuple>) -> PyResult<()> {
        self.release()
    }

    fn __len__(&self) -> usize {
        self.header.length as usize
    }

    /// # Safety
    /// Called by the interpreter with a valid `view`.
    unsafe fn __getbuffer__(slf: &Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let this = slf.get();
        if this.released.load(Plain::Relaxed) {
            return Err(PyBufferError::new_err("this view was released"));
        }
        let region = this.shared.mapped.region();
        let payload = region.data(this.header.position + FRAME_HEADER_BYTES, 0).as_ptr();
        // SAFETY: the payload lies in the mapping, which `shared` keeps as long as the exporter lives;
        // the buffer is read-only, and who reads it asks `intact` afterwards.
        let result = unsafe {
            ffi::PyBuffer_FillInfo(
                view,
                slf.as_ptr(),
                payload.cast_mut().cast(),
                this.header.length as ffi::Py_ssize_t,
                1,
                flags,
            )
        };
        if result != 0 {
            return Err(PyErr::fetch(slf.py()));
        }
        this.exports.fetch_add(1, Plain::Relaxed);
        Ok(())
    }

    /// # Safety
    /// Called by the interpreter once for each successful `__getbuffer__`.
    unsafe fn __releasebuffer__(&self, _view: *mut ffi::Py_buffer) {
        self.exports.fetch_sub(1, Plain::Relaxed);
    }
}
