//! Bytes of objects that support the buffer protocol.

use pyo3::ffi;
use pyo3::prelude::*;

/// The contiguous bytes of an object that supports the buffer protocol.
pub struct Bytes {
    view: Box<ffi::Py_buffer>,
}

impl Bytes {
    /// Ask the object for its bytes; they stay where they are until this is dropped.
    pub fn of(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        Self::ask(object, ffi::PyBUF_SIMPLE)
    }

    /// The same with format and shape, which must be C-contiguous.
    pub fn of_array(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        Self::ask(object, ffi::PyBUF_C_CONTIGUOUS | ffi::PyBUF_FORMAT)
    }

    fn ask(object: &Bound<'_, PyAny>, flags: std::ffi::c_int) -> PyResult<Self> {
        let mut view = Box::new(ffi::Py_buffer::new());
        // SAFETY: the object is alive, and the view's address does not change.
        let result = unsafe { ffi::PyObject_GetBuffer(object.as_ptr(), &raw mut *view, flags) };
        if result == 0 { Ok(Self { view }) } else { Err(PyErr::fetch(object.py())) }
    }

    /// Format and shape.
    pub fn view(&self) -> &ffi::Py_buffer {
        &self.view
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        if self.view.len == 0 {
            return &[];
        }
        // SAFETY: the exporter keeps `len` bytes at `buf` until the view is released.
        unsafe { std::slice::from_raw_parts(self.view.buf.cast::<u8>(), self.view.len as usize) }
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        // SAFETY: filled by PyObject_GetBuffer; only dropped with the GIL held, by methods that were called with it.
        unsafe { ffi::PyBuffer_Release(&raw mut *self.view) };
    }
}
