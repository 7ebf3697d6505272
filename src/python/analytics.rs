//! What operators ask of a cache, as plain data. No algorithm: see `src/engine/analytics`.

use super::inner::Inner;
use super::text;
use crate::engine::analytics::explain::Explanation;
use crate::engine::analytics::journal::Record;
use crate::engine::analytics::reports::Bookmark;
use crate::engine::analytics::top::Hot;
use crate::engine::clock::Millis;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

/// A name that was asked for often: requests, hits, and by how much the requests may be too many.
pub(super) type HotName = (Py<PyAny>, u64, u64, u64);

/// An invalidation: names with their kinds, how many there were, live entries dropped, whether more
/// followed, seconds ago, actor, reason.
pub(super) type Invalidation =
    (Vec<(&'static str, Py<PyAny>)>, usize, usize, bool, f64, Option<Py<PyAny>>, Option<Py<PyAny>>);

/// Keys, and where to go on.
pub(super) type Page = (Vec<Py<PyAny>>, Option<u64>);

/// The keys or tags that were asked for most.
pub(super) fn top(
    py: Python<'_>,
    inner: &Inner,
    of_tags: bool,
    limit: usize,
) -> PyResult<Vec<HotName>> {
    let store = &inner.store;
    let all = if of_tags { store.top_tags(limit) } else { store.top_keys(limit) };
    let told = |hot: Hot| Ok((python(py, &hot.name)?, hot.requests, hot.hits, hot.error));
    all.into_iter().map(told).collect()
}

/// The clock of the history in seconds, and its last points.
pub(super) fn history<'py>(
    py: Python<'py>,
    inner: &Inner,
    seconds: u64,
) -> PyResult<(f64, Bound<'py, PyAny>)> {
    inner.observe();
    let points = pythonize::pythonize(py, &inner.store.history(seconds))?;
    Ok((in_seconds(inner.store.clock().now()), points))
}

/// Hit rates at other sizes and lives, or nothing.
pub(super) fn what_if<'py>(py: Python<'py>, inner: &Inner) -> PyResult<Option<Bound<'py, PyAny>>> {
    let report = inner.store.what_if();
    Ok(report.map(|report| pythonize::pythonize(py, &report)).transpose()?)
}

/// The last invalidations, newest first.
pub(super) fn recent_invalidations(
    py: Python<'_>,
    inner: &Inner,
    limit: usize,
) -> PyResult<Vec<Invalidation>> {
    let now = inner.store.clock().now();
    let text = |text: Option<Box<[u8]>>| text.map(|text| python(py, &text)).transpose();
    let told = |record: Record| {
        let names =
            record.names.into_iter().map(|(kind, name)| Ok((kind.name(), python(py, &name)?)));
        Ok((
            names.collect::<PyResult<_>>()?,
            record.named,
            record.dropped,
            record.unfinished,
            in_seconds(now.saturating_sub(record.at)),
            text(record.actor)?,
            text(record.reason)?,
        ))
    };
    inner.store.journal().last(limit).into_iter().map(told).collect()
}

/// What is known of a key.
pub(super) fn explain<'py>(
    py: Python<'py>,
    inner: &Inner,
    key: &[u8],
) -> PyResult<Bound<'py, PyDict>> {
    let told = PyDict::new(py);
    let (held, why_not) = match inner.store.explain(key) {
        Explanation::Held(held) => (Some(held), held.why_not),
        Explanation::NotHeld(why) => (None, Some(why)),
    };
    told.set_item("held", held.is_some())?;
    told.set_item("valid", why_not.is_none())?;
    told.set_item("why_not", why_not.map(|why| why.name()))?;
    told.set_item("age_seconds", held.map(|held| in_seconds(held.age)))?;
    told.set_item("seconds_left", held.map(|held| in_seconds(held.left)))?;
    told.set_item("tags", held.map(|held| held.tags))?;
    told.set_item("bytes", held.map(|held| held.bytes))?;
    told.set_item("permissive", held.map(|held| held.permissive))?;
    told.set_item("priority", held.map(|held| held.priority))?;
    Ok(told)
}

/// Some keys that begin with a prefix.
pub(super) fn keys_by_prefix(
    prefix: &Bound<'_, PyString>,
    inner: &Inner,
    limit: usize,
    after: u64,
) -> PyResult<Page> {
    let py = prefix.py();
    let after = Bookmark::from_bits(after);
    let (keys, next) = inner.store.keys_with_prefix(&text::utf8(prefix)?, limit, after);
    let keys = keys.iter().map(|key| python(py, key)).collect::<PyResult<_>>()?;
    Ok((keys, next.map(Bookmark::to_bits)))
}

fn python(py: Python<'_>, text: &[u8]) -> PyResult<Py<PyAny>> {
    text::to_python(py, text).map(Bound::unbind)
}

fn in_seconds(time: Millis) -> f64 {
    time as f64 / 1000.0
}
