"""What a limiter counts."""

from dataclasses import dataclass
from typing import Final

from velro_cache.fork_safety import ForkSafeLock
from velro_cache.l2.breaker import BreakerState

__all__ = ["REFUSED_BY", "RateLimitStatistics", "Tally"]

_DECIDED_BY: Final = ("shared", "lease", "allowed_unchecked", "denied_unchecked")

REFUSED_BY: Final = (
    "organization_minute",
    "organization_day",
    "key_minute",
    "key_day",
    "either_minute",
    "either_day",
)
"""Limits of a request with an API key: whose, and of the minute or the day. ``either``: both have
the same number, so nobody can tell."""


@dataclass(frozen=True, slots=True)
class RateLimitStatistics:
    """Counts of one limiter in one process, since it was made. No name is in it.

    Attributes:
        allowed: Checks that were allowed, by whoever.
        refused: Checks that were refused.
        decided_by: Of both together, how many each of ``local``, ``shared``, ``lease``,
            ``allowed_unchecked`` and ``denied_unchecked`` decided.
        refused_by: Of requests with an API key that were refused, how many by each of
            :data:`REFUSED_BY`: the limit that has to wait longest. Told by ``ApiKeyMiddleware`` and
            ``ApiKeyAuth``.
        redis_errors: Calls of Redis that failed, other than by taking too long.
        redis_timeouts: Calls of Redis that took longer than ``timeout_seconds``.
        redis_skipped: Checks for which Redis was not asked, since the breaker was open.
        redis_trips: Calls of Redis that were answered.
        tokens_returned: Tokens of leases that were given back unused.
        breaker: ``closed``, ``open`` or ``half_open``; None without a Redis.
        breaker_opened: How often it opened.
        names: Names that this process holds.
        displaced: Names that lost their place to others while they were in use, since there were
            more than ``max_keys``.
    """

    allowed: int
    refused: int
    decided_by: dict[str, int]
    refused_by: dict[str, int]
    redis_errors: int
    redis_timeouts: int
    redis_skipped: int
    redis_trips: int
    tokens_returned: int
    breaker: BreakerState | None
    breaker_opened: int
    names: int
    displaced: int


class Tally:
    """Counts what is not decided by the compiled half, for any thread."""

    __slots__ = (
        "_lock",
        "allowed",
        "decided_by",
        "errors",
        "refused",
        "refused_by",
        "returned",
        "skipped",
        "timeouts",
        "trips",
    )

    def __init__(self) -> None:
        self._lock = ForkSafeLock()
        self.allowed = 0
        self.refused = 0
        self.decided_by = dict.fromkeys(_DECIDED_BY, 0)
        self.refused_by = dict.fromkeys(REFUSED_BY, 0)
        self.errors = 0
        self.timeouts = 0
        self.skipped = 0
        self.trips = 0
        self.returned = 0

    def decided(self, by: str, *, allowed: bool) -> None:
        """Count a decision."""
        with self._lock:
            self.decided_by[by] += 1
            if allowed:
                self.allowed += 1
            else:
                self.refused += 1

    def refused_because(self, limit: str) -> None:
        """Count a refusal by its limit, one of :data:`REFUSED_BY`."""
        with self._lock:
            self.refused_by[limit] += 1

    def count(self, what: str, by: int = 1) -> None:
        """Count something else, by the name of its attribute."""
        with self._lock:
            setattr(self, what, getattr(self, what) + by)
