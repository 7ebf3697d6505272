"""A span around each load."""

from __future__ import annotations

import inspect
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Any

from opentelemetry import metrics, trace

from velro_cache.hidden_ids import hidden_key, kind_of_key

__all__ = ["LoadSpans"]


class LoadSpans:
    """Puts spans around loaders.

    Args:
        tracer: Makes the spans.
        duration: Is told how long each load took, in seconds.
        name: The cache.
        hashed_keys: Whether spans hold a digest of the key.
    """

    def __init__(
        self, tracer: trace.Tracer, duration: metrics.Histogram, name: str, hashed_keys: bool
    ) -> None:
        self._tracer, self._duration = tracer, duration
        self._name, self._hashed_keys = name, hashed_keys

    def around(self, key: str, loader: Callable[[], Any]) -> Callable[[], Any]:
        """Make a loader that is a span.

        Args:
            key: What is loaded.
            loader: How.

        Returns:
            A loader that returns and raises what ``loader`` does. One that is not called is no
            span: somebody else may be loading already.
        """

        def load() -> Any:
            span = _Load(self, key)
            with span.current():
                try:
                    result = loader()
                except BaseException as error:
                    span.end(error)
                    raise
            if inspect.isawaitable(result):
                return _awaited(span, result)
            span.end(None)
            return result

        return load

    def begin(self, key: str) -> tuple[trace.Span, dict[str, str]]:
        """Begin a span, with what is said of it."""
        said = {"velro.cache.name": self._name, "velro.cache.kind": kind_of_key(key)}
        more = {"velro.cache.key_hash": hidden_key(key)} if self._hashed_keys else {}
        return self._tracer.start_span("velro_cache.load", attributes={**said, **more}), said

    def note(self, seconds: float, said: dict[str, str]) -> None:
        """Count a load that has ended."""
        self._duration.record(seconds, said)


class _Load:
    __slots__ = ("_begun_at", "_said", "_span", "_spans")

    def __init__(self, spans: LoadSpans, key: str) -> None:
        self._spans = spans
        self._span, self._said = spans.begin(key)
        self._begun_at = time.monotonic()

    def current(self) -> AbstractContextManager[Any]:
        """Have what runs inside, and what it loads in turn, belong to this span."""
        return trace.use_span(self._span, record_exception=False, set_status_on_exception=False)

    def end(self, error: BaseException | None) -> None:
        said = self._said
        if error is not None:
            # The class alone: the text of an exception may hold whatever was loaded.
            said = {**said, "error.type": type(error).__qualname__}
            self._span.set_attribute("error.type", said["error.type"])
            self._span.set_status(trace.StatusCode.ERROR)
        self._span.end()
        self._spans.note(time.monotonic() - self._begun_at, said)


async def _awaited(span: _Load, work: Awaitable[Any]) -> Any:
    with span.current():
        try:
            result = await work
        except BaseException as error:
            span.end(error)
            raise
    span.end(None)
    return result
