"""How decisions are kept: for how long, how many denials, and what is done with an expired one.

All cached checks go through here, so that none of them has rules of its own:

- a grant lives for ``auth_ttl_seconds``, a denial for ``deny_ttl_seconds``, and neither any longer
  than its own ``expires_at``;
- only so many denials are kept (see :mod:`velro_cache.authorization.deny_budget`);
- just before an answer is given, the wall clock is looked at again: the cache's own clock counts
  seconds, and somebody may set the wall clock;
- an exception is never kept.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from typing import Final, Protocol, Self, TypeVar

from velro_cache.authorization.check_statistics import CheckStatistics
from velro_cache.authorization.deny_budget import default_denies, deny_budget_of
from velro_cache.authorization.models import utc_now
from velro_cache.manager import Id, OptimizedCacheManager

__all__ = ["DEFAULT_DENY_TTL_SECONDS", "Decision", "KeptDecisions", "check_deny_limits"]

DEFAULT_DENY_TTL_SECONDS: Final = 30.0
"""A deny is cheap to ask for by whoever makes up tokens; it should not fill the cache for long."""

_PRIORITY: Final = 2
"""That of the setters for access and roles."""


class Decision(Protocol):
    """What all decisions have in common."""

    @property
    def granted(self) -> bool:
        """Whether it allows something."""
        ...

    def is_expired(self, at: datetime) -> bool:
        """Whether it is over at a moment."""
        ...

    def seconds_left(self, at: datetime) -> float | None:
        """How much longer it holds; None: no end of its own."""
        ...

    def revoked(self) -> Self:
        """A copy that allows nothing."""
        ...


D = TypeVar("D", bound=Decision)


class KeptDecisions:
    """Decisions in one cache. Cheap to make; keeps no state of its own.

    Args:
        cache: Where they are kept.
        deny_ttl_seconds: How long a denial is kept, in seconds, at most ``auth_ttl_seconds``.
            0: not at all.
        max_cached_denies: How many denials of this cache may be alive at once. 0: none.
            None: a tenth of ``max_entries``.
        now: The wall clock, with a time zone.

    Raises:
        TypeError: ``max_cached_denies`` is not an integer.
        ValueError: ``deny_ttl_seconds`` is negative or not finite, or ``max_cached_denies``
            negative.
    """

    __slots__ = ("_budget", "_deny_ttl_seconds", "_max_denies", "cache", "now")

    def __init__(
        self,
        cache: OptimizedCacheManager,
        deny_ttl_seconds: float = DEFAULT_DENY_TTL_SECONDS,
        max_cached_denies: int | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        check_deny_limits(deny_ttl_seconds, max_cached_denies)
        self.cache = cache
        self.now = now
        self._deny_ttl_seconds = deny_ttl_seconds
        if max_cached_denies is None:
            max_cached_denies = default_denies(cache.config.max_entries)
        self._max_denies = max_cached_denies
        self._budget = deny_budget_of(cache)

    def found(self, key: str, kind: type[D], statistics: CheckStatistics) -> D | None:
        """Look a decision up.

        Args:
            key: Where it would be.
            kind: What it would be.
            statistics: Where one that has expired is counted.

        Returns:
            One that may be given right now. None: there is none.
        """
        cached = self.cache.get_value(key)
        if cached is None:
            return None
        if isinstance(cached, kind):
            if not cached.is_expired(self.now()):
                return cached
            statistics.record_expired_hit()
        # Expired, or nothing of ours; whoever loads must not find it there.
        self.cache.delete(key)
        return None

    async def load(
        self,
        key: str,
        ask: Callable[[], Awaitable[D]],
        *,
        tags: Iterable[str],
        refresh: bool,
        longest: Callable[[D], float | None] | None = None,
    ) -> D:
        """Ask for a decision that is not there, once for all who ask meanwhile, and keep it.

        Args:
            key: Where it is kept.
            ask: Asks whoever decides; checks the answer, too.
            tags: Tags that the key does not imply.
            refresh: Ask, whatever is there.
            longest: How long one may be kept besides all other bounds; None: no such bound.

        Returns:
            The decision; one that allows nothing if it has expired by now.

        Raises:
            Exception: What ``ask`` raised. Nothing was kept.
        """

        def life_seconds(decision: D) -> float:
            return self._life_seconds(decision, None if longest is None else longest(decision))

        decision = await self.cache.aload_missing(
            key,
            ask,
            ttl=life_seconds,
            tags=tags,
            priority=_PRIORITY,
            refresh=refresh,
            permissive=_allows,
            # The digest in the key means nothing to another process.
            l2_key=None,
        )
        # Nothing may be awaited from here on: the clock has the last word.
        return decision.revoked() if decision.is_expired(self.now()) else decision

    def rests_on(self, stamp: int, *, team: Id | None, project: Id | None) -> None:
        """Have the decision that is being loaded end with the team or project it came through.

        To be called within ``ask``.

        Args:
            stamp: What ``snapshot()`` returned before whoever decides was asked.
            team: The team. None: no team.
            project: The project. None: no project.
        """
        named = (("team", team), ("project", project))
        tags = [f"{kind}:{id}" for kind, id in named if id is not None and id != ""]
        if tags:
            self.cache._depend_on(tags, stamp)

    def deny_figures(self) -> dict[str, float]:
        """What became of denials, for statistics.

        Returns:
            ``limit``, ``alive_at_most``, ``ttl_seconds``; ``kept`` and ``not_kept`` (for want of
            room), counted for all services that use this cache.
        """
        return {
            "limit": self._max_denies,
            "alive_at_most": self._budget.alive_at_most(self.now()),
            "ttl_seconds": self._deny_ttl_seconds,
            "kept": self._budget.kept,
            "not_kept": self._budget.not_kept,
        }

    def grant_seconds(self, decision: Decision, longest: float | None = None) -> float | None:
        """How long a grant is kept from now on.

        Args:
            decision: A decision.
            longest: How long it may be kept besides all other bounds; None: no such bound.

        Returns:
            Seconds. None: it denies.
        """
        return self._life_seconds(decision, longest) if decision.granted else None

    def _life_seconds(self, decision: Decision, longest: float | None) -> float:
        """How long a decision may be kept; 0 or less: not at all."""
        seconds = self.cache.config.auth_ttl_seconds
        if longest is not None:
            seconds = min(seconds, longest)
        now = self.now()
        left = decision.seconds_left(now)
        if left is not None:
            seconds = min(seconds, left)
        if decision.granted:
            return seconds
        seconds = min(seconds, self._deny_ttl_seconds)
        if seconds > 0 and not self._budget.take(self._max_denies, seconds, now):
            return 0.0
        return seconds


def check_deny_limits(deny_ttl_seconds: float, max_cached_denies: int | None) -> None:
    """Refuse limits that make no sense; see :class:`KeptDecisions`."""
    if not (math.isfinite(deny_ttl_seconds) and deny_ttl_seconds >= 0):
        raise ValueError(f"deny_ttl_seconds must be 0 or more seconds, not {deny_ttl_seconds}")
    if max_cached_denies is None:
        return
    if isinstance(max_cached_denies, bool) or not isinstance(max_cached_denies, int):
        kind = type(max_cached_denies).__name__
        raise TypeError(f"max_cached_denies must be an integer or None, not {kind}")
    if max_cached_denies < 0:
        raise ValueError(f"max_cached_denies must be 0 or more, not {max_cached_denies}")


def _allows(decision: Decision) -> bool:
    return decision.granted
