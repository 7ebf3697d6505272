"""Connects caches with OpenTelemetry.

A hit knows nothing of it: a span is put around the *loader* of a miss, and metrics are read off
``get_stats()`` when an exporter asks for them.
"""

from __future__ import annotations

import weakref
from typing import Any, Final

try:
    from opentelemetry import metrics, trace
except ImportError as error:
    raise ImportError(
        "velro_cache.opentelemetry needs the API of OpenTelemetry: pip install velro-cache[otel]"
    ) from error

from velro_cache._engine import __version__
from velro_cache.manager import OptimizedCacheManager
from velro_cache.opentelemetry.loads import LoadSpans
from velro_cache.opentelemetry.measured import Measured

__all__ = ["RESULT", "instrument", "record_result", "uninstrument"]

_SCOPE: Final = "velro_cache"

RESULT: Final = "velro.cache.result"

# Instruments cannot be taken back, so each provider gets them once, for all caches.
_measured: weakref.WeakKeyDictionary[Any, Measured] = weakref.WeakKeyDictionary()


def instrument(
    cache: OptimizedCacheManager,
    tracer_provider: trace.TracerProvider | None = None,
    meter_provider: metrics.MeterProvider | None = None,
    *,
    hashed_keys: bool = False,
) -> None:
    """Tell OpenTelemetry of the loads and the figures of a cache.

    Each call of a loader, warming and refreshing included, becomes a span ``velro_cache.load``
    with the name of the cache and the kind of the key. No attribute holds an id, a key, a tag, a
    value or the text of an exception. Calling this again replaces what was said before.

    Args:
        cache: Which cache. In metrics its name tells it from others.
        tracer_provider: Where spans go; None: the provider of the process.
        meter_provider: Where metrics go; None: the provider of the process.
        hashed_keys: Whether spans have a digest of the key, too, that is the same for the same key
            in this process alone.

    Cost: none for a hit. A load takes as long as the SDK takes for a span.
    """
    uninstrument(cache)
    meter_provider = meter_provider or metrics.get_meter_provider()
    measured = _measured.get(meter_provider)
    if measured is None:
        measured = Measured(meter_provider.get_meter(_SCOPE, __version__))
        _measured[meter_provider] = measured
    measured.caches.add(cache)
    tracer = trace.get_tracer(_SCOPE, __version__, tracer_provider)
    spans = LoadSpans(tracer, measured.load_duration, cache.config.name, hashed_keys)
    cache.loads_observer = spans.around


def uninstrument(cache: OptimizedCacheManager) -> None:
    """Take back what :func:`instrument` did. Without effect on a cache that is not instrumented.

    Args:
        cache: Which cache. Loads under way end their spans.
    """
    cache.loads_observer = None
    for measured in list(_measured.values()):
        measured.caches.discard(cache)


def record_result(hit: bool) -> None:
    """Note on the span of the current request whether the cache knew: ``velro.cache.result``.

    For those who want it on their request spans, where they look something up::

        value, hit = cache.get(key)
        record_result(hit)

    Nothing calls this by itself: finding the current span costs more than the lookup.

    Args:
        hit: Whether it was a hit.
    """
    trace.get_current_span().set_attribute(RESULT, "hit" if hit else "miss")
