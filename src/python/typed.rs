//! Keys by kind: `generate_auth_key` and what it shares with the typed helpers.

use super::text;
use crate::engine::ids::{self, Text};
use crate::engine::keys::{KINDS, KeyKind};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use sha2::{Digest, Sha256};

/// Appends the hash of a UUID as it was written: 32 hexadecimal digits of SHA-256. What is to
/// be validated may be anything, so it stands in the key as a hash of fixed length.
pub(super) fn push_uuid_hash(uuid: &Bound<'_, PyAny>, key: &mut Text) -> PyResult<()> {
    let digest = if let Ok(text) = uuid.cast::<PyString>() {
        Sha256::digest(text::utf8(text)?)
    } else if text::is_uuid(uuid)? {
        let mut text = Text::new();
        ids::push_uuid(text::uuid_bits(uuid)?, &mut text);
        Sha256::digest(&text)
    } else {
        return Err(PyTypeError::new_err(format!(
            "uuid_str must be a str or a UUID, not {}",
            text::type_name(uuid)
        )));
    };
    for byte in &digest[..16] {
        key.extend_from_slice(format!("{byte:02x}").as_bytes());
    }
    Ok(())
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
