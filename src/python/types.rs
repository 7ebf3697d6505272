//! What the cache knows about Python's types: which cannot be changed, and how they are copied.

use super::errors::SerializationError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{
    PyBool, PyBytes, PyCFunction, PyComplex, PyFloat, PyInt, PyModule, PyString, PyTuple, PyType,
};
use std::collections::HashSet;

/// Classes and functions looked up once per process.
#[derive(Debug)]
pub(super) struct Types {
    pub(super) deepcopy: Py<PyAny>,
    pub(super) marshal_dumps: Py<PyAny>,
    pub(super) marshal_loads: Py<PyAny>,
    pub(super) object_new: Py<PyAny>,
    pub(super) object_setattr: Py<PyAny>,
    object: Py<PyAny>,
    dataclass_getstate: Py<PyAny>,
    dataclass_setstate: Py<PyAny>,
    pub(super) getsizeof: Py<PyAny>,
    pub(super) get_referents: Py<PyAny>,
    enum_class: Py<PyType>,
    /// Exact classes whose instances offer no way to change them. Held, so no address is reused.
    immutable: Vec<Py<PyType>>,
    immutable_at: HashSet<usize>,
}

/// Standard classes whose instances cannot be changed by any documented means.
const IMMUTABLE: [(&str, &str); 21] = [
    ("uuid", "UUID"),
    ("datetime", "datetime"),
    ("datetime", "date"),
    ("datetime", "time"),
    ("datetime", "timedelta"),
    ("datetime", "timezone"),
    ("zoneinfo", "ZoneInfo"),
    ("decimal", "Decimal"),
    ("fractions", "Fraction"),
    ("ipaddress", "IPv4Address"),
    ("ipaddress", "IPv6Address"),
    ("ipaddress", "IPv4Network"),
    ("ipaddress", "IPv6Network"),
    ("pathlib", "PosixPath"),
    ("pathlib", "PurePosixPath"),
    ("pathlib", "PureWindowsPath"),
    ("builtins", "range"),
    ("re", "Pattern"),
    ("types", "FunctionType"),
    ("types", "EllipsisType"),
    ("types", "NotImplementedType"),
];

/// The first so many of [`IMMUTABLE`] have a `repr` that tells any two of them apart.
const FAITHFUL_REPR: usize = 17;

/// The first so many of [`IMMUTABLE`] are of about the same size, whatever they say.
const FIXED_SIZE: usize = 7;

/// Where the two standard time zones stand in [`IMMUTABLE`].
const TIMEZONE: usize = 5;
const ZONE_INFO: usize = 6;

impl Types {
    pub(super) fn get(py: Python<'_>) -> PyResult<&'static Self> {
        static TYPES: PyOnceLock<Types> = PyOnceLock::new();
        TYPES.get_or_try_init(py, || Self::load(py))
    }

    fn load(py: Python<'_>) -> PyResult<Self> {
        let member = |module: &str, name: &str| py.import(module)?.getattr(name);
        let mut immutable = Vec::new();
        for (module, name) in IMMUTABLE {
            immutable.push(member(module, name)?.cast_into::<PyType>()?.unbind());
        }
        let object = member("builtins", "object")?;
        Ok(Self {
            deepcopy: member("copy", "deepcopy")?.unbind(),
            marshal_dumps: member("marshal", "dumps")?.unbind(),
            marshal_loads: member("marshal", "loads")?.unbind(),
            object_new: object.getattr("__new__")?.unbind(),
            object_setattr: object.getattr("__setattr__")?.unbind(),
            dataclass_getstate: member("dataclasses", "_dataclass_getstate")?.unbind(),
            dataclass_setstate: member("dataclasses", "_dataclass_setstate")?.unbind(),
            object: object.unbind(),
            getsizeof: member("sys", "getsizeof")?.unbind(),
            get_referents: member("gc", "get_referents")?.unbind(),
            enum_class: member("enum", "Enum")?.cast_into::<PyType>()?.unbind(),
            immutable_at: immutable.iter().map(|class| class.as_ptr() as usize).collect(),
            immutable,
        })
    }

    /// Immutable data that `marshal` knows.
    pub(super) fn is_plain_leaf(&self, value: &Bound<'_, PyAny>) -> bool {
        value.is_exact_instance_of::<PyString>()
            || value.is_none()
            || value.is_exact_instance_of::<PyBool>()
            || value.is_exact_instance_of::<PyInt>()
            || value.is_exact_instance_of::<PyFloat>()
            || value.is_exact_instance_of::<PyBytes>()
            || value.is_exact_instance_of::<PyComplex>()
    }

    /// Whether a class is an enumeration.
    pub(super) fn is_enum(&self, class: &Bound<'_, PyType>) -> PyResult<bool> {
        class.is_subclass(self.enum_class.bind(class.py()))
    }

    /// Whether `repr` of an object says all there is to it: the standard immutables but those
    /// that are code.
    pub(super) fn has_faithful_repr(&self, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        let class = value.get_type();
        let faithful = &self.immutable[..FAITHFUL_REPR];
        Ok(faithful.iter().any(|known| known.is(&class)) && self.has_standard_zone(value)?)
    }

    /// Whether an object has no time zone, or one of the standard library's; a time zone of
    /// one's own may change, and may look like another.
    fn has_standard_zone(&self, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        let Some(zone) = value.getattr_opt(intern!(value.py(), "tzinfo"))? else { return Ok(true) };
        if zone.is_none() {
            return Ok(true);
        }
        let class = zone.get_type();
        if self.immutable[ZONE_INFO].is(&class) {
            // One read from a file without a name cannot be told from another.
            return Ok(!zone.getattr(intern!(value.py(), "key"))?.is_none());
        }
        Ok(self.immutable[TIMEZONE].is(&class))
    }

    /// Whether an object is a standard immutable of about the same size, whatever it says.
    pub(super) fn has_fixed_size(&self, value: &Bound<'_, PyAny>) -> bool {
        let class = value.get_type();
        self.immutable[..FIXED_SIZE].iter().any(|known| known.is(&class))
    }

    /// Other objects nobody can change: standard immutables, enum members and classes.
    pub(super) fn is_other_leaf(&self, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        let class = value.get_type();
        if self.immutable_at.contains(&(class.as_ptr() as usize)) {
            return self.has_standard_zone(value);
        }
        if self.is_enum(&class)? || value.is_instance_of::<PyType>() {
            return Ok(true);
        }
        if let Ok(function) = value.cast::<PyCFunction>() {
            // `len` belongs to a module; `[].append` to a list that can be changed through it.
            let owner = function.getattr(intern!(value.py(), "__self__"))?;
            if owner.is_none() || owner.is_instance_of::<PyModule>() {
                return Ok(true);
            }
            return Err(SerializationError::new_err(
                "a method of a built-in object cannot be cached",
            ));
        }
        Ok(false)
    }

    /// Whether an object is a named tuple: as immutable as what it holds.
    pub(super) fn is_named_tuple(&self, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        let py = value.py();
        Ok(value.is_instance_of::<PyTuple>()
            && value.get_type().hasattr(intern!(py, "_fields"))?
            && !value.hasattr(intern!(py, "__dict__"))?)
    }

    /// Whether an object is an instance of a dataclass all of whose state is in its attributes
    /// and which has no opinion of its own on how to be made or copied.
    pub(super) fn is_plain_dataclass(&self, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        let py = value.py();
        let class = value.get_type();
        if !class.hasattr(intern!(py, "__dataclass_fields__"))? {
            return Ok(false);
        }
        for special in ["__deepcopy__", "__copy__", "__getnewargs_ex__", "__getnewargs__"] {
            if class.hasattr(special)? {
                return Ok(false);
            }
        }
        let getstate = class.getattr(intern!(py, "__getstate__"))?;
        let own_setstate = match class.getattr(intern!(py, "__setstate__")) {
            Ok(setstate) => !setstate.is(&self.dataclass_setstate),
            Err(_) => false,
        };
        // A built-in that keeps state of its own, such as `dict`, has its own `__new__`.
        Ok(self.is_objects_own(&class, "__new__")?
            && self.is_objects_own(&class, "__reduce__")?
            && self.is_objects_own(&class, "__reduce_ex__")?
            && (getstate.is(&self.dataclass_getstate)
                || self.is_objects_own(&class, "__getstate__")?)
            && !own_setstate
            && self.slot_names(&class)?.is_some())
    }

    /// Names of the slots of a class and its bases that hold state; `None` where one of them is
    /// private to its class and so known by another name.
    pub(super) fn slot_names(
        &self,
        class: &Bound<'_, PyType>,
    ) -> PyResult<Option<Vec<Py<PyString>>>> {
        let py = class.py();
        let mut names = Vec::new();
        for base in class.mro() {
            let Ok(slots) = base.getattr(intern!(py, "__dict__"))?.get_item("__slots__") else {
                continue;
            };
            let slots = match slots.cast::<PyString>() {
                Ok(single) => PyTuple::new(py, [single])?.into_any(),
                Err(_) => slots,
            };
            for name in slots.try_iter()? {
                let name = name?.cast_into::<PyString>()?;
                match name.to_str()? {
                    "__weakref__" | "__dict__" => {}
                    private if private.starts_with("__") => return Ok(None),
                    _ => names.push(name.unbind()),
                }
            }
        }
        Ok(Some(names))
    }

    fn is_objects_own(&self, class: &Bound<'_, PyType>, name: &str) -> PyResult<bool> {
        let own = self.object.bind(class.py()).getattr(name)?;
        Ok(class.getattr(name)?.is(&own))
    }
}
