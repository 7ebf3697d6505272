//! Names whose invalidations are heard of, as a Python class. No algorithm: see
//! `src/invalidation/subscriptions.rs`.

use super::cache::CacheCore;
use super::text;
use crate::engine::{ids, keys};
use crate::invalidation::slots::SlotList;
use crate::invalidation::{InvalidationTable, News, Subscriptions};
use pyo3::exceptions::{PyKeyError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use siphasher::sip128::SipHasher24;
// Not one that a fork may find taken for ever.
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Names whose invalidations are heard of, whichever process of this host makes them or applies
/// them for another host.
///
/// Args:
///     cache: Whose.
#[pyclass(name = "Subscriptions", module = "velro_cache._engine", frozen)]
#[derive(Debug)]
pub(super) struct PySubscriptions {
    table: Arc<InvalidationTable>,
    all: Mutex<Subscriptions>,
}

#[pymethods]
impl PySubscriptions {
    #[new]
    fn new(cache: &Bound<'_, CacheCore>) -> Self {
        let table = Arc::clone(cache.get().inner.store.table());
        let all = Mutex::new(Subscriptions::new(&table));
        Self { table, all }
    }

    /// Begin to watch names together.
    ///
    /// Args:
    ///     keys: Whatever invalidates one of these counts, prefixes, wildcards and tags that follow
    ///         from their shape included.
    ///     tags: And whatever invalidates one of these.
    ///
    /// Returns:
    ///     A number for it.
    ///
    /// Raises:
    ///     TypeError, InvalidKeyError, InvalidTagError: One of them is none.
    fn add(&self, keys: &Bound<'_, PyAny>, tags: &Bound<'_, PyAny>) -> PyResult<u64> {
        if keys.is_instance_of::<PyString>() {
            return Err(PyTypeError::new_err("keys must be a list of texts, not one text"));
        }
        let (mut slots, mut watched) = (SlotList::new(), Vec::new());
        for key in keys.try_iter()? {
            let key = key?;
            let key = text::key(&key)?;
            keys::push_slots_of_key(&key, &mut slots);
            watched.push(Box::from(&*key));
            watched.extend(ids::with_canonical_uuids(&key).map(|key| Box::from(&*key)));
        }
        text::push_tag_slots(tags, &mut slots)?;
        let mut once: Vec<_> = slots.to_vec();
        once.sort_unstable();
        once.dedup();
        Ok(self.all().add(&self.table, &once, watched))
    }

    /// End one.
    ///
    /// Args:
    ///     number: What ``add`` returned.
    ///
    /// Returns:
    ///     Whether there was one.
    fn remove(&self, number: u64) -> bool {
        self.all().remove(number)
    }

    /// Ask what was invalidated since this was asked before.
    ///
    /// Returns:
    ///     Numbers of those that something was invalidated of, or may have been; and whether it was
    ///     everything, then without numbers.
    ///
    /// Consistency: an invalidation that returned before this was called is in this answer, or was
    /// in an earlier one.
    /// Cost: a comparison while nothing at all was invalidated; else some for each of them.
    fn poll(&self, py: Python<'_>) -> (Vec<u64>, bool) {
        match py.detach(|| self.all().poll(&self.table)) {
            News::Of(numbers) => (numbers, false),
            News::Everything => (Vec::new(), true),
        }
    }

    /// Put what was seen of some of them into 16 bytes, which tell nothing to those who cannot read
    /// the table.
    ///
    /// Args:
    ///     numbers: Which ones, in an order of the caller's.
    ///
    /// Returns:
    ///     Bytes that are the same in another process of this host, or later, exactly if nothing was
    ///     invalidated between: of these names, by any wildcard, or of everything.
    ///
    /// Raises:
    ///     KeyError: There is no such one.
    fn state<'py>(&self, py: Python<'py>, numbers: Vec<u64>) -> PyResult<Bound<'py, PyBytes>> {
        let all = self.all();
        let state = all.state(&numbers).ok_or_else(|| PyKeyError::new_err("no such number"))?;
        let table = all.table().to_le_bytes();
        drop(all);
        let mut key = [0; 16];
        key[..8].copy_from_slice(&table);
        // With more rounds than for what nobody sees: clients see this.
        let bytes: Vec<u8> = state.iter().flat_map(|word| word.to_le_bytes()).collect();
        Ok(PyBytes::new(py, &SipHasher24::new_with_key(&key).hash(&bytes).as_bytes()))
    }

    fn __len__(&self) -> usize {
        self.all().len()
    }
}

impl PySubscriptions {
    fn all(&self) -> MutexGuard<'_, Subscriptions> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
