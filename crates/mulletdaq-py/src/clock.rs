//! The system's clocks: wall-clock time through the vDSO, and a wait on the monotonic one.

use pyo3::prelude::*;

const NS_PER_S: i64 = 1_000_000_000;
const LONGEST_SLEEP_NS: i64 = 50_000_000;

/// Nanoseconds since the Unix epoch.
#[inline]
pub fn now_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec; CLOCK_REALTIME always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut time) };
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}

/// Sleep until a moment, see `_core.pyi`.
#[pyfunction]
#[pyo3(signature = (deadline_ns, /))]
pub fn sleep_until(py: Python<'_>, deadline_ns: i64) -> PyResult<i64> {
    let now_ns = monotonic_ns();
    if now_ns >= deadline_ns {
        return Ok(now_ns);
    }
    let until_ns = deadline_ns.min(now_ns + LONGEST_SLEEP_NS);
    let until = libc::timespec { tv_sec: until_ns / NS_PER_S, tv_nsec: until_ns % NS_PER_S };
    let sleep = || {
        // SAFETY: `until` is a valid moment; that nobody asks for the rest is allowed.
        unsafe {
            libc::clock_nanosleep(libc::CLOCK_MONOTONIC, libc::TIMER_ABSTIME, &raw const until, std::ptr::null_mut())
        }
    };
    while py.detach(sleep) == libc::EINTR {
        py.check_signals()?;
    }
    Ok(monotonic_ns())
}

/// Nanoseconds of the clock that nobody can set.
fn monotonic_ns() -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec; CLOCK_MONOTONIC always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec * NS_PER_S + time.tv_nsec
}
