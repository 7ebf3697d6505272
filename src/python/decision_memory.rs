//! What was decided about a user and a generation, if that was asked before with the same token:
//! one call that finds the entry, looks at the clock and counts the answer.
//!
//! As in [`super::token_memory`], whatever is unusual is "not from memory", and the whole way tells.

use super::cache::CacheCore;
use super::digest::{self, Digest};
use super::exit_guard::DroppedGuarded;
use super::hit_counts::HitCounts;
use super::memo::Hint;
use super::token_memory::{TokenMemory, WallClock};
use super::{key, lookup, text};
use crate::engine::ids::Text;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyTuple, PyType};
use pyo3::{PyTraverseError, PyVisit, intern};
use std::time::Instant;

/// Decisions of one service in a cache.
#[pyclass(module = "velro_cache._engine", frozen)]
#[derive(Debug)]
pub(super) struct DecisionMemory {
    cache: DroppedGuarded<Py<CacheCore>>,
    scope: Box<[u8]>,
    decision_type: DroppedGuarded<Py<PyType>>,
    hits: Py<HitCounts>,
    now: WallClock,
}

#[pymethods]
impl DecisionMemory {
    /// Args:
    ///     cache: Where decisions are kept.
    ///     scope: What binds them to the service that made them, for ``decision_key``.
    ///     decision_type: The class they are of; its instances have ``granted``, ``_ends`` in
    ///         seconds since 1970, and a flag for each kind of access.
    ///     hits: Where answers are counted.
    ///     now: The wall clock, in seconds since 1970. None: the system's.
    #[new]
    #[pyo3(signature = (cache, scope, decision_type, hits, now=None))]
    fn new(
        cache: Py<CacheCore>,
        scope: &[u8],
        decision_type: Py<PyType>,
        hits: Py<HitCounts>,
        now: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        digest::init()?;
        Ok(Self {
            cache: DroppedGuarded::new(cache),
            scope: scope.into(),
            decision_type: DroppedGuarded::new(decision_type),
            hits,
            now: WallClock::new(now),
        })
    }

    /// Say what was decided, if that is remembered.
    ///
    /// Args:
    ///     token: The token of the request.
    ///     generation_id: The generation.
    ///     user_id: The user.
    ///     flag: Name of the attribute that says whether the access asked for is granted.
    ///
    /// Returns:
    ///     The decision, and whether it grants that access right now; counted as an answer. None:
    ///     not from memory.
    fn decision<'py>(
        &self,
        py: Python<'py>,
        token: &Bound<'py, PyString>,
        generation_id: &Bound<'py, PyAny>,
        user_id: &Bound<'py, PyAny>,
        flag: &Bound<'py, PyString>,
    ) -> PyResult<Option<Bound<'py, PyTuple>>> {
        let started = Instant::now();
        let Some(token) = key::ascii(token.as_any().as_borrowed()) else { return Ok(None) };
        let (digest, now) = (digest::keyed(token)?, self.now.seconds(py)?);
        let Some((decision, allowed)) = self.find(digest, generation_id, user_id, flag, now)?
        else {
            return Ok(None);
        };
        self.count(started, allowed);
        (decision, allowed).into_pyobject(py).map(Some)
    }

    /// Say who sent a request and what was decided about them, if both is remembered.
    ///
    /// Args:
    ///     tokens: Knows who sent it.
    ///     source: The headers of an ASGI scope; or the token itself, as text or bytes.
    ///     generation_id: The generation.
    ///     flag: As for ``decision``.
    ///
    /// Returns:
    ///     The identity, the decision, and whether it grants that access right now; counted as an
    ///     answer. None: not from memory.
    fn of_request<'py>(
        &self,
        py: Python<'py>,
        tokens: &Bound<'py, TokenMemory>,
        source: &Bound<'py, PyAny>,
        generation_id: &Bound<'py, PyAny>,
        flag: &Bound<'py, PyString>,
    ) -> PyResult<Option<Bound<'py, PyTuple>>> {
        let started = Instant::now();
        let tokens = tokens.get();
        let Some(digest) = tokens.digest(source)? else { return Ok(None) };
        let now = tokens.now().seconds(py)?;
        let Some(identity) = tokens.find(py, digest, now)? else { return Ok(None) };
        let same_clock = tokens.now().is_system() && self.now.is_system();
        let now = if same_clock { now } else { self.now.seconds(py)? };
        let user_id = identity.getattr(intern!(py, "user_id"))?;
        let found = self.find(digest, generation_id, &user_id, flag, now)?;
        let Some((decision, allowed)) = found else { return Ok(None) };
        self.count(started, allowed);
        (identity, decision, allowed).into_pyobject(py).map(Some)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&*self.cache)?;
        visit.call(&*self.decision_type)?;
        visit.call(&self.hits)?;
        self.now.traverse(&visit)
    }
}

impl DecisionMemory {
    #[inline]
    fn find<'py>(
        &self,
        digest: Digest,
        generation_id: &Bound<'py, PyAny>,
        user_id: &Bound<'py, PyAny>,
        flag: &Bound<'py, PyString>,
        now: f64,
    ) -> PyResult<Option<(Bound<'py, PyAny>, bool)>> {
        let py = flag.py();
        let secret = digest::keyed(&secret(&self.scope, &digest))?;
        let mut key = Text::new();
        if push_key(generation_id, user_id, secret, &mut key).is_err() {
            // No id; the whole way says so.
            return Ok(None);
        }
        let hint = Hint::of_parts([digest::gist(secret), lookup_gist(&key)]);
        let found = lookup::recall_key(py, &self.cache.get().inner, hint, &key);
        let Some(decision) = found.filter(|found| found.get_type().is(&*self.decision_type)) else {
            return Ok(None);
        };
        let ends: f64 = decision.getattr(intern!(py, "_ends"))?.extract()?;
        if now >= ends {
            return Ok(None);
        }
        // Both, and each of them exactly True.
        let allowed = decision.getattr(intern!(py, "granted"))?.extract()?
            && decision.getattr(flag)?.extract()?;
        Ok(Some((decision, allowed)))
    }

    #[inline]
    fn count(&self, started: Instant, allowed: bool) {
        self.hits.get().record(started.elapsed().as_nanos() as u64, allowed);
    }
}

/// The part of a key that tells generations apart, as a number.
#[inline]
fn lookup_gist(key: &[u8]) -> u64 {
    let from = PLACE.len();
    super::memo::gist(key.get(from..(from + 36).min(key.len())).unwrap_or_default())
}

const PLACE: &[u8] = b"auth:gen:";

#[inline]
fn push_key(
    generation_id: &Bound<'_, PyAny>,
    user_id: &Bound<'_, PyAny>,
    secret: Digest,
    key: &mut Text,
) -> PyResult<()> {
    key.extend_from_slice(PLACE);
    text::push_id("generation_id", generation_id, key)?;
    key.extend_from_slice(b":user:");
    text::push_id("user_id", user_id, key)?;
    key.extend_from_slice(b":access:t");
    key.extend_from_slice(&digest::hex(secret));
    Ok(())
}

#[inline]
fn secret(scope: &[u8], token: &Digest) -> Text {
    let mut secret = Text::from_slice(scope);
    secret.extend_from_slice(token);
    secret
}

/// Name the decision about a user and a generation that was made for a credential.
///
/// Args:
///     generation_id: The generation.
///     user_id: The user.
///     scope: What binds it to the service that made it, and whatever else it depends on.
///     token: The credential; it takes part as a keyed digest.
///     more: What else it depends on, of any length; takes part in the same digest. None: nothing.
///
/// Returns:
///     The key; means nothing in another process.
///
/// Raises:
///     TypeError: An id is none.
///     InvalidKeyError: An id is empty or too long.
#[pyfunction]
#[pyo3(signature = (generation_id, user_id, scope, token, more=None))]
pub(super) fn decision_key<'py>(
    py: Python<'py>,
    generation_id: &Bound<'py, PyAny>,
    user_id: &Bound<'py, PyAny>,
    scope: &[u8],
    token: &[u8],
    more: Option<&Bound<'py, PyBytes>>,
) -> PyResult<Bound<'py, PyAny>> {
    let mut secret = secret(scope, &digest::keyed(token)?);
    if let Some(more) = more {
        // Behind a digest of fixed length, nothing can be taken for anything else.
        secret.push(b'=');
        secret.extend_from_slice(more.as_bytes());
    }
    let mut key = Text::new();
    push_key(generation_id, user_id, digest::keyed(&secret)?, &mut key)?;
    text::to_python(py, &key)
}
