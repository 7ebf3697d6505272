"""Calls of a backend that never fail, and never take longer than they may.

Whatever a backend does (raise, hang, answer nonsense, end its own task), what comes of a call is an
answer or :data:`FAILED`; it is counted, and after a few failures in a row the backend is left alone
for a while. Reading and writing have a breaker each: a Redis without memory answers lookups.
"""

import asyncio
import inspect
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal, NamedTuple

from velro_cache.exceptions import ConfigError
from velro_cache.l2.breaker import CircuitBreaker
from velro_cache.l2.contract import L2Backend, TwoSidedL2Backend
from velro_cache.l2.counters import Counters
from velro_cache.l2.within import LoopWasBusyError, wait_within
from velro_cache.l2.workers import TooMuchToDoError, Workers

__all__ = ["FAILED", "Calls", "Method"]

Method = Literal["get", "set", "delete", "try_lock", "unlock"]

FAILED: Final = object()
"""What comes of a call that did not work, or was not made."""

_LOCKING: Final[tuple[Method, ...]] = ("try_lock", "unlock")


class Calls:
    """A backend, as it is used here.

    Args:
        backend: What the user gave.
        timeout_seconds: How long a call may take.
        counters: Where failures are counted.
        name: Of the cache, for the names of threads.
        now: A clock that only goes forward, in seconds, for the breakers.

    Raises:
        ConfigError: The backend lacks a method.
    """

    __slots__ = ("_counters", "_methods", "_timeout", "_workers", "reading", "writing")

    def __init__(
        self,
        backend: L2Backend | TwoSidedL2Backend,
        timeout_seconds: float,
        counters: Counters,
        name: str,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._timeout = timeout_seconds
        self._counters = counters
        self._workers = Workers(f"velro-cache-l2-{name}")
        self._methods = {
            method: _sides(backend, method) for method in ("get", "set", "delete", *_LOCKING)
        }
        missing = [m for m in ("get", "set", "delete") if self._methods[m] == (None, None)]
        if missing:
            kind = type(backend).__name__
            raise ConfigError(f"l2 must have the methods of L2Backend; {kind} lacks {missing[0]}()")
        self.reading = CircuitBreaker(now=now)
        self.writing = CircuitBreaker(now=now)

    @property
    def has_locks(self) -> bool:
        """Whether the backend can let one of many load."""
        return all(self._methods[method] != (None, None) for method in _LOCKING)

    @property
    def works_without_loop(self) -> bool:
        """Whether there are plain methods, for callers without an event loop."""
        return self._methods["get"][0] is not None

    def call(self, method: Method, *arguments: Any, within: float | None = None) -> Any:
        """Call a plain method, in a thread of the workers, and wait for it.

        Args:
            method: Which.
            *arguments: Its arguments.
            within: Longest wait, if shorter than usual.

        Returns:
            Its answer, or :data:`FAILED`.
        """
        plain = self._methods[method][0]
        if plain is None:
            self._counters.skipped("no_plain_methods")
            return FAILED
        seconds = self._limit(within)
        if (begun := self._begin(method, seconds)) is None:
            return FAILED
        try:
            answer = self._workers.run(lambda: plain(*arguments), seconds)
        except Exception as error:
            return self._failed(begun, error)
        except BaseException:
            begun.breaker.give_back()
            raise
        return self._worked(begun, answer)

    async def acall(self, method: Method, *arguments: Any, within: float | None = None) -> Any:
        """Call a coroutine function, or a plain method in a thread, and await it.

        Args:
            method: Which.
            *arguments: Its arguments.
            within: Longest wait, if shorter than usual.

        Returns:
            Its answer, or :data:`FAILED`.
        """
        plain, asynchronous = self._methods[method]
        seconds = self._limit(within)
        if (begun := self._begin(method, seconds)) is None:
            return FAILED
        try:
            work: Awaitable[Any]
            if asynchronous is not None:
                work = asynchronous(*arguments)
            else:
                assert plain is not None  # noqa: S101 - one of the two is always there
                work = asyncio.wrap_future(self._workers.submit(lambda: plain(*arguments), seconds))
            answer = await wait_within(work, seconds)
        except Exception as error:
            return self._failed(begun, error)
        except BaseException:
            begun.breaker.give_back()
            raise
        return self._worked(begun, answer)

    def begin(self, method: Method, *arguments: Any, then: Callable[[Any], None]) -> None:
        """Have a plain method called, and do not wait for it.

        Args:
            method: Which.
            *arguments: Its arguments.
            then: Called with its answer or :data:`FAILED`, in a thread of the workers, or at once.
        """
        plain = self._methods[method][0]
        begun = None if plain is None else self._begin(method, math.inf)
        if plain is None or begun is None:
            then(FAILED)
            return

        def work() -> None:
            try:
                answer = plain(*arguments)
            except Exception as error:
                answer = self._failed(begun, error)
            else:
                answer = self._worked(begun, answer)
            then(answer)

        try:
            self._workers.submit(work, 10 * self._timeout)
        except TooMuchToDoError as error:
            then(self._failed(begun, error))

    def close(self) -> None:
        """Let idle threads end. Calls made later start new ones."""
        self._workers.stop()

    def _begin(self, method: Method, seconds: float) -> "_Begun | None":
        breaker = self.reading if method == "get" else self.writing
        began = breaker.begin()
        if began is None:
            self._counters.skipped("breaker")
            return None
        return _Begun(breaker, method, began, time.perf_counter(), seconds)

    def _limit(self, within: float | None) -> float:
        return self._timeout if within is None else max(0.0, min(self._timeout, within))

    def _worked(self, begun: "_Begun", answer: Any) -> Any:
        begun.breaker.record(begun.began, worked=True)
        if begun.method == "get":
            self._counters.took(begun.seconds_since())
        return answer

    def _failed(self, begun: "_Begun", error: Exception) -> object:
        kind = type(error).__name__
        # The clients of some backends have an error of this name that is not Python's.
        timed_out = kind in ("TimeoutError", LoopWasBusyError.__name__)
        late = timed_out and begun.seconds_since() > 2 * begun.seconds
        # It may be this process that is too busy, even to see in time that time is over.
        excused = late or isinstance(error, TooMuchToDoError | LoopWasBusyError)
        begun.breaker.record(begun.began, worked=False, excused=excused)
        if timed_out:
            self._counters.count("timeouts")
        else:
            self._counters.failed(kind)
        return FAILED


class _Begun(NamedTuple):
    """A call that was begun."""

    breaker: CircuitBreaker
    method: Method
    began: float
    """On the clock of the breaker."""
    started: float
    seconds: float
    """How long it may take."""

    def seconds_since(self) -> float:
        return time.perf_counter() - self.started


_Side = Callable[..., Any] | None


def _sides(backend: object, method: Method) -> tuple[_Side, _Side]:
    """A method without and with an event loop."""
    own = getattr(backend, method, None)
    twin = getattr(backend, "a" + method, None)
    if own is not None and _is_asynchronous(own):
        return None, own
    return own, twin if twin is not None and _is_asynchronous(twin) else None


def _is_asynchronous(function: Any) -> bool:
    call = getattr(function, "__call__", None)  # noqa: B004 - asked for, not tested
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)
