//! How much memory Python objects take: what the process would have back without them.
//!
//! Sizes are those of the interpreter's structures, as its allocators round them up. What others
//! hold as well, such as the names that are the keys of all dicts of a kind, counts in part: an
//! object with as many holders as entries that refer to it is one object, not as many.

use super::types::Types;
use super::{int, key, uuid};
use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyBytes, PyDict, PyFloat, PyFrozenSet, PyInt, PyList, PyModule, PySet, PyString,
    PyTuple, PyType,
};
use pyo3::{ffi, intern};
use std::collections::HashSet;

/// What stands before an object that the garbage collector looks at.
const GC_HEAD: usize = if cfg!(Py_GIL_DISABLED) { 0 } else { 16 };

/// A text of ASCII characters without them: head, final zero, and what is rounded up on average.
const TEXT: usize = size_of::<ffi::PyASCIIObject>() + 1 + ROUNDED_UP;

/// An integer of up to 60 bits, and a float.
const NUMBER: usize = allocated(size_of::<ffi::PyObject>() + 12);

/// What `allocated` adds on average.
const ROUNDED_UP: usize = 8;

/// Bytes of an object that cannot tell: about a small instance with its fields.
const UNKNOWN_BYTES: usize = 96;

/// Objects looked at for the size of one value.
const MOST_OBJECTS: usize = 200_000;

/// Holders of a part of a value while it is looked at: the value, its copy, and our hands.
const USUAL_HOLDERS: usize = 4;

/// Bytes the interpreter's allocator takes for a request. Small ones come in steps of 16; larger
/// ones are passed on.
const fn allocated(bytes: usize) -> usize {
    const LARGEST_SMALL: usize = 512;
    if bytes <= LARGEST_SMALL { bytes.next_multiple_of(16) } else { on_heap(bytes) }
}

/// Bytes the system's allocator takes for a request: a word of its own, in steps of 16.
pub(super) const fn on_heap(bytes: usize) -> usize {
    const SMALLEST: usize = 32;
    match bytes {
        0 => 0,
        _ if bytes + 8 <= SMALLEST => SMALLEST,
        _ => (bytes + 8).next_multiple_of(16),
    }
}

/// Bytes of an object of one of the everyday types that refer to nothing and cannot be changed;
/// `None` for any other.
#[inline]
pub(super) fn of_atom(value: &Bound<'_, PyAny>) -> Option<usize> {
    if value.is_exact_instance_of::<PyString>() {
        // Other characters than ASCII take more, and are asked for.
        return Some(TEXT + key::ascii(value.as_borrowed())?.len());
    }
    // Shared by everybody.
    if value.is_none() || value.is_exact_instance_of::<PyBool>() {
        return Some(0);
    }
    let is_number = value.is_exact_instance_of::<PyFloat>()
        || value.cast_exact::<PyInt>().is_ok_and(|number| int::to_i64(number).is_ok());
    is_number.then_some(NUMBER)
}

/// Bytes of an object that refers to nothing and is part of a value: its share of them, where
/// others hold it as well.
pub(super) fn of_part(types: &Types, part: &Bound<'_, PyAny>) -> usize {
    let bytes = of_one(types, part);
    let holders = usize::try_from(part.get_refcnt()).unwrap_or(1);
    if holders <= USUAL_HOLDERS + 1 {
        return bytes;
    }
    // Of the parts of a value that holds it several times, the copy does so, too.
    2 * bytes / (holders - USUAL_HOLDERS + 1)
}

/// Bytes of an object without what it refers to.
pub(super) fn of_one(types: &Types, value: &Bound<'_, PyAny>) -> usize {
    if let Some(bytes) = of_atom(value) {
        return bytes;
    }
    if let Ok(bytes) = value.cast_exact::<PyBytes>() {
        return allocated(size_of::<ffi::PyVarObject>() + 9 + bytes.as_bytes().len());
    }
    if let Ok(list) = value.cast_exact::<PyList>() {
        let head = allocated(GC_HEAD + size_of::<ffi::PyListObject>());
        return head + allocated(size_of::<usize>() * list.len());
    }
    if let Ok(tuple) = value.cast_exact::<PyTuple>() {
        let items = size_of::<usize>() * tuple.len();
        return allocated(GC_HEAD + size_of::<ffi::PyVarObject>() + items);
    }
    let said = types.getsizeof.bind(value.py()).call1((value, UNKNOWN_BYTES));
    let said = said.and_then(|size| size.extract::<usize>()).unwrap_or(UNKNOWN_BYTES);
    let head = if value.is_exact_instance_of::<PyDict>() {
        GC_HEAD + size_of::<ffi::PyDictObject>()
    } else if value.is_exact_instance_of::<PySet>() || value.is_exact_instance_of::<PyFrozenSet>() {
        // A small one has its table in itself.
        GC_HEAD + size_of::<ffi::PySetObject>()
    } else {
        said
    };
    let size = allocated(head).saturating_add(allocated(said.saturating_sub(head)));
    // A UUID's bulk is the integer it refers to.
    if uuid::bits(value).is_ok_and(|bits| bits.is_some()) { size + NUMBER + 16 } else { size }
}

/// Bytes of one of the standard immutables, with the numbers in it.
pub(super) fn of_leaf(types: &Types, value: &Bound<'_, PyAny>) -> usize {
    if types.has_fixed_size(value) { of_one(types, value) } else { of_all(types, value) }
}

/// Bytes of an object with what it refers to, each object once, as far as that can be seen.
/// Stops after [`MOST_OBJECTS`]: what is larger than that is too large by any measure.
pub(super) fn of_all(types: &Types, value: &Bound<'_, PyAny>) -> usize {
    let mut seen = HashSet::new();
    let mut todo = vec![value.clone()];
    let mut bytes = 0_usize;
    while let Some(object) = todo.pop() {
        if seen.len() == MOST_OBJECTS || !seen.insert(object.as_ptr() as usize) {
            continue;
        }
        if is_code(types, &object) {
            continue;
        }
        if types.is_plain_leaf(&object) {
            bytes = bytes.saturating_add(of_part(types, &object));
            continue;
        }
        bytes = bytes.saturating_add(of_one(types, &object));
        if let Ok(dict) = object.cast::<PyDict>() {
            todo.extend(dict.keys().iter());
            todo.extend(dict.values().iter());
        } else if let Ok(list) = object.cast::<PyList>() {
            todo.extend(list.iter());
        } else if let Ok(tuple) = object.cast::<PyTuple>() {
            todo.extend(tuple.iter());
        } else if let Ok(set) = object.cast::<PySet>() {
            todo.extend(set.iter());
        } else if let Ok(set) = object.cast::<PyFrozenSet>() {
            todo.extend(set.iter());
        }
        if is_everyday_container(&object) {
            continue;
        }
        // Without a GIL, the collector would stop all other threads to look.
        let referents = if cfg!(Py_GIL_DISABLED) {
            attributes(types, &object)
        } else {
            seen_by_collector(types, &object).unwrap_or_default()
        };
        todo.extend(referents.into_iter().filter(|referent| !is_code(types, referent)));
    }
    bytes
}

/// Containers of other kinds, attributes and slots: what the garbage collector sees.
fn seen_by_collector<'py>(
    types: &Types,
    object: &Bound<'py, PyAny>,
) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let seen = types.get_referents.bind(object.py()).call1((object,))?;
    Ok(seen.cast_into::<PyList>()?.iter().collect())
}

/// Attributes and slots, as far as an object will tell, and what lies in a deque, the one standard
/// container that is none of the everyday ones.
fn attributes<'py>(types: &Types, object: &Bound<'py, PyAny>) -> Vec<Bound<'py, PyAny>> {
    let py = object.py();
    let class = object.get_type();
    let slots = types.slot_names(&class).ok().flatten().unwrap_or_default();
    let names = slots.iter().map(|name| name.bind(py)).chain([intern!(py, "__dict__")]);
    let mut parts: Vec<_> = names.filter_map(|name| object.getattr(name).ok()).collect();
    if class.fully_qualified_name().is_ok_and(|name| name == "collections.deque")
        && let Ok(items) = object.try_iter()
    {
        parts.extend(items.flatten());
    }
    parts
}

fn is_everyday_container(object: &Bound<'_, PyAny>) -> bool {
    object.is_exact_instance_of::<PyDict>()
        || object.is_exact_instance_of::<PyList>()
        || object.is_exact_instance_of::<PyTuple>()
        || object.is_exact_instance_of::<PySet>()
        || object.is_exact_instance_of::<PyFrozenSet>()
}

/// Whether an object belongs to the program and not to a value.
fn is_code(types: &Types, object: &Bound<'_, PyAny>) -> bool {
    types.is_enum(&object.get_type()).unwrap_or(false)
        || object.is_instance_of::<PyType>()
        || object.is_instance_of::<PyModule>()
        || object.is_callable()
}
