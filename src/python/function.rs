//! Lookups of decorated functions: from the arguments of a call to the cached result.
//!
//! The decorator itself is Python (`decorators.py`); it hands over the shape of the function once
//! and asks here on every call.

use super::cache::CacheCore;
use super::call_key::{self, Encoded, Receivers, Spelling};
use super::digest::Digest;
use super::exit_guard::{DroppedGuarded, ExitGuard};
use super::inner::Inner;
use super::lookup::{self, Found, NOTHING, Otherwise};
use super::memo::Hint;
use super::raw::Raised;
use super::{digest, text, vectorcall};
use crate::engine::ids::Text;
use crate::sync::RwLock;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};
use pyo3::{PyTraverseError, PyVisit, intern};
use siphasher::sip128::{Hasher128, SipHasher24};
use std::hash::Hasher as _;
use std::sync::atomic::{AtomicU64, Ordering};

/// The cache used by functions that were not given one of their own.
static DEFAULT: RwLock<Option<Py<CacheCore>>> = RwLock::new(None);

/// Say which cache decorated functions use that were not given one.
///
/// Args:
///     cache: The cache; None: none until the next call asks for one.
#[pyfunction]
#[pyo3(signature = (cache))]
pub(super) fn set_default_cache(cache: Option<&Bound<'_, CacheCore>>) {
    let _guard = ExitGuard::hold();
    let new = cache.map(|cache| cache.clone().unbind());
    let old = std::mem::replace(&mut *DEFAULT.write(), new);
    drop(old);
}

/// One parameter of a decorated function.
#[derive(Debug)]
struct Parameter {
    name: Py<PyString>,
    by_position: bool,
    by_name: bool,
    default: Option<Py<PyAny>>,
}

/// Shape and counters of one decorated function.
#[pyclass(module = "velro_cache._engine", frozen)]
#[derive(Debug)]
pub(super) struct CachedCalls {
    prefix: Box<[u8]>,
    /// Its name without its number: what other processes call it, too.
    family: String,
    family_prefix: Box<[u8]>,
    parameters: DroppedGuarded<Vec<Parameter>>,
    /// How many parameters there are, if all can be given by position and nothing else says what
    /// is keyed.
    plain_parameters: Option<usize>,
    takes_more_by_position: bool,
    takes_more_by_name: bool,
    /// Whether the first argument is the object a method is called on.
    has_receiver: bool,
    receivers: Receivers,
    key_function: DroppedGuarded<Option<Py<PyAny>>>,
    cache: DroppedGuarded<Option<Py<CacheCore>>>,
    miss: Py<PyAny>,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// What the keys of functions begin with whose name is this, or begins so.
fn prefix_of(name: &str, end: &[u8]) -> Box<[u8]> {
    let mut prefix = Text::from_slice(b"auth:call:");
    crate::engine::ids::push_id(name.as_bytes(), &mut prefix);
    prefix.extend_from_slice(end);
    prefix.as_slice().into()
}

#[pymethods]
impl CachedCalls {
    /// Args:
    ///     name: Unique name of the function, part of its keys; what is unique to it in this
    ///         process stands behind the last ``#``.
    ///     parameters: Name, kind (`inspect.Parameter.kind`), whether it has a default, default.
    ///     has_receiver: Whether it is a method.
    ///     key_function: From the arguments to what is keyed; None: the arguments.
    ///     cache: Cache to use; None: the default one.
    ///     miss: What `probe` returns on a miss.
    #[new]
    #[pyo3(signature = (name, parameters, has_receiver, key_function, cache, miss))]
    fn new(
        name: &str,
        parameters: Vec<(Py<PyString>, u8, bool, Py<PyAny>)>,
        has_receiver: bool,
        key_function: Option<Py<PyAny>>,
        cache: Option<&Bound<'_, CacheCore>>,
        miss: Py<PyAny>,
    ) -> PyResult<Self> {
        digest::init()?;
        let family = name.rsplit_once('#').map_or(name, |(family, _)| family);
        let mut calls = Self {
            prefix: prefix_of(name, b":"),
            family: family.to_owned(),
            family_prefix: if family == name {
                prefix_of(name, b":")
            } else {
                prefix_of(&format!("{family}#"), b"")
            },
            parameters: DroppedGuarded::new(Vec::new()),
            plain_parameters: None,
            takes_more_by_position: false,
            takes_more_by_name: false,
            has_receiver,
            receivers: Receivers::default(),
            key_function: DroppedGuarded::new(key_function),
            cache: DroppedGuarded::new(cache.map(|cache| cache.clone().unbind())),
            miss,
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        };
        let mut named = Vec::new();
        for (name, kind, has_default, default) in parameters {
            // The numbers of `inspect.Parameter.kind`.
            let (by_position, by_name) = match kind {
                0 => (true, false),
                1 => (true, true),
                3 => (false, true),
                2 => {
                    calls.takes_more_by_position = true;
                    continue;
                }
                _ => {
                    calls.takes_more_by_name = true;
                    continue;
                }
            };
            let default = has_default.then_some(default);
            named.push(Parameter { name, by_position, by_name, default });
        }
        let plain =
            calls.key_function.is_none() && named.iter().all(|parameter| parameter.by_position);
        calls.plain_parameters = plain.then_some(named.len());
        calls.parameters = DroppedGuarded::new(named);
        Ok(calls)
    }

    /// Name a call.
    ///
    /// Returns:
    ///     Its key, and the tag that invalidates it in every spelling of its ids; or None if the
    ///     arguments do not fit the function.
    #[pyo3(signature = (args, kwargs))]
    fn describe<'py>(
        &self,
        py: Python<'py>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Option<(Bound<'py, PyAny>, String)>> {
        let (mut given, mut merged) = (Encoded::new(), Encoded::new());
        if !self.encode(py, args, kwargs, Spelling::AsGiven, &mut given)?
            || !self.encode(py, args, kwargs, Spelling::Merged, &mut merged)?
        {
            return Ok(None);
        }
        let key = self.key(&digest::hex(digest::keyed(&given)?));
        // Not keyed with the secret of this process, and without what only this process knows:
        // other workers must name the call alike. It is only ever used to find a slot, and is
        // stored nowhere.
        let mut hasher = SipHasher24::new();
        hasher.write(self.family.as_bytes());
        hasher.write(&merged);
        let tag = format!("call:{:032x}", hasher.finish128().as_u128());
        Ok(Some((text::to_python(py, &key)?, tag)))
    }

    /// Pattern of all keys of this function.
    #[getter]
    fn pattern<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        text::to_python(py, &[&self.prefix, &b"*"[..]].concat())
    }

    /// Pattern of all keys of functions that bear its name, whatever their number: in another
    /// process, this function may have been defined earlier or later.
    #[getter]
    fn family_pattern<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        text::to_python(py, &[&self.family_prefix, &b"*"[..]].concat())
    }

    /// Lookups answered from memory, and those that were not.
    #[getter]
    fn counts(&self) -> (u64, u64) {
        (self.hits.load(Ordering::Relaxed), self.misses.load(Ordering::Relaxed))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&*self.cache)?;
        visit.call(&*self.key_function)?;
        visit.call(&self.miss)?;
        self.parameters.iter().try_for_each(|parameter| visit.call(&parameter.default))
    }
}

impl CachedCalls {
    /// Looks a call up whose arguments are one for each parameter; see [`Self::takes_just`].
    #[inline]
    pub(super) fn find_positional<'py>(
        &self,
        py: Python<'py>,
        args: &[Borrowed<'_, 'py, PyAny>],
    ) -> Result<Option<Bound<'py, PyAny>>, Raised> {
        let mut encoded = Encoded::new();
        for (at, value) in args.iter().enumerate() {
            self.push_argument(at, value, Spelling::AsGiven, &mut encoded)?;
        }
        self.find_encoded(py, &encoded)
    }

    /// Whether so many arguments by position are one for each parameter, and no more is to be known.
    #[inline]
    pub(super) fn takes_just(&self, count: usize) -> bool {
        self.plain_parameters == Some(count)
    }

    #[inline]
    fn push_argument(
        &self,
        at: usize,
        value: &Bound<'_, PyAny>,
        spelling: Spelling,
        out: &mut Encoded,
    ) -> PyResult<()> {
        if at == 0 && self.has_receiver {
            match spelling {
                Spelling::AsGiven => self.receivers.push(value, out),
                // Which object of another process it is, nobody can say: it is all of them.
                Spelling::Merged => Ok(()),
            }
        } else {
            call_key::push(value, spelling, out)
        }
    }

    /// What stands for a miss.
    pub(super) fn miss<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        self.miss.bind(py).clone()
    }

    /// Looks a call up. `None`: not there, or the arguments do not fit the function.
    pub(super) fn find<'py>(
        &self,
        py: Python<'py>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> Result<Option<Bound<'py, PyAny>>, Raised> {
        let mut encoded = Encoded::new();
        if kwargs.is_none_or(|kwargs| kwargs.is_empty()) && self.takes_just(args.len()) {
            for (at, value) in args.iter_borrowed().enumerate() {
                self.push_argument(at, &value, Spelling::AsGiven, &mut encoded)?;
            }
        } else if !self.encode(py, args, kwargs, Spelling::AsGiven, &mut encoded)? {
            return Ok(None);
        }
        self.find_encoded(py, &encoded)
    }

    #[inline]
    fn find_encoded<'py>(
        &self,
        py: Python<'py>,
        encoded: &[u8],
    ) -> Result<Option<Bound<'py, PyAny>>, Raised> {
        let digest = digest::keyed(encoded)?;
        // Nothing that runs Python code may happen with the default cache locked: whoever wants to
        // replace it would wait with the GIL for somebody who waits for the GIL.
        let mut otherwise = Otherwise::Miss;
        let found = match &*self.cache {
            Some(cache) => self.look(py, &cache.get().inner, digest, &mut otherwise),
            None => match &*DEFAULT.read() {
                Some(cache) => self.look(py, &cache.get().inner, digest, &mut otherwise),
                None => NOTHING,
            },
        };
        let found = lookup::answer(py, found, otherwise)?;
        let counter = if found.is_some() { &self.hits } else { &self.misses };
        // As in the latency sampler: a lost count is better than a contended cache line.
        counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        Ok(found)
    }

    /// Looks a call up by the digest of its arguments. Runs no Python code.
    #[inline(always)]
    fn look(&self, py: Python<'_>, inner: &Inner, digest: Digest, other: &mut Otherwise) -> Found {
        let hex = digest::hex(digest);
        let hint = Hint::of_parts([self.prefix.as_ptr() as u64, digest::gist(digest)]);
        let found = lookup::recall_composite(py, inner, hint, |key| {
            key.split_last_chunk()
                .is_some_and(|(prefix, last)| *last == hex && *prefix == *self.prefix)
        });
        if !found.is_nothing() {
            return found;
        }
        let key = self.key(&hex);
        lookup::look_composite(py, inner, &key, Some(hint), other)
    }

    /// The key of a call.
    fn key(&self, hex: &[u8]) -> Text {
        let mut key = Text::from_slice(&self.prefix);
        key.extend_from_slice(hex);
        key
    }

    /// Writes the arguments down in the order of the parameters, however they were passed.
    /// False: they do not fit, and calling the function will say so.
    fn encode<'py>(
        &self,
        py: Python<'py>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
        spelling: Spelling,
        out: &mut Encoded,
    ) -> PyResult<bool> {
        if let Some(key_function) = &*self.key_function {
            let _guard = ExitGuard::hold();
            let key = key_function.bind(py).call(args, kwargs)?;
            call_key::push(&key, spelling, out)?;
            return Ok(true);
        }
        let kwargs = kwargs.filter(|kwargs| !kwargs.is_empty());
        let (mut next, mut named) = (0, 0);
        for parameter in self.parameters.iter() {
            let from_name = match kwargs {
                Some(kwargs) if parameter.by_name => kwargs.get_item(&parameter.name)?,
                _ => None,
            };
            named += usize::from(from_name.is_some());
            if parameter.by_position && next < args.len() {
                if from_name.is_some() {
                    return Ok(false);
                }
                let value = args.get_borrowed_item(next)?;
                self.push_argument(next, &value, spelling, out)?;
                next += 1;
                continue;
            }
            match (&from_name, &parameter.default) {
                (Some(value), _) => call_key::push(value, spelling, out)?,
                (None, Some(default)) => call_key::push(default.bind(py), spelling, out)?,
                (None, None) => return Ok(false),
            }
        }
        if next < args.len() {
            if !self.takes_more_by_position {
                return Ok(false);
            }
            out.push(b'*');
            for at in next..args.len() {
                call_key::push(&*args.get_borrowed_item(at)?, spelling, out)?;
            }
        }
        if let Some(kwargs) = kwargs
            && kwargs.len() > named
        {
            if !self.takes_more_by_name {
                return Ok(false);
            }
            self.encode_more_names(kwargs, spelling, out)?;
        }
        Ok(true)
    }

    fn encode_more_names(
        &self,
        kwargs: &Bound<'_, PyDict>,
        spelling: Spelling,
        out: &mut Encoded,
    ) -> PyResult<()> {
        let mut more = Vec::new();
        for (name, value) in kwargs.copy()? {
            let name = name.cast_into::<PyString>()?;
            let known = |parameter: &Parameter| {
                parameter.by_name
                    && parameter.name.bind(name.py()).as_any().eq(&name).unwrap_or(false)
            };
            if !self.parameters.iter().any(known) {
                more.push((text::utf8(&name)?.into_owned(), value));
            }
        }
        more.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        for (name, value) in more {
            out.push(b'=');
            out.extend_from_slice(&(name.len() as u64).to_le_bytes());
            out.extend_from_slice(&name);
            call_key::push(&value, spelling, out)?;
        }
        Ok(())
    }
}

/// A decorated function that is not a coroutine function. Calls like the function itself.
///
/// Attributes belong to a subclass in Python: those of a class written here would not be seen by
/// the garbage collector.
#[pyclass(module = "velro_cache._engine", frozen, subclass)]
#[derive(Debug)]
pub(super) struct CachedFunction {
    entry: vectorcall::Entry,
    /// `None` in the sample that shows where `entry` lies.
    parts: DroppedGuarded<Option<(Py<CachedCalls>, Py<PyAny>)>>,
}

impl CachedFunction {
    pub(super) fn sample(py: Python<'_>) -> PyResult<Bound<'_, Self>> {
        Bound::new(py, Self { entry: vectorcall::Entry::new(), parts: DroppedGuarded::new(None) })
    }

    pub(super) fn entry(&self) -> &vectorcall::Entry {
        &self.entry
    }

    #[inline]
    pub(super) fn parts(&self) -> PyResult<(&CachedCalls, &Py<PyAny>)> {
        match &*self.parts {
            Some((calls, load)) => Ok((calls.get(), load)),
            None => Err(PyTypeError::new_err("not a function")),
        }
    }
}

#[pymethods]
impl CachedFunction {
    /// Args:
    ///     calls: Shape of the function.
    ///     load: Called with the arguments (a tuple and a dict) on a miss; its result is returned.
    #[new]
    fn new(calls: Py<CachedCalls>, load: Py<PyAny>) -> Self {
        Self { entry: vectorcall::Entry::new(), parts: DroppedGuarded::new(Some((calls, load))) }
    }

    #[pyo3(signature = (*args, **kwargs))]
    pub(super) fn __call__<'py>(
        &self,
        py: Python<'py>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (calls, load) = self.parts()?;
        match calls.find(py, args, kwargs).map_err(|Raised| PyErr::fetch(py))? {
            Some(value) => Ok(value),
            None => {
                let _guard = ExitGuard::hold();
                let kwargs = kwargs.cloned().unwrap_or_else(|| PyDict::new(py));
                load.bind(py).call1((args, kwargs))
            }
        }
    }

    fn __get__<'py>(
        slf: Bound<'py, Self>,
        instance: &Bound<'py, PyAny>,
        _owner: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if instance.is_none() {
            return Ok(slf.into_any());
        }
        let py = slf.py();
        py.import(intern!(py, "types"))?.getattr(intern!(py, "MethodType"))?.call1((slf, instance))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.parts.iter().try_for_each(|(calls, load)| {
            visit.call(calls)?;
            visit.call(load)
        })
    }
}
