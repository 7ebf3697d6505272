"""Where a warm-up gets its entries: one loader for each kind, read in batches.

The stamp is taken before the loader is called. What is invalidated while it runs is therefore not
brought back by it, however long it takes.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Protocol

from velro_cache._engine import key_kinds
from velro_cache.warming.report import Progress, WarmReport, tell

__all__ = ["Loader", "Pairs", "Source", "WarmableCache", "read_source"]

log = logging.getLogger("velro_cache")

Pairs = AsyncIterable[tuple[Any, Any]] | Iterable[tuple[Any, Any]] | Mapping[Any, Any]
Loader = Callable[[], AsyncIterable[tuple[Any, Any]] | Awaitable[Pairs]]
"""An asynchronous generator function of pairs, or a coroutine function that returns pairs."""

_KINDS = {name: (number, len(ids)) for number, (name, _, ids) in enumerate(key_kinds())}


class WarmableCache(Protocol):
    """What a warm-up asks of a cache."""

    def snapshot(self) -> int: ...  # noqa: D102 - those of the cache
    def set(  # noqa: D102
        self,
        key: str,
        value: Any,
        ttl: float | None = None,
        tags: Iterable[str] | None = None,
        priority: int = 1,
        *,
        stamp: int | None = None,
        permissive: bool = True,
    ) -> bool: ...
    def _set_typed(
        self,
        kind: int,
        ids: tuple[Any, ...],
        value: Any,
        ttl: float | None = None,
        stamp: int | None = None,
        permissive: bool = True,
    ) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One loader and what becomes of what it brings.

    Attributes:
        kind: One of the eight kinds of keys, or a name of your own.
        loader: Brings pairs. For one of the eight kinds: the id, or a tuple of the ids in the order
            of the key, and the value. Otherwise: the key and the value.
        ttl: Life in seconds, or a function from the value to it (0 or less: do not store). None:
            that of the kind, or ``default_ttl_seconds``.
        tags: As for ``set``; for keys of your own only.
        priority: As for ``set``; for keys of your own only.
        permissive: Whether the values allow something, or a function of the value that says so.
        only_hot: Store what the hot-key journal names, and nothing else.
        before_ready: Whether the cache is ready only after it.
        timeout_seconds: How long it may take in all.
    """

    kind: str
    loader: Loader
    ttl: float | Callable[[Any], float | None] | None = None
    tags: tuple[str, ...] | None = None
    priority: int = 1
    permissive: bool | Callable[[Any], bool] = True
    only_hot: bool = False
    before_ready: bool = True
    timeout_seconds: float = 60.0

    def __post_init__(self) -> None:
        """Refuse what would be ignored."""
        if not callable(self.loader):
            raise TypeError("loader must be a coroutine function or an asynchronous generator one")
        if self.kind in _KINDS and (self.tags is not None or self.priority != 1):
            raise ValueError(f"tags and priority of {self.kind!r} are those of the kind")
        if not self.timeout_seconds > 0:
            raise ValueError(f"timeout_seconds must be above 0, not {self.timeout_seconds}")

    def name_of(self, first: Any) -> tuple[str, ...]:
        """Kind and ids of a pair, as the journal has them."""
        ids = first if isinstance(first, tuple) else (first,)
        return (self.kind, *map(str, ids))

    def store(self, cache: WarmableCache, first: Any, value: Any, stamp: int) -> bool:
        """Store one pair.

        Args:
            cache: Where.
            first: Key or ids.
            value: The value.
            stamp: Taken before the loader was called.

        Returns:
            Whether it is there now.
        """
        ttl = self.ttl(value) if callable(self.ttl) else self.ttl
        if ttl is not None and ttl <= 0:
            return False
        permissive = self.permissive(value) if callable(self.permissive) else self.permissive
        if not isinstance(permissive, bool):
            raise TypeError(f"permissive() must return a bool, not {type(permissive).__name__}")
        known = _KINDS.get(self.kind)
        if known is None:
            return cache.set(
                first, value, ttl, self.tags, self.priority, stamp=stamp, permissive=permissive
            )
        number, count = known
        ids = first if isinstance(first, tuple) else (first,)
        if len(ids) != count:
            raise ValueError(f"{self.kind} has {count} ids, not {len(ids)}")
        return cache._set_typed(number, ids, value, ttl, stamp, permissive)


async def read_source(
    source: Source,
    cache: WarmableCache,
    batch_size: int,
    is_hot: Callable[[tuple[str, ...]], bool],
    progress: Progress | None,
    report: WarmReport,
) -> None:
    """Read a source to its end.

    Args:
        source: What to read.
        cache: Where its entries go.
        batch_size: After how many entries other tasks run and progress is told.
        is_hot: Whether the journal names something.
        progress: Who is told. None: nobody.
        report: Where it is counted. A loader that raises, or takes too long, has failed; what it
            has brought before stays.
    """
    started = perf_counter()
    report.is_running = True
    try:
        async with asyncio.timeout(source.timeout_seconds):
            stamp = cache.snapshot()
            async with aclosing(_pairs(source.loader)) as pairs:
                async for first, value in pairs:
                    if source.only_hot and not is_hot(source.name_of(first)):
                        report.skipped += 1
                    elif source.store(cache, first, value, stamp):
                        report.loaded += 1
                    else:
                        report.skipped += 1
                    if report.done % batch_size == 0:
                        report.seconds = perf_counter() - started
                        progress = tell(progress, report)
                        await asyncio.sleep(0)
    except Exception as error:
        report.fail(error)
        log.warning(
            "warming %s failed after %d entries: %s",
            source.kind,
            report.loaded,
            type(error).__name__,
        )
    finally:
        report.is_running = False
        report.seconds = perf_counter() - started
    tell(progress, report)
    log.info(
        "warmed %s: %d stored, %d skipped, %d failed, in %.3f s",
        source.kind,
        report.loaded,
        report.skipped,
        report.failed,
        report.seconds,
    )


async def _pairs(loader: Loader) -> AsyncGenerator[tuple[Any, Any], None]:
    brought: Any = loader()
    if inspect.isawaitable(brought):
        brought = await brought
    if isinstance(brought, AsyncIterable):
        try:
            async for pair in brought:
                yield pair
        finally:
            # What it has opened, it closes now, and not when the collector comes by.
            close = getattr(brought, "aclose", None)
            if close is not None:
                await close()
        return
    for pair in brought.items() if isinstance(brought, Mapping) else brought:
        yield pair
