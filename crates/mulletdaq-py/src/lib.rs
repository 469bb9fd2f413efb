//! The Python face of the ring: wrappers only, the algorithm lives in `mulletdaq-ring`.
//!
//! Docstrings for Python stand in `_core.pyi`.

mod append;
mod arrow;
mod bytes;
mod clock;
mod cursor;
mod errors;
mod kind;
mod producer;
mod ring;
mod sink;
mod spare;
mod view;

use pyo3::prelude::*;

/// The native module `mulletdaq._core`.
#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    use mulletdaq_ring::layout;
    module.add("MAGIC", layout::MAGIC)?;
    module.add("LAYOUT_VERSION", layout::VERSION)?;
    module.add("HEADER_BYTES", layout::HEADER_BYTES)?;
    module.add("FRAME_HEADER_BYTES", layout::FRAME_HEADER_BYTES)?;
    module.add("SCHEMA_CAPACITY", layout::SCHEMA_CAPACITY)?;
    module.add("MIN_CAPACITY", layout::MIN_CAPACITY)?;
    module.add("MAX_CAPACITY", layout::MAX_CAPACITY)?;
    module.add("KIND_OPAQUE", layout::kind::OPAQUE)?;
    module.add("KIND_ROWS", layout::kind::ROWS)?;
    module.add("KIND_ARROW", layout::kind::ARROW)?;
    module.add_class::<ring::Ring>()?;
    module.add_class::<producer::Producer>()?;
    module.add_class::<sink::Sink>()?;
    module.add_class::<cursor::Cursor>()?;
    module.add_class::<cursor::Frame>()?;
    module.add_class::<view::View>()?;
    module.add_function(wrap_pyfunction!(clock::sleep_until, module)?)?;
    append::install(module.py())
}
