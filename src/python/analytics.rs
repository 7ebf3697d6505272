//! What operators ask of a cache, as plain data. No algorithm: see `src/engine/analytics`.

use super::inner::Inner;
use super::text;
use crate::engine::analytics::top::Hot;
use pyo3::prelude::*;

/// A name that was asked for often: requests, hits, and by how much the requests may be too many.
pub(super) type HotName = (Py<PyAny>, u64, u64, u64);

/// The keys or tags that were asked for most.
pub(super) fn top(
    py: Python<'_>,
    inner: &Inner,
    of_tags: bool,
    limit: usize,
) -> PyResult<Vec<HotName>> {
    let store = &inner.store;
    let all = if of_tags { store.top_tags(limit) } else { store.top_keys(limit) };
    let told = |hot: Hot| {
        Ok((text::to_python(py, &hot.name)?.unbind(), hot.requests, hot.hits, hot.error))
    };
    all.into_iter().map(told).collect()
}
