//! The only place that names a lock crate, and the atomics whose order of access matters: under
//! `--cfg loom` and `--cfg shuttle` those of a model checker take their place, so that
//! `tests/interleaving` runs the product's own code through every order of steps.

#[cfg(any(loom, shuttle))]
pub(crate) use modelled::{AtomicU64, Mutex, Ordering, Slots, slots, words};
pub(crate) use parking_lot::RawMutex;
#[cfg(feature = "python")]
pub(crate) use parking_lot::RwLock;
#[cfg(not(any(loom, shuttle)))]
pub(crate) use {
    parking_lot::Mutex,
    std::sync::atomic::{AtomicU64, Ordering},
};

/// A lock around one shard, of the kind the user of the engine chose.
pub(crate) type ShardMutex<L, T> = lock_api::Mutex<L, T>;

/// Holds the lock of a shard.
pub(crate) type ShardGuard<'a, L, T> = lock_api::MutexGuard<'a, L, T>;

#[cfg(any(loom, shuttle))]
mod modelled {
    #[cfg(loom)]
    use loom::sync as checker;
    #[cfg(shuttle)]
    use shuttle::sync as checker;

    pub(crate) use checker::atomic::{AtomicU64, Ordering};

    /// The checker's lock with the interface of `parking_lot`'s: no poison.
    #[derive(Debug)]
    pub(crate) struct Mutex<T>(checker::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(inside: T) -> Self {
            Self(checker::Mutex::new(inside))
        }

        pub(crate) fn lock(&self) -> checker::MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
        }
    }

    /// A checker keeps a history of every atomic and makes them all anew for every order it
    /// tries. So there are few, and several numbers share one: a collision like any other.
    #[derive(Debug)]
    pub(crate) struct Slots(Box<[AtomicU64]>);

    impl Slots {
        const PLACES: usize = if cfg!(loom) { 4 } else { 1024 };

        pub(crate) fn get(&self, number: usize) -> Option<&AtomicU64> {
            self.0.get(number % Self::PLACES)
        }

        /// The word with this very number.
        pub(crate) fn exactly(&self, number: usize) -> &AtomicU64 {
            &self.0[number]
        }
    }

    /// So many words that are told apart.
    pub(crate) fn words(count: usize) -> Slots {
        Slots(std::iter::repeat_with(|| AtomicU64::new(0)).take(count).collect())
    }

    pub(crate) fn slots(count: usize) -> Slots {
        let all = std::iter::repeat_with(|| AtomicU64::new(0));
        Slots(all.take(count.min(Slots::PLACES)).collect())
    }
}
