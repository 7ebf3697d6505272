//! What is invalidated at the end of a `with` block.
//!
//! Compiled, because no signal can come between the end of the block and the invalidation then: an
//! exception that a signal handler raises is raised between two steps of Python code, and there is
//! none. The other half, waiting and arguments, is `revoking.py`.

use super::cache::CacheCore;
use super::errors::InvalidTagError;
use super::exit_guard::{DroppedGuarded, ExitGuard};
use super::spoken::Said;
use super::text;
use crate::sync::Mutex;
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString};
use pyo3::{PyTraverseError, PyVisit, intern};

/// Tags of one invalidation.
const TAGS_AT_ONCE: usize = 64;

/// The compiled half of ``Revocation``; use ``OptimizedCacheManager.revoking()``.
#[pyclass(module = "velro_cache._engine", subclass, frozen)]
#[derive(Debug)]
pub(super) struct RevocationCore {
    cache: DroppedGuarded<Py<CacheCore>>,
    because: Because,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    phase: Phase,
    names: Names,
    /// Whether anything was said about what to invalidate, be it "nothing".
    was_told: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Phase {
    #[default]
    New,
    Entered,
    Over,
}

/// Why, and who asks for it.
#[derive(Debug)]
struct Because {
    reason: Option<String>,
    actor: Option<String>,
}

/// Texts and ids, as they were given.
#[derive(Debug, Default)]
struct Names {
    tags: Vec<Py<PyAny>>,
    keys: Vec<Py<PyAny>>,
    patterns: Vec<Py<PyAny>>,
    users: Vec<Py<PyAny>>,
    generations: Vec<Py<PyAny>>,
}

impl Because {
    /// As arguments; `None` where nothing was said.
    fn said<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        if self.reason.is_none() && self.actor.is_none() {
            return Ok(None);
        }
        let said = PyDict::new(py);
        said.set_item(intern!(py, "reason"), self.reason.as_deref())?;
        said.set_item(intern!(py, "actor"), self.actor.as_deref())?;
        Ok(Some(said))
    }
}

impl Names {
    fn append(&mut self, mut other: Self) {
        self.tags.append(&mut other.tags);
        self.keys.append(&mut other.keys);
        self.patterns.append(&mut other.patterns);
        self.users.append(&mut other.users);
        self.generations.append(&mut other.generations);
    }

    fn is_empty(&self) -> bool {
        [&self.tags, &self.keys, &self.patterns, &self.users, &self.generations]
            .iter()
            .all(|names| names.is_empty())
    }

    /// Gives all of it to a method of the cache, in as few calls as it takes.
    fn hand_to<'py>(
        &self,
        py: Python<'py>,
        cache: &Py<CacheCore>,
        method: &Bound<'py, PyString>,
        because: Option<&Bound<'py, PyDict>>,
        mut then: impl FnMut(PyResult<Bound<'py, PyAny>>) -> PyResult<()>,
    ) -> PyResult<()> {
        let list = |names: &[Py<PyAny>]| PyList::new(py, names);
        let (first, rest) = self.tags.split_at(self.tags.len().min(TAGS_AT_ONCE));
        let others = [&self.keys, &self.patterns, &self.users, &self.generations];
        let [keys, patterns, users, generations] = others.map(|names| list(names));
        let all = (list(first)?, keys?, patterns?, users?, generations?);
        then(cache.bind(py).call_method(method, all, because))?;
        for tags in rest.chunks(TAGS_AT_ONCE) {
            let nothing = PyList::empty(py);
            let more = (list(tags)?, &nothing, &nothing, &nothing, &nothing);
            then(cache.bind(py).call_method(method, more, because))?;
        }
        Ok(())
    }
}

#[pymethods]
impl RevocationCore {
    #[new]
    #[pyo3(signature = (cache, reason=None, actor=None))]
    fn new(cache: Py<CacheCore>, reason: Said<'_, '_>, actor: Said<'_, '_>) -> Self {
        let text = |said: Said<'_, '_>| said.map(|said| said.to_string_lossy().into_owned());
        let because = Because { reason: text(reason), actor: text(actor) };
        Self { cache: DroppedGuarded::new(cache), because, state: Mutex::default() }
    }

    /// Name what is to be invalidated, all of it or nothing. What is None was not given.
    fn _name(
        &self,
        tags: &Bound<'_, PyAny>,
        user_id: &Bound<'_, PyAny>,
        generation_id: &Bound<'_, PyAny>,
        keys: &Bound<'_, PyAny>,
        patterns: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let _guard = ExitGuard::hold();
        let py = tags.py();
        let one = |id: &Bound<'_, PyAny>| -> Vec<Py<PyAny>> {
            if id.is_none() { Vec::new() } else { vec![id.clone().unbind()] }
        };
        let names = Names {
            tags: several("tags", tags)?,
            keys: several("keys", keys)?,
            patterns: several("patterns", patterns)?,
            users: one(user_id),
            generations: one(generation_id),
        };
        names.hand_to(py, &self.cache, intern!(py, "_check_names"), None, |done| done.map(drop))?;
        let was_told = [tags, user_id, generation_id, keys, patterns];
        let was_told = was_told.iter().any(|given| !given.is_none());
        let mut state = self.state.lock();
        if state.phase == Phase::Over {
            return Err(PyRuntimeError::new_err(
                "this block has ended, and its invalidation with it; open another one",
            ));
        }
        state.was_told |= was_told;
        state.names.append(names);
        Ok(())
    }

    fn __enter__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, Self>> {
        let this = slf.get();
        this.cache.get().inner.check_open()?;
        let mut state = this.state.lock();
        if state.phase != Phase::New {
            return Err(PyRuntimeError::new_err(
                "this block was entered before; call revoking() again for another one",
            ));
        }
        state.phase = Phase::Entered;
        drop(state);
        Ok(slf)
    }

    fn __exit__<'py>(
        slf: &Bound<'py, Self>,
        _kind: &Bound<'py, PyAny>,
        error: &Bound<'py, PyAny>,
        _traceback: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::leave(slf, intern!(slf.py(), "_left"), error)
    }

    fn __aexit__<'py>(
        slf: &Bound<'py, Self>,
        _kind: &Bound<'py, PyAny>,
        error: &Bound<'py, PyAny>,
        _traceback: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::leave(slf, intern!(slf.py(), "_aleft"), error)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&*self.cache)
    }
}

impl RevocationCore {
    /// Invalidates on this host, and has it published. What is left to do then is up to Python,
    /// which is told how the block ended, whether anything was named, how many entries were
    /// dropped, the ticket of what was published, and the error that came up meanwhile.
    fn leave<'py>(
        slf: &Bound<'py, Self>,
        then: &Bound<'py, PyString>,
        error: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let _guard = ExitGuard::hold();
        let py = slf.py();
        let this = slf.get();
        let (names, was_told) = {
            let mut state = this.state.lock();
            state.phase = Phase::Over;
            (std::mem::take(&mut state.names), state.was_told)
        };
        let (mut dropped, mut ticket) = (0, 0);
        let mut failure = None;
        if !names.is_empty() {
            // What was said about it matters less than that it is done.
            let because = this.because.said(py).unwrap_or_default();
            let method = intern!(py, "_invalidate");
            let done = names.hand_to(py, &this.cache, method, because.as_ref(), |answer| {
                match answer.and_then(|answer| answer.extract::<(usize, u64)>()) {
                    // What was published later is there later.
                    Ok((more, last)) => (dropped, ticket) = (dropped + more, last.max(ticket)),
                    // The rest is invalidated all the same.
                    Err(error) => failure = failure.take().or(Some(error)),
                }
                Ok(())
            });
            failure = failure.or(done.err());
        }
        slf.call_method1(then, (error, was_told, dropped, ticket, failure))
    }
}

/// The members of a list, tuple, set or the like; none of None. A bare text is not several.
fn several(what: &str, texts: &Bound<'_, PyAny>) -> PyResult<Vec<Py<PyAny>>> {
    if texts.is_none() {
        return Ok(Vec::new());
    }
    if texts.is_instance_of::<PyString>() || texts.is_instance_of::<PyBytes>() {
        return Err(not_several(what, "; for a single one write [text]"));
    }
    let Ok(all) = texts.try_iter() else {
        return Err(not_several(what, &format!(", not {}", text::type_name(texts))));
    };
    all.map(|text| text.map(Bound::unbind)).collect()
}

fn not_several(what: &str, but: &str) -> PyErr {
    let message = format!("{what} must be a list, tuple or set of texts{but}");
    if what == "tags" { InvalidTagError::new_err(message) } else { PyTypeError::new_err(message) }
}
