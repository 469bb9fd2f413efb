//! `Producer.append`: the hot path, one raw fastcall builtin.
//!
//! PyO3's own methods would collect the values in a tuple; a plain method descriptor around a
//! vectorcall function gets them where the interpreter has them.

use crate::bytes::Bytes;
use crate::clock::now_ns;
use crate::errors::write_error;
use crate::kind::{Conversion, Kind};
use crate::producer::Producer;
use mulletdaq_ring::error::WriteError;
use mulletdaq_ring::producer::{Bits, Producer as RingProducer};
use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use std::ffi::CStr;

/// Put `append` on the class, as the descriptor that the interpreter calls fastest.
pub fn install(py: Python<'_>) -> PyResult<()> {
    let class = py.get_type::<Producer>();
    let definition = Box::leak(Box::new(ffi::PyMethodDef {
        ml_name: c"append".as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: append },
        ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
        ml_doc: DOC.as_ptr(),
    }));
    // SAFETY: the class is a type, and the definition is never freed; the result is a new reference.
    let descriptor =
        unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyDescr_NewMethod(class.as_ptr().cast(), definition)) }?;
    class.setattr("append", descriptor)
}

const DOC: &CStr = c"append($self, /, *values, timestamp_ns=None)
--

Write one row: one value a channel, in order. See mulletdaq.ring.Producer.";

/// # Safety
/// Called by the interpreter through the descriptor, so `slf` is a `Producer` and `args` holds
/// `nargs` positional values and one for each name in `kwnames`.
unsafe extern "C" fn append(
    slf: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargs: ffi::Py_ssize_t,
    kwnames: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the interpreter calls with the GIL held, and the descriptor has checked the type.
    let result = unsafe {
        let py = Python::assume_attached();
        let this = Borrowed::from_ptr(py, slf);
        let producer = this.cast_unchecked::<Producer>().get();
        append_row(py, producer, args, nargs as usize, kwnames)
    };
    match result {
        // SAFETY: None is alive as long as the interpreter.
        Ok(()) => unsafe { ffi::Py_NewRef(ffi::Py_None()) },
        Err(error) => {
            // SAFETY: the GIL is held.
            error.restore(unsafe { Python::assume_attached() });
            std::ptr::null_mut()
        }
    }
}

/// # Safety
/// As for [`append`].
#[inline]
unsafe fn append_row(
    py: Python<'_>,
    producer: &Producer,
    args: *const *mut ffi::PyObject,
    nargs: usize,
    kwnames: *mut ffi::PyObject,
) -> PyResult<()> {
    let Some((_, kinds)) = producer.kinds().split_first() else {
        return Err(write_error(producer.path(), WriteError::NoTemplate));
    };
    if nargs != kinds.len() {
        return Err(wrong_count(kinds, nargs));
    }
    // SAFETY: the interpreter passes `nargs` borrowed references.
    let value = |index: usize| unsafe { Borrowed::from_ptr(py, *args.add(index)) };
    let given_stamp = if kwnames.is_null() {
        // SAFETY: `args` holds as many values as there are channels.
        if unsafe { append_floats(py, producer, args) } {
            return Ok(());
        }
        None
    } else {
        // SAFETY: the keywords' values follow the positional ones.
        unsafe { stamp_argument(py, args.add(nargs), kwnames) }?
    };

    let mut words = producer.take_scratch(py);
    words.clear();
    let mut wide = Vec::new();
    let mut converted = Ok(());
    for (index, kind) in kinds.iter().enumerate() {
        let value = value(index);
        let word = if kind.conversion == Conversion::Wide {
            wide_value(kind, &value).map(|bytes| {
                wide.push(bytes);
                0
            })
        } else {
            kind.convert(&value)
        };
        match word {
            Ok(word) => words.push(word),
            Err(error) => {
                converted = Err(error);
                break;
            }
        }
    }

    // From here on no Python code runs, unless the ring is full and the policy says wait.
    let result = converted.and_then(|()| {
        let row = Row { kinds, words: &words, wide: &wide, given_stamp };
        match producer.with_ring(py, |ring| row.store(ring))? {
            Err(WriteError::Full) => producer.write_with(py, |ring| row.store(ring)),
            result => result.map_err(|reason| write_error(producer.path(), reason)),
        }
    });
    producer.give_scratch(py, words);
    result
}

/// The shortest way, for rows of nothing but floats in a frame that is open.
///
/// False, with the ring as it was, where it does not apply: a value stored in a row that is not
/// committed is not there. It saves the detour over the scratch space, a sixth of an append.
///
/// # Safety
/// `args` holds one borrowed reference for each of the producer's channels.
#[inline]
unsafe fn append_floats(py: Python<'_>, producer: &Producer, args: *const *mut ffi::PyObject) -> bool {
    let Some(offsets) = producer.float_offsets() else {
        return false;
    };
    let stored = producer.with_ring(py, |ring| {
        if !ring.has_room() {
            return false;
        }
        for (index, &offset) in offsets.iter().enumerate() {
            // SAFETY: as many values as channels, and the GIL is held.
            let number = unsafe {
                let value = *args.add(index);
                if ffi::PyFloat_CheckExact(value) == 0 {
                    return false;
                }
                ffi::PyFloat_AsDouble(value)
            };
            ring.put_word(offset, number.to_bits());
        }
        let now = now_ns();
        let stamp = ring.stamp(now);
        ring.put_word(0, stamp);
        ring.commit_row(now);
        true
    });
    matches!(stored, Ok(true))
}

struct Row<'a> {
    kinds: &'a [Kind],
    words: &'a [u64],
    wide: &'a [Bytes],
    given_stamp: Option<i64>,
}

impl Row<'_> {
    #[inline]
    fn store(&self, ring: &mut RingProducer) -> Result<(), WriteError> {
        let now = now_ns();
        ring.begin_row(now)?;
        let stamp = match self.given_stamp {
            Some(stamp) => stamp as u64,
            None => ring.stamp(now),
        };
        ring.put(0, stamp);
        if self.wide.is_empty() {
            for (index, &word) in self.words.iter().enumerate() {
                ring.put(index + 1, word);
            }
        } else {
            self.store_mixed(ring);
        }
        ring.commit_row(now);
        Ok(())
    }

    fn store_mixed(&self, ring: &RingProducer) {
        let mut wide = self.wide.iter();
        for (index, (kind, &word)) in self.kinds.iter().zip(self.words).enumerate() {
            if kind.conversion != Conversion::Wide {
                ring.put(index + 1, word);
            } else if let Some(bytes) = wide.next() {
                ring.put_bits(index + 1, Bits { bytes: bytes.bytes(), first_bit: 0 });
            }
        }
    }
}

/// A waveform's or image's bytes; what is not exactly one row is brought into form by `mulletdaq.ring`.
fn wide_value(kind: &Kind, value: &Bound<'_, PyAny>) -> PyResult<Bytes> {
    if let Ok(bytes) = Bytes::of_array(value)
        && kind.is_row(bytes.view())
    {
        return Ok(bytes);
    }
    let row_bytes = value.py().import("mulletdaq.ring.columns")?.getattr("row_bytes")?;
    let prepared = row_bytes.call1((&kind.name, &kind.format, kind.shape.clone(), value))?;
    let bytes = Bytes::of(&prepared)?;
    if bytes.bytes().len() as u64 == kind.width_bits.div_ceil(8) {
        Ok(bytes)
    } else {
        Err(kind.mismatch(value, "an array of its shape"))
    }
}

#[cold]
fn wrong_count(kinds: &[Kind], found: usize) -> PyErr {
    let names: Vec<&str> = kinds.iter().map(|kind| kind.name.as_str()).take(8).collect();
    let more = if kinds.len() > 8 { ", …" } else { "" };
    let plural = if kinds.len() == 1 { "" } else { "s" };
    PyTypeError::new_err(format!(
        "append() takes {} value{plural} ({}{more}), got {found}",
        kinds.len(),
        names.join(", ")
    ))
}

/// The only keyword there is.
///
/// # Safety
/// `values` holds one reference for each name in the tuple `kwnames`.
#[cold]
unsafe fn stamp_argument(
    py: Python<'_>,
    values: *const *mut ffi::PyObject,
    kwnames: *mut ffi::PyObject,
) -> PyResult<Option<i64>> {
    // SAFETY: `kwnames` is a tuple of str, as vectorcall says.
    let names = unsafe { Borrowed::from_ptr(py, kwnames) };
    let mut stamp = None;
    for (index, name) in names.try_iter()?.enumerate() {
        let name: String = name?.extract()?;
        if name != "timestamp_ns" {
            return Err(PyTypeError::new_err(format!("append() got an unexpected keyword argument {name:?}")));
        }
        // SAFETY: one value a name.
        let value = unsafe { Borrowed::from_ptr(py, *values.add(index)) };
        if !value.is_none() {
            let number = value.extract::<i64>();
            stamp = Some(number.map_err(|_| {
                PyTypeError::new_err(format!("timestamp_ns takes an integer of 64 bits, got {}", &*value))
            })?);
        }
    }
    Ok(stamp)
}
