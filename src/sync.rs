//! The only place that names a lock crate, so that another one (or a model checker's) can take
//! its place.

#[cfg(feature = "python")]
pub(crate) use parking_lot::RwLock;
pub(crate) use parking_lot::{Mutex, RawMutex};

/// A lock around one shard, of the kind the user of the engine chose.
pub(crate) type ShardMutex<L, T> = lock_api::Mutex<L, T>;

/// Holds the lock of a shard.
pub(crate) type ShardGuard<'a, L, T> = lock_api::MutexGuard<'a, L, T>;
