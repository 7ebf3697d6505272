//! Values as the cache keeps them, and as callers get them.
//!
//! A caller may do what it likes to a value it got; the next caller must get what was set.
//! Immutable values are handed out as they are. Of anything else the cache keeps a private copy
//! and hands out copies of that:
//!
//! * dicts, lists, tuples and sets: a [`Template`], which copies in C what it can;
//! * instances of plain dataclasses: a template of their fields;
//! * any other object: `copy.deepcopy`, both ways;
//! * large values made of plain data only: compressed bytes.
//!
//! What cannot be copied is refused when it is set.

use super::errors::SerializationError;
use super::exit_guard::{ExitGuard, let_go};
use super::pair;
use super::sizes;
use super::types::Types;
use crate::engine::compress;
use pyo3::exceptions::PyRecursionError;
use pyo3::prelude::*;
use pyo3::types::{
    PyByteArray, PyBytes, PyDict, PyFrozenSet, PyList, PySet, PyString, PyTuple, PyType,
};
use pyo3::{PyTraverseError, PyVisit, intern};
use std::sync::Arc;

/// A value in the table. Cloning one is cheap and runs no Python code.
#[derive(Debug)]
pub(super) enum CachedValue {
    /// Immutable, or shared on the user's wish.
    Shared(Py<PyAny>),
    /// Copied: a dict whose values cannot be changed.
    FlatDict(Py<PyDict>),
    /// Copied from a template.
    Template(Arc<Template>),
    /// Unpacked.
    Packed(Arc<Box<[u8]>>),
    /// Copied by `copy.deepcopy`.
    Opaque(Py<PyAny>),
}

// With a key of 16 bytes, a row's first cache line has no room for more.
const _: () = assert!(size_of::<CachedValue>() == 16);

/// A value to be stored, with the bytes it takes.
#[derive(Debug)]
pub(super) struct Frozen {
    pub(super) value: CachedValue,
    pub(super) bytes: usize,
}

/// How values are kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Storage {
    /// Hand out the very object that was set.
    pub(super) shared: bool,
    /// Compress from this many serialised bytes; `None`: never.
    pub(super) compress_from: Option<usize>,
    /// What is larger cannot be stored anyway, so it is not copied either.
    pub(super) most_bytes: usize,
}

/// How to build a copy.
#[derive(Debug)]
pub(super) enum Template {
    Leaf(Py<PyAny>),
    /// The master holds all leaves; what is nested is put in afterwards.
    Dict {
        master: Py<PyDict>,
        nested: Vec<(Py<PyAny>, Self)>,
    },
    List {
        master: Py<PyList>,
        nested: Vec<(usize, Self)>,
    },
    Tuple(Vec<Self>),
    Set(Py<PySet>),
    Bytes(Py<PyByteArray>),
    /// A dataclass instance: `__dict__`, and what stands in slots.
    Instance {
        class: Py<PyType>,
        state: Option<Box<Self>>,
        slots: Vec<(Py<PyString>, Self)>,
    },
}

/// Deeper values are refused: they are nearly always ones that contain themselves.
const MOST_LEVELS: usize = 100;

impl CachedValue {
    /// Whether it is handed out as an object of which there is a reference, or a plain copy of it.
    #[inline]
    pub(super) fn is_one_object(&self) -> bool {
        matches!(self, Self::Shared(_) | Self::FlatDict(_))
    }

    /// Shows the garbage collector what it holds, once.
    pub(super) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self {
            Self::Shared(object) | Self::Opaque(object) => visit.call(object),
            Self::FlatDict(master) => visit.call(master),
            // Somebody who builds a copy just now holds it, too; it is not ours alone to show.
            Self::Template(template) if Arc::strong_count(template) == 1 => {
                template.traverse(visit)
            }
            Self::Template(_) | Self::Packed(_) => Ok(()),
        }
    }

    #[inline]
    pub(super) fn clone_ref(&self, py: Python<'_>) -> Self {
        match self {
            Self::Shared(object) => Self::Shared(object.clone_ref(py)),
            Self::FlatDict(master) => Self::FlatDict(master.clone_ref(py)),
            Self::Template(template) => Self::Template(Arc::clone(template)),
            Self::Packed(packed) => Self::Packed(Arc::clone(packed)),
            Self::Opaque(object) => Self::Opaque(object.clone_ref(py)),
        }
    }

    /// Lets go of it. For where PyO3 does not know that we are attached; it would put the dropping
    /// off for as long as it does not.
    #[inline(always)]
    pub(super) fn release(self, py: Python<'_>) {
        match self {
            Self::Shared(object) => {
                let object = object.into_bound(py);
                pair::forget_value(&object);
                let_go(object);
            }
            Self::Opaque(object) => let_go(object.into_bound(py)),
            Self::FlatDict(master) => let_go(master.into_bound(py).into_any()),
            Self::Template(_) | Self::Packed(_) => {
                let _guard = ExitGuard::hold();
                Python::attach(|_| drop(self));
            }
        }
    }

    /// The value for one caller.
    pub(super) fn into_python(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        match self {
            Self::Shared(object) => Ok(object.into_bound(py)),
            Self::FlatDict(master) => Ok(master.bind(py).copy()?.into_any()),
            Self::Template(template) => template.build(py),
            Self::Packed(packed) => {
                let types = Types::get(py)?;
                let plain = compress::unpack(&packed)?;
                types.marshal_loads.bind(py).call1((PyBytes::new(py, &plain),))
            }
            Self::Opaque(object) => deepcopy(object.bind(py)),
        }
    }
}

/// Takes a private copy of a value, or the value itself where nobody can change it.
#[inline(always)]
pub(super) fn freeze(value: &Bound<'_, PyAny>, storage: Storage) -> PyResult<Frozen> {
    if let Some(bytes) = sizes::of_atom(value)
        && bytes < storage.compress_from.unwrap_or(storage.most_bytes)
    {
        return Ok(Frozen { value: CachedValue::Shared(value.clone().unbind()), bytes });
    }
    // References are let go of on the way. Where PyO3 does not know that we are attached, it would
    // put that off, and a program that does nothing but set would keep all it ever set.
    Python::attach(|_| freeze_any(value, storage))
}

#[inline(never)]
fn freeze_any(value: &Bound<'_, PyAny>, storage: Storage) -> PyResult<Frozen> {
    let _guard = ExitGuard::hold();
    let py = value.py();
    let types = Types::get(py)?;
    if storage.shared {
        let bytes = sizes::of_all(types, value);
        return Ok(Frozen { value: CachedValue::Shared(value.clone().unbind()), bytes });
    }
    let mut freezer =
        Freezer { types, bytes: 0, nodes: 0, most_bytes: storage.most_bytes, plain: true };
    let template = freezer.freeze(value, 0)?;
    if freezer.is_too_large() {
        // Not private, but not to be kept either: whoever waits for it gets a deep copy.
        let value = CachedValue::Opaque(value.clone().unbind());
        return Ok(Frozen { value, bytes: usize::MAX });
    }
    let Some(template) = template else {
        let copy = deepcopy(value)?;
        let bytes = sizes::of_all(types, &copy);
        // What copies to itself cannot be changed, as far as its own class knows.
        let copied = if copy.is(value) {
            CachedValue::Shared(copy.unbind())
        } else {
            CachedValue::Opaque(copy.unbind())
        };
        return Ok(Frozen { value: copied, bytes });
    };
    let bytes = freezer.bytes;
    if freezer.plain
        && storage.compress_from.is_some_and(|from| bytes >= from)
        && let Some(from) = storage.compress_from
        && let Some(packed) = pack(py, types, &template, bytes, from)?
    {
        let heads = counted_on_heap(size_of::<Box<[u8]>>());
        let bytes = sizes::on_heap(packed.len()) + heads;
        return Ok(Frozen { bytes, value: CachedValue::Packed(Arc::new(packed)) });
    }
    Ok(match template {
        Template::Leaf(object) => Frozen { value: CachedValue::Shared(object), bytes },
        Template::Dict { master, nested } if nested.is_empty() => {
            Frozen { value: CachedValue::FlatDict(master), bytes }
        }
        template => Frozen {
            bytes: bytes + counted_on_heap(size_of::<Template>()),
            value: CachedValue::Template(Arc::new(template)),
        },
    })
}

/// In-process only, and only for plain data: `marshal` gives back exactly what it was given.
fn pack(
    py: Python<'_>,
    types: &Types,
    template: &Template,
    bytes: usize,
    from: usize,
) -> PyResult<Option<Box<[u8]>>> {
    let plain = types.marshal_dumps.bind(py).call1((template.build(py)?,))?;
    let plain = plain.cast_into::<PyBytes>()?;
    // Python objects take several times the bytes of what they say. The threshold is meant for
    // the latter: a permission record of a dozen fields must not be unpacked at every hit.
    if plain.as_bytes().len() < from {
        return Ok(None);
    }
    Ok(compress::pack(plain.as_bytes(), bytes))
}

/// Bytes that something behind an [`Arc`] takes, with the two counts before it.
const fn counted_on_heap(bytes: usize) -> usize {
    sizes::on_heap(2 * size_of::<usize>() + bytes)
}

fn deepcopy<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = value.py();
    Types::get(py)?.deepcopy.bind(py).call1((value,)).map_err(|cause| {
        if !cause.is_instance_of::<pyo3::exceptions::PyException>(py) {
            return cause;
        }
        let error = SerializationError::new_err(format!(
            "a value of type {} cannot be copied ({}); cache plain data, or use isolation=\"shared\"",
            super::text::type_name(value),
            cause.get_type(py).name().map_or_else(|_| String::new(), |name| name.to_string()),
        ));
        // A recursion's traceback is as long as the stack was deep.
        if !cause.is_instance_of::<PyRecursionError>(py) {
            error.set_cause(py, Some(cause));
        }
        error
    })
}

/// Whose the keys of a dict are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keys {
    OfTheValue,
    /// Names of attributes, of which there is one each for all instances.
    OfTheClass,
}

/// Gives back what a list has too much, and returns the bytes it takes.
fn fitted<T>(list: &mut Vec<T>) -> usize {
    list.shrink_to_fit();
    sizes::on_heap(list.len() * size_of::<T>())
}

struct Freezer<'a> {
    types: &'a Types,
    bytes: usize,
    nodes: usize,
    most_bytes: usize,
    /// Whether all of it so far is data `marshal` knows.
    plain: bool,
}

/// Parts of one value. A few lists that hold each other twice have more parts than atoms exist,
/// and none of them is large.
const MOST_NODES: usize = 1_000_000;

impl Freezer<'_> {
    fn is_too_large(&self) -> bool {
        self.bytes > self.most_bytes || self.nodes > MOST_NODES
    }

    /// `None`: something in it is neither immutable nor of a kind a template can copy.
    fn freeze(&mut self, value: &Bound<'_, PyAny>, level: usize) -> PyResult<Option<Template>> {
        if level > MOST_LEVELS {
            return Err(SerializationError::new_err(format!(
                "a value may nest {MOST_LEVELS} levels deep; this one is deeper or contains itself"
            )));
        }
        self.nodes += 1;
        if self.is_too_large() {
            return Ok(None);
        }
        if self.types.is_plain_leaf(value) {
            // The value as a whole counts in full: it must fit by itself.
            self.bytes += match level {
                0 => sizes::of_one(self.types, value),
                _ => sizes::of_part(self.types, value),
            };
            return Ok(Some(Template::Leaf(value.clone().unbind())));
        }
        if let Ok(dict) = value.cast_exact::<PyDict>() {
            return self.dict(dict, level, Keys::OfTheValue);
        }
        if let Ok(list) = value.cast_exact::<PyList>() {
            return self.list(list, level);
        }
        if let Ok(tuple) = value.cast_exact::<PyTuple>() {
            return self.tuple(tuple, level);
        }
        if let Ok(set) = value.cast_exact::<PySet>() {
            // A copy first: another thread may be changing the original.
            let master = PySet::empty(value.py())?;
            master.call_method1(intern!(value.py(), "update"), (set,))?;
            let fits = self.all_leaves(master.try_iter()?, level + 1)?;
            self.bytes += sizes::of_one(self.types, master.as_any());
            return Ok(fits.then(|| Template::Set(master.unbind())));
        }
        if let Ok(set) = value.cast_exact::<PyFrozenSet>() {
            let fits = self.all_leaves(set.try_iter()?, level + 1)?;
            self.bytes += sizes::of_one(self.types, value);
            return Ok(fits.then(|| Template::Leaf(value.clone().unbind())));
        }
        self.plain = false;
        if self.types.is_other_leaf(value)? {
            self.bytes += sizes::of_leaf(self.types, value);
            return Ok(Some(Template::Leaf(value.clone().unbind())));
        }
        if self.types.is_named_tuple(value)? {
            self.bytes += sizes::of_one(self.types, value);
            let fits = self.all_leaves(value.cast::<PyTuple>()?.iter().map(Ok), level + 1)?;
            return Ok(fits.then(|| Template::Leaf(value.clone().unbind())));
        }
        if let Ok(bytes) = value.cast_exact::<PyByteArray>() {
            let master = PyByteArray::new(value.py(), &bytes.to_vec());
            self.bytes += sizes::of_one(self.types, master.as_any());
            return Ok(Some(Template::Bytes(master.unbind())));
        }
        if self.types.is_plain_dataclass(value)? {
            return self.instance(value, level);
        }
        Ok(None)
    }

    fn dict(
        &mut self,
        dict: &Bound<'_, PyDict>,
        level: usize,
        keys: Keys,
    ) -> PyResult<Option<Template>> {
        let master = dict.copy()?;
        let mut nested = Vec::new();
        self.bytes += sizes::of_one(self.types, master.as_any());
        // Not the original, which somebody may change meanwhile, and not the master, which changes
        // here.
        for (key, item) in master.copy()? {
            // Keys are looked at like values, and must be leaves: nobody can replace them.
            let is_name = keys == Keys::OfTheClass && key.is_exact_instance_of::<PyString>();
            if !is_name && !matches!(self.freeze(&key, level + 1)?, Some(Template::Leaf(_))) {
                return Ok(None);
            }
            match self.freeze(&item, level + 1)? {
                Some(Template::Leaf(_)) => {}
                Some(template) => {
                    master.set_item(&key, item.py().None())?;
                    nested.push((key.unbind(), template));
                }
                None => return Ok(None),
            }
        }
        self.bytes += fitted(&mut nested);
        Ok(Some(Template::Dict { master: master.unbind(), nested }))
    }

    fn list(&mut self, list: &Bound<'_, PyList>, level: usize) -> PyResult<Option<Template>> {
        let master = list.get_slice(0, list.len());
        let mut nested = Vec::new();
        self.bytes += sizes::of_one(self.types, master.as_any());
        for at in 0..master.len() {
            match self.freeze(&master.get_item(at)?, level + 1)? {
                Some(Template::Leaf(_)) => {}
                Some(template) => {
                    master.set_item(at, list.py().None())?;
                    nested.push((at, template));
                }
                None => return Ok(None),
            }
        }
        self.bytes += fitted(&mut nested);
        Ok(Some(Template::List { master: master.unbind(), nested }))
    }

    fn tuple(&mut self, tuple: &Bound<'_, PyTuple>, level: usize) -> PyResult<Option<Template>> {
        let mut items = Vec::with_capacity(tuple.len());
        for item in tuple.iter_borrowed() {
            match self.freeze(&item, level + 1)? {
                Some(template) => items.push(template),
                None => return Ok(None),
            }
        }
        if items.iter().all(|item| matches!(item, Template::Leaf(_))) {
            self.bytes += sizes::of_one(self.types, tuple.as_any());
            return Ok(Some(Template::Leaf(tuple.clone().into_any().unbind())));
        }
        self.bytes += fitted(&mut items);
        Ok(Some(Template::Tuple(items)))
    }

    fn instance(&mut self, value: &Bound<'_, PyAny>, level: usize) -> PyResult<Option<Template>> {
        let py = value.py();
        let state = match value.getattr(intern!(py, "__dict__")) {
            Ok(dict) => match self.dict(dict.cast::<PyDict>()?, level + 1, Keys::OfTheClass)? {
                Some(template) => {
                    self.bytes += sizes::on_heap(size_of::<Template>());
                    Some(Box::new(template))
                }
                None => return Ok(None),
            },
            Err(_) => None,
        };
        let mut slots = Vec::new();
        for name in self.types.slot_names(&value.get_type())?.unwrap_or_default() {
            let Ok(item) = value.getattr(name.bind(py)) else { continue };
            match self.freeze(&item, level + 1)? {
                Some(template) => slots.push((name, template)),
                None => return Ok(None),
            }
        }
        self.bytes += fitted(&mut slots);
        Ok(Some(Template::Instance { class: value.get_type().unbind(), state, slots }))
    }

    fn all_leaves<'py>(
        &mut self,
        items: impl Iterator<Item = PyResult<Bound<'py, PyAny>>>,
        level: usize,
    ) -> PyResult<bool> {
        for item in items {
            if !matches!(self.freeze(&item?, level)?, Some(Template::Leaf(_))) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Template {
    fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self {
            Self::Leaf(object) => visit.call(object),
            Self::Dict { master, nested } => {
                visit.call(master)?;
                nested.iter().try_for_each(|(key, item)| {
                    visit.call(key)?;
                    item.traverse(visit)
                })
            }
            Self::List { master, nested } => {
                visit.call(master)?;
                nested.iter().try_for_each(|(_, item)| item.traverse(visit))
            }
            Self::Tuple(items) => items.iter().try_for_each(|item| item.traverse(visit)),
            Self::Set(master) => visit.call(master),
            Self::Bytes(_) => Ok(()),
            Self::Instance { class, state, slots } => {
                visit.call(class)?;
                state.iter().try_for_each(|state| state.traverse(visit))?;
                slots.iter().try_for_each(|(_, item)| item.traverse(visit))
            }
        }
    }

    fn build<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(match self {
            Self::Leaf(object) => object.bind(py).clone(),
            Self::Dict { master, nested } => {
                let copy = master.bind(py).copy()?;
                for (key, template) in nested {
                    copy.set_item(key, template.build(py)?)?;
                }
                copy.into_any()
            }
            Self::List { master, nested } => {
                let master = master.bind(py);
                let copy = master.get_slice(0, master.len());
                for (at, template) in nested {
                    copy.set_item(*at, template.build(py)?)?;
                }
                copy.into_any()
            }
            Self::Tuple(items) => {
                let items =
                    items.iter().map(|item| item.build(py)).collect::<PyResult<Vec<_>>>()?;
                PyTuple::new(py, items)?.into_any()
            }
            Self::Set(master) => {
                let copy = PySet::empty(py)?;
                copy.call_method1(intern!(py, "update"), (master,))?;
                copy.into_any()
            }
            Self::Bytes(master) => PyByteArray::new(py, &master.bind(py).to_vec()).into_any(),
            Self::Instance { class, state, slots } => {
                // Neither `__init__` nor `__post_init__` runs, as with `copy.copy`.
                let types = Types::get(py)?;
                let copy = types.object_new.bind(py).call1((class,))?;
                if let Some(state) = state {
                    let fields = state.build(py)?;
                    let dict = copy.getattr(intern!(py, "__dict__"))?;
                    dict.cast::<PyDict>()?.update(fields.cast::<PyDict>()?.as_mapping())?;
                }
                for (name, template) in slots {
                    let item = template.build(py)?;
                    types.object_setattr.bind(py).call1((&copy, name, item))?;
                }
                copy
            }
        })
    }
}
