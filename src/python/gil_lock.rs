//! The lock of a shard where there is a GIL.
//!
//! Whoever reaches a shard through Python holds the GIL, and nothing that runs under a shard's
//! lock lets go of it. So the GIL *is* the lock, and a second one would cost a lookup a sixth of
//! its time (two atomic read-modify-writes) to keep out nobody. What remains is a flag that
//! turns a mistake into an error instead of a race. An interpreter without a GIL gets a real
//! lock.
#![allow(unsafe_code, reason = "lock_api asks whoever writes a lock to promise that it is one")]

#[cfg(Py_GIL_DISABLED)]
pub(super) use crate::sync::RawMutex as ShardLock;

#[cfg(not(Py_GIL_DISABLED))]
pub(super) use gil::GilLock as ShardLock;

#[cfg(not(Py_GIL_DISABLED))]
mod gil {
    use lock_api::{GuardNoSend, RawMutex, RawMutexTimed};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};

    /// A flag; the GIL does the rest.
    #[derive(Debug)]
    pub(in crate::python) struct GilLock(AtomicBool);

    // SAFETY: every store built with this lock is private to the binding, which reaches it only
    // while attached to the interpreter, and with a GIL one thread is attached at a time. Taking
    // the lock, the work under it and giving it back contain no point at which the GIL is given
    // up. Taking it twice is refused, as for any lock.
    unsafe impl RawMutex for GilLock {
        #[allow(clippy::declare_interior_mutable_const, reason = "how lock_api builds a lock")]
        const INIT: Self = Self(AtomicBool::new(false));
        type GuardMarker = GuardNoSend;

        #[inline]
        #[allow(clippy::panic, reason = "going on would be a data race")]
        fn lock(&self) {
            if !self.try_lock() {
                panic!("a shard was reached while it was in use");
            }
        }

        #[inline]
        fn try_lock(&self) -> bool {
            // Relaxed, and not one operation: the GIL orders and separates the threads.
            let free = !self.0.load(Ordering::Relaxed);
            if free {
                self.0.store(true, Ordering::Relaxed);
            }
            free
        }

        #[inline]
        unsafe fn unlock(&self) {
            self.0.store(false, Ordering::Relaxed);
        }
    }

    // SAFETY: waiting would be for ever, since whoever holds the lock needs the GIL we hold; so
    // these do not wait, which is within what they may do.
    unsafe impl RawMutexTimed for GilLock {
        type Duration = Duration;
        type Instant = Instant;

        #[inline]
        fn try_lock_for(&self, _: Duration) -> bool {
            self.try_lock()
        }

        fn try_lock_until(&self, _: Instant) -> bool {
            self.try_lock()
        }
    }
}
