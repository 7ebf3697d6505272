//! The package's Python exceptions, and the only translation of engine errors into them.

use crate::engine::compress::UnpackError;
use crate::engine::config;
use crate::invalidation::TableError;
use pyo3::PyErr;

pyo3::import_exception!(velro_cache.exceptions, CacheStoppedError);
pyo3::import_exception!(velro_cache.exceptions, ConfigError);
pyo3::import_exception!(velro_cache.exceptions, InvalidKeyError);
pyo3::import_exception!(velro_cache.exceptions, InvalidTagError);
pyo3::import_exception!(velro_cache.exceptions, InvalidationNotAcknowledged);
pyo3::import_exception!(velro_cache.exceptions, InvalidationLogRefused);
pyo3::import_exception!(velro_cache.exceptions, InvalidationLogUnavailable);
pyo3::import_exception!(velro_cache.exceptions, NotAnInvalidationLog);
pyo3::import_exception!(velro_cache.exceptions, SerializationError);
pyo3::import_exception!(velro_cache.exceptions, SharedTableError);
pyo3::import_exception!(velro_cache.exceptions, UncacheableArgumentError);

impl From<config::ConfigError> for PyErr {
    fn from(error: config::ConfigError) -> Self {
        ConfigError::new_err(error.to_string())
    }
}

impl From<TableError> for PyErr {
    fn from(error: TableError) -> Self {
        SharedTableError::new_err(error.to_string())
    }
}

impl From<UnpackError> for PyErr {
    fn from(error: UnpackError) -> Self {
        SerializationError::new_err(error.to_string())
    }
}
