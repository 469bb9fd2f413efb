//! `_core.Producer`: the one writer of a ring.

use crate::bytes::Bytes;
use crate::clock::now_ns;
use crate::errors::{closed, error, write_error};
use crate::kind::Kind;
use crate::ring::Shared;
use mulletdaq_ring::error::WriteError;
use mulletdaq_ring::lock::{ByteLock, fork_generation};
use mulletdaq_ring::producer::{Bits, Producer as RingProducer};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

const FIRST_WAIT: Duration = Duration::from_micros(50);
const LONGEST_WAIT: Duration = Duration::from_millis(5);
/// Blocks at least this large are copied without the GIL.
const DETACH_BYTES: usize = 64 << 10;

struct Held {
    ring: RingProducer,
    _lock: ByteLock,
}

/// The one writer of a ring; see `_core.pyi`.
#[pyclass(frozen, module = "mulletdaq._core")]
pub struct Producer {
    // Only touched by the thread that holds the GIL while `holder` is 0, or that is the holder.
    held: UnsafeCell<Option<Held>>,
    // Values of one row on their way in; same rule.
    scratch: UnsafeCell<Vec<u64>>,
    holder: AtomicUsize,
    // Told apart from the cell, which may only be looked at by its holder.
    closed: AtomicBool,
    generation: u32,
    kinds: OnceLock<Vec<Kind>>,
    // Words from the columns' start to each float64 channel, if there are only such.
    float_offsets: OnceLock<Option<Vec<usize>>>,
    shared: Arc<Shared>,
    timeout_s: f64,
}

// SAFETY: the cells follow the rule above; the module is only built for interpreters with a GIL (abi3).
unsafe impl Sync for Producer {}

/// The producer taken by one thread over calls that run other code meanwhile.
pub struct Taken<'a> {
    producer: &'a Producer,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.producer.holder.store(0, Ordering::Release);
    }
}

impl Taken<'_> {
    fn held(&mut self) -> &mut Held {
        // SAFETY: `holder` names this thread, so nobody else touches the cell, and `take` saw it filled.
        unsafe { (*self.producer.held.get()).as_mut().unwrap_unchecked() }
    }
}

impl Producer {
    /// Take over the ring whose producer lock is given.
    pub fn new(
        py: Python<'_>,
        shared: Arc<Shared>,
        lock: ByteLock,
        keep_uncommitted: bool,
        timeout_s: f64,
    ) -> PyResult<Self> {
        let region = shared.mapped.region().clone();
        let ring = py.detach(|| RingProducer::reopen(region, now_ns()));
        let mut ring = ring.map_err(|reason| write_error(&shared.path, reason))?;
        ring.set_keep_uncommitted(keep_uncommitted);
        let producer = Self {
            held: UnsafeCell::new(Some(Held { ring, _lock: lock })),
            scratch: UnsafeCell::new(Vec::new()),
            holder: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            generation: fork_generation(),
            kinds: OnceLock::new(),
            float_offsets: OnceLock::new(),
            shared,
            timeout_s,
        };
        let mut taken = producer.take(py)?;
        producer.learn_kinds(&taken.held().ring);
        drop(taken);
        Ok(producer)
    }

    fn learn_kinds(&self, ring: &RingProducer) {
        if let Some(schema) = ring.schema() {
            self.kinds.get_or_init(|| schema.columns.iter().map(Kind::of).collect());
            let only_floats = self.kinds().iter().skip(1).all(Kind::is_float64);
            let offsets = || ring.column_offsets().map(|offsets| offsets.skip(1).collect());
            self.float_offsets.get_or_init(|| if only_floats { offsets() } else { None });
        }
    }

    /// What each column takes, once there is a schema.
    #[inline]
    pub fn kinds(&self) -> &[Kind] {
        self.kinds.get().map_or(&[], Vec::as_slice)
    }

    /// Where the channels lie if all are float64.
    #[inline]
    pub fn float_offsets(&self) -> Option<&[usize]> {
        self.float_offsets.get()?.as_deref()
    }

    /// The path, for messages.
    pub fn path(&self) -> &str {
        &self.shared.path
    }

    /// The scratch space, left empty for whoever re-enters meanwhile.
    #[inline]
    pub fn take_scratch(&self, _py: Python<'_>) -> Vec<u64> {
        // SAFETY: the GIL is held, and the reference ends here.
        std::mem::take(unsafe { &mut *self.scratch.get() })
    }

    /// Give the scratch space back.
    #[inline]
    pub fn give_scratch(&self, _py: Python<'_>, scratch: Vec<u64>) {
        // SAFETY: as above.
        unsafe { *self.scratch.get() = scratch };
    }

    /// Run a short piece of writing that runs no Python code and keeps the GIL.
    #[inline]
    pub fn with_ring<T>(&self, py: Python<'_>, f: impl FnOnce(&mut RingProducer) -> T) -> PyResult<T> {
        if self.generation != fork_generation() || self.holder.load(Ordering::Acquire) != 0 {
            drop(self.take(py)?);
        }
        // SAFETY: the GIL is held throughout, and nobody is the holder.
        match unsafe { &mut *self.held.get() } {
            Some(held) => Ok(f(&mut held.ring)),
            None => Err(closed(&self.shared.path, "producer")),
        }
    }

    /// Take the producer for a piece of writing that waits or lets other threads run.
    #[cold]
    pub fn take(&self, py: Python<'_>) -> PyResult<Taken<'_>> {
        let path = &self.shared.path;
        if self.generation != fork_generation() {
            let message = format_args!("ring {path}: this process was forked off; only its parent writes to the ring");
            return Err(error("ProducerForkedError", message));
        }
        let me = thread_mark();
        loop {
            match self.holder.load(Ordering::Acquire) {
                0 => break,
                holder if holder == me => {
                    let message = format_args!("ring {path}: a write is under way in this thread, below this one");
                    return Err(error("ProducerBusyError", message));
                }
                _ => {
                    py.detach(|| std::thread::sleep(FIRST_WAIT));
                    py.check_signals()?;
                }
            }
        }
        // SAFETY: the GIL is held, and nobody is the holder.
        if unsafe { &*self.held.get() }.is_none() {
            return Err(closed(path, "producer"));
        }
        self.holder.store(me, Ordering::Release);
        Ok(Taken { producer: self })
    }

    /// Repeat a write that may find the ring full, as the policy says.
    pub fn write_with<T>(
        &self,
        py: Python<'_>,
        mut write: impl FnMut(&mut RingProducer) -> Result<T, WriteError>,
    ) -> PyResult<T> {
        let mut taken = self.take(py)?;
        let mut started = None;
        let mut wait = FIRST_WAIT;
        loop {
            match write(&mut taken.held().ring) {
                Ok(value) => return Ok(value),
                Err(WriteError::Full) if self.timeout_s > 0.0 => {}
                Err(reason) => return Err(write_error(&self.shared.path, reason)),
            }
            taken.held().ring.heartbeat(now_ns());
            self.check_sink_lives()?;
            let left = self.timeout_s - started.get_or_insert_with(Instant::now).elapsed().as_secs_f64();
            if left <= 0.0 {
                let message = format_args!(
                    "ring {}: still full after {} s; the sink does not keep up",
                    self.shared.path, self.timeout_s
                );
                return Err(error("RingTimeoutError", message));
            }
            let nap = wait.min(Duration::try_from_secs_f64(left).unwrap_or(wait));
            py.detach(|| std::thread::sleep(nap));
            py.check_signals()?;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    fn check_sink_lives(&self) -> PyResult<()> {
        let (_, pid) = self.shared.mapped.region().pids();
        if pid == 0 || self.shared.mapped.sink_pid().is_some() {
            return Ok(());
        }
        let message = format_args!("ring {}: full, and its sink (pid {pid}) is dead", self.shared.path);
        Err(error("SinkDeadError", message))
    }

    fn read<T>(&self, py: Python<'_>, f: impl FnOnce(&RingProducer) -> T) -> PyResult<T> {
        self.with_ring(py, |ring| f(ring))
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        if self.generation == fork_generation()
            && let Some(held) = self.held.get_mut()
        {
            held.ring.seal(now_ns());
        }
    }
}

#[pymethods]
impl Producer {
    fn set_schema(&self, py: Python<'_>, region: &Bound<'_, PyAny>, message_bytes: usize) -> PyResult<()> {
        let region = Bytes::of(region)?;
        if message_bytes == 0 || message_bytes > region.bytes().len() {
            return Err(PyValueError::new_err("message_bytes lies outside the schema region"));
        }
        let mut taken = self.take(py)?;
        let ring = &mut taken.held().ring;
        ring.set_schema(region.bytes(), message_bytes).map_err(|reason| write_error(self.path(), reason))?;
        self.learn_kinds(ring);
        Ok(())
    }

    #[pyo3(signature = (data, timestamp_ns=None))]
    fn write(&self, py: Python<'_>, data: &Bound<'_, PyAny>, timestamp_ns: Option<i64>) -> PyResult<u64> {
        let data = Bytes::of(data)?;
        self.write_with(py, |ring| {
            let stamp = timestamp_ns.map_or_else(|| ring.stamp(now_ns()), |stamp| stamp as u64);
            ring.write_opaque(data.bytes(), stamp)
        })
    }

    #[pyo3(signature = (messages, rows, timestamp_ns=None))]
    fn write_messages(
        &self,
        py: Python<'_>,
        messages: &Bound<'_, PyAny>,
        rows: u64,
        timestamp_ns: Option<i64>,
    ) -> PyResult<u64> {
        let messages = Bytes::of(messages)?;
        self.write_with(py, |ring| {
            let stamp = timestamp_ns.map_or_else(|| ring.stamp(now_ns()), |stamp| stamp as u64);
            ring.write_arrow(messages.bytes(), rows, stamp)
        })
    }

    fn append_columns(&self, py: Python<'_>, rows: u64, columns: Vec<Bound<'_, PyAny>>) -> PyResult<()> {
        let buffers = columns.iter().map(Bytes::of).collect::<PyResult<Vec<_>>>()?;
        let bits: Vec<Bits<'_>> = buffers.iter().map(|buffer| Bits { bytes: buffer.bytes(), first_bit: 0 }).collect();
        self.append_bits(py, rows, &bits)
    }

    #[pyo3(signature = (schema, array, *, checked=false))]
    fn append_arrow(
        &self,
        py: Python<'_>,
        schema: &Bound<'_, PyAny>,
        array: &Bound<'_, PyAny>,
        checked: bool,
    ) -> PyResult<bool> {
        if self.closed() || (!checked && !crate::arrow::has_columns(schema, self.kinds())?) {
            return Ok(false);
        }
        let array = crate::arrow::Array::of(array)?;
        let Some((rows, bits)) = array.fixed_width_columns(self.kinds())? else {
            return Ok(false);
        };
        self.append_bits(py, rows, &bits)?;
        Ok(true)
    }

    fn stamp(&self, py: Python<'_>) -> PyResult<u64> {
        self.with_ring(py, |ring| ring.stamp(now_ns()))
    }

    fn seal(&self, py: Python<'_>) -> PyResult<()> {
        let mut taken = self.take(py)?;
        taken.held().ring.seal(now_ns());
        Ok(())
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        if self.closed.load(Ordering::Relaxed) || self.generation != fork_generation() {
            return Ok(());
        }
        let mut taken = self.take(py)?;
        taken.held().ring.seal(now_ns());
        self.closed.store(true, Ordering::Relaxed);
        // SAFETY: this thread is the holder; the reference from `held()` has ended.
        unsafe { *self.held.get() = None };
        Ok(())
    }

    #[getter]
    fn closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    #[getter]
    fn row(&self, py: Python<'_>) -> PyResult<u64> {
        self.read(py, RingProducer::row)
    }

    #[getter]
    fn sequence(&self, py: Python<'_>) -> PyResult<u64> {
        self.read(py, RingProducer::sequence)
    }

    #[getter]
    fn position(&self, py: Python<'_>) -> PyResult<u64> {
        self.read(py, RingProducer::head)
    }

    #[getter]
    fn rows_overwritten(&self, py: Python<'_>) -> PyResult<u64> {
        self.read(py, RingProducer::rows_overwritten)
    }

    #[getter]
    fn fills_rows(&self, py: Python<'_>) -> PyResult<bool> {
        self.read(py, |ring| ring.schema().is_some_and(mulletdaq_ring::rows::Schema::has_template))
    }
}

impl Producer {
    /// Append a block whose columns' bytes are known to stay alive.
    fn append_bits(&self, py: Python<'_>, rows: u64, columns: &[Bits<'_>]) -> PyResult<()> {
        let kinds = self.kinds();
        if columns.len() != kinds.len() {
            let message = format!("expected {} columns, got {}", kinds.len(), columns.len());
            return Err(PyValueError::new_err(message));
        }
        let mut total = 0;
        for (column, kind) in columns.iter().zip(kinds) {
            let bits = rows.checked_mul(kind.width_bits).and_then(|bits| bits.checked_add(column.first_bit));
            // A buffer of another length is not what it is taken for. Arrow's may be longer, from an offset on.
            let fits = bits.is_some_and(|bits| {
                let found = column.bytes.len() as u64;
                bits.div_ceil(8) == found || (bits.div_ceil(8) < found && column.first_bit != 0)
            });
            if !fits {
                return Err(PyValueError::new_err(format!("column {:?} does not have {rows} rows", kind.name)));
            }
            total += column.bytes.len();
        }
        let mut done = 0;
        self.write_with(py, |ring| {
            let rest: Vec<Bits<'_>> = columns
                .iter()
                .zip(kinds)
                .map(|(column, kind)| Bits { first_bit: column.first_bit + done * kind.width_bits, ..*column })
                .collect();
            let left = rows - done;
            let mut write = || ring.append_block(left, &rest, now_ns());
            let result = if total >= DETACH_BYTES { py.detach(write) } else { write() };
            result.map_err(|(written, reason)| {
                done += written;
                reason
            })
        })
    }
}

fn thread_mark() -> usize {
    thread_local! { static MARK: u8 = const { 0 } }
    MARK.with(|mark| std::ptr::from_ref(mark) as usize)
}
