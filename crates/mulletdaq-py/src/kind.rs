//! What a column takes, and how Python values become its bits.

use crate::errors::error;
use mulletdaq_ring::rows::Column;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use std::ffi::CStr;

/// How a Python value becomes a column's bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conversion {
    Float64,
    Float32,
    Float16,
    Signed,
    Unsigned,
    Bool,
    /// A buffer with exactly the row's bytes.
    Wide,
    Unsupported,
}

/// One column, as an append sees it.
#[derive(Debug)]
pub struct Kind {
    /// The column's name.
    pub name: String,
    /// Bits a row takes.
    pub width_bits: u64,
    /// Bits one value takes: less than a row's for waveforms and images.
    pub value_bits: u64,
    /// Arrow's format string of one value.
    pub format: String,
    /// Extents of a waveform or image; empty for one number.
    pub shape: Vec<isize>,
    /// How values get in.
    pub conversion: Conversion,
}

impl Kind {
    /// True if a row takes one float64.
    pub fn is_float64(&self) -> bool {
        self.conversion == Conversion::Float64
    }

    /// Compare a column's type, as a capsule's schema has it; `None` if that alone cannot tell.
    pub fn is_type(&self, name: &[u8], format: &[u8], values: Option<&[u8]>) -> Option<bool> {
        if name != self.name.as_bytes() {
            return Some(false);
        }
        match (self.shape.as_slice(), values) {
            ([], _) => Some(format == self.format.as_bytes()),
            ([count], Some(values)) => {
                Some(format == format!("+w:{count}").as_bytes() && values == self.format.as_bytes())
            }
            // Two images may have as many pixels and other shapes.
            _ => None,
        }
    }

    /// What a column of the ring's plain table takes.
    pub fn of(column: &Column) -> Self {
        let conversion = match column.format.as_str() {
            "g" => Conversion::Float64,
            "f" => Conversion::Float32,
            "e" => Conversion::Float16,
            "c" | "s" | "i" | "l" => Conversion::Signed,
            "C" | "S" | "I" | "L" => Conversion::Unsigned,
            "b" => Conversion::Bool,
            format if format.starts_with('t') && column.width_bits <= 64 => Conversion::Signed,
            _ if column.width_bits > 0 => Conversion::Wide,
            _ => Conversion::Unsupported,
        };
        let (value_format, extents) = column.format.split_once('[').unwrap_or((&column.format, ""));
        let shape: Vec<isize> =
            extents.trim_end_matches(']').split(',').filter_map(|extent| extent.parse().ok()).collect();
        let values: isize = shape.iter().product();
        Self {
            name: column.name.clone(),
            width_bits: column.width_bits,
            value_bits: column.width_bits / values.max(1) as u64,
            format: value_format.to_owned(),
            shape,
            conversion,
        }
    }

    /// True for a buffer whose items, order and shape are exactly one row of this column.
    pub fn is_row(&self, view: &ffi::Py_buffer) -> bool {
        let codes: &[u8] = match self.format.as_str() {
            "g" | "f" | "e" => b"dfe",
            "c" | "s" | "i" | "l" => b"bhilq",
            "C" | "S" | "I" | "L" => b"BHILQ",
            _ => return false,
        };
        if view.format.is_null() || view.itemsize as u64 * 8 != self.value_bits {
            return false;
        }
        // SAFETY: a format is a NUL-terminated string, and `shape` has `ndim` entries when asked for.
        let (format, shape) = unsafe {
            let shape = match view.ndim {
                0 => &[],
                ndim => std::slice::from_raw_parts(view.shape, ndim as usize),
            };
            (CStr::from_ptr(view.format).to_bytes(), shape)
        };
        let code = format.strip_prefix(b"<").or(format.strip_prefix(b"=")).or(format.strip_prefix(b"@"));
        matches!(code.unwrap_or(format), [code] if codes.contains(code)) && shape == self.shape
    }

    /// A value's bits.
    #[inline]
    pub fn convert(&self, value: &Bound<'_, PyAny>) -> PyResult<u64> {
        match self.conversion {
            Conversion::Float64 => Ok(self.float(value)?.to_bits()),
            Conversion::Float32 => Ok(u64::from((self.float(value)? as f32).to_bits())),
            Conversion::Float16 => Ok(u64::from(half::f16::from_f64(self.float(value)?).to_bits())),
            Conversion::Signed => self.signed(value),
            Conversion::Unsigned => self.unsigned(value),
            Conversion::Bool => self.boolean(value),
            Conversion::Wide | Conversion::Unsupported => {
                let message = format_args!("channel {:?} cannot be written row by row", self.name);
                Err(error("UnsupportedTypeError", message))
            }
        }
    }

    #[inline]
    fn float(&self, value: &Bound<'_, PyAny>) -> PyResult<f64> {
        // SAFETY: a live object and the GIL.
        let number = unsafe { ffi::PyFloat_AsDouble(value.as_ptr()) };
        if number == -1.0 && PyErr::occurred(value.py()) {
            let _ = PyErr::take(value.py());
            return Err(self.mismatch(value, "a number"));
        }
        Ok(number)
    }

    fn signed(&self, value: &Bound<'_, PyAny>) -> PyResult<u64> {
        let number = self.index(value)?.extract::<i64>().map_err(|_| self.out_of_range(value))?;
        let spare = 64 - self.width_bits;
        if (number << spare) >> spare != number {
            return Err(self.out_of_range(value));
        }
        Ok((number as u64) << spare >> spare)
    }

    fn unsigned(&self, value: &Bound<'_, PyAny>) -> PyResult<u64> {
        let number = self.index(value)?.extract::<u64>().map_err(|_| self.out_of_range(value))?;
        if self.width_bits < 64 && number >> self.width_bits != 0 {
            return Err(self.out_of_range(value));
        }
        Ok(number)
    }

    fn boolean(&self, value: &Bound<'_, PyAny>) -> PyResult<u64> {
        if let Ok(flag) = value.extract::<bool>() {
            return Ok(u64::from(flag));
        }
        match self.index(value)?.extract::<u64>() {
            Ok(bit @ (0 | 1)) => Ok(bit),
            _ => Err(self.out_of_range(value)),
        }
    }

    fn index<'py>(&self, value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        // SAFETY: a live object and the GIL; the result is a new reference or an error.
        let number = unsafe { Bound::from_owned_ptr_or_err(value.py(), ffi::PyNumber_Index(value.as_ptr())) };
        number.map_err(|_| self.mismatch(value, "an integer"))
    }

    /// The error for a value of another type.
    pub fn mismatch(&self, value: &Bound<'_, PyAny>, wanted: &str) -> PyErr {
        let found = value.get_type().name().map(|name| name.to_string()).unwrap_or_default();
        PyTypeError::new_err(format!("channel {:?} takes {wanted}, got {found}", self.name))
    }

    fn out_of_range(&self, value: &Bound<'_, PyAny>) -> PyErr {
        let bits = self.width_bits;
        let message = format!("channel {:?}: {value} does not fit its {bits} bits", self.name);
        PyValueError::new_err(message)
    }
}
