//! Python texts and ids as the bytes the engine works on.

use super::errors::{InvalidKeyError, InvalidTagError};
use super::exit_guard::ExitGuard;
use super::{key, uuid};
use crate::engine::analytics::tag_names::TagNames;
use crate::engine::ids::{self, Text};
use crate::engine::keys;
use crate::invalidation::slots::SlotList;
use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyInt, PyList, PyString, PyTuple};
use std::borrow::Cow;

/// Longest key, in bytes. Longer ones are nearly always a value in the wrong place, or an attack
/// on memory.
pub(super) const MOST_KEY_BYTES: usize = 8192;

/// Longest id, in bytes before escaping, so that no key of ours exceeds the bound on keys.
const MOST_ID_BYTES: usize = 1024;

/// Longest tag, in bytes.
const MOST_TAG_BYTES: usize = 2048;

/// Most tags of one entry.
const MOST_TAGS: usize = 64;

/// A text as UTF-8; lone surrogates are encoded like any other code point.
pub(super) fn utf8<'a>(text: &'a Bound<'_, PyString>) -> PyResult<Cow<'a, [u8]>> {
    match text.to_str() {
        Ok(valid) => Ok(Cow::Borrowed(valid.as_bytes())),
        Err(error) => {
            // Dropped where PyO3 knows that we are attached; elsewhere it would pile up.
            Python::attach(|_| drop(error));
            // That of `str`: a class of its own may have another `encode`.
            let class = text.py().get_type::<PyString>();
            let encode = intern!(text.py(), "encode");
            let bytes = class.call_method1(encode, (text, "utf-8", "surrogatepass"))?;
            Ok(Cow::Owned(bytes.cast_into::<PyBytes>()?.as_bytes().to_vec()))
        }
    }
}

/// The inverse of [`utf8`].
pub(super) fn to_python<'py>(py: Python<'py>, text: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    match std::str::from_utf8(text) {
        Ok(valid) => Ok(PyString::new(py, valid).into_any()),
        Err(_) => {
            PyBytes::new(py, text).call_method1(intern!(py, "decode"), ("utf-8", "surrogatepass"))
        }
    }
}

/// The bytes of a key.
pub(super) fn key<'a>(object: &'a Bound<'_, PyAny>) -> PyResult<Cow<'a, [u8]>> {
    let Ok(text) = object.cast::<PyString>() else { return Err(not_a_key(object)) };
    let bytes = utf8(text)?;
    check_key(&bytes)?;
    Ok(bytes)
}

/// Refuses a key that is empty or too long.
pub(super) fn check_key(key: &[u8]) -> PyResult<()> {
    if key.is_empty() {
        return Err(InvalidKeyError::new_err("a key must not be empty"));
    }
    if key.len() > MOST_KEY_BYTES {
        let len = key.len();
        return Err(InvalidKeyError::new_err(format!(
            "a key may have at most {MOST_KEY_BYTES} bytes, this one has {len}; hash long parts"
        )));
    }
    Ok(())
}

#[cold]
pub(super) fn not_a_key(key: &Bound<'_, PyAny>) -> PyErr {
    PyTypeError::new_err(format!("a key must be a str, not {}", type_name(key)))
}

/// Appends an id (a `str`, a `UUID` or an `int`) to a key.
pub(super) fn push_id(name: &str, id: &Bound<'_, PyAny>, out: &mut Text) -> PyResult<()> {
    if let Some(bytes) = key::ascii(id.as_borrowed()) {
        check_id(name, bytes)?;
        ids::push_id(bytes, out);
        return Ok(());
    }
    if let Ok(text) = id.cast::<PyString>() {
        let bytes = utf8(text)?;
        check_id(name, &bytes)?;
        ids::push_id(&bytes, out);
        return Ok(());
    }
    if let Some(bits) = uuid::bits(id)? {
        ids::push_uuid(bits, out);
        return Ok(());
    }
    let digits = id_digits(name, id)?;
    ids::push_id(digits.as_bytes(), out);
    Ok(())
}

/// The tag `kind:id`, as it must be written for `invalidate_by_tags`.
pub(super) fn tag_of_id(kind: &str, id: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    let mut tag = kind.as_bytes().to_vec();
    tag.push(b':');
    if let Ok(text) = id.cast::<PyString>() {
        let bytes = utf8(text)?;
        check_id(kind, &bytes)?;
        tag.extend_from_slice(&bytes);
    } else if let Some(bits) = uuid::bits(id)? {
        let mut text = Text::new();
        ids::push_uuid(bits, &mut text);
        tag.extend_from_slice(&text);
    } else {
        tag.extend_from_slice(id_digits(kind, id)?.as_bytes());
    }
    Ok(tag)
}

/// Whether an id may have so many bytes.
#[inline]
pub(super) fn is_length_of_id(bytes: usize) -> bool {
    (1..=MOST_ID_BYTES).contains(&bytes)
}

fn check_id(name: &str, id: &[u8]) -> PyResult<()> {
    if is_length_of_id(id.len()) {
        return Ok(());
    }
    if id.is_empty() {
        return Err(InvalidKeyError::new_err(format!("{name} must not be empty")));
    }
    Err(InvalidKeyError::new_err(format!(
        "{name} may have at most {MOST_ID_BYTES} bytes, this one has {}",
        id.len()
    )))
}

/// An integer id in decimal. `True` is an `int` to Python and surely no id.
fn id_digits(name: &str, id: &Bound<'_, PyAny>) -> PyResult<String> {
    if !id.is_exact_instance_of::<PyInt>() {
        return Err(PyTypeError::new_err(format!(
            "{name} must be a str, a UUID or an int, not {}",
            type_name(id)
        )));
    }
    match id.extract::<i128>() {
        Ok(number) => Ok(number.to_string()),
        Err(_) => Err(InvalidKeyError::new_err(format!("{name} is too large for an id"))),
    }
}

/// Adds the slots of tags as callers write them.
#[inline]
pub(super) fn push_tag_slots(tags: &Bound<'_, PyAny>, out: &mut SlotList) -> PyResult<()> {
    for_each_tag(tags, &mut |tag| keys::push_once(keys::slot_of_tag(tag), out))
}

/// The same for tags of an entry to be stored, whose names may be asked for later.
///
/// Apart, so that an entry without tags does not pay for it.
#[inline(never)]
pub(super) fn push_named_slots(
    tags: &Bound<'_, PyAny>,
    names: &TagNames,
    out: &mut SlotList,
) -> PyResult<()> {
    for_each_tag(tags, &mut |tag| {
        let slot = keys::slot_of_tag(tag);
        names.learn(slot, tag);
        keys::push_once(slot, out);
    })
}

/// Goes through tags as callers write them: any iterable of texts, but not a bare text, which
/// would be taken for one tag per letter.
pub(super) fn for_each_tag(tags: &Bound<'_, PyAny>, then: &mut impl FnMut(&[u8])) -> PyResult<()> {
    if let Ok(tags) = tags.cast_exact::<PyTuple>() {
        return tags.iter_borrowed().enumerate().try_for_each(|(at, tag)| with_tag(at, &tag, then));
    }
    if let Ok(tags) = tags.cast_exact::<PyList>() {
        return tags.iter().enumerate().try_for_each(|(at, tag)| with_tag(at, &tag, then));
    }
    if tags.is_instance_of::<PyString>() || tags.is_instance_of::<PyBytes>() {
        return Err(InvalidTagError::new_err(
            "tags must be a list, tuple or set of texts; for a single tag write [tag]",
        ));
    }
    let _guard = ExitGuard::hold();
    let Ok(all) = tags.try_iter() else {
        return Err(InvalidTagError::new_err(format!(
            "tags must be a list, tuple or set of texts, not {}",
            type_name(tags)
        )));
    };
    all.enumerate().try_for_each(|(at, tag)| with_tag(at, &tag?, then))
}

/// Runs something with tag number `at`.
#[inline]
fn with_tag(at: usize, tag: &Bound<'_, PyAny>, then: &mut impl FnMut(&[u8])) -> PyResult<()> {
    if at < MOST_TAGS
        && let Some(bytes) = key::ascii(tag.as_borrowed())
        && (1..=MOST_TAG_BYTES).contains(&bytes.len())
    {
        then(bytes);
        return Ok(());
    }
    with_unusual_tag(at, tag, then)
}

#[cold]
fn with_unusual_tag(
    at: usize,
    tag: &Bound<'_, PyAny>,
    then: &mut impl FnMut(&[u8]),
) -> PyResult<()> {
    if at >= MOST_TAGS {
        return Err(InvalidTagError::new_err(format!("at most {MOST_TAGS} tags per call")));
    }
    then(&self::tag(tag)?);
    Ok(())
}

/// The bytes of a tag.
pub(super) fn tag<'a>(tag: &'a Bound<'_, PyAny>) -> PyResult<Cow<'a, [u8]>> {
    let Ok(text) = tag.cast::<PyString>() else {
        return Err(InvalidTagError::new_err(format!(
            "a tag must be a str, not {}",
            type_name(tag)
        )));
    };
    let bytes = utf8(text)?;
    if bytes.is_empty() || bytes.len() > MOST_TAG_BYTES {
        return Err(InvalidTagError::new_err(format!(
            "a tag must have 1 to {MOST_TAG_BYTES} bytes, this one has {}",
            bytes.len()
        )));
    }
    Ok(bytes)
}

/// Name of an object's class, for messages; never its value, which may be a secret.
pub(super) fn type_name(object: &Bound<'_, PyAny>) -> String {
    object.get_type().name().map_or_else(|_| "an object".to_owned(), |name| name.to_string())
}
