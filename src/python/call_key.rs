//! The arguments of a call as bytes.
//!
//! Every argument is written with its type and its length, so that `1`, `1.0`, `True` and `"1"`
//! differ, and no argument can run into the next. The bytes are then digested with a secret of
//! the process ([`super::digest`]): an argument may be a token, and must not be readable from a
//! key.
//!
//! Only values with a fixed meaning are taken. An object that could change, or that compares by
//! rules of its own, is refused: what was cached for it could answer for something else.

use super::errors::UncacheableArgumentError;
use super::exit_guard::ExitGuard;
use super::key;
use super::text;
use super::types::Types;
use super::uuid;
use crate::engine::ids::UUID_CHARACTERS;
use ahash::AHashMap;
use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyBytes, PyFloat, PyFrozenSet, PyInt, PyString, PyTuple, PyType, PyWeakrefReference,
};
use smallvec::SmallVec;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Arguments of one call, written down.
pub(super) type Encoded = SmallVec<[u8; 256]>;

/// Whether an id and its text are written alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    /// As given: the function may tell them apart, so their results are kept apart.
    AsGiven,
    /// Alike, and so are a number and its text: to invalidate one is to invalidate the other.
    Merged,
}

/// Longer arguments are refused.
const MOST_BYTES: usize = 1 << 20;

/// Deeper tuples are refused.
const MOST_LEVELS: usize = 16;

/// Appends one argument.
#[inline]
pub(super) fn push(
    value: &Bound<'_, PyAny>,
    spelling: Spelling,
    out: &mut Encoded,
) -> PyResult<()> {
    if spelling == Spelling::AsGiven
        && value.is_exact_instance_of::<PyString>()
        && let Some(bytes) = key::ascii(value.as_borrowed())
        && bytes.len() < MOST_BYTES - out.len().min(MOST_BYTES)
    {
        push_sized(b's', bytes, out);
        return Ok(());
    }
    push_no_text(value, spelling, out)
}

/// The rest of [`push`], apart, so that a text is all that is written out where it is called.
#[inline(never)]
fn push_no_text(value: &Bound<'_, PyAny>, spelling: Spelling, out: &mut Encoded) -> PyResult<()> {
    if spelling == Spelling::AsGiven
        && out.len() <= MOST_BYTES
        && let Some(bits) = uuid::exact_bits(value)
    {
        push_uuid(bits, out);
        return Ok(());
    }
    push_at(value, spelling, out, 0)?;
    if out.len() > MOST_BYTES { Err(too_long()) } else { Ok(()) }
}

fn too_long() -> PyErr {
    UncacheableArgumentError::new_err(format!(
        "the arguments of a call may have {MOST_BYTES} bytes in all; hash long ones"
    ))
}

fn push_at(
    value: &Bound<'_, PyAny>,
    spelling: Spelling,
    out: &mut Encoded,
    level: usize,
) -> PyResult<()> {
    // Checked before each part: a few tuples that hold each other many times have more parts
    // than memory has room for.
    if out.len() > MOST_BYTES {
        return Err(too_long());
    }
    if let Ok(text) = value.cast_exact::<PyString>() {
        let bytes = text::utf8(text)?;
        if spelling == Spelling::Merged {
            let mut canonical = crate::engine::ids::Text::new();
            crate::engine::ids::push_tag(&[b":", &*bytes].concat(), &mut canonical);
            push_sized(b's', &canonical, out);
        } else {
            push_sized(b's', &bytes, out);
        }
        return Ok(());
    }
    if value.is_none() {
        out.push(b'N');
        return Ok(());
    }
    if let Ok(flag) = value.cast_exact::<PyBool>() {
        out.push(if flag.is_true() { b'T' } else { b'F' });
        return Ok(());
    }
    if value.is_exact_instance_of::<PyInt>() {
        match value.extract::<i64>() {
            Ok(number) if spelling == Spelling::Merged => {
                push_sized(b's', format!(":{number}").as_bytes(), out);
            }
            Ok(number) => {
                out.push(b'i');
                out.extend_from_slice(&number.to_le_bytes());
            }
            Err(error) => {
                // As in `text::utf8`.
                Python::attach(|_| drop(error));
                let digits = value.call_method1("__format__", ("x",))?;
                push_sized(b'I', digits.cast::<PyString>()?.to_str()?.as_bytes(), out);
            }
        }
        return Ok(());
    }
    if let Some(bits) = uuid::bits(value)? {
        if spelling == Spelling::Merged {
            let mut canonical = crate::engine::ids::Text::from_slice(b":");
            crate::engine::ids::push_uuid(bits, &mut canonical);
            push_sized(b's', &canonical, out);
        } else {
            push_uuid(bits, out);
        }
        return Ok(());
    }
    if let Ok(number) = value.cast_exact::<PyFloat>() {
        out.push(b'f');
        out.extend_from_slice(&number.value().to_bits().to_le_bytes());
        return Ok(());
    }
    if let Ok(bytes) = value.cast_exact::<PyBytes>() {
        push_sized(b'b', bytes.as_bytes(), out);
        return Ok(());
    }
    push_rare(value, spelling, out, level)
}

fn push_rare(
    value: &Bound<'_, PyAny>,
    spelling: Spelling,
    out: &mut Encoded,
    level: usize,
) -> PyResult<()> {
    if level == MOST_LEVELS {
        return Err(UncacheableArgumentError::new_err("an argument nests too deep to be keyed"));
    }
    if let Ok(tuple) = value.cast_exact::<PyTuple>() {
        out.push(b't');
        out.extend_from_slice(&(tuple.len() as u64).to_le_bytes());
        for item in tuple.iter_borrowed() {
            push_at(&item, spelling, out, level + 1)?;
        }
        return Ok(());
    }
    if let Ok(set) = value.cast_exact::<PyFrozenSet>() {
        let mut items = Vec::with_capacity(set.len());
        for item in set.iter() {
            let mut encoded = Encoded::new();
            push_at(&item, spelling, &mut encoded, level + 1)?;
            items.push(encoded);
        }
        // A set has no order; its encoding must have one.
        items.sort_unstable();
        out.push(b'z');
        out.extend_from_slice(&(items.len() as u64).to_le_bytes());
        items.iter().for_each(|item| out.extend_from_slice(item));
        return Ok(());
    }
    let _guard = ExitGuard::hold();
    let types = Types::get(value.py())?;
    let class = value.get_type();
    if types.is_enum(&class)? {
        push_enum_class(&class, out)?;
        // The name for an ordinary member, whatever its value; the value for a combination of
        // flags, which need not have a name. `name` itself may be redefined by the class.
        let member = value.getattr("_name_")?;
        let flag = value.hasattr("_flag_mask_")?;
        let member = if flag || member.is_none() { value.getattr("_value_")? } else { member };
        return push_at(&member, Spelling::AsGiven, out, level + 1);
    }
    if types.has_faithful_repr(value)? {
        // Of the standard library, and so never gone.
        out.push(b'r');
        out.extend_from_slice(&(class.as_ptr() as usize as u64).to_le_bytes());
        push_sized(b's', text::utf8(&value.repr()?)?.as_ref(), out);
        return Ok(());
    }
    Err(UncacheableArgumentError::new_err(format!(
        "an argument of type {} cannot be keyed safely; pass ids (str, int, UUID, bytes, Enum, \
         date, tuple of such) or give cached_authorization a key= function",
        text::type_name(value)
    )))
}

#[inline]
fn push_uuid(bits: u128, out: &mut Encoded) {
    let mut all = [b'u'; 1 + size_of::<u128>()];
    all[1..].copy_from_slice(&bits.to_be_bytes());
    out.extend_from_slice(&all);
}

#[inline]
fn push_sized(kind: u8, bytes: &[u8], out: &mut Encoded) {
    let mut head = [kind; 9];
    head[1..].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
    // The usual length, known when this is compiled, is copied without a call.
    match <&[u8; UUID_CHARACTERS]>::try_from(bytes) {
        Ok(uuid) => {
            let mut all = [0; 9 + UUID_CHARACTERS];
            all[..9].copy_from_slice(&head);
            all[9..].copy_from_slice(uuid);
            out.extend_from_slice(&all);
        }
        Err(_) => {
            out.extend_from_slice(&head);
            out.extend_from_slice(bytes);
        }
    }
}

/// An enumeration by its number: two may share a name, and, one after the other, an address.
fn push_enum_class(class: &Bound<'_, PyType>, out: &mut Encoded) -> PyResult<()> {
    static CLASSES: LazyLock<Receivers> = LazyLock::new(Receivers::default);
    out.push(b'e');
    CLASSES.push(class.as_any(), out)
}

/// Numbers objects, such as those methods are called on; each has its own number for life.
///
/// An address would not do: when an object is gone, another may live at its address, and would
/// be answered with what was cached for the first.
#[derive(Debug, Default)]
pub(super) struct Receivers {
    known: crate::sync::Mutex<AHashMap<usize, (u64, Py<PyWeakrefReference>)>>,
    last: AtomicU64,
}

impl Receivers {
    /// Appends the number of an object.
    pub(super) fn push(&self, object: &Bound<'_, PyAny>, out: &mut Encoded) -> PyResult<()> {
        let number = self.number(object)?;
        out.push(b'o');
        out.extend_from_slice(&number.to_le_bytes());
        Ok(())
    }

    fn number(&self, object: &Bound<'_, PyAny>) -> PyResult<u64> {
        let py = object.py();
        let address = object.as_ptr() as usize;
        // Bound, not `Py`: this also runs where PyO3 does not know that we are attached, and would
        // put the dropping of a `Py` off for as long as it does not.
        let known = {
            let known = self.known.lock();
            known.get(&address).map(|(number, weak)| (*number, weak.bind(py).clone()))
        };
        if let Some((number, weak)) = known
            && weak.upgrade().is_some_and(|alive| alive.is(object))
        {
            return Ok(number);
        }
        let weak = PyWeakrefReference::new(object).map_err(|_| {
            UncacheableArgumentError::new_err(format!(
                "cannot tell instances of {} apart: add \"__weakref__\" to its __slots__, or give \
                 cached_authorization a key= function",
                text::type_name(object)
            ))
        })?;
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let (replaced, crowded) = {
            let mut known = self.known.lock();
            // Another thread may have been as quick. An object has one plain weak reference, so
            // the same reference means the same object.
            if let Some((number, other)) = known.get(&address)
                && other.is(&weak)
            {
                return Ok(*number);
            }
            let replaced = known.insert(address, (number, weak.unbind()));
            (replaced, known.len() >= 64 && known.len().is_power_of_two())
        };
        drop(replaced);
        if crowded {
            self.forget_the_dead(py);
        }
        Ok(number)
    }

    /// Removes objects that are gone. They are looked at without the lock, because letting go of
    /// an object may run its `__del__`.
    fn forget_the_dead(&self, py: Python<'_>) {
        let _guard = ExitGuard::hold();
        let all: Vec<_> =
            self.known.lock().iter().map(|(at, (n, weak))| (*at, *n, weak.clone_ref(py))).collect();
        let dead = all.into_iter().filter(|(_, _, weak)| weak.bind(py).upgrade().is_none());
        for (address, number, _) in dead.collect::<Vec<_>>() {
            let gone = {
                let mut known = self.known.lock();
                let same = known.get(&address).is_some_and(|(current, _)| *current == number);
                if same { known.remove(&address) } else { None }
            };
            drop(gone);
        }
    }
}
