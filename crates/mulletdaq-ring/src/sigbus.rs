//! A file that is cut while mapped must not kill the process.
//!
//! Touching a page behind the end of a mapped file raises SIGBUS. The handler puts anonymous zero
//! pages in the place of the lost ones and marks the mapping; the access goes on with zeros, which
//! no reader trusts once it sees the mark. Faults elsewhere go to whoever handled them before.

use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

const SLOTS: usize = 4096;

struct Slot {
    start: AtomicUsize,
    len: AtomicUsize,
    lost: AtomicPtr<AtomicBool>,
}

static MAPPINGS: [Slot; SLOTS] =
    [const { Slot { start: AtomicUsize::new(0), len: AtomicUsize::new(0), lost: AtomicPtr::new(ptr::null_mut()) } };
        SLOTS];
static PREVIOUS: AtomicPtr<libc::sigaction> = AtomicPtr::new(ptr::null_mut());
static PAGE: AtomicUsize = AtomicUsize::new(4096);
static INSTALL: Mutex<()> = Mutex::new(());

/// A mapping that the handler watches.
pub struct Watch {
    slot: Option<usize>,
    lost: Box<AtomicBool>,
}

impl Watch {
    /// Watch a mapping.
    pub fn new(start: usize, len: usize) -> Self {
        install();
        let mut watch = Self { slot: None, lost: Box::new(AtomicBool::new(false)) };
        let _guard = INSTALL.lock();
        watch.slot = MAPPINGS.iter().position(|slot| slot.len.load(Ordering::Relaxed) == 0);
        if let Some(index) = watch.slot {
            let slot = &MAPPINGS[index];
            slot.start.store(start, Ordering::Relaxed);
            slot.lost.store(ptr::from_ref(&*watch.lost).cast_mut(), Ordering::Relaxed);
            slot.len.store(len, Ordering::Release);
        }
        watch
    }

    /// True once a part of the mapping was lost.
    #[inline]
    pub fn lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Watch {
    /// End the watch: to be called before the mapping goes.
    pub fn end(&mut self) {
        if let Some(index) = self.slot.take() {
            MAPPINGS[index].len.store(0, Ordering::Release);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.end();
    }
}

/// Become the handler, also when somebody else took our place since.
fn install() {
    let _guard = INSTALL.lock();
    // SAFETY: sigaction is plain data, for which zero is valid; both calls get valid pointers.
    unsafe {
        PAGE.store(libc::sysconf(libc::_SC_PAGESIZE).max(4096) as usize, Ordering::Relaxed);
        let mut current = MaybeUninit::<libc::sigaction>::zeroed().assume_init();
        if libc::sigaction(libc::SIGBUS, ptr::null(), &raw mut current) != 0 {
            return;
        }
        let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) = on_sigbus;
        if current.sa_sigaction == handler as usize {
            return;
        }
        // Kept for good: the handler may be running with it.
        PREVIOUS.store(Box::into_raw(Box::new(current)), Ordering::Release);
        let mut ours = MaybeUninit::<libc::sigaction>::zeroed().assume_init();
        ours.sa_sigaction = handler as usize;
        ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigaction(libc::SIGBUS, &raw const ours, ptr::null_mut());
    }
}

extern "C" fn on_sigbus(signal: i32, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid siginfo to SA_SIGINFO handlers.
    let address = unsafe { (*info).si_addr() } as usize;
    for slot in &MAPPINGS {
        let len = slot.len.load(Ordering::Acquire);
        let start = slot.start.load(Ordering::Relaxed);
        if len != 0 && address >= start && address < start + len && replace_lost_pages(address, start + len) {
            // SAFETY: a watch outlives its slot's non-zero length.
            unsafe { (*slot.lost.load(Ordering::Relaxed)).store(true, Ordering::Relaxed) };
            return;
        }
    }
    // Not ours: let the previous handler see the fault when the access is repeated.
    let previous = PREVIOUS.load(Ordering::Acquire);
    if !previous.is_null() {
        // SAFETY: points to a leaked, valid sigaction.
        unsafe { libc::sigaction(signal, previous, ptr::null_mut()) };
    }
}

/// Zero pages from the faulting one to the mapping's end: all behind a cut is lost.
fn replace_lost_pages(address: usize, end: usize) -> bool {
    let first = address & !(PAGE.load(Ordering::Relaxed) - 1);
    // SAFETY: the range lies within a mapping of ours, which nobody else manages.
    let result = unsafe {
        libc::mmap(
            first as *mut libc::c_void,
            end - first,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
            -1,
            0,
        )
    };
    result != libc::MAP_FAILED
}
