//! What is to be invalidated, as the body of an entry of a log.

use super::errors::InvalidTagError;
use super::exit_guard::ExitGuard;
use super::text;
use crate::log::Event;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

/// The body of an entry of an invalidation log.
///
/// Args:
///     tags: Tags, as for ``invalidate_by_tags``; any number.
///     keys: Whole keys.
///     patterns: Wildcards, as for ``invalidate_by_pattern``.
///     user_id: As for ``invalidate_user_data``.
///     generation_id: As for ``invalidate_generation_data``.
///     all: Everything.
///
/// Returns:
///     JSON. It says "everything" where the names would be too long for one entry, or are not
///     Unicode.
///
/// Raises:
///     InvalidTagError: A tag is none, or nothing is named.
///     InvalidKeyError: A key, a pattern or an id is none.
#[pyfunction]
#[pyo3(signature = (
    tags = None, keys = None, patterns = None, user_id = None, generation_id = None, all = false,
))]
pub(super) fn event_body<'py>(
    py: Python<'py>,
    tags: Option<&Bound<'py, PyAny>>,
    keys: Option<&Bound<'py, PyAny>>,
    patterns: Option<&Bound<'py, PyAny>>,
    user_id: Option<&Bound<'py, PyAny>>,
    generation_id: Option<&Bound<'py, PyAny>>,
    all: bool,
) -> PyResult<Bound<'py, PyBytes>> {
    let mut names = Names { event: Event { all, ..Event::default() }, unreadable: false };
    for tag in each("tags", tags)? {
        let tag = text::tag(&tag)?.into_owned();
        names.push(tag, |event| &mut event.tags);
    }
    for (kind, id) in [("user", user_id), ("generation", generation_id)] {
        if let Some(id) = id {
            names.push(text::tag_of_id(kind, id)?, |event| &mut event.tags);
        }
    }
    for key in each("keys", keys)? {
        let key = text::key(&key)?.into_owned();
        names.push(key, |event| &mut event.keys);
    }
    for pattern in each("patterns", patterns)? {
        let pattern = text::key(&pattern)?.into_owned();
        names.push(pattern, |event| &mut event.patterns);
    }
    if names.unreadable {
        names.event.all = true;
    }
    if names.event.is_empty() {
        return Err(InvalidTagError::new_err(
            "nothing is named that is to be invalidated; for everything write all=True",
        ));
    }
    Ok(PyBytes::new(py, &names.event.encode()))
}

struct Names {
    event: Event,
    /// A name has lone surrogates, which JSON cannot hold.
    unreadable: bool,
}

impl Names {
    fn push(&mut self, name: Vec<u8>, list: impl Fn(&mut Event) -> &mut Vec<String>) {
        match String::from_utf8(name) {
            Ok(name) => list(&mut self.event).push(name),
            Err(_) => self.unreadable = true,
        }
    }
}

/// The members of an iterable; not the letters of a text.
fn each<'py>(what: &str, names: Option<&Bound<'py, PyAny>>) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let Some(names) = names else { return Ok(Vec::new()) };
    let _guard = ExitGuard::hold();
    let bare = names.is_instance_of::<PyString>() || names.is_instance_of::<PyBytes>();
    match names.try_iter() {
        Ok(members) if !bare => members.collect(),
        _ => Err(InvalidTagError::new_err(format!(
            "{what} must be a list, tuple or set of texts, not {}",
            text::type_name(names)
        ))),
    }
}
