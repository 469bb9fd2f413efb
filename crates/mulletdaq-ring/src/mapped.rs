//! Rings in files: creation, opening with every check, and the only mmap.

use crate::error::{Held, LockError, OpenError};
use crate::layout::{self, HEADER_BYTES, flag, header};
use crate::lock::{self, ByteLock, FileId, PRODUCER_BYTE, SINK_BYTE};
use crate::region::{Memory, Region};
use crate::sigbus::Watch;
use crate::sync::{AtomicU64, Ordering};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::Arc;

/// A ring's file, mapped.
pub struct MappedRing {
    region: Region,
    path: PathBuf,
    id: FileId,
    read_only: bool,
}

/// What to create.
#[derive(Debug, Clone, Copy)]
pub struct NewRing {
    /// Bytes of the data region.
    pub capacity: u64,
    /// Sealed frames carry checksums.
    pub checksums: bool,
    /// Take the place of a ring that no producer holds.
    pub force: bool,
    /// Creation time, ns since the Unix epoch.
    pub created_ns: u64,
}

struct Mapping {
    address: NonNull<libc::c_void>,
    len: usize,
    watch: Watch,
}

// SAFETY: the mapping is only reached through a Region's atomics.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Memory for Mapping {
    fn truncated(&self) -> bool {
        self.watch.lost()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        self.watch.end();
        // SAFETY: mapped by `map` with this length; no Region is left, since each holds the Arc.
        unsafe { libc::munmap(self.address.as_ptr(), self.len) };
    }
}

impl MappedRing {
    /// Create a ring in a file of its own, readable and writable by this user only.
    pub fn create(path: &Path, new: NewRing) -> Result<Self, OpenError> {
        check_capacity(new.capacity)?;
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .mode(0o600)
                .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
                .open(path);
            match file {
                Ok(file) => return Self::fill(path, &file, new),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => make_way(path, new.force)?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn fill(path: &Path, file: &File, new: NewRing) -> Result<Self, OpenError> {
        let id = FileId::of(file)?;
        let made = Self::fill_locked(path, file, new);
        // By now another process may have found it unfinished and made its own.
        if made.is_err() && id.is_at(path) {
            let _ = std::fs::remove_file(path);
        }
        made
    }

    fn fill_locked(path: &Path, file: &File, new: NewRing) -> Result<Self, OpenError> {
        let id = FileId::of(file)?;
        // Held until the magic is stored: an unlocked file without one is unfinished.
        let _lock = ByteLock::acquire(path, id, PRODUCER_BYTE).map_err(lock_to_open)?;
        let needed = layout::file_bytes(new.capacity, layout::SCHEMA_CAPACITY);
        // SAFETY: the descriptor is open for writing.
        match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, needed as i64) } {
            0 => {}
            libc::ENOSPC | libc::EFBIG | libc::EDQUOT => return Err(OpenError::Space { needed }),
            code => return Err(io::Error::from_raw_os_error(code).into()),
        }
        let region = map(file, new.capacity, layout::SCHEMA_CAPACITY, false)?;
        let flags = if new.checksums { flag::CHECKSUMS } else { 0 };
        region.initialize(random()?, new.created_ns, flags);
        Ok(Self { region, path: path.to_owned(), id, read_only: false })
    }

    /// Open a ring that is there. Another user's ring is opened, read-only, if its owner is named.
    pub fn open(path: &Path, owner: Option<u32>) -> Result<Self, OpenError> {
        // SAFETY: geteuid has no preconditions.
        let me = unsafe { libc::geteuid() };
        let read_only = owner.is_some_and(|owner| owner != me);
        let file = open_checked(path, read_only)?;
        let metadata = file.metadata()?;
        let allowed = owner.unwrap_or(me);
        if metadata.uid() != allowed {
            return Err(OpenError::Access(format!(
                "it belongs to user {}, not to user {allowed}; name the owner to read it",
                metadata.uid()
            )));
        }
        if metadata.mode() & 0o022 != 0 {
            return Err(OpenError::Access(format!(
                "others may write to it (mode {:04o}); chmod go-w it if you trust its content",
                metadata.mode() & 0o7777
            )));
        }
        let (capacity, schema_capacity) = check_header(&file, metadata.len())?;
        let region = map(&file, capacity, schema_capacity, read_only)?;
        Ok(Self { region, path: path.to_owned(), id: FileId::of(&file)?, read_only })
    }

    /// The memory.
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// The path it was created or opened at.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// True for another user's ring.
    pub fn read_only(&self) -> bool {
        self.read_only
    }

    /// Become the ring's producer.
    pub fn lock_producer(&self) -> Result<ByteLock, LockError> {
        self.lock(PRODUCER_BYTE)
    }

    /// Become the ring's persisting sink.
    pub fn lock_sink(&self) -> Result<ByteLock, LockError> {
        self.lock(SINK_BYTE)
    }

    fn lock(&self, byte: i64) -> Result<ByteLock, LockError> {
        if self.read_only {
            return Err(LockError::Io(io::ErrorKind::PermissionDenied.into()));
        }
        if self.region.flags() & flag::REPLACED != 0 {
            return Err(LockError::Replaced);
        }
        let sink = byte == SINK_BYTE;
        let (producer_pid, sink_pid) = self.region.pids();
        let lock = ByteLock::acquire(&self.path, self.id, byte).map_err(|error| match error {
            LockError::Held(_) => LockError::Held(Held { pid: if sink { sink_pid } else { producer_pid } }),
            other => other,
        })?;
        self.region.set_pid(sink, std::process::id());
        Ok(lock)
    }

    /// The pid of the living producer.
    pub fn producer_pid(&self) -> Option<u32> {
        let held = lock::is_held(&self.path, self.id, PRODUCER_BYTE)?;
        held.then(|| self.region.pids().0)
    }

    /// The pid of the living persisting sink.
    pub fn sink_pid(&self) -> Option<u32> {
        let held = lock::is_held(&self.path, self.id, SINK_BYTE)?;
        held.then(|| self.region.pids().1)
    }

    /// The file's identity.
    pub fn id(&self) -> FileId {
        self.id
    }
}

/// Make way for a new ring at a path where something is already.
fn make_way(path: &Path, force: bool) -> Result<(), OpenError> {
    let file = open_checked(path, false)?;
    let id = FileId::of(&file)?;
    let unfinished = starts_with_zeros(&file)?;
    let producer = match ByteLock::acquire(path, id, PRODUCER_BYTE) {
        Ok(lock) => Some(lock),
        Err(LockError::Replaced) => return Ok(()),
        Err(LockError::Held(_)) => None,
        Err(LockError::Io(error)) => return Err(error.into()),
    };
    match (unfinished, producer) {
        (true, Some(_lock)) => {}
        (true, None) => return Err(OpenError::Exists),
        (false, producer) => {
            let old = MappedRing::open(path, None)?;
            if !force {
                return Err(OpenError::Exists);
            }
            if producer.is_none() {
                return Err(OpenError::Held(Held { pid: old.region.pids().0 }));
            }
            old.region.set_flags(flag::REPLACED);
        }
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

fn lock_to_open(error: LockError) -> OpenError {
    match error {
        LockError::Io(error) => OpenError::Io(error),
        LockError::Held(_) | LockError::Replaced => OpenError::Exists,
    }
}

fn check_capacity(capacity: u64) -> Result<(), OpenError> {
    let (least, most) = (layout::MIN_CAPACITY, layout::MAX_CAPACITY);
    if !(least..=most).contains(&capacity) || !capacity.is_multiple_of(layout::ALIGN) {
        return Err(OpenError::Capacity(format!(
            "a capacity of {capacity} bytes is not a multiple of 64 between {least} and {most}"
        )));
    }
    Ok(())
}

/// Open a path that must be a regular file, without following links or waiting for a FIFO.
fn open_checked(path: &Path, read_only: bool) -> Result<File, OpenError> {
    let kind = std::fs::symlink_metadata(path)?.file_type();
    let found = match () {
        () if kind.is_symlink() => "a symbolic link",
        () if kind.is_dir() => "a folder",
        () if kind.is_fifo() => "a FIFO",
        () if kind.is_socket() => "a socket",
        () if !kind.is_file() => "a device",
        () => "",
    };
    if !found.is_empty() {
        return Err(OpenError::Access(format!("it is {found}, not a ring")));
    }
    let file = OpenOptions::new()
        .read(true)
        .write(!read_only)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(OpenError::Access("it is not a regular file".into()));
    }
    Ok(file)
}

/// The magic was not stored yet: nothing was ever written there.
fn starts_with_zeros(file: &File) -> io::Result<bool> {
    let mut magic = [0; 8];
    let read = file.read_at(&mut magic, 0)?;
    Ok(magic[..read].iter().all(|&byte| byte == 0))
}

fn read_word(file: &File, index: usize) -> io::Result<Option<u64>> {
    let mut bytes = [0; 8];
    match file.read_exact_at(&mut bytes, index as u64 * 8) {
        Ok(()) => Ok(Some(u64::from_le_bytes(bytes))),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// Check everything in the header that the mapping depends on; returns both regions' sizes.
fn check_header(file: &File, file_len: u64) -> Result<(u64, u32), OpenError> {
    let word = |index| read_word(file, index).map(|word| word.unwrap_or(0));
    match word(header::MAGIC)? {
        layout::MAGIC => {}
        0 => return Err(OpenError::Format("it is empty or was never finished".into())),
        _ => return Err(OpenError::Format("it does not start with a ring's magic number".into())),
    }
    if file_len < HEADER_BYTES {
        return Err(OpenError::Truncated { found: file_len, needed: HEADER_BYTES });
    }
    let (_, version) = layout::unpack(word(header::SCHEMA_LEN_VERSION)?);
    if version != layout::VERSION {
        return Err(OpenError::Version(version));
    }
    let capacity = word(header::CAPACITY)?;
    let (schema_capacity, _) = layout::unpack(word(header::SCHEMA_CAPACITY_FLAGS)?);
    if check_capacity(capacity).is_err() || !schema_capacity.is_multiple_of(64) {
        return Err(OpenError::Format(format!("its header claims {capacity} bytes of data, which cannot be")));
    }
    let needed = layout::file_bytes(capacity, schema_capacity);
    if file_len < needed {
        return Err(OpenError::Truncated { found: file_len, needed });
    }
    Ok((capacity, schema_capacity))
}

fn map(file: &File, capacity: u64, schema_capacity: u32, read_only: bool) -> Result<Region, OpenError> {
    let len = layout::file_bytes(capacity, schema_capacity) as usize;
    let protection = if read_only { libc::PROT_READ } else { libc::PROT_READ | libc::PROT_WRITE };
    // SAFETY: a new shared mapping of an open file, at an address that the kernel chooses.
    let address = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, libc::MAP_SHARED, file.as_raw_fd(), 0) };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error().into());
    }
    let address = NonNull::new(address).ok_or_else(io::Error::last_os_error)?;
    let mapping = Mapping { address, len, watch: Watch::new(address.as_ptr() as usize, len) };
    prefault(&mapping, read_only);
    // SAFETY: the mapping has exactly this length, is page-aligned, and lives as long as the Arc.
    Ok(unsafe { Region::from_raw(address.cast::<AtomicU64>(), capacity, schema_capacity, Arc::new(mapping)) })
}

/// Touch every page now: a first touch costs microseconds and would be the slowest appends.
fn prefault(mapping: &Mapping, read_only: bool) {
    let advice = if read_only { libc::MADV_POPULATE_READ } else { libc::MADV_POPULATE_WRITE };
    // SAFETY: the whole of our own mapping. A kernel that does not know the advice changes nothing.
    unsafe { libc::madvise(mapping.address.as_ptr(), mapping.len, advice) };
}

fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    // SAFETY: the buffer has the length given.
    match unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) } {
        8 => Ok(u64::from_le_bytes(bytes)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Move `read_tail`; only the holder of the sink's lock may.
pub fn move_read_tail(region: &Region, position: u64, now_ns: u64) {
    let tail = region.header(header::READ_TAIL);
    if position > tail.load(Ordering::Relaxed) {
        tail.store(position, Ordering::Release);
    }
    region.header(header::SINK_HEARTBEAT).store(now_ns, Ordering::Relaxed);
}
