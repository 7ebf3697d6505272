"""When values are to be loaded anew, before they end.

A hit that comes in the last part of a value's life begins a load beside its answer, and the next
caller finds the new value. Nothing is prolonged; if the load fails, the old value ends when it
would have ended. What nobody asks for is not loaded. Each value has a part of its own by chance, so
that those that were loaded together are not loaded together again.

Cost: `O(1)`; memory for so many names at the most.
"""

import random
from collections.abc import Callable
from typing import Final

from velro_cache.fork_safety import ForkSafeLock

__all__ = ["DueTimes"]

_MOST_WATCHED: Final = 10_000
"""Values whose end is remembered; about two megabytes."""


class DueTimes:
    """Remembers when values are to be loaded anew.

    Args:
        now: The clock, in seconds.
        chance: Numbers from 0 to below 1.
    """

    __slots__ = ("_chance", "_due", "_lock", "_now")

    def __init__(
        self, now: Callable[[], float], chance: Callable[[], float] = random.random
    ) -> None:
        self._now = now
        self._chance = chance
        self._lock = ForkSafeLock()
        self._due: dict[str, float] = {}

    def loaded(self, key: str, life_seconds: float | None, fraction: float, jitter: float) -> None:
        """Note that a value was loaded.

        Args:
            key: Where it is.
            life_seconds: How long it is kept. None: it is none that is worth it.
            fraction: After which part of its life it is due.
            jitter: By how much that part varies, as a part of the life.
        """
        with self._lock:
            self._due.pop(key, None)
            if life_seconds is None or life_seconds <= 0:
                return
            if len(self._due) >= _MOST_WATCHED:
                # The one that was loaded longest ago.
                del self._due[next(iter(self._due))]
            part = fraction + jitter * (2 * self._chance() - 1)
            self._due[key] = self._now() + part * life_seconds

    def is_due(self, key: str) -> bool:
        """Whether a value that was just used is to be loaded anew."""
        due = self._due.get(key)
        return due is not None and self._now() >= due

    def claim(self, key: str) -> bool:
        """Take it upon oneself to load a value anew; True for one caller alone."""
        with self._lock:
            return self._due.pop(key, None) is not None

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._due.clear()
