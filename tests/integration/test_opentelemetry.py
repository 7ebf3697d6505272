"""What OpenTelemetry is told, read back from the SDK's own exporters."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from velro_cache._engine import CacheCore
from velro_cache.config import OptimizedCacheConfig
from velro_cache.manager import OptimizedCacheManager
from velro_cache.opentelemetry import instrument, record_result, uninstrument

KEY = "auth:gen:secret-generation:user:secret-user:access"


class Told:
    """What came out of the SDK."""

    def __init__(self) -> None:
        self.spans = InMemorySpanExporter()
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)

    def instrument(self, cache: OptimizedCacheManager, **options: Any) -> None:
        instrument(cache, self.tracers, self.meters, **options)

    @property
    def loads(self) -> list[ReadableSpan]:
        found = self.spans.get_finished_spans()
        return [span for span in found if span.name == "velro_cache.load"]

    def metrics(self) -> dict[str, dict[tuple[tuple[str, Any], ...], Any]]:
        data = self.reader.get_metrics_data()
        found: dict[str, dict[tuple[tuple[str, Any], ...], Any]] = {}
        for resource in data.resource_metrics if data else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    found[metric.name] = {
                        tuple(sorted((point.attributes or {}).items())): point
                        for point in metric.data.data_points
                    }
        return found


@pytest.fixture
def told() -> Iterator[Told]:
    told = Told()
    yield told
    told.tracers.shutdown()
    told.meters.shutdown()


@pytest.fixture
def cache() -> Iterator[OptimizedCacheManager]:
    cache = OptimizedCacheManager(OptimizedCacheConfig(name="told", share_invalidations=False))
    yield cache
    uninstrument(cache)


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


class TestSpans:
    def test_a_load_is_one_span_and_a_hit_is_none(
        self, cache: OptimizedCacheManager, told: Told
    ) -> None:
        told.instrument(cache)
        for _ in range(3):
            assert cache.get_or_load(KEY, lambda: "value") == "value"
        (span,) = told.loads
        assert attributes(span) == {"velro.cache.name": "told", "velro.cache.kind": "auth:gen"}
        assert span.status.is_unset

    async def test_an_awaited_load_lasts_as_long_as_it_is_awaited(
        self, cache: OptimizedCacheManager, told: Told
    ) -> None:
        told.instrument(cache)
        tracer = told.tracers.get_tracer("test")
        before_end: list[int] = []

        async def loader() -> str:
            await asyncio.sleep(0)
            with tracer.start_as_current_span("query"):
                before_end.append(len(told.loads))
            return "value"

        with tracer.start_as_current_span("request"):
            assert await cache.aget_or_load("k", loader) == "value"
        assert before_end == [0]
        spans = {span.name: span for span in told.spans.get_finished_spans()}
        load, query = spans["velro_cache.load"], spans["query"]
        assert load.parent is not None and query.parent is not None
        assert load.parent.span_id == spans["request"].context.span_id
        assert query.parent.span_id == load.context.span_id

    async def test_who_waits_for_a_load_makes_no_span(
        self, cache: OptimizedCacheManager, told: Told
    ) -> None:
        told.instrument(cache)
        go_on = asyncio.Event()

        async def loader() -> str:
            await go_on.wait()
            return "value"

        waiting = [asyncio.ensure_future(cache.aget_or_load("k", loader)) for _ in range(5)]
        await asyncio.sleep(0)
        go_on.set()
        assert await asyncio.gather(*waiting) == ["value"] * 5
        assert len(told.loads) == 1

    @pytest.mark.parametrize("is_async", [True, False])
    async def test_a_failure_is_named_by_its_class_alone(
        self, cache: OptimizedCacheManager, told: Told, is_async: bool
    ) -> None:
        told.instrument(cache, hashed_keys=True)

        async def aloader() -> str:
            raise PermissionError("secret-token")

        def loader() -> str:
            raise PermissionError("secret-token")

        with pytest.raises(PermissionError):
            await cache.aget_or_load(KEY, aloader if is_async else loader)
        (span,) = told.loads
        assert not span.status.is_ok and span.status.description is None
        assert attributes(span)["error.type"] == "PermissionError"
        assert attributes(span)["velro.cache.key_hash"].startswith("auth:gen:#")
        assert "secret" not in span.to_json()

    async def test_a_load_that_is_cancelled_ends_its_span(
        self, cache: OptimizedCacheManager, told: Told
    ) -> None:
        told.instrument(cache)
        with pytest.raises(Exception, match="not loaded within"):
            await cache.aget_or_load("k", asyncio.Event().wait, load_timeout_seconds=0.001)
        # The load is cancelled in a task of its own.
        tasks = [task for task in asyncio.all_tasks() if task.get_name() == "velro-cache-load"]
        await asyncio.gather(*tasks, return_exceptions=True)
        (span,) = told.loads
        assert attributes(span)["error.type"] == "CancelledError"

    def test_the_result_stands_on_the_span_of_the_request_where_it_is_asked_for(
        self, cache: OptimizedCacheManager, told: Told
    ) -> None:
        told.instrument(cache)
        record_result(True)  # Without a span: nothing.
        for hit in (True, False):
            with told.tracers.get_tracer("test").start_as_current_span("request"):
                record_result(hit)
        first, second = told.spans.get_finished_spans()
        assert attributes(first) == {"velro.cache.result": "hit"}
        assert attributes(second) == {"velro.cache.result": "miss"}


class TestHits:
    def test_lookups_are_the_compiled_ones_still(
        self, cache: OptimizedCacheManager, told: Told
    ) -> None:
        # Where nothing is called, nothing costs: no subclass, no wrapper, no hook on this path.
        told.instrument(cache)
        assert type(cache).get is CacheCore.get
        assert type(cache).get_value is CacheCore.get_value
        assert not hasattr(cache, "__dict__")


class TestMetrics:
    def test_figures_are_those_of_the_statistics(
        self, cache: OptimizedCacheManager, told: Told
    ) -> None:
        told.instrument(cache)
        cache.get_or_load(KEY, lambda: "value")
        cache.get_or_load(KEY, lambda: "value")
        cache.invalidate_user_data("secret-user")
        metrics = told.metrics()
        of_gets = {
            dict(about)["velro.cache.result"]: point.value
            for about, point in metrics["velro_cache.gets"].items()
        }
        stats = cache.get_stats()
        assert of_gets == {"hit": stats["cache_hits"], "miss": stats["cache_misses"]}
        name = ("velro.cache.name", "told")
        assert metrics["velro_cache.puts"][(name,)].value == 1
        assert metrics["velro_cache.entries"][(name,)].value == 0
        assert metrics["velro_cache.entries.limit"][(name,)].value == stats["max_entries"]
        invalidated = (name, ("velro.cache.reason", "invalidated"))
        assert metrics["velro_cache.evictions"][invalidated].value == 1
        (duration,) = metrics["velro_cache.load.duration"].values()
        assert duration.count == 1 and duration.sum > 0
        assert "secret" not in repr(metrics)

    def test_an_uninstrumented_cache_tells_nothing_more(
        self, cache: OptimizedCacheManager, told: Told
    ) -> None:
        told.instrument(cache)
        uninstrument(cache)
        uninstrument(cache)
        cache.get_or_load("k", lambda: 1)
        assert not told.loads
        assert "velro_cache.gets" not in told.metrics()

    def test_instrumenting_twice_counts_once(
        self, cache: OptimizedCacheManager, told: Told
    ) -> None:
        other = OptimizedCacheManager(OptimizedCacheConfig(name="b", share_invalidations=False))
        told.instrument(cache)
        told.instrument(cache)
        told.instrument(other)
        cache.set("k", 1)
        names = {
            dict(about)["velro.cache.name"]: point.value
            for about, point in told.metrics()["velro_cache.puts"].items()
        }
        assert names == {"told": 1, "b": 0}
        cache.get_or_load("x", lambda: 1)
        assert len(told.loads) == 1

    def test_a_cache_that_is_gone_is_forgotten(self, told: Told) -> None:
        cache = OptimizedCacheManager(OptimizedCacheConfig(name="c", share_invalidations=False))
        told.instrument(cache)
        cache.set("k", 1)
        del cache
        gc.collect()
        assert "velro_cache.puts" not in told.metrics()

    def test_threads_load_at_once(self, cache: OptimizedCacheManager, told: Told) -> None:
        told.instrument(cache)
        threads = [
            threading.Thread(target=cache.get_or_load, args=(f"k{n}", object)) for n in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(told.loads) == 8
        assert len({span.context.span_id for span in told.loads}) == 8
