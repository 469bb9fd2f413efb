//! Who may write, who may persist: byte locks on the ring's file that end with their holder.
//!
//! Open-file-description locks belong to a descriptor, not to a process, and a live mapping or a
//! forked child keeps them alive. So each lock has a descriptor of its own, which is never mapped,
//! is not inherited by programs, and is closed in forked children by the handler below.

use crate::error::{Held, LockError};
use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Once;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

/// Byte of the file that the producer locks.
pub const PRODUCER_BYTE: i64 = 0;
/// Byte of the file that the persisting sink locks.
pub const SINK_BYTE: i64 = 1;

const NO_FD: RawFd = -1;
const SLOTS: usize = 4096;
static HELD_FDS: [AtomicI32; SLOTS] = [const { AtomicI32::new(NO_FD) }; SLOTS];
static FORKS: AtomicU32 = AtomicU32::new(0);
static WATCH_FORKS: Once = Once::new();

/// How often this process was forked off; whoever remembers another number was left behind.
#[inline]
pub fn fork_generation() -> u32 {
    FORKS.load(Ordering::Relaxed)
}

/// The file a lock was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileId {
    /// Device number.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
}

impl FileId {
    /// True if this file still lies at a path.
    pub fn is_at(self, path: &Path) -> bool {
        let there = std::fs::symlink_metadata(path);
        there.is_ok_and(|found| found.dev() == self.device && found.ino() == self.inode)
    }

    /// The identity of an open file.
    pub fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self { device: metadata.dev(), inode: metadata.ino() })
    }
}

/// A held byte lock; dropping it unlocks.
pub struct ByteLock {
    file: ManuallyDrop<File>,
    byte: i64,
    slot: usize,
    generation: u32,
}

impl ByteLock {
    /// Lock a byte of the file at a path, which must still be the file `id`.
    pub fn acquire(path: &Path, id: FileId, byte: i64) -> Result<Self, LockError> {
        watch_forks();
        let file = open_for_lock(path, true).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => LockError::Replaced,
            _ => LockError::Io(error),
        })?;
        if FileId::of(&file)? != id {
            return Err(LockError::Replaced);
        }
        match set_lock(&file, byte, libc::F_WRLCK) {
            Ok(()) => {}
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => {
                return Err(LockError::Held(Held { pid: 0 }));
            }
            Err(error) => return Err(LockError::Io(error)),
        }
        let slot = register(file.as_raw_fd())?;
        Ok(Self { file: ManuallyDrop::new(file), byte, slot, generation: fork_generation() })
    }

    /// True in a forked child, which has lost the lock to its parent.
    pub fn lost_by_fork(&self) -> bool {
        self.generation != fork_generation()
    }
}

impl Drop for ByteLock {
    fn drop(&mut self) {
        // In a forked child the handler closed the descriptor; its number may be another file's by now.
        if !self.lost_by_fork() {
            HELD_FDS[self.slot].store(NO_FD, Ordering::Relaxed);
            let _ = set_lock(&self.file, self.byte, libc::F_UNLCK);
            // SAFETY: dropped here once, and not used again.
            unsafe { ManuallyDrop::drop(&mut self.file) };
        }
    }
}

/// True if anybody holds the byte's lock; `None` if the path leads to another file.
pub fn is_held(path: &Path, id: FileId, byte: i64) -> Option<bool> {
    let file = open_for_lock(path, false).ok()?;
    if FileId::of(&file).ok()? != id {
        return None;
    }
    let mut lock = byte_range(byte, libc::F_WRLCK);
    // SAFETY: the descriptor is open, and `lock` is a valid flock for the call to fill in.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock) };
    (result == 0).then_some(i32::from(lock.l_type) != libc::F_UNLCK)
}

fn open_for_lock(path: &Path, write: bool) -> io::Result<File> {
    std::fs::OpenOptions::new()
        .read(true)
        .write(write)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK)
        .open(path)
}

fn byte_range(byte: i64, kind: i32) -> libc::flock {
    // SAFETY: flock is plain integers, for which zero is a valid value.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    lock.l_start = byte;
    lock.l_len = 1;
    lock
}

fn set_lock(file: &File, byte: i64, kind: i32) -> io::Result<()> {
    let lock = byte_range(byte, kind);
    // SAFETY: the descriptor is open, and `lock` outlives the call.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn register(fd: RawFd) -> Result<usize, LockError> {
    let free = |slot: &AtomicI32| slot.compare_exchange(NO_FD, fd, Ordering::Relaxed, Ordering::Relaxed).is_ok();
    HELD_FDS
        .iter()
        .position(free)
        .ok_or_else(|| LockError::Io(io::Error::other("too many rings are locked by this process")))
}

fn watch_forks() {
    WATCH_FORKS.call_once(|| {
        // SAFETY: the handler only touches static atomics and calls close, which is async-signal-safe.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    });
}

/// Runs in a forked child: give up the parent's locks, so that they end with the parent.
extern "C" fn in_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
    for slot in &HELD_FDS {
        let fd = slot.swap(NO_FD, Ordering::Relaxed);
        if fd != NO_FD {
            // SAFETY: the descriptor is this child's copy of a lock's own descriptor.
            unsafe { libc::close(fd) };
        }
    }
}
