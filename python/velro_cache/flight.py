"""One load under way, and who waits for whom.

A :class:`Flight` carries the outcome of one load to all who wait for it. While a loader runs, the
flights it serves are its *chain*; when it waits for another flight, that is noted, so that loads
which would wait for each other for ever are noticed at once.
"""

import asyncio
import concurrent.futures
import contextlib
import contextvars
import copy
import math
import os
import threading
import time
from collections.abc import Iterator
from types import TracebackType

from velro_cache._engine import LoadedValue, PreparedEntry, forget_loaders
from velro_cache.exceptions import LoaderRecursionError

__all__ = [
    "AbandonedError",
    "Flight",
    "LookAgainError",
    "copy_of",
    "end_of",
    "is_nested",
    "serving",
    "waiting_for",
]


class LookAgainError(Exception):
    """There is a value after all; whoever waits must see for itself what it depends on."""


class AbandonedError(Exception):
    """The load died without an outcome; whoever waits for it begins anew."""


class Flight:
    """One load under way.

    Args:
        owner: The table of flights it is in.
        key: What is loaded.
        stamp: The clock of invalidations before the load.
        loop: The event loop it runs on; None: a thread of its own.
        timeout_seconds: How long whoever began it allows; None: for ever.
        refresh: Whether it was begun to replace what is there.
    """

    __slots__ = (
        "_traceback",
        "begun_at",
        "entry",
        "future",
        "key",
        "loop",
        "outer",
        "overdue_at",
        "owner",
        "refresh",
        "runner",
        "stamp",
        "thread",
        "waits_for",
    )

    def __init__(
        self,
        owner: object,
        key: str,
        stamp: int,
        loop: asyncio.AbstractEventLoop | None,
        timeout_seconds: float | None,
        refresh: bool,
    ) -> None:
        self.owner = owner
        self.key = key
        self.stamp = stamp
        self.loop = loop
        self.refresh = refresh
        self.begun_at = time.monotonic()
        self.overdue_at = end_of(timeout_seconds)
        self.thread = threading.get_ident()
        self.runner: object = None
        self.entry: PreparedEntry | None = None
        self.outer: Flight | None = None
        self.waits_for: Flight | None = None
        self._traceback: TracebackType | None = None
        self.future: concurrent.futures.Future[LoadedValue] = concurrent.futures.Future()
        # A running future cannot be cancelled by one of those who wait for it.
        self.future.set_running_or_notify_cancel()

    def value_for(
        self, joined_at: int, *, led: bool, asked_at: float | None = None
    ) -> LoadedValue | None:
        """Return the outcome to one caller.

        Args:
            joined_at: The clock of invalidations when the caller joined.
            led: Whether it is the caller whose loader ran.
            asked_at: When the caller asked first, on the monotonic clock: whoever asked after the
                load began may be told only what this host vouches for, for other hosts may have
                invalidated it before and not been heard. None: there are no other hosts.

        Returns:
            The value, or None if it may be older than something the caller must see. That is
            asked at the last moment: an invalidation may have come since the value was stored.

        Raises:
            Exception: What the loader raised. Everybody but the leader gets a copy: one object
                would gather the frames of all who raise it, and what one of them notes on it.
        """
        error = self.future.exception(timeout=0)
        if error is not None:
            if self.entry is not None:
                # What a loader makes of the failure of another one rests on what that one saw.
                self.entry.hand_on(self.stamp)
            raise error if led else copy_of(error, self._traceback)
        value = self.future.result(timeout=0)
        if not led and (value.is_superseded or value.is_unfollowed):
            return None
        if not led and asked_at is not None and asked_at > self.begun_at:
            # News first, then what they say.
            return value if value.is_vouched_for and value.is_current else None
        return value if joined_at == self.stamp or value.is_current else None

    def settle(self, outcome: LoadedValue | Exception) -> None:
        """Tell all who wait. Without effect if they have been told before."""
        if isinstance(outcome, StopIteration):
            # A future cannot carry one; Python itself makes the same change in generators.
            error = RuntimeError("the loader raised StopIteration")
            error.__cause__ = outcome
            outcome = error
        # Told before: given up as lost, and those who waited have begun anew.
        with contextlib.suppress(concurrent.futures.InvalidStateError):
            if isinstance(outcome, Exception):
                self._traceback = outcome.__traceback__
                self.future.set_exception(outcome)
            else:
                self.future.set_result(outcome)

    def is_lost(self) -> bool:
        """Whether the load can never end.

        Its event loop is closed; or it belongs to this thread, which does something else: an
        exception raised by a signal, in the middle of clearing up after another one, may have
        ended it unnoticed.
        """
        if self.future.done():
            return False
        if self.loop is not None:
            return self.loop.is_closed()
        return self.thread == threading.get_ident() and self not in _chain()

    def seconds_left(self) -> float | None:
        """How much longer whoever began it allows; None: for ever."""
        if self.overdue_at == math.inf:
            return None
        return max(0.0, self.overdue_at - time.monotonic())

    def is_overdue(self) -> bool:
        """Whether the load takes longer than whoever began it allows.

        A waiter less patient than that gives up for itself alone.
        """
        return time.monotonic() >= self.overdue_at


def end_of(timeout_seconds: float | None) -> float:
    """When a wait that begins now ends, on the monotonic clock."""
    return math.inf if timeout_seconds is None else time.monotonic() + timeout_seconds


_innermost: contextvars.ContextVar[Flight | None] = contextvars.ContextVar(
    "velro_cache_flight_served", default=None
)
"""The flight whose loader is running here; those outside of it follow."""

_LONGEST_CHAIN = 1000
"""As many as calls of functions may nest by default, and for the same reason."""


def _chain() -> list[Flight]:
    """The flights served here that have not ended, the innermost first."""
    chain = []
    flight = _innermost.get()
    while flight is not None:
        if not flight.future.done():
            chain.append(flight)
        flight = flight.outer
    return chain


def is_nested() -> bool:
    """Whether what runs here is part of a load."""
    return bool(_chain())


@contextlib.contextmanager
def serving(flight: Flight, entry: PreparedEntry) -> Iterator[None]:
    """Mark what runs inside as the loader of a flight, whose value goes into an entry."""
    flight.runner = _runner()
    flight.entry = entry
    outer = _innermost.get()
    # One that has ended is not waited for any more. It may have started what runs here, which may
    # start the next one, and so on for ever.
    while outer is not None and outer.future.done():
        outer = outer.outer
    flight.outer = outer
    loading = entry.begin_loading()
    try:
        token = _innermost.set(flight)
        try:
            yield
        finally:
            _innermost.reset(token)
    finally:
        entry.end_loading(loading)


@contextlib.contextmanager
def waiting_for(flight: Flight) -> Iterator[None]:
    """Note that the loader running here waits for a flight.

    Args:
        flight: The flight, led by this very caller or by another one.

    Raises:
        LoaderRecursionError: They would wait for each other, or loads within loads have no end.
    """
    chain = _chain()
    # A task that a loader has started inherits the chain. The loader may or may not wait for it;
    # an error at once is better than waiting to find out.
    if any(served.owner is flight.owner and served.key == flight.key for served in chain):
        raise LoaderRecursionError("a loader, or a task it started, asked for the key it loads")
    if len(chain) >= _LONGEST_CHAIN:
        raise LoaderRecursionError(f"{_LONGEST_CHAIN} loaders wait for one another")
    if not chain or chain[0].runner != _runner():
        yield
        return
    waiter = chain[0]
    # Noted before looking: of two that begin to wait for each other, one at least sees it.
    waiter.waits_for = flight
    try:
        seen = 0
        reached: Flight | None = flight
        while reached is not None and seen < _LONGEST_CHAIN:
            if reached in chain:
                raise LoaderRecursionError("two loaders ask for each other's keys")
            reached, seen = reached.waits_for, seen + 1
        yield
    finally:
        waiter.waits_for = None


def _runner() -> object:
    """The task or thread that is running."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    return task or threading.get_ident()


def copy_of(error: BaseException, traceback: TracebackType | None) -> BaseException:
    """An exception like another one, for a caller of its own."""
    kind = type(error)
    try:
        # Without `__init__`: it has run, and may make something else of what it made before.
        copied = kind.__new__(kind, *error.args)
        copied.args = error.args
        copied.__dict__.update(error.__dict__)
        if hasattr(error, "__notes__"):
            copied.__notes__ = list(error.__notes__)
        if str(copied) != str(error):
            # A built-in one that keeps its state elsewhere and sets it in `__init__`.
            copied = copy.copy(error)
    except Exception:
        copied = error
    if type(copied) is not kind:
        copied = error
    if copied is not error:
        copied.__cause__ = error.__cause__
        copied.__context__ = error.__context__
        copied.__suppress_context__ = error.__suppress_context__
    return copied.with_traceback(traceback)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forget_loaders)
