//! The lock of a shard as a model checker's, so that it sees who waits for whom.

#![allow(unsafe_code, reason = "lock_api's traits are unsafe to implement")]

use lock_api::{GuardNoSend, RawMutex, RawMutexTimed};
#[cfg(loom)]
use loom::sync::{Condvar, Mutex};
#[cfg(shuttle)]
use shuttle::sync::{Condvar, Mutex};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Made when first used: `INIT` is a constant, and loom's locks cannot be made in one.
///
/// No time passes under a checker. A wait with a limit is either as long as it takes or, if
/// `IMPATIENT`, now and then given up as soon as it begins.
pub(crate) struct ShardLock<const IMPATIENT: bool = false>(OnceLock<Held>);

struct Held {
    held: Mutex<bool>,
    released: Condvar,
}

impl<const IMPATIENT: bool> ShardLock<IMPATIENT> {
    fn inner(&self) -> &Held {
        self.0.get_or_init(|| Held { held: Mutex::new(false), released: Condvar::new() })
    }
}

// SAFETY: `held` is set by one thread at a time and only if it was not set, both under its lock.
unsafe impl<const IMPATIENT: bool> RawMutex for ShardLock<IMPATIENT> {
    #[allow(clippy::declare_interior_mutable_const, reason = "asked for by the trait")]
    const INIT: Self = Self(OnceLock::new());

    type GuardMarker = GuardNoSend;

    fn lock(&self) {
        let inner = self.inner();
        let mut held = inner.held.lock().unwrap();
        while *held {
            held = inner.released.wait(held).unwrap();
        }
        *held = true;
    }

    fn try_lock(&self) -> bool {
        let mut held = self.inner().held.lock().unwrap();
        !std::mem::replace(&mut *held, true)
    }

    unsafe fn unlock(&self) {
        let inner = self.inner();
        *inner.held.lock().unwrap() = false;
        inner.released.notify_one();
    }
}

// SAFETY: as above.
unsafe impl<const IMPATIENT: bool> RawMutexTimed for ShardLock<IMPATIENT> {
    type Duration = Duration;
    type Instant = Instant;

    fn try_lock_for(&self, _: Duration) -> bool {
        if IMPATIENT && coin() {
            return self.try_lock();
        }
        self.lock();
        true
    }

    fn try_lock_until(&self, _: Instant) -> bool {
        self.try_lock_for(Duration::MAX)
    }
}

/// Drawn as part of the schedule. Loom draws nothing: it has all schedules.
fn coin() -> bool {
    #[cfg(shuttle)]
    return shuttle::rand::Rng::gen_bool(&mut shuttle::rand::thread_rng(), 0.5);
    #[cfg(loom)]
    false
}
