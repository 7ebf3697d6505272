"""How often the database may be asked about keys that are not cached.

Whoever makes up keys of the right shape can have each looked up once. Two budgets bound that: one
for all, and a smaller one for each source of requests, so that one source cannot use up what others
need. Both are token buckets by the generic cell rate algorithm (ITU-T I.371): one number each.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final

__all__ = ["MissBudget"]

_MOST_SOURCES: Final = 10_000


class MissBudget:
    """Counts questions. For one event loop or under the lock of its owner.

    Args:
        per_second: Questions a second in the long run, of all.
        burst: How many at once.
        per_source: Share of both that one source may use, above 0 and at most 1.
        now: A clock that only goes forward, in seconds.

    Raises:
        ValueError: A limit makes no sense.
    """

    def __init__(
        self, per_second: float, burst: int, per_source: float, now: Callable[[], float]
    ) -> None:
        if not per_second > 0 or burst < 1:
            raise ValueError("misses_per_second must be above 0, and miss_burst 1 or more")
        if not 0 < per_source <= 1:
            raise ValueError("the share of one source must be above 0, and at most 1")
        self._now = now
        self._interval = 1.0 / per_second
        self._tolerance = self._interval * (burst - 1)
        self._source_interval = self._interval / per_source
        self._source_tolerance = max(0.0, self._tolerance - self._source_interval)
        self._free_at = 0.0
        self._sources: OrderedDict[Hashable, float] = OrderedDict()
        self.refused = 0

    def take(self, source: Hashable | None = None) -> float:
        """Ask for one question.

        Args:
            source: Who asks, such as the address of a client. None: not known.

        Returns:
            0.0: it may be asked. Otherwise in how many seconds, and nothing was taken.
        """
        now = self._now()
        wait = self._free_at - self._tolerance - now
        free_at = None
        if source is not None:
            free_at = self._sources.get(source, 0.0)
            wait = max(wait, free_at - self._source_tolerance - now)
        if wait > 0:
            self.refused += 1
            return wait
        self._free_at = max(self._free_at, now) + self._interval
        if free_at is not None:
            self._sources[source] = max(free_at, now) + self._source_interval
            self._sources.move_to_end(source)
            # The one that asked longest ago; the budget of all still holds for it.
            if len(self._sources) > _MOST_SOURCES:
                self._sources.popitem(last=False)
        return 0.0
