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
import contextlib
import functools
import inspect
import os
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Final, Protocol

from velro_cache._engine import LoadedValue, PreparedEntry
from velro_cache.exceptions import LoaderCancelledError, LoaderTimeoutError
from velro_cache.flight import (
    AbandonedError,
    Flight,
    LookAgainError,
    end_of,
    is_nested,
    serving,
    waiting_for,
)
from velro_cache.refill import RefillGate

__all__ = ["Flights", "Permissive", "Ttl"]

Ttl = float | None | Callable[[Any], float | None]
"""A life in seconds, None for the default, or a function from the loaded value to either; a
result of 0 or less from the function means: do not cache this one."""

Permissive = bool | Callable[[Any], bool]
"""Whether a value allows something, or a function that says so of the loaded value."""


_LOOK_EVERY_SECONDS = 1.0
"""How soon a waiter notices that the event loop it waits for is closed."""


_MISS: Final = object()


class _Cache(Protocol):
    def snapshot(self) -> int: ...
    def get_value(self, key: str, default: Any = None) -> Any: ...
    def __contains__(self, key: str, /) -> bool: ...


class Flights:
    """The loads of one cache that are under way.

    Args:
        cache: Where values go and stamps come from.
        gate: Holds loads back while there are too many; None: nothing does.
        has_other_hosts: Whether others invalidate, too, who may not be heard for a while.
    """

    __slots__ = ("__weakref__", "_cache", "_flights", "_gate", "_has_other_hosts", "_tasks")

    def __init__(
        self,
        cache: _Cache,
        gate: RefillGate | None = None,
        has_other_hosts: bool = False,
    ) -> None:
        self._cache = cache
        self._gate = gate
        self._has_other_hosts = has_other_hosts
        self._flights: dict[str, Flight] = {}
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
        permissive: Permissive = True,
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
            permissive: Whether the value allows something.

        Returns:
            The value; a copy of the caller's own.

        Raises:
            LoaderTimeoutError: Somebody else's load took too long.
            LoaderRecursionError: The loader asked for its own key.
        """
        # Once: whoever has to wait for another load is content with one that began after this.
        asked_at = time.monotonic() if self._has_other_hosts else None
        while True:
            joined_at = self._cache.snapshot()
            mine = Flight(self, key, joined_at, None, timeout_seconds, refresh)
            try:
                flight = self._enter(mine)
                beside = flight.loop is not None and flight.loop is _running_loop()
                if flight is not mine and beside:
                    # Its task cannot go on while this thread waits for it: load beside it.
                    flight = mine
                with waiting_for(flight):
                    if flight is not mine:
                        self._wait(flight, timeout_seconds)
                    elif (found := self._second_look(mine)) is not _MISS:
                        return found
                    else:
                        self._run(mine, entry, loader, ttl, permissive)
            except BaseException:
                # A signal may end this thread's work anywhere, and nobody else would end it.
                self._abandon(mine)
                raise
            try:
                value = flight.value_for(joined_at, led=flight is mine, asked_at=asked_at)
            except (AbandonedError, LookAgainError):
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
        permissive: Permissive = True,
    ) -> Any:
        """Load in a task of its own, or wait for whoever is loading.

        Args:
            key: Which value.
            entry: Where it goes.
            loader: Called without arguments; may return an awaitable.
            ttl: Life of the entry.
            timeout_seconds: Longest time for the load; None: for ever.
            refresh: As for :meth:`load`.
            permissive: As for :meth:`load`.

        Returns:
            The value; a copy of the caller's own.

        Raises:
            LoaderTimeoutError: The load took too long. Its task was cancelled.
            LoaderRecursionError: The loader asked for its own key.
            LoaderCancelledError: The loader raised ``CancelledError`` of its own accord.
        """
        loop = asyncio.get_running_loop()
        # Once: whoever has to wait for another load is content with one that began after this.
        asked_at = time.monotonic() if self._has_other_hosts else None
        while True:
            joined_at = self._cache.snapshot()
            mine = Flight(self, key, joined_at, loop, timeout_seconds, refresh)
            try:
                flight = self._enter(mine)
                with waiting_for(flight):
                    if flight is mine:
                        if (found := self._second_look(mine)) is not _MISS:
                            return found
                        work = self._arun(mine, entry, loader, ttl, timeout_seconds, permissive)
                        mine.runner = task = loop.create_task(work, name="velro-cache-load")
                        # The loop itself only keeps a weak reference.
                        self._tasks.add(task)
                        task.add_done_callback(self._tasks.discard)
                        # A task cancelled before its first step runs nothing of its own.
                        task.add_done_callback(functools.partial(self._end, mine))
                    await self._await(flight, timeout_seconds)
            except BaseException:
                # Once begun, the task goes on for the others.
                if mine.runner is None:
                    self._abandon(mine)
                raise
            try:
                value = flight.value_for(joined_at, led=flight is mine, asked_at=asked_at)
            except LookAgainError:
                continue
            except AbandonedError:
                if flight.loop is loop:
                    # This loop goes on, so it was not its end that cancelled the task.
                    message = "the task of a load was cancelled from within"
                    raise LoaderCancelledError(message) from None
                continue
            if value is not None:
                return value.copy()

    def cancel(self, key: str) -> None:
        """Cancel the task that loads a key, if one does. Who waits for it is told so."""
        flight = self._flights.get(key)
        if flight is None or not isinstance(flight.runner, asyncio.Task) or flight.loop is None:
            return
        # The loop may be closed between the question and the call.
        with contextlib.suppress(RuntimeError):
            flight.loop.call_soon_threadsafe(flight.runner.cancel)

    def forget_all(self) -> None:
        """Forget loads that will never end: after a fork, those of the parent's threads."""
        self._flights = {}
        self._tasks = set()
        if self._gate is not None:
            self._gate.forget_all()

    @contextlib.contextmanager
    def _turn(self, flight: Flight) -> Iterator[None]:
        """Wait until this load may run."""
        # One within another is part of that one, which has had its turn.
        if self._gate is None or is_nested():
            yield
            return
        with self._gate.load(flight.seconds_left()):
            yield

    @contextlib.asynccontextmanager
    async def _aturn(self, flight: Flight) -> AsyncIterator[None]:
        if self._gate is None or is_nested():
            yield
            return
        async with self._gate.aload(flight.seconds_left()):
            yield

    def _run(
        self,
        flight: Flight,
        entry: PreparedEntry,
        loader: Callable[[], Any],
        ttl: Ttl,
        permissive: Permissive,
    ) -> None:
        try:
            with self._turn(flight), serving(flight, entry):
                value = self._store(flight, entry, loader(), ttl, permissive)
        except Exception as error:
            self._settle(flight, error)
        except BaseException:
            # KeyboardInterrupt and the like are meant for this thread, not for those who wait.
            self._settle(flight, AbandonedError())
            raise
        else:
            self._settle(flight, value)

    async def _arun(
        self,
        flight: Flight,
        entry: PreparedEntry,
        loader: Callable[[], Any],
        ttl: Ttl,
        timeout_seconds: float | None,
        permissive: Permissive,
    ) -> None:
        try:
            async with self._aturn(flight):
                with serving(flight, entry):
                    loaded = await _call(loader, timeout_seconds)
                    value = self._store(flight, entry, loaded, ttl, permissive)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                self._settle(flight, AbandonedError())
                raise
            message = "a loader raised CancelledError though nobody had cancelled it"
            self._settle(flight, LoaderCancelledError(message))
        except Exception as error:
            self._settle(flight, error)
        except BaseException:
            self._settle(flight, AbandonedError())
            raise
        else:
            self._settle(flight, value)

    def _second_look(self, flight: Flight) -> Any:
        """The value, if another load ended between this caller's miss and its own load.

        For this caller alone: what was found depends on other things than what would have been
        loaded, so those who joined meanwhile must look for themselves.
        """
        if flight.refresh or flight.key not in self._cache:
            return _MISS
        found = self._cache.get_value(flight.key, _MISS)
        if found is not _MISS:
            self._settle(flight, LookAgainError())
        return found

    def _enter(self, mine: Flight) -> Flight:
        if mine.refresh:
            # Whoever comes now waits for this one; the flight it displaces will not be stored.
            self._flights[mine.key] = mine
            return mine
        flight = self._flights.setdefault(mine.key, mine)
        if flight is mine:
            return mine
        if flight.is_lost():
            self._abandon(flight)
        elif flight.is_overdue():
            self._detach(flight)
        else:
            return flight
        return self._flights.setdefault(mine.key, mine)

    def _store(
        self, flight: Flight, entry: PreparedEntry, value: Any, ttl: Ttl, permissive: Permissive
    ) -> LoadedValue:
        allows = _allows(permissive, value)
        own = ttl(value) if callable(ttl) else None
        displaced = self._flights.get(flight.key) is not flight
        if displaced:
            return entry.pass_on(value, flight.stamp)
        if own is not None and own <= 0:
            loaded = entry.pass_on(value, flight.stamp)
            # What is there already is older than what must not be kept.
            entry.discard(flight.refresh)
            return loaded
        return entry.store(value, flight.stamp, own, allows)

    def _settle(self, flight: Flight, outcome: LoadedValue | Exception) -> None:
        # First out of the way of new callers, then known to those who wait: nobody can join a
        # flight that has ended.
        self._detach(flight)
        flight.settle(outcome)

    def _detach(self, flight: Flight) -> None:
        if self._flights.get(flight.key) is flight:
            self._flights.pop(flight.key, None)

    def _end(self, flight: Flight, _: "asyncio.Task[None]") -> None:
        self._abandon(flight)

    def _abandon(self, flight: Flight) -> None:
        self._settle(flight, AbandonedError())

    def _wait(self, flight: Flight, timeout_seconds: float | None) -> None:
        for pause in _pauses(timeout_seconds):
            if concurrent.futures.wait([flight.future], pause).done:
                return
            if flight.is_lost():
                return self._abandon(flight)
        if flight.is_overdue():
            self._detach(flight)
        raise _too_slow(timeout_seconds)

    async def _await(self, flight: Flight, timeout_seconds: float | None) -> None:
        if flight.future.done():
            return
        waiter = asyncio.wrap_future(flight.future)
        # Its exception is read from the flight; nobody else needs to be told.
        waiter.add_done_callback(_ignore_outcome)
        for pause in _pauses(timeout_seconds):
            await asyncio.wait([waiter], timeout=pause)
            if flight.future.done():
                return
            if flight.is_lost():
                return self._abandon(flight)
        if flight.is_overdue():
            self._detach(flight)
        raise _too_slow(timeout_seconds)


def _pauses(timeout_seconds: float | None) -> Iterator[float]:
    """Cut a wait into parts, to look now and then whether there is anything to wait for."""
    end = end_of(timeout_seconds)
    while (left := end - time.monotonic()) > 0:
        yield min(left, _LOOK_EVERY_SECONDS)


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


def _allows(permissive: Permissive, value: Any) -> bool:
    """Whether a loaded value allows something."""
    if isinstance(permissive, bool):
        return permissive
    answer = permissive(value)
    if not isinstance(answer, bool):
        # Anything else may be a mistake, and a deny that is taken for one lives longer than it may.
        raise TypeError(f"permissive() must return True or False, not {type(answer).__name__}")
    return answer


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
