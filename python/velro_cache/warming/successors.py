"""Which names follow which: a few counters for each name, in bounded memory.

For each name that was asked for (a *source*) the sketch keeps the ``width`` names that followed it
most, with Space-Saving counters: a name without a counter takes over the smallest one, and with it
the count as its possible error. So a count is never too small, and too large by its error at the
most, which is at most the source's weight divided by ``width``.

Sources: A. Metwally, D. Agrawal, A. El Abbadi, "Efficient Computation of Frequent and Top-k
Elements in Data Streams", ICDT 2005, for the counters; V. Padmanabhan, J. Mogul, "Using Predictive
Prefetching to Improve World Wide Web Latency", CCR 26(3), 1996, for counting what follows within a
few accesses rather than next. Different here: all numbers of a source are halved when it has been
seen ``half_after`` times, so that old habits fade (the bounds stay as they are: both sides are
halved); and when there are twice as many sources as may stay, the less seen half is forgotten.

Cost: O(width) for each follower, O(1) for each source on average. Not for threads.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from typing import Final, Generic, NamedTuple, TypeVar

__all__ = ["DEFAULT_SOURCES", "DEFAULT_WIDTH", "Follower", "Successors"]

N = TypeVar("N", bound=Hashable)
S = TypeVar("S", bound=Hashable)

DEFAULT_SOURCES: Final = 4096
DEFAULT_WIDTH: Final = 8


class Follower(NamedTuple, Generic[N]):
    """A name that followed another one.

    Attributes:
        name: The name.
        weight: How often it followed, faded; never too small.
        error: By how much the weight may be too large.
    """

    name: N
    weight: float
    error: float


class _Source(Generic[N]):
    """What is known of one source.

    Attributes:
        seen: How often it was asked for, faded.
        weight: How many followers were counted, faded; the sum of all counters.
        counters: For each follower, count and error.
    """

    __slots__ = ("counters", "seen", "weight")

    def __init__(self) -> None:
        self.seen = 0.0
        self.weight = 0.0
        self.counters: dict[N, list[float]] = {}


class Successors(Generic[S, N]):
    """Counts which names follow which.

    Args:
        sources: How many sources are remembered at least, if there are as many; never more than
            twice that.
        width: Counters of each source.
        half_after: After how many times that a source was seen all of its numbers are halved.

    Raises:
        ValueError: A number is below 1, or ``half_after`` below 2.
    """

    __slots__ = ("_half_after", "_most_sources", "_sources", "_width")

    def __init__(
        self,
        sources: int = DEFAULT_SOURCES,
        width: int = DEFAULT_WIDTH,
        half_after: int = 64,
    ) -> None:
        if sources < 1 or width < 1 or half_after < 2:
            raise ValueError(
                "sources and width must be 1 or more and half_after 2 or more,"
                f" not {sources}, {width} and {half_after}"
            )
        self._most_sources = sources
        self._width = width
        self._half_after = half_after
        self._sources: dict[S, _Source[N]] = {}

    def see(self, source: S) -> None:
        """Count that a source was asked for; what follows it is counted by :meth:`follow`.

        Args:
            source: The source.
        """
        known = self._sources.get(source)
        if known is None:
            if len(self._sources) >= 2 * self._most_sources:
                self._forget()
            known = self._sources[source] = _Source()
        known.seen += 1
        if known.seen >= self._half_after:
            known.seen /= 2
            known.weight /= 2
            for counter in known.counters.values():
                counter[0] /= 2
                counter[1] /= 2

    def follow(self, source: S, name: N) -> None:
        """Count that a name followed a source. Nothing happens if the source was forgotten.

        Args:
            source: The source.
            name: What followed it.
        """
        known = self._sources.get(source)
        if known is None:
            return
        known.weight += 1
        counters = known.counters
        counter = counters.get(name)
        if counter is not None:
            counter[0] += 1
        elif len(counters) < self._width:
            counters[name] = [1.0, 0.0]
        else:
            least = min(counters, key=lambda one: counters[one][0])
            count = counters.pop(least)[0]
            counters[name] = [count + 1, count]

    def seen(self, source: S) -> float:
        """How often a source was asked for, faded; 0 for one that is not known."""
        known = self._sources.get(source)
        return 0.0 if known is None else known.seen

    def followers(self, source: S) -> list[Follower[N]]:
        """What followed a source.

        Args:
            source: The source.

        Returns:
            At most ``width`` names, in no particular order.
        """
        known = self._sources.get(source)
        if known is None:
            return []
        return [Follower(name, *counter) for name, counter in known.counters.items()]

    def surest(self, source: S, least_weight: float, least_part: float) -> list[N]:
        """What follows a source often, with what is certain of each count.

        Args:
            source: The source.
            least_weight: How often it must have followed.
            least_part: And as which part of the times that the source was asked for, from 0 to 1.

        Returns:
            The surest first.
        """
        known = self._sources.get(source)
        if known is None or known.weight < least_weight:
            return []
        least = max(least_weight, least_part * known.seen)
        found = [
            (count - error, name)
            for name, (count, error) in known.counters.items()
            if count - error >= least
        ]
        if len(found) > 1:
            found.sort(key=_certain, reverse=True)
        return [name for _, name in found]

    def __len__(self) -> int:
        """How many sources are remembered."""
        return len(self._sources)

    def _forget(self) -> None:
        items = self._sources.items()
        kept = heapq.nlargest(self._most_sources, items, key=lambda item: item[1].seen)
        for _, source in kept:
            # A source that was seen often once must not stay for ever.
            source.seen /= 2
            source.weight /= 2
            for counter in source.counters.values():
                counter[0] /= 2
                counter[1] /= 2
        self._sources = dict(kept)


def _certain(counted: tuple[float, object]) -> float:
    return counted[0]
