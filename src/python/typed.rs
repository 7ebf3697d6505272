//! Keys by kind: the typed lookups, and `generate_auth_key`.

use super::inner::Inner;
use super::lookup::{self, Otherwise};
use super::memo::{self, Hint};
use super::raw::{Argument, Raised};
use super::{key, text, uuid};
use crate::engine::ids::{self, Text, UUID_CHARACTERS};
use crate::engine::keys::{KINDS, KeyKind};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use sha2::{Digest, Sha256};

/// Appends the hash of a UUID as it was written: 32 hexadecimal digits of SHA-256. What is to
/// be validated may be anything, so it stands in the key as a hash of fixed length.
pub(super) fn push_uuid_hash(object: &Bound<'_, PyAny>, key: &mut Text) -> PyResult<()> {
    let digest = if let Ok(text) = object.cast::<PyString>() {
        Sha256::digest(text::utf8(text)?)
    } else if let Some(bits) = uuid::bits(object)? {
        let mut text = Text::new();
        ids::push_uuid(bits, &mut text);
        Sha256::digest(&text)
    } else {
        return Err(PyTypeError::new_err(format!(
            "uuid_str must be a str or a UUID, not {}",
            text::type_name(object)
        )));
    };
    for byte in &digest[..16] {
        key.extend_from_slice(format!("{byte:02x}").as_bytes());
    }
    Ok(())
}

/// Names of the parameters of a typed helper: those of the ids, except that a UUID to validate
/// is given as it came and hashed here.
pub(super) fn parameters(kind: &KeyKind) -> [&'static str; 2] {
    let name = |at: usize| match kind.ids.get(at) {
        Some(&"uuid_hash") => "uuid_str",
        Some(name) => name,
        None => "",
    };
    [name(0), name(1)]
}

/// Appends one id of a typed key.
pub(super) fn push_id(
    kind: &KeyKind,
    at: usize,
    id: &Bound<'_, PyAny>,
    key: &mut Text,
) -> PyResult<()> {
    match kind.ids[at] {
        "uuid_hash" => push_uuid_hash(id, key),
        name => text::push_id(name, id, key),
    }
}

/// Looks an entry up by its kind and ids. `None`: a miss.
#[inline(always)]
pub(super) fn find<'py, const KIND: usize>(
    inner: &Inner,
    ids: [Option<Argument<'_, 'py>>; 2],
) -> Result<Option<Bound<'py, PyAny>>, Raised> {
    let kind = const { KINDS[KIND] };
    let [Some(first), second] = ids else { return Err(Raised) };
    let py = first.py();
    let hint = match (PlainId::new(kind, 0, first), second) {
        (Some(one), None) => Some((one, None)),
        (Some(one), Some(two)) => PlainId::new(kind, 1, two).map(|two| (one, Some(two))),
        (None, _) => None,
    };
    let hint = match &hint {
        Some((one, two)) => {
            let (one, two) = (one.bytes(), two.as_ref().map_or(&b""[..], PlainId::bytes));
            let hint = Hint::of_parts([memo::gist(one), memo::gist(two)]);
            let found = lookup::recall_composite(py, inner, hint, |key| {
                is_made_of::<KIND>(key, [one, two])
            });
            if let Some(value) = found.take(py) {
                return value.map(Some);
            }
            Some(hint)
        }
        None => None,
    };
    let mut key = Text::new();
    for (at, id) in [Some(first), second].iter().flatten().enumerate() {
        key.extend_from_slice(kind.literals[at].as_bytes());
        push_id(kind, at, id, &mut key)?;
    }
    key.extend_from_slice(kind.literals[kind.ids.len()].as_bytes());
    let mut otherwise = Otherwise::Miss;
    let found = lookup::look_composite(py, inner, &key, hint, &mut otherwise);
    lookup::answer(py, found, otherwise)
}

/// An id that stands in a key as it is.
enum PlainId<'a> {
    Text(&'a [u8]),
    Uuid([u8; UUID_CHARACTERS]),
}

impl<'a> PlainId<'a> {
    /// `None` for any other id.
    #[inline(always)]
    fn new(kind: &KeyKind, at: usize, id: Argument<'a, '_>) -> Option<Self> {
        if kind.ids[at] == "uuid_hash" {
            return None;
        }
        match key::ascii(id) {
            Some(text) => (text::is_length_of_id(text.len()) && ids::is_plain(text))
                .then_some(Self::Text(text)),
            None => uuid::exact_bits(&id).map(|bits| Self::Uuid(ids::uuid_text(bits))),
        }
    }

    #[inline(always)]
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text,
            Self::Uuid(text) => text,
        }
    }
}

/// Whether a key is just the one that a kind makes of these plain ids. The parts that are known
/// when this is compiled need no loop, and no call to be compared.
#[inline(always)]
fn is_made_of<const KIND: usize>(key: &[u8], ids: [&[u8]; 2]) -> bool {
    let literals = const { KINDS[KIND].literals };
    let rest = after(key, literals[0], ids[0]);
    match literals {
        [_, last] => rest == Some(last.as_bytes()),
        [_, middle, last] => {
            rest.and_then(|rest| after(rest, middle, ids[1])) == Some(last.as_bytes())
        }
        _ => false,
    }
}

/// What follows a literal and an id.
#[inline(always)]
fn after<'a>(key: &'a [u8], literal: &str, id: &[u8]) -> Option<&'a [u8]> {
    let (segment, rest) = key.strip_prefix(literal.as_bytes())?.split_at_checked(id.len())?;
    is_same_id(segment, id).then_some(rest)
}

/// Two slices of one length. That of a UUID is the usual one, and known when this is compiled.
#[inline(always)]
fn is_same_id(one: &[u8], other: &[u8]) -> bool {
    match (one.first_chunk::<UUID_CHARACTERS>(), other.first_chunk::<UUID_CHARACTERS>()) {
        (Some(head), Some(other_head)) => {
            head == other_head && one[UUID_CHARACTERS..] == other[UUID_CHARACTERS..]
        }
        _ => one == other,
    }
}

/// Name a kind of key: build the text of an authorization key.
///
/// Args:
///     key_type: One of ``user_profile``, ``user_permissions``, ``generation_access``,
///         ``project_access``, ``team_role``, ``uuid_validation``, ``session_data``,
///         ``rate_limit``.
///     **params: The ids the kind asks for, each a text, a UUID or an integer.
///
/// Returns:
///     The key. Ids are escaped, so none can forge another key or a wildcard; a UUID and its
///     text give the same key.
///
/// Raises:
///     ValueError: The kind is unknown; the message lists those there are.
///     TypeError: An id is missing, unknown, or of the wrong type.
///     InvalidKeyError: An id is empty or too long.
#[pyfunction]
#[pyo3(signature = (key_type, **params))]
pub(super) fn generate_auth_key<'py>(
    py: Python<'py>,
    key_type: &str,
    params: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let Some(kind) = KeyKind::by_name(key_type) else {
        let names = KINDS.map(|kind| kind.name).join(", ");
        return Err(PyValueError::new_err(format!(
            "no such kind of key: {:?}; there are {names}",
            key_type.chars().take(40).collect::<String>()
        )));
    };
    let given = params.cloned().unwrap_or_else(|| PyDict::new(py));
    for name in given.keys() {
        let name = name.cast_into::<PyString>()?;
        let name = name.to_str()?;
        if !kind.ids.contains(&name) {
            let ids = kind.ids.join(", ");
            return Err(PyTypeError::new_err(format!(
                "{key_type} takes {ids}; it knows no '{name}'"
            )));
        }
    }
    let mut key = Text::new();
    for (at, name) in kind.ids.iter().enumerate() {
        let Some(id) = given.get_item(name)? else {
            return Err(PyTypeError::new_err(format!("{key_type} needs '{name}'")));
        };
        key.extend_from_slice(kind.literals[at].as_bytes());
        text::push_id(name, &id, &mut key)?;
    }
    key.extend_from_slice(kind.literals[kind.ids.len()].as_bytes());
    text::to_python(py, &key)
}

/// Write an id the way it stands in a key.
///
/// Args:
///     id: A text, a UUID or an integer.
///
/// Returns:
///     The escaped text, for use in ``invalidate_by_pattern``.
#[pyfunction]
pub(super) fn escape_id<'py>(
    py: Python<'py>,
    id: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let mut text = Text::new();
    text::push_id("id", id, &mut text)?;
    text::to_python(py, &text)
}

/// The kinds of keys: name, pattern, and how the helpers name their parameters.
#[pyfunction]
pub(super) fn key_kinds() -> Vec<(&'static str, String, Vec<&'static str>)> {
    KINDS.iter().map(|kind| (kind.name, kind.pattern(), kind.ids.to_vec())).collect()
}
