"""Callers that run at the same time, and a way to know when they wait for each other.

Nothing here waits for time to pass. A limit on a wait is there so that a hang is a failure.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from velro_cache.loader import Flights
from velro_cache.manager import OptimizedCacheManager

T = TypeVar("T")

PATIENCE = 30.0
"""Seconds after which something that should have happened counts as never happening."""


class InThread(Generic[T]):
    """Work in a thread of its own, started at once; its outcome can be asked for."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._value: T | None = None
        self._error: BaseException | None = None
        # A daemon, so that a hang fails one test instead of keeping the process alive.
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._value = self._work()
        except BaseException as error:
            self._error = error

    def outcome(self) -> T:
        """What the work returned, or the exception it raised."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the thread is still waiting"
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()


class Gate:
    """A door in the middle of a loader: tells when somebody stands before it, and lets them in."""

    def __init__(self) -> None:
        self._reached = threading.Semaphore(0)
        self._open = threading.Event()

    def wait_inside(self) -> None:
        """For the loader: announce yourself, then wait to be let through."""
        self._reached.release()
        assert self._open.wait(PATIENCE), "the gate was never opened"

    async def await_inside(self) -> None:
        """The same for a coroutine; does not hold up its event loop."""
        self._reached.release()
        await asyncio.to_thread(self._open.wait, PATIENCE)
        assert self._open.is_set(), "the gate was never opened"

    def until_reached(self) -> None:
        """For the test: wait until a loader stands before the door."""
        assert self._reached.acquire(timeout=PATIENCE), "no loader came"

    async def auntil_reached(self) -> None:
        """The same from within an event loop."""
        await asyncio.to_thread(self.until_reached)

    def open(self) -> None:
        """Let everybody through."""
        self._open.set()


class _ObservedFlights(Flights):
    __slots__ = ("entered",)

    def __init__(self, cache: OptimizedCacheManager) -> None:
        replaced = cache._flights
        super().__init__(cache, replaced._gate, replaced._has_other_hosts)
        self.entered = threading.Semaphore(0)

    def _enter(self, *args: Any, **kwargs: Any) -> Any:
        flight = super()._enter(*args, **kwargs)
        self.entered.release()
        return flight


class Joins:
    """Tells when callers have joined the load of a key, or begun one."""

    def __init__(self, cache: OptimizedCacheManager) -> None:
        self._flights = _ObservedFlights(cache)
        cache._flights = self._flights

    def until(self, callers: int) -> None:
        """Wait until so many more callers have missed and are loading or waiting for a load."""
        for _ in range(callers):
            assert self._flights.entered.acquire(timeout=PATIENCE), "a caller never came"

    async def auntil(self, callers: int) -> None:
        """The same from within an event loop."""
        await asyncio.to_thread(self.until, callers)
