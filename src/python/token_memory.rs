//! Who sent a request, by its bearer token, if that token was verified before: one call that looks
//! at the headers, digests the token and finds what it was verified to.
//!
//! It only remembers. Whatever is unusual — no token, two of them, one that is too long, an entry
//! that is not there or may not be served, a moment at which the token does not hold — is answered
//! with "not from memory", and whoever asked goes the whole way, where all of it is told apart. No
//! answer is given here that the whole way would not give, too.

use super::cache::CacheCore;
use super::digest::{self, Digest};
use super::exit_guard::{DroppedGuarded, ExitGuard};
use super::memo::Hint;
use super::{key, lookup};
use crate::engine::ids::Text;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple, PyType};
use pyo3::{PyTraverseError, PyVisit, intern};
use std::time::{SystemTime, UNIX_EPOCH};

/// Identities in a cache, by the tokens that were verified to them.
#[pyclass(module = "velro_cache._engine", frozen)]
#[derive(Debug)]
pub(super) struct TokenMemory {
    cache: DroppedGuarded<Py<CacheCore>>,
    prefix: Box<[u8]>,
    longest: usize,
    identity_type: DroppedGuarded<Py<PyType>>,
    now: WallClock,
}

#[pymethods]
impl TokenMemory {
    /// Args:
    ///     cache: Where identities are kept.
    ///     prefix: What their keys begin with, before the digest of the token.
    ///     longest: Longest token that is looked at, in bytes.
    ///     identity_type: The class they are of; its instances say from when until when they hold,
    ///         in seconds since 1970, as ``_begins`` and ``_ends``.
    ///     now: The wall clock, in seconds since 1970. None: the system's.
    #[new]
    #[pyo3(signature = (cache, prefix, longest, identity_type, now=None))]
    fn new(
        cache: Py<CacheCore>,
        prefix: &str,
        longest: usize,
        identity_type: Py<PyType>,
        now: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        digest::init()?;
        Ok(Self {
            cache: DroppedGuarded::new(cache),
            prefix: prefix.as_bytes().into(),
            longest,
            identity_type: DroppedGuarded::new(identity_type),
            now: WallClock::new(now),
        })
    }

    /// Say who sent a request, if that is remembered.
    ///
    /// Args:
    ///     source: The headers of an ASGI scope; or the token itself, as text or bytes.
    ///
    /// Returns:
    ///     The identity, which holds right now. None: not from memory.
    fn identity<'py>(
        &self,
        py: Python<'py>,
        source: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self.digest(source)? {
            Some(digest) => self.find(py, digest, self.now.seconds(py)?),
            None => Ok(None),
        }
    }

    /// Say who sent a request and with which token, if that is remembered.
    ///
    /// Args:
    ///     source: As for ``identity``.
    ///
    /// Returns:
    ///     The identity, which holds right now, and the token as a text. None: not from memory.
    fn sender<'py>(
        &self,
        py: Python<'py>,
        source: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyTuple>>> {
        let now = self.now.seconds(py)?;
        let sender = self.with_token(source, |token| {
            // What was verified has no other characters.
            let Ok(text) = std::str::from_utf8(token) else { return Ok(None) };
            let identity = self.find(py, digest::keyed(token)?, now)?;
            Ok(identity.map(|identity| (identity, PyString::new(py, text))))
        })?;
        sender.map(|sender| sender.into_pyobject(py)).transpose()
    }

    /// Say whether a request has no bearer credentials at all.
    ///
    /// Args:
    ///     source: The headers of an ASGI scope.
    ///
    /// Returns:
    ///     True: it has none. False: it may have some; the whole way tells.
    #[staticmethod]
    fn lacks_credentials(source: &Bound<'_, PyAny>) -> bool {
        source.cast_exact::<PyList>().is_ok_and(|headers| match authorization(headers) {
            Authorization::None => true,
            Authorization::One(value) => bearer_token(value.as_bytes()).is_none(),
            Authorization::Unusual => false,
        })
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&*self.cache)?;
        visit.call(&*self.identity_type)?;
        self.now.traverse(&visit)
    }
}

impl TokenMemory {
    /// The digest of a token that may be looked at.
    #[inline]
    pub(super) fn digest(&self, source: &Bound<'_, PyAny>) -> PyResult<Option<Digest>> {
        self.with_token(source, |token| digest::keyed(token).map(Some))
    }

    /// Runs `then` with a token that may be looked at.
    #[inline]
    fn with_token<R>(
        &self,
        source: &Bound<'_, PyAny>,
        then: impl FnOnce(&[u8]) -> PyResult<Option<R>>,
    ) -> PyResult<Option<R>> {
        let header;
        let token = if let Ok(headers) = source.cast_exact::<PyList>() {
            let Authorization::One(value) = authorization(headers) else { return Ok(None) };
            header = value;
            let Some(token) = bearer_token(header.as_bytes()) else { return Ok(None) };
            token
        } else if let Ok(token) = source.cast_exact::<PyBytes>() {
            token.as_bytes()
        } else {
            let text = source.cast_exact::<PyString>().ok();
            let Some(token) = text.and_then(|_| key::ascii(source.as_borrowed())) else {
                return Ok(None);
            };
            token
        };
        if token.len() > self.longest { Ok(None) } else { then(token) }
    }

    /// The identity of a token, if it holds at a moment.
    #[inline]
    pub(super) fn find<'py>(
        &self,
        py: Python<'py>,
        digest: Digest,
        now: f64,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let mut key = Text::from_slice(&self.prefix);
        key.extend_from_slice(&digest::hex(digest));
        let hint = Hint::of_parts([self.prefix.as_ptr() as u64, digest::gist(digest)]);
        let found = lookup::recall_key(py, &self.cache.get().inner, hint, &key);
        let Some(identity) = found.filter(|found| found.get_type().is(&*self.identity_type)) else {
            return Ok(None);
        };
        let begins: f64 = identity.getattr(intern!(py, "_begins"))?.extract()?;
        let ends: f64 = identity.getattr(intern!(py, "_ends"))?.extract()?;
        Ok((begins <= now && now < ends).then_some(identity))
    }

    pub(super) fn now(&self) -> &WallClock {
        &self.now
    }
}

const BEARER: &[u8] = b"bearer ";

/// What stands after the scheme of an `authorization` header, if that is `Bearer`.
#[inline]
fn bearer_token(header: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = header.split_at_checked(BEARER.len())?;
    // RFC 9110, section 11.4: one space or more.
    scheme.eq_ignore_ascii_case(BEARER).then(|| {
        let spaces = token.iter().take_while(|&&byte| byte == b' ').count();
        token.get(spaces..).unwrap_or_default()
    })
}

/// The `authorization` headers of a request.
enum Authorization<'py> {
    None,
    One(Bound<'py, PyBytes>),
    /// More than one, or headers that are not as servers make them.
    Unusual,
}

#[inline]
fn authorization<'py>(headers: &Bound<'py, PyList>) -> Authorization<'py> {
    let mut found = None;
    for header in headers.iter() {
        let Some((name, value)) = named(&header) else { return Authorization::Unusual };
        if name.as_bytes() == b"authorization" && found.replace(value).is_some() {
            return Authorization::Unusual;
        }
    }
    found.map_or(Authorization::None, Authorization::One)
}

#[inline]
fn named<'py>(header: &Bound<'py, PyAny>) -> Option<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)> {
    let header = header.cast_exact::<PyTuple>().ok()?;
    let name = header.get_item(0).ok()?.cast_into_exact::<PyBytes>().ok()?;
    Some((name, header.get_item(1).ok()?.cast_into_exact::<PyBytes>().ok()?))
}

/// The wall clock: the system's, or one that tests move.
#[derive(Debug)]
pub(super) struct WallClock(DroppedGuarded<Option<Py<PyAny>>>);

impl WallClock {
    pub(super) fn new(now: Option<Py<PyAny>>) -> Self {
        Self(DroppedGuarded::new(now))
    }

    /// Seconds since 1970.
    #[inline]
    pub(super) fn seconds(&self, py: Python<'_>) -> PyResult<f64> {
        match &*self.0 {
            None => Ok(match SystemTime::now().duration_since(UNIX_EPOCH) {
                Ok(since) => since.as_secs_f64(),
                Err(before) => -before.duration().as_secs_f64(),
            }),
            Some(now) => {
                let _guard = ExitGuard::hold();
                now.bind(py).call0()?.extract()
            }
        }
    }

    pub(super) fn is_system(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&*self.0)
    }
}
