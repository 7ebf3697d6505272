//! Rate limits of this process: names, limits and costs in, decisions out.

use super::clock::PyManualClock;
use super::errors::InvalidKeyError;
use super::key;
use super::rate_limit::{DecidedBy, Decision, RateLimit};
use crate::rate_limit::{Answer, Counts, NanoClock, RateLimiter, Request};
use pyo3::exceptions::{PyOSError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyInt, PyString};
use pyo3::{Borrowed, intern};
use smallvec::SmallVec;

/// Longest name; what is longer was not meant as one.
const MOST_NAME_BYTES: usize = 1024;

/// Names of one check: an organisation, a key, and room for more.
const MOST_NAMES: usize = 16;

/// Token buckets by name, in the memory of this process.
///
/// Args:
///     max_keys: How many names that are in use are kept; some 80 bytes each. 1 to 100,000,000.
///     clock: For tests. None: the machine's monotonic clock.
///
/// Raises:
///     ValueError: ``max_keys`` is out of range.
#[pyclass(module = "velro_cache._engine", frozen)]
#[derive(Debug)]
pub(super) struct LocalLimiter(RateLimiter);

#[pymethods]
impl LocalLimiter {
    #[new]
    #[pyo3(signature = (max_keys=100_000, clock=None))]
    fn new(max_keys: usize, clock: Option<&Bound<'_, PyManualClock>>) -> PyResult<Self> {
        if !(1..=100_000_000).contains(&max_keys) {
            return Err(PyValueError::new_err("max_keys must be between 1 and 100,000,000"));
        }
        let mut secret = [0; 16];
        getrandom::fill(&mut secret).map_err(|error| {
            PyOSError::new_err(format!("no randomness for the rate limiter: {error}"))
        })?;
        let [first, second] = halves(secret);
        let clock = clock.map_or(NanoClock::System, |clock| clock.get().as_nano_clock());
        Ok(Self(RateLimiter::new(max_keys, (first, second), clock)))
    }

    /// Take what a request costs, if it is there.
    ///
    /// Args:
    ///     key: Whose it is: 1 to 1024 bytes of UTF-8.
    ///     limit: What they may do; as of now, whatever it was before.
    ///     cost: Tokens, from 1 to what the limit lets through at once.
    ///
    /// Returns:
    ///     The decision; nothing was taken if it is a refusal.
    ///
    /// Raises:
    ///     InvalidKeyError: ``key`` is empty or too long.
    ///     ValueError: ``cost`` is out of range.
    #[pyo3(signature = (key, limit, cost=Cost(1)), text_signature = "($self, key, limit, cost=1)")]
    fn check(
        &self,
        key: &Bound<'_, PyString>,
        limit: &Bound<'_, RateLimit>,
        cost: Cost,
    ) -> PyResult<Decision> {
        let (limit, Cost(cost)) = (limit.get(), cost);
        check_cost(limit, cost)?;
        with_name(key, |name| {
            #[cfg(Py_GIL_DISABLED)]
            let _pass = crate::fork_gate::pass();
            let answer = self.0.check_one(Request { name, limits: &limit.limits, cost });
            Decision::new(limit, answer.wait == 0, answer, DecidedBy::LOCAL)
        })
    }

    /// Take what a request costs from several names at once, if all of them have it.
    ///
    /// Args:
    ///     pairs: Names, each with its limit; 1 to 16.
    ///     cost: As for ``check``, for each.
    ///
    /// Returns:
    ///     The decision: about the name that has to wait longest, or has least left.
    ///
    /// Raises:
    ///     InvalidKeyError: A name is empty or too long.
    ///     ValueError: ``cost`` is out of range, or there are no names, or too many.
    #[pyo3(signature = (pairs, cost=Cost(1)), text_signature = "($self, pairs, cost=1)")]
    fn check_all(
        &self,
        pairs: Vec<(Bound<'_, PyString>, Bound<'_, RateLimit>)>,
        cost: Cost,
    ) -> PyResult<Decision> {
        let Cost(cost) = cost;
        if !(1..=MOST_NAMES).contains(&pairs.len()) {
            return Err(PyValueError::new_err(format!("there must be 1 to {MOST_NAMES} names")));
        }
        let mut names: SmallVec<[SmallVec<[u8; 64]>; 2]> = SmallVec::new();
        for (key, limit) in &pairs {
            check_cost(limit.get(), cost)?;
            with_name(key, |name| names.push(SmallVec::from_slice(name)))?;
        }
        let requests: SmallVec<[Request<'_>; 2]> = names
            .iter()
            .zip(&pairs)
            .map(|(name, (_, limit))| Request { name, limits: &limit.get().limits, cost })
            .collect();
        let outcome = {
            #[cfg(Py_GIL_DISABLED)]
            let _pass = crate::fork_gate::pass();
            self.0.check(&requests)
        };
        let scarcest = |(limit, answer): &(&RateLimit, &Answer)| {
            let states = [answer.minute(&limit.limits), answer.day(&limit.limits)];
            let left = states.iter().flatten().map(|state| state.left).min();
            (u64::MAX - answer.wait, left.unwrap_or(u64::MAX))
        };
        pairs
            .iter()
            .map(|(_, limit)| limit.get())
            .zip(&outcome.answers)
            .min_by_key(scarcest)
            .map(|(limit, answer)| Decision::new(limit, outcome.allowed, *answer, DecidedBy::LOCAL))
            .ok_or_else(|| PyValueError::new_err("nothing was asked"))
    }

    /// Give a name full buckets.
    ///
    /// Returns:
    ///     Whether they were not full.
    ///
    /// Raises:
    ///     InvalidKeyError: ``key`` is empty or too long.
    fn forget(&self, key: &Bound<'_, PyString>) -> PyResult<bool> {
        with_name(key, |name| {
            #[cfg(Py_GIL_DISABLED)]
            let _pass = crate::fork_gate::pass();
            self.0.forget(name)
        })
    }

    /// What was counted so far.
    ///
    /// Returns:
    ///     Checks that were allowed; that were refused; names that are held; names that lost their
    ///     place to others while they were in use.
    fn counts(&self) -> (u64, u64, usize, u64) {
        #[cfg(Py_GIL_DISABLED)]
        let _pass = crate::fork_gate::pass();
        let Counts { allowed, refused, names, displaced } = self.0.counts();
        (allowed, refused, names, displaced)
    }
}

/// Tokens a request costs; 0, which is refused, for what is none.
struct Cost(u64);

impl<'py> FromPyObject<'_, 'py> for Cost {
    type Error = PyErr;

    #[inline]
    fn extract(given: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        match given.extract() {
            Ok(cost) => Ok(Self(cost)),
            Err(_) if given.cast::<PyInt>().is_ok() => Ok(Self(0)),
            Err(error) => Err(error),
        }
    }
}

#[inline]
fn check_cost(limit: &RateLimit, cost: u64) -> PyResult<()> {
    if (1..=limit.limits.most()).contains(&cost) { Ok(()) } else { Err(too_dear(limit)) }
}

#[cold]
fn too_dear(limit: &RateLimit) -> PyErr {
    PyValueError::new_err(format!(
        "cost must be between 1 and {}, what this limit lets through at once",
        limit.limits.most()
    ))
}

/// Has something done with the bytes of a name.
#[inline]
fn with_name<R>(name: &Bound<'_, PyString>, then: impl FnOnce(&[u8]) -> R) -> PyResult<R> {
    if let Some(bytes) = key::ascii(name.as_any().as_borrowed()) {
        check_length(bytes.len())?;
        return Ok(then(bytes));
    }
    // Before they are made into bytes.
    check_length(name.len()?)?;
    // A lone surrogate is a character like any other here.
    let py = name.py();
    let bytes = name
        .call_method1(intern!(py, "encode"), (intern!(py, "utf-8"), intern!(py, "surrogatepass")))?
        .extract::<PyBackedBytes>()
        .map_err(|_| PyTypeError::new_err("a name must be str"))?;
    check_length(bytes.len())?;
    Ok(then(&bytes))
}

#[inline]
fn check_length(bytes: usize) -> PyResult<()> {
    if (1..=MOST_NAME_BYTES).contains(&bytes) {
        return Ok(());
    }
    // Nothing of the name: it may be a secret.
    Err(InvalidKeyError::new_err(format!(
        "the key of a rate limit must have 1 to {MOST_NAME_BYTES} bytes, not {bytes}"
    )))
}

fn halves(bytes: [u8; 16]) -> [u64; 2] {
    let [low, high] = [0, 64].map(|shift| (u128::from_le_bytes(bytes) >> shift) as u64);
    [low, high]
}
