"""A circuit breaker: a backend that does not work is left alone for a while.

Closed, it lets everything pass; after some failures in a row it opens, and nothing passes. When a
pause is over, one call may try (half open): if that works the breaker closes, if not it opens again
for twice as long, up to a limit. So a backend that hangs costs one timeout for each trial.

A call that fails while others are answered does not count: in a burst of calls some wait for too
long in our own queue, and it is then that a backend which works is needed most. Nor does one that
this process was too busy for, unless nothing works for seconds.
"""

import math
import time
from collections.abc import Callable
from typing import Final, Literal

from velro_cache.fork_safety import ForkSafeLock

__all__ = ["BreakerState", "CircuitBreaker"]

BreakerState = Literal["closed", "open", "half_open"]

_FAILURES_TO_OPEN: Final = 3
"""One may be chance, and two may be two requests of one moment."""

_FIRST_PAUSE_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 10.0
"""So late, at most, is it noticed that the backend works again."""

_LONGEST_EXCUSE_SECONDS: Final = 2.0
"""A busy process may come too late for some answers, but not for all of them for so long."""


class CircuitBreaker:
    """Says whether a call may be made; is told what became of it.

    Args:
        failures_to_open: Failures in a row after which nothing passes.
        first_pause_seconds: How long, at first.
        longest_pause_seconds: How long at most.
        now: A clock that only goes forward, in seconds.
    """

    __slots__ = (
        "_excused_since",
        "_failures",
        "_failures_to_open",
        "_first_pause",
        "_lock",
        "_longest_pause",
        "_now",
        "_pause",
        "_trial_until",
        "_until",
        "_worked_at",
        "opened",
    )

    def __init__(
        self,
        failures_to_open: int = _FAILURES_TO_OPEN,
        first_pause_seconds: float = _FIRST_PAUSE_SECONDS,
        longest_pause_seconds: float = _LONGEST_PAUSE_SECONDS,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._failures_to_open = failures_to_open
        self._first_pause = first_pause_seconds
        self._longest_pause = longest_pause_seconds
        self._now = now
        self._lock = ForkSafeLock()
        self._failures = 0
        self._pause = first_pause_seconds
        self._until: float | None = None
        self._trial_until: float | None = None
        self._worked_at = -math.inf
        self._excused_since: float | None = None
        self.opened = 0

    @property
    def state(self) -> BreakerState:
        """``closed``, ``open``, or ``half_open`` while a trial may begin or is under way."""
        until = self._until
        if until is None:
            return "closed"
        return "open" if self._now() < until else "half_open"

    def begin(self) -> float | None:
        """Ask whether a call may be made now.

        Returns:
            None: no. Otherwise when it began, for :meth:`record`, which is to be told what became
            of it.
        """
        now = self._now()
        if self._until is None:
            return now
        with self._lock:
            if self._until is None:
                return now
            if now < self._until or (self._trial_until is not None and now < self._trial_until):
                return None
            # A trial nobody reports on must not keep all others away for ever.
            self._trial_until = now + self._longest_pause
            return now

    def record(self, began: float, *, worked: bool, excused: bool = False) -> None:
        """Take note of what became of a call.

        Args:
            began: What :meth:`begin` returned.
            worked: Whether the backend answered as it should, be it that it has nothing.
            excused: Whether it failed for a reason that says little of the backend.
        """
        if worked:
            self._worked_at = self._now()
            if self._until is None and not self._failures and self._excused_since is None:
                return
        with self._lock:
            if worked:
                self._failures = 0
                self._pause = self._first_pause
                self._until = self._trial_until = self._excused_since = None
                return
            if self._worked_at > began:
                return
            if excused and self._may_be_excused():
                self._trial_until = None
                return
            self._failures += 1
            if self._until is not None:
                if self._trial_until is None:
                    # A call from before it opened; those of that time are all alike.
                    return
                self._pause = min(2 * self._pause, self._longest_pause)
            elif self._failures < self._failures_to_open:
                return
            else:
                self.opened += 1
            self._until = self._now() + self._pause
            self._trial_until = None

    def _may_be_excused(self) -> bool:
        now = self._now()
        if self._excused_since is None:
            self._excused_since = now
        return now - self._excused_since < _LONGEST_EXCUSE_SECONDS

    def give_back(self) -> None:
        """Say that a call was not made after all, or ended for a reason of the caller's own."""
        with self._lock:
            self._trial_until = None
