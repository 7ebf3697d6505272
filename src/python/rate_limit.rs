//! What a caller may do, and what was decided about a request, as Python sees them.

use super::errors::ConfigError;
use crate::rate_limit::limits::{DAY, LimitError, MINUTE};
use crate::rate_limit::{Answer, Limits, Nanos, Rate, State};
use pyo3::IntoPyObjectExt as _;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyInt, PyTuple};
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};

const NANOS_PER_MILLI: Nanos = 1_000_000;
const NANOS_PER_SECOND: Nanos = 1_000_000_000;

const DEFAULT_PER_MINUTE: u64 = 60;
const DEFAULT_BURST: u64 = 10;
const DEFAULT_PER_DAY: u64 = 10_000;

/// How often somebody may ask: two token buckets, of which both must have what a request costs.
///
/// Args:
///     requests_per_minute: So many tokens come back each minute, evenly, 1 to 60,000,000. None:
///         not limited by the minute.
///     burst: How many requests may come at once beyond the one that the steady rate always lets
///         in, 0 to 60,000,000: the bucket of the minute holds ``burst + 1`` tokens, and starts
///         full. So any 60 seconds see at most ``requests_per_minute + burst + 1`` requests. Of no
///         meaning without ``requests_per_minute``.
///     requests_per_day: The size of a second bucket, and how many tokens come back to it each
///         day, evenly, 1 to 86,400,000,000. It starts full too, so in the long run
///         ``requests_per_day`` a day get through, and never more than twice as many in any 24
///         hours. None: not limited by the day.
///
/// Raises:
///     ConfigError: A number is out of range, or not an int.
#[pyclass(name = "RateLimit", module = "velro_cache.rate_limit", frozen, skip_from_py_object)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RateLimit {
    per_minute: Option<u64>,
    burst: u64,
    per_day: Option<u64>,
    pub(super) limits: Limits,
}

#[pymethods]
impl RateLimit {
    #[new]
    #[pyo3(signature = (requests_per_minute=Given(Some(DEFAULT_PER_MINUTE)), burst=Given(Some(DEFAULT_BURST)), requests_per_day=Given(Some(DEFAULT_PER_DAY))),
           text_signature = "(requests_per_minute=60, burst=10, requests_per_day=10000)")]
    fn new(requests_per_minute: Given, burst: Given, requests_per_day: Given) -> PyResult<Self> {
        let Given(per_minute) = requests_per_minute;
        let Given(per_day) = requests_per_day;
        // Out of range, whatever the range is.
        let burst = burst.0.unwrap_or(u64::MAX);
        let limits = Limits::new(per_minute, burst, per_day).map_err(not_in_range)?;
        Ok(Self { per_minute, burst, per_day, limits })
    }

    /// Tokens that come back each minute. None: not limited by the minute.
    #[getter]
    fn requests_per_minute(&self) -> Option<u64> {
        self.per_minute
    }

    /// Requests at once beyond the steady rate.
    #[getter]
    fn burst(&self) -> u64 {
        self.burst
    }

    /// Tokens that come back each day. None: not limited by the day.
    #[getter]
    fn requests_per_day(&self) -> Option<u64> {
        self.per_day
    }

    /// The most one request may cost. None: as much as it likes.
    #[getter]
    fn most_at_once(&self) -> Option<u64> {
        (!self.limits.are_none()).then(|| self.limits.most())
    }

    /// Nanoseconds for one token, and for a full bucket: of the minute, of the day; 0 for none.
    fn _nanoseconds(&self) -> (Nanos, Nanos, Nanos, Nanos) {
        let both = |rate: Option<Rate>| rate.map_or((0, 0), |r| (r.interval(), r.length()));
        let (minute, day) = (both(self.limits.minute), both(self.limits.day));
        (minute.0, minute.1, day.0, day.1)
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast::<Self>().is_ok_and(|other| self == other.get())
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.per_minute, self.burst, self.per_day).hash(&mut hasher);
        hasher.finish()
    }

    fn __repr__(&self) -> String {
        format!(
            "RateLimit(requests_per_minute={}, burst={}, requests_per_day={})",
            spelled(self.per_minute),
            self.burst,
            spelled(self.per_day)
        )
    }

    fn __getnewargs__(&self) -> (Option<u64>, u64, Option<u64>) {
        (self.per_minute, self.burst, self.per_day)
    }
}

/// A number of a limit, or None.
struct Given(Option<u64>);

impl<'py> FromPyObject<'_, 'py> for Given {
    type Error = PyErr;

    fn extract(given: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if given.is_none() {
            return Ok(Self(None));
        }
        if given.cast_exact::<PyInt>().is_err() {
            let kind = given.get_type().name()?.to_string();
            return Err(ConfigError::new_err(format!(
                "requests_per_minute and requests_per_day must be int or None, burst int, not {kind}"
            )));
        }
        // What does not fit is out of every range, and so is 0 where it is not allowed.
        Ok(Self(Some(given.extract().unwrap_or(u64::MAX))))
    }
}

fn not_in_range(error: LimitError) -> PyErr {
    ConfigError::new_err(error.to_string())
}

fn spelled(number: Option<u64>) -> String {
    number.map_or_else(|| "None".to_owned(), |number| number.to_string())
}

/// Who decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DecidedBy(&'static str);

impl DecidedBy {
    pub(super) const LOCAL: Self = Self("local");
    const ALL: [&'static str; 5] =
        ["local", "shared", "lease", "allowed_unchecked", "denied_unchecked"];
}

/// One bucket, as clients are told of it.
#[derive(Debug, Clone, Copy)]
struct Policy {
    name: &'static str,
    quota: u64,
    window_seconds: u64,
    state: State,
}

/// What was decided about a request. True where it is allowed.
#[pyclass(module = "velro_cache.rate_limit", frozen)]
#[derive(Debug)]
pub(super) struct Decision {
    /// Whether the request may go on.
    #[pyo3(get)]
    allowed: bool,
    limit: RateLimit,
    answer: Answer,
    decided_by: DecidedBy,
}

impl Decision {
    #[inline]
    pub(super) fn new(
        limit: &RateLimit,
        allowed: bool,
        answer: Answer,
        decided_by: DecidedBy,
    ) -> Self {
        Self { allowed, limit: *limit, answer, decided_by }
    }

    fn wait(&self) -> Nanos {
        if self.allowed { 0 } else { self.answer.wait }
    }

    fn policies(&self) -> impl Iterator<Item = Policy> {
        let policy = |name, quota: Option<u64>, window: Nanos, state: Option<State>| {
            let window_seconds = window / NANOS_PER_SECOND;
            Some(Policy { name, quota: quota?, window_seconds, state: state? })
        };
        let (limit, answer) = (&self.limit, &self.answer);
        let minute = policy("minute", limit.per_minute, MINUTE, answer.minute(&limit.limits));
        let day = policy("day", limit.per_day, DAY, answer.day(&limit.limits));
        [minute, day].into_iter().flatten()
    }

    /// The bucket that has least left.
    fn tightest(&self) -> Option<Policy> {
        self.policies().min_by_key(|p| (p.state.left, Nanos::MAX - p.state.next_in))
    }
}

#[pymethods]
impl Decision {
    /// What a check outside of this process has found.
    ///
    /// Args:
    ///     limit: What was asked for.
    ///     allowed: What was decided.
    ///     wait_nanoseconds: How long until it would be allowed.
    ///     minute_nanoseconds: How long until the bucket of the minute is full.
    ///     day_nanoseconds: How long until that of the day is.
    ///     decided_by: By whom.
    ///
    /// Raises:
    ///     ValueError: ``decided_by`` is none of the documented words.
    #[staticmethod]
    fn _made(
        limit: &RateLimit,
        allowed: bool,
        wait_nanoseconds: Nanos,
        minute_nanoseconds: Nanos,
        day_nanoseconds: Nanos,
        decided_by: &str,
    ) -> PyResult<Self> {
        let known = DecidedBy::ALL.into_iter().find(|known| *known == decided_by);
        let known = known.ok_or_else(|| PyValueError::new_err("decided_by is not known"))?;
        let answer = Answer {
            wait: wait_nanoseconds,
            minute_full_in: minute_nanoseconds,
            day_full_in: day_nanoseconds,
        };
        Ok(Self::new(limit, allowed, answer, DecidedBy(known)))
    }

    /// ``requests_per_minute`` or ``requests_per_day``, whichever has less left. None: no limit,
    /// or nobody could be asked.
    #[getter]
    fn limit(&self) -> Option<u64> {
        self.tightest().map(|policy| policy.quota)
    }

    /// Requests that could follow at once. None: no limit, or nobody could be asked.
    #[getter]
    fn remaining(&self) -> Option<u64> {
        self.tightest().map(|policy| policy.state.left)
    }

    /// How long to wait until it would be allowed, if nobody else asks; up to the next
    /// millisecond. 0 if it is allowed.
    #[getter]
    fn retry_after_seconds(&self) -> f64 {
        seconds(self.wait())
    }

    /// How long until the bucket that has least left is full again; up to the next millisecond.
    #[getter]
    fn reset_after_seconds(&self) -> f64 {
        self.tightest().map_or(0.0, |policy| seconds(policy.state.full_in))
    }

    /// ``local``, ``shared``, ``lease``; ``allowed_unchecked`` or ``denied_unchecked`` where
    /// nobody could be asked.
    #[getter]
    fn decided_by(&self) -> &'static str {
        self.decided_by.0
    }

    /// Headers that tell a client of it, as ASGI wants them.
    ///
    /// ``ratelimit-policy`` and ``ratelimit`` as in draft-ietf-httpapi-ratelimit-headers-11, and
    /// ``retry-after`` (RFC 9110, 10.2.3) where the request is refused. All numbers are whole, and
    /// times rounded up: who waits for so long is let in.
    ///
    /// Returns:
    ///     Names in lower case, with values; nothing of a name or a key is in them.
    fn headers<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<Vec<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)>> {
        let joined = |spell: fn(&Policy) -> String| {
            let all: Vec<String> = self.policies().map(|policy| spell(&policy)).collect();
            all.join(", ")
        };
        let mut headers = Vec::with_capacity(3);
        let mut push = |name: &str, value: String| {
            headers.push((PyBytes::new(py, name.as_bytes()), PyBytes::new(py, value.as_bytes())));
        };
        if !self.limit.limits.are_none() {
            push(
                "ratelimit-policy",
                joined(|p| format!("\"{}\";q={};w={}", p.name, p.quota, p.window_seconds)),
            );
            let left = |p: &Policy| {
                let window = p.state.next_in.div_ceil(NANOS_PER_SECOND);
                format!("\"{}\";r={};t={window}", p.name, p.state.left)
            };
            // No window may end after the time at which to try again.
            let tightest = if self.allowed { None } else { self.tightest() };
            push("ratelimit", tightest.as_ref().map_or_else(|| joined(left), left));
        }
        if !self.allowed {
            push("retry-after", self.wait().div_ceil(NANOS_PER_SECOND).max(1).to_string());
        }
        Ok(headers)
    }

    fn __bool__(&self) -> bool {
        self.allowed
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> PyResult<bool> {
        let Ok(other) = other.cast::<Self>() else { return Ok(false) };
        let py = other.py();
        self.fields(py)?.eq(other.get().fields(py)?)
    }

    fn __hash__(&self, py: Python<'_>) -> PyResult<isize> {
        self.fields(py)?.hash()
    }

    fn __repr__(&self) -> String {
        format!(
            "Decision(allowed={}, limit={}, remaining={}, retry_after_seconds={:?}, \
             reset_after_seconds={:?}, decided_by='{}')",
            if self.allowed { "True" } else { "False" },
            spelled(self.limit()),
            spelled(self.remaining()),
            self.retry_after_seconds(),
            self.reset_after_seconds(),
            self.decided_by.0
        )
    }
}

impl Decision {
    fn fields<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let fields = [
            self.allowed.into_bound_py_any(py)?,
            self.limit().into_bound_py_any(py)?,
            self.remaining().into_bound_py_any(py)?,
            self.retry_after_seconds().into_bound_py_any(py)?,
            self.reset_after_seconds().into_bound_py_any(py)?,
            self.decided_by.0.into_bound_py_any(py)?,
        ];
        PyTuple::new(py, fields)
    }
}

/// Up to the next millisecond, so that nothing is lost on the way through a float or a clock.
fn seconds(nanos: Nanos) -> f64 {
    nanos.div_ceil(NANOS_PER_MILLI) as f64 / 1000.0
}
