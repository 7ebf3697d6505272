"""Failures in the log, without a line for each of them.

While something is away, every request fails in the same way; a line for each would fill a disk and
hide what else there is. The first failure of a kind is written at once. After that there is at most
one line of it in so many seconds, which tells how many there were in between.
"""

import logging
import time
from collections.abc import Callable
from typing import Final

from velro_cache.fork_safety import ForkSafeLock

__all__ = ["SparingLog"]

_MOST_KINDS: Final = 100
"""What is raised is of few classes; should it not be, the rest is one kind."""

_ANY_OTHER: Final = "other errors"


class SparingLog:
    """Writes failures: what did not work, and the class of the error, but nothing of its text.

    Args:
        logger: Where they are written.
        interval_seconds: Least time between two lines of one kind; above 0.
        clock: A clock that only goes forward, in seconds.

    Raises:
        ValueError: ``interval_seconds`` is not above 0.

    Consistency: for any thread; each process has its own. What was left out is told with the next
        line of its kind, so after an outage the last part of it may stay untold; statistics count
        all.
    """

    def __init__(
        self,
        logger: logging.Logger,
        *,
        interval_seconds: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not interval_seconds > 0:
            raise ValueError("interval_seconds must be above 0")
        self._logger = logger
        self._interval = interval_seconds
        self._clock = clock
        self._lock = ForkSafeLock()
        # By kind, when it may be written again, and how many were left out.
        self._kinds: dict[tuple[int, str, str], tuple[float, int]] = {}

    def failed(self, level: int, what: str, error: BaseException) -> None:
        """Write a failure, or count it.

        Args:
            level: Of the record, such as ``logging.ERROR``.
            what: What did not work: a constant text, without a name or an id in it.
            error: Its class alone is told: its text may hold anything.

        Cost: one lookup under a lock for what is not written.
        """
        name = type(error).__name__
        with self._lock:
            now = self._clock()
            kind = (level, what, name)
            if kind not in self._kinds and len(self._kinds) >= _MOST_KINDS:
                name = _ANY_OTHER
                kind = (level, what, name)
            again_at, left_out = self._kinds.get(kind, (now, 0))
            if now < again_at:
                self._kinds[kind] = (again_at, left_out + 1)
                return
            self._kinds[kind] = (now + self._interval, 0)
        # Handlers may wait, or log themselves.
        if left_out:
            self._logger.log(
                level, "%s: %s; %d more since the last such line", what, name, left_out
            )
        else:
            self._logger.log(level, "%s: %s", what, name)
