//! `_core.Ring`: a mapped ring's file.

use crate::clock::now_ns;
use crate::cursor::Cursor;
use crate::errors::{closed, error, lock_error, open_error, read_error};
use crate::producer::Producer;
use crate::sink::Sink;
use crate::view::View;
use mulletdaq_ring::cursor::Cursor as RingCursor;
use mulletdaq_ring::error::ReadError;
use mulletdaq_ring::layout::{self, header};
use mulletdaq_ring::lock::FileId;
use mulletdaq_ring::mapped::{MappedRing, NewRing};
use mulletdaq_ring::rows::Schema;
use mulletdaq_ring::sync::Ordering;
use mulletdaq_ring::walk::{self, Newest, Place};
use pyo3::exceptions::PyBufferError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex};

/// A mapped ring and the number of views that look into it.
pub struct Shared {
    /// The mapped file.
    pub mapped: MappedRing,
    /// The path as text, for messages.
    pub path: String,
    /// Views not yet released.
    pub views: AtomicUsize,
    // Start of the newest frame found so far; 0: none was looked for, or it is the first.
    seen: AtomicU64,
    // Where the last row that was searched for lies: who shows the newest rows asks for one behind it next.
    searched: AtomicU64,
}

impl Shared {
    /// The ring's end, at the cost of what was written since it was last asked for through this handle.
    pub fn newest(&self) -> Result<Newest, ReadError> {
        // Acquire and release: whoever knows of a frame sees a `write_head` behind it.
        let newest =
            walk::newest_since(self.mapped.region(), Some(self.seen.load(Ordering::Acquire)).filter(|&p| p > 0))?;
        self.seen.fetch_max(newest.frame.unwrap_or(0), Ordering::Release);
        Ok(newest)
    }

    fn row(&self, row: u64) -> Result<Place, ReadError> {
        let place = walk::row_since(self.mapped.region(), row, self.searched.load(Ordering::Acquire))?;
        self.searched.store(place.position, Ordering::Release);
        Ok(place)
    }
}

/// Native handle of a ring; see `_core.pyi`.
#[pyclass(frozen, module = "mulletdaq._core")]
pub struct Ring {
    shared: Mutex<Option<Arc<Shared>>>,
    // As text, for messages, and as it is.
    path: String,
    place: PathBuf,
    id: FileId,
}

impl Ring {
    fn around(place: &Path, mapped: MappedRing) -> Self {
        let path = place.display().to_string();
        let id = mapped.id();
        let shared = Shared {
            mapped,
            path: path.clone(),
            views: AtomicUsize::new(0),
            seen: AtomicU64::new(0),
            searched: AtomicU64::new(0),
        };
        Self { shared: Mutex::new(Some(Arc::new(shared))), path, place: place.to_owned(), id }
    }

    fn shared(&self) -> PyResult<Arc<Shared>> {
        let guard = self.shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        guard.clone().ok_or_else(|| closed(&self.path, "ring"))
    }

    fn word(&self, index: usize) -> PyResult<u64> {
        Ok(self.shared()?.mapped.region().header(index).load(Ordering::Acquire))
    }

    fn found<T>(&self, result: Result<T, ReadError>) -> PyResult<T> {
        result.map_err(|reason| read_error(&self.path, reason))
    }
}

/// The Arrow IPC schema message of a ring, once there is one.
pub fn schema_message<'py>(py: Python<'py>, shared: &Shared) -> PyResult<Option<Bound<'py, PyBytes>>> {
    let schema = Schema::load(shared.mapped.region());
    let broken = || error("RingFormatError", format_args!("ring {}: its schema contradicts itself", shared.path));
    if schema.is_some() && shared.mapped.region().truncated() {
        return Err(read_error(&shared.path, ReadError::Truncated));
    }
    schema.map(|schema| schema.map(|schema| PyBytes::new(py, &schema.message)).ok_or_else(broken)).transpose()
}

#[pymethods]
impl Ring {
    #[staticmethod]
    #[pyo3(signature = (path, capacity_bytes, *, force=false, checksum=false))]
    fn create(py: Python<'_>, path: PathBuf, capacity_bytes: u64, force: bool, checksum: bool) -> PyResult<Self> {
        let new = NewRing { capacity: capacity_bytes, checksums: checksum, force, created_ns: now_ns() };
        let mapped = py.detach(|| MappedRing::create(&path, new));
        let mapped = mapped.map_err(|reason| open_error(&path.display().to_string(), reason))?;
        Ok(Self::around(&path, mapped))
    }

    #[staticmethod]
    #[pyo3(signature = (path, *, owner=None))]
    fn open(py: Python<'_>, path: PathBuf, owner: Option<u32>) -> PyResult<Self> {
        let mapped = py.detach(|| MappedRing::open(&path, owner));
        let mapped = mapped.map_err(|reason| open_error(&path.display().to_string(), reason))?;
        Ok(Self::around(&path, mapped))
    }

    #[getter]
    fn path(&self) -> &OsStr {
        self.place.as_os_str()
    }

    #[getter]
    fn closed(&self) -> bool {
        self.shared().is_err()
    }

    #[getter]
    fn read_only(&self) -> PyResult<bool> {
        Ok(self.shared()?.mapped.read_only())
    }

    #[getter]
    fn replaced(&self) -> bool {
        !self.id.is_at(&self.place)
    }

    #[getter]
    fn capacity_bytes(&self) -> PyResult<u64> {
        Ok(self.shared()?.mapped.region().capacity())
    }

    #[getter]
    fn stream_id(&self) -> PyResult<u64> {
        self.word(header::STREAM_ID)
    }

    #[getter]
    fn created_ns(&self) -> PyResult<u64> {
        self.word(header::CREATED_NS)
    }

    #[getter]
    fn write_head(&self) -> PyResult<u64> {
        self.word(header::WRITE_HEAD)
    }

    #[getter]
    fn write_intent(&self) -> PyResult<u64> {
        self.word(header::WRITE_INTENT)
    }

    #[getter]
    fn read_tail(&self) -> PyResult<u64> {
        self.word(header::READ_TAIL)
    }

    #[getter]
    fn oldest(&self) -> PyResult<u64> {
        self.word(header::OLDEST)
    }

    #[getter]
    fn midway(&self) -> PyResult<u64> {
        self.word(header::MIDWAY)
    }

    #[getter]
    fn producer_heartbeat_ns(&self) -> PyResult<u64> {
        self.word(header::PRODUCER_HEARTBEAT)
    }

    #[getter]
    fn sink_heartbeat_ns(&self) -> PyResult<u64> {
        self.word(header::SINK_HEARTBEAT)
    }

    #[getter]
    fn flags(&self) -> PyResult<u32> {
        Ok(self.shared()?.mapped.region().flags())
    }

    #[getter]
    fn schema_bytes(&self) -> PyResult<u32> {
        Ok(layout::unpack(self.word(header::SCHEMA_LEN_VERSION)?).0)
    }

    #[getter]
    fn producer_pid(&self) -> PyResult<Option<u32>> {
        Ok(self.shared()?.mapped.producer_pid())
    }

    #[getter]
    fn sink_pid(&self) -> PyResult<Option<u32>> {
        Ok(self.shared()?.mapped.sink_pid())
    }

    fn schema_message<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        schema_message(py, &*self.shared()?)
    }

    fn columns(&self) -> PyResult<Vec<(String, String, u64)>> {
        let schema = Schema::load(self.shared()?.mapped.region()).flatten();
        let columns = schema.map(|schema| schema.columns).unwrap_or_default();
        Ok(columns.into_iter().map(|column| (column.name, column.format, column.width_bits)).collect())
    }

    fn newest_row(&self) -> PyResult<u64> {
        Ok(self.found(self.shared()?.newest())?.place.row)
    }

    fn oldest_row(&self) -> PyResult<u64> {
        Ok(self.found(walk::oldest(self.shared()?.mapped.region()))?.row)
    }

    fn row_at_tail(&self) -> PyResult<Option<u64>> {
        let shared = self.shared()?;
        let region = shared.mapped.region();
        let tail = region.header(header::READ_TAIL).load(Ordering::Acquire);
        if tail == 0 {
            return Ok(Some(0));
        }
        Ok(walk::row_at(region, tail))
    }

    #[pyo3(signature = (*, keep_uncommitted=false, timeout_s=0.0))]
    fn producer(&self, py: Python<'_>, keep_uncommitted: bool, timeout_s: f64) -> PyResult<Producer> {
        let shared = self.shared()?;
        let lock = shared.mapped.lock_producer().map_err(|reason| lock_error(&self.path, "producer", reason))?;
        Producer::new(py, shared, lock, keep_uncommitted, timeout_s)
    }

    fn sink(&self) -> PyResult<Sink> {
        let shared = self.shared()?;
        let lock = shared.mapped.lock_sink().map_err(|reason| lock_error(&self.path, "persisting sink", reason))?;
        Ok(Sink::new(shared, lock))
    }

    fn cursor_oldest(&self) -> PyResult<Cursor> {
        let shared = self.shared()?;
        let place = self.found(walk::oldest(shared.mapped.region()))?;
        Ok(Cursor::new(RingCursor::at(shared.mapped.region().clone(), place), shared))
    }

    fn cursor_latest(&self) -> PyResult<Cursor> {
        let shared = self.shared()?;
        let place = self.found(shared.newest())?.place;
        Ok(Cursor::new(RingCursor::at(shared.mapped.region().clone(), place), shared))
    }

    fn cursor_row(&self, row: u64) -> PyResult<Cursor> {
        let shared = self.shared()?;
        let place = self.found(shared.row(row))?;
        Ok(Cursor::new(RingCursor::at(shared.mapped.region().clone(), place), shared))
    }

    fn cursor_position(&self, position: u64) -> PyResult<Cursor> {
        let shared = self.shared()?;
        Ok(Cursor::new(RingCursor::at_position(shared.mapped.region().clone(), position), shared))
    }

    #[pyo3(signature = (position, row, sequence=None))]
    fn cursor_resume(&self, position: u64, row: u64, sequence: Option<u64>) -> PyResult<Cursor> {
        let shared = self.shared()?;
        let cursor = self.found(RingCursor::resume(shared.mapped.region().clone(), position, row, sequence))?;
        Ok(Cursor::new(cursor, shared))
    }

    fn data_address(&self) -> PyResult<usize> {
        Ok(self.shared()?.mapped.region().data_address())
    }

    fn view(&self, position: u64) -> PyResult<View> {
        View::at(self.shared()?, position)
    }

    fn view_newest(&self) -> PyResult<Option<View>> {
        let shared = self.shared()?;
        let newest = self.found(shared.newest())?;
        newest.frame.map(|position| View::at(shared, position)).transpose()
    }

    fn close(&self) -> PyResult<()> {
        let mut guard = self.shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(shared) = guard.as_ref() {
            let views = shared.views.load(std::sync::atomic::Ordering::Relaxed);
            if views != 0 {
                return Err(PyBufferError::new_err(format!(
                    "ring {}: {views} views still look into it; release them first",
                    self.path
                )));
            }
        }
        *guard = None;
        Ok(())
    }
}
