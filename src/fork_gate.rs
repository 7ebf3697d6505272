//! Keeps threads of ours out of locks while the process forks: a child inherits locks, but not the
//! threads that would give them back.
//!
//! A thread that works without the GIL passes the gate before it takes a lock that other threads
//! may want. A fork closes it and waits for those inside; both sides of the fork open it again.
//! No lock of a library is used for it, as those have tables of waiting threads, which a child
//! inherits too.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

static CLOSED: AtomicBool = AtomicBool::new(false);
static INSIDE: AtomicUsize = AtomicUsize::new(0);

const PAUSE: Duration = Duration::from_micros(100);

/// Longest time a fork waits. Nobody stays inside for so long but by mistake.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// Somebody inside.
#[derive(Debug)]
#[must_use]
pub(crate) struct Pass(());

/// Goes through; waits while a fork is under way. Never to be held over a wait for anything
/// outside of this process.
pub(crate) fn pass() -> Pass {
    loop {
        INSIDE.fetch_add(1, Ordering::SeqCst);
        if !CLOSED.load(Ordering::SeqCst) {
            return Pass(());
        }
        INSIDE.fetch_sub(1, Ordering::SeqCst);
        std::thread::sleep(PAUSE);
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        INSIDE.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Before a fork: lets nobody in, and waits for those inside.
#[cfg_attr(not(feature = "python"), allow(dead_code, reason = "only Python forks"))]
pub(crate) fn close() {
    CLOSED.store(true, Ordering::SeqCst);
    let end = Instant::now() + LONGEST_WAIT;
    while INSIDE.load(Ordering::SeqCst) != 0 && Instant::now() < end {
        std::thread::sleep(PAUSE);
    }
}

/// After a fork, in the parent and, with `in_child`, in the child: lets everybody in again.
#[cfg_attr(not(feature = "python"), allow(dead_code, reason = "only Python forks"))]
pub(crate) fn open(in_child: bool) {
    if in_child {
        // Threads do not survive a fork.
        INSIDE.store(0, Ordering::SeqCst);
    }
    CLOSED.store(false, Ordering::SeqCst);
}
