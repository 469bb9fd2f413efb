//! Columns of an Arrow array, through the C data interface, without a copy.
//!
//! Layouts as in the Arrow specification, "The Arrow C data interface".

use crate::kind::Kind;
use mulletdaq_ring::producer::Bits;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use std::ffi::{CStr, c_char, c_void};

const NAME: &CStr = c"arrow_array";
const SCHEMA_NAME: &CStr = c"arrow_schema";

#[repr(C)]
struct ArrowSchema {
    format: *const c_char,
    name: *const c_char,
    metadata: *const c_char,
    flags: i64,
    n_children: i64,
    children: *const *const ArrowSchema,
    dictionary: *const ArrowSchema,
    release: *const c_void,
    private_data: *const c_void,
}

/// True if a capsule's schema certainly has these columns; false if not, or if it takes more to tell.
pub fn has_columns(capsule: &Bound<'_, PyAny>, kinds: &[Kind]) -> PyResult<bool> {
    // SAFETY: a live object and the GIL.
    if unsafe { ffi::PyCapsule_IsValid(capsule.as_ptr(), SCHEMA_NAME.as_ptr()) } != 1 {
        return Err(PyTypeError::new_err("expected the arrow_schema capsule of __arrow_c_array__()"));
    }
    // SAFETY: the name was checked, so it holds an ArrowSchema, which lives as long as the capsule.
    let schema = unsafe { &*ffi::PyCapsule_GetPointer(capsule.as_ptr(), SCHEMA_NAME.as_ptr()).cast::<ArrowSchema>() };
    if schema.release.is_null() || schema.n_children as usize != kinds.len() {
        return Ok(false);
    }
    let same = |(index, kind): (usize, &Kind)| {
        // SAFETY: a schema that is not released has n_children children with NUL-terminated formats
        // and names, and a list has one child.
        unsafe {
            let child = &**schema.children.add(index);
            let name = if child.name.is_null() { c"" } else { CStr::from_ptr(child.name) };
            let values = (child.n_children == 1).then(|| CStr::from_ptr((**child.children).format).to_bytes());
            let format = CStr::from_ptr(child.format).to_bytes();
            child.dictionary.is_null() && kind.is_type(name.to_bytes(), format, values) == Some(true)
        }
    };
    Ok(kinds.iter().enumerate().all(same))
}

#[repr(C)]
struct ArrowArray {
    length: i64,
    null_count: i64,
    offset: i64,
    n_buffers: i64,
    n_children: i64,
    buffers: *const *const c_void,
    children: *const *const ArrowArray,
    dictionary: *const ArrowArray,
    release: *const c_void,
    private_data: *const c_void,
}

/// A struct array, one child a column, that a capsule keeps alive.
pub struct Array<'py> {
    capsule: Bound<'py, PyAny>,
}

impl<'py> Array<'py> {
    /// The array in a capsule that `__arrow_c_array__` returned.
    pub fn of(capsule: &Bound<'py, PyAny>) -> PyResult<Self> {
        // SAFETY: a live object and the GIL.
        if unsafe { ffi::PyCapsule_IsValid(capsule.as_ptr(), NAME.as_ptr()) } != 1 {
            return Err(PyTypeError::new_err("expected the arrow_array capsule of __arrow_c_array__()"));
        }
        Ok(Self { capsule: capsule.clone() })
    }

    fn array(&self) -> &ArrowArray {
        // SAFETY: `of` checked the capsule's name, so it holds an ArrowArray, which lives as long as it does.
        unsafe { &*ffi::PyCapsule_GetPointer(self.capsule.as_ptr(), NAME.as_ptr()).cast::<ArrowArray>() }
    }

    /// The rows and each column's bits; `None` if there are nulls or a column is not fixed-width.
    pub fn fixed_width_columns(&self, kinds: &[Kind]) -> PyResult<Option<(u64, Vec<Bits<'_>>)>> {
        let array = self.array();
        if array.release.is_null() || array.n_children as usize != kinds.len() || array.length < 0 {
            return Err(PyValueError::new_err("the array was released or has other columns than the ring"));
        }
        if has_nulls(array) {
            return Ok(None);
        }
        let rows = array.length as u64;
        let mut columns = Vec::with_capacity(kinds.len());
        for (index, kind) in kinds.iter().enumerate() {
            // SAFETY: a struct array has n_children valid children.
            let child = unsafe { &**array.children.add(index) };
            match column_bits(child, array.offset as u64, rows, kind) {
                Some(bits) => columns.push(bits),
                None => return Ok(None),
            }
        }
        Ok(Some((rows, columns)))
    }
}

fn has_nulls(array: &ArrowArray) -> bool {
    if array.null_count == 0 || array.n_buffers == 0 {
        return false;
    }
    // SAFETY: n_buffers is at least 1. A count of -1 means unknown: a bitmap then counts as nulls.
    !unsafe { *array.buffers }.is_null()
}

/// A column's values: its own, or those of the one list that a waveform or image is.
fn column_bits<'a>(column: &'a ArrowArray, parent_offset: u64, rows: u64, kind: &Kind) -> Option<Bits<'a>> {
    let mut offset = parent_offset + column.offset as u64;
    let mut values = column;
    if column.n_children == 1 {
        if has_nulls(column) {
            return None;
        }
        // SAFETY: a list has one child.
        values = unsafe { &**column.children };
        offset = offset * (kind.width_bits / kind.value_bits) + values.offset as u64;
    }
    if has_nulls(values) || values.n_children != 0 || values.n_buffers != 2 || !values.dictionary.is_null() {
        return None;
    }
    // SAFETY: a primitive array has a validity and a data buffer.
    let data = unsafe { *values.buffers.add(1) };
    let first_bit = offset * kind.value_bits;
    let bytes = (first_bit + rows * kind.width_bits).div_ceil(8) as usize;
    if data.is_null() || bytes == 0 {
        return (rows == 0).then_some(Bits { bytes: &[], first_bit: 0 });
    }
    // SAFETY: the data buffer holds offset + length values, of the widths that the schema check has
    // made sure of.
    let bytes = unsafe { std::slice::from_raw_parts(data.cast::<u8>(), bytes) };
    Some(Bits { bytes, first_bit })
}
