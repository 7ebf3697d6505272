//! The only place that names a lock crate, so that another one (or a model checker's) can take
//! its place.

#[cfg(feature = "python")]
pub(crate) use parking_lot::RwLock;
pub(crate) use parking_lot::{Mutex, MutexGuard};
