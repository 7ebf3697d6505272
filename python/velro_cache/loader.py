"""Single flight: however many callers miss a key at once, it is loaded once.

One :class:`Flights` serves threads and event loops alike. The first caller to miss starts the
load; whoever comes while it runs waits for it. Everybody gets a copy of the value of their own,
or the loader's exception; an exception is never cached.

Three rules keep this from ever telling a caller what was taken away before it asked:

* the stamp is read before the loader begins, so a value that was invalidated while it was being
  loaded is not stored;
* whoever joined after such an invalidation does not get that value either, but loads anew;
* a caller that is cancelled or gives up harms nobody: an asynchronous load runs in a task of its
  own, and a load that died with its event loop is begun again by those who wait for it.
"""

import asyncio
import concurrent.futures
import contextvars
import inspect
import os
import weakref
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from velro_cache._engine import LoadedValue, PreparedEntry
from velro_cache.exceptions import (
    LoaderCancelledError,
    LoaderRecursionError,
    LoaderTimeoutError,
)

__all__ = ["Flights", "Ttl"]

Ttl = float | None | Callable[[Any], float | None]
"""A life in seconds, None for the default, or a function from the loaded value to either; a
result of 0 or less from the function means: do not cache this one."""


class _Snapshots(Protocol):
    def snapshot(self) -> int: ...


class _AbandonedError(Exception):
    """The load died without an outcome; whoever waits for it begins anew."""


_in_progress: contextvars.ContextVar[tuple["_Flight", ...]] = contextvars.ContextVar(
    "velro_cache_loads_in_progress", default=()
)


class _Flight:
    """One load under way."""

    __slots__ = ("future", "loop", "stamp")

    def __init__(self, stamp: int, loop: asyncio.AbstractEventLoop | None) -> None:
        self.stamp = stamp
        self.loop = loop
        self.future: concurrent.futures.Future[LoadedValue] = concurrent.futures.Future()
        # A running future cannot be cancelled by one of those who wait for it.
        self.future.set_running_or_notify_cancel()

    def value_for(self, joined_at: int) -> LoadedValue | None:
        """The value, or None if it may be older than something the caller must see."""
        value = self.future.result(timeout=0)
        return value if value.is_current or joined_at == self.stamp else None


class Flights:
    """The loads of one cache that are under way.

    Args:
        cache: Where stamps come from.
    """

    __slots__ = ("__weakref__", "_cache", "_flights", "_tasks")

    def __init__(self, cache: _Snapshots) -> None:
        self._cache = cache
        self._flights: dict[str, _Flight] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        _all_flights.add(self)

    def load(
        self,
        key: str,
        entry: PreparedEntry,
        loader: Callable[[], Any],
        ttl: Ttl,
        timeout_seconds: float | None,
        refresh: bool = False,
    ) -> Any:
        """Load in this thread, or wait for whoever is loading.

        Args:
            key: Which value.
            entry: Where it goes.
            loader: Called without arguments.
            ttl: Life of the entry.
            timeout_seconds: Longest wait for somebody else's load; None: for ever. A load in
                this thread cannot be interrupted and takes as long as it takes.
            refresh: Begin a load even if one is under way, which may have read older state.

        Returns:
            The value; a copy of the caller's own.

        Raises:
            LoaderTimeoutError: Somebody else's load took too long.
            LoaderRecursionError: The loader asked for its own key.
        """
        while True:
            joined_at = self._cache.snapshot()
            mine = _Flight(joined_at, None)
            flight = self._enter(key, mine, refresh)
            if flight is mine:
                self._run(key, flight, entry, loader, ttl)
            else:
                _refuse_recursion(flight, key)
                if flight.loop is not None and flight.loop is _running_loop():
                    # Its task cannot go on while this thread waits for it.
                    return entry.pass_on(loader()).copy()
                self._wait(key, flight, timeout_seconds)
            try:
                value = flight.value_for(joined_at)
            except _AbandonedError:
                continue
            if value is not None:
                return value.copy()

    async def aload(
        self,
        key: str,
        entry: PreparedEntry,
        loader: Callable[[], Any],
        ttl: Ttl,
        timeout_seconds: float | None,
        refresh: bool = False,
    ) -> Any:
        """Load in a task of its own, or wait for whoever is loading.

        Args:
            key: Which value.
            entry: Where it goes.
            loader: Called without arguments; may return an awaitable.
            ttl: Life of the entry.
            timeout_seconds: Longest time for the load; None: for ever.
            refresh: As for :meth:`load`.

        Returns:
            The value; a copy of the caller's own.

        Raises:
            LoaderTimeoutError: The load took too long. Its task was cancelled.
            LoaderRecursionError: The loader asked for its own key.
            LoaderCancelledError: The loader raised ``CancelledError`` of its own accord.
        """
        loop = asyncio.get_running_loop()
        while True:
            joined_at = self._cache.snapshot()
            mine = _Flight(joined_at, loop)
            flight = self._enter(key, mine, refresh)
            if flight is mine:
                task = loop.create_task(
                    self._arun(key, flight, entry, loader, ttl, timeout_seconds),
                    name="velro-cache-load",
                )
                # The loop itself only keeps a weak reference.
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            else:
                _refuse_recursion(flight, key)
            await self._await(key, flight, timeout_seconds)
            try:
                value = flight.value_for(joined_at)
            except _AbandonedError:
                continue
            if value is not None:
                return value.copy()

    def forget_all(self) -> None:
        """Forget loads that will never end: after a fork, those of the parent's threads."""
        self._flights = {}
        self._tasks = set()

    def _run(
        self, key: str, flight: _Flight, entry: PreparedEntry, loader: Callable[[], Any], ttl: Ttl
    ) -> None:
        token = _in_progress.set((*_in_progress.get(), flight))
        try:
            value = self._store(key, flight, entry, loader(), ttl)
        except Exception as error:
            self._settle(key, flight, error)
        except BaseException:
            # KeyboardInterrupt and the like are meant for this thread, not for those who wait.
            self._settle(key, flight, _AbandonedError())
            raise
        else:
            self._settle(key, flight, value)
        finally:
            _in_progress.reset(token)

    async def _arun(
        self,
        key: str,
        flight: _Flight,
        entry: PreparedEntry,
        loader: Callable[[], Any],
        ttl: Ttl,
        timeout_seconds: float | None,
    ) -> None:
        _in_progress.set((*_in_progress.get(), flight))
        try:
            loaded = await _call(loader, timeout_seconds)
            value = self._store(key, flight, entry, loaded, ttl)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                self._settle(key, flight, _AbandonedError())
                raise
            message = "a loader raised CancelledError though nobody had cancelled it"
            self._settle(key, flight, LoaderCancelledError(message))
        except Exception as error:
            self._settle(key, flight, error)
        except BaseException:
            self._settle(key, flight, _AbandonedError())
            raise
        else:
            self._settle(key, flight, value)

    def _enter(self, key: str, mine: _Flight, refresh: bool) -> _Flight:
        if refresh:
            # Whoever comes now waits for this one; the flight it displaces will not be stored.
            self._flights[key] = mine
            return mine
        return self._flights.setdefault(key, mine)

    def _store(
        self, key: str, flight: _Flight, entry: PreparedEntry, value: Any, ttl: Ttl
    ) -> LoadedValue:
        own = ttl(value) if callable(ttl) else None
        displaced = self._flights.get(key) is not flight
        if displaced or (own is not None and own <= 0):
            return entry.pass_on(value)
        return entry.store(value, flight.stamp, own)

    def _settle(self, key: str, flight: _Flight, outcome: LoadedValue | Exception) -> None:
        # First out of the way of new callers, then known to those who wait: nobody can join a
        # flight that has ended.
        self._detach(key, flight)
        if isinstance(outcome, Exception):
            flight.future.set_exception(outcome)
        else:
            flight.future.set_result(outcome)

    def _detach(self, key: str, flight: _Flight) -> None:
        if self._flights.get(key) is flight:
            self._flights.pop(key, None)

    def _wait(self, key: str, flight: _Flight, timeout_seconds: float | None) -> None:
        done, _ = concurrent.futures.wait([flight.future], timeout_seconds)
        if not done:
            self._detach(key, flight)
            raise _too_slow(timeout_seconds)

    async def _await(self, key: str, flight: _Flight, timeout_seconds: float | None) -> None:
        future = flight.future
        if future.done():
            return
        waiter = asyncio.wrap_future(future)
        # Its exception is read from the flight; nobody else needs to be told.
        waiter.add_done_callback(_ignore_outcome)
        done, _ = await asyncio.wait([waiter], timeout=timeout_seconds)
        if not done and not future.done():
            self._detach(key, flight)
            raise _too_slow(timeout_seconds)


async def _call(loader: Callable[[], Any], timeout_seconds: float | None) -> Any:
    result = loader()
    if not inspect.isawaitable(result):
        return result
    return await _within(result, timeout_seconds)


async def _within(work: Awaitable[Any], timeout_seconds: float | None) -> Any:
    guard = asyncio.timeout(timeout_seconds)
    try:
        async with guard:
            return await work
    except TimeoutError:
        if guard.expired():
            raise _too_slow(timeout_seconds) from None
        raise


def _refuse_recursion(flight: _Flight, key: str) -> None:
    if flight in _in_progress.get():
        raise LoaderRecursionError(f"the loader of {key[:80]!r} asked for the key it is loading")


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _ignore_outcome(waiter: "asyncio.Future[LoadedValue]") -> None:
    if not waiter.cancelled():
        waiter.exception()


def _too_slow(timeout_seconds: float | None) -> LoaderTimeoutError:
    return LoaderTimeoutError(f"the value was not loaded within {timeout_seconds} s")


_all_flights: "weakref.WeakSet[Flights]" = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for flights in list(_all_flights):
        flights.forget_all()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
