"""From the limits that come with a key to what a rate limiter is asked.

The organization and the key are charged together: all of it or nothing. Limits stand in the row of
the key, so a change holds from the first request after the invalidation on.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol, TypeAlias, runtime_checkable

from velro_cache.api_keys.models import ApiKey, KeyLimits
from velro_cache.exceptions import ConfigError
from velro_cache.rate_limit import Decision, RateLimit

__all__ = ["AppliedLimits", "KeyLimiter", "Limiter", "Pairs"]

Pairs: TypeAlias = list[tuple[str, RateLimit]]
"""Names, each with what it may do."""

_MOST_KNOWN: Final = 20_000

_MOST_PER_MINUTE: Final = 60_000_000
_MOST_PER_DAY: Final = 86_400_000_000
_MOST_BURST: Final = 60_000_000
"""More cannot be counted: a million a second. A row that allows more allows this."""


@runtime_checkable
class Limiter(Protocol):
    """What is asked whether a request may be made; :class:`velro_cache.rate_limit.RateLimiter`."""

    def check_all(self, pairs: Pairs, /) -> Decision:
        """Take one request from each of several names, if all of them have it."""
        ...


class AppliedLimits(NamedTuple):
    """The limits of a request, as ``request.state.limits``.

    Attributes:
        organization: Of all keys of the organization together. None: none.
        key: Of this key. None: none of its own.
    """

    organization: KeyLimits | None
    key: KeyLimits | None


class KeyLimiter:
    """Asks a limiter about keys.

    Args:
        limiter: Whom to ask.

    Raises:
        TypeError: It cannot be asked.
    """

    __slots__ = ("_ask", "_check", "_known", "is_local")

    def __init__(self, limiter: Limiter) -> None:
        if not isinstance(limiter, Limiter):
            raise TypeError(f"{type(limiter).__name__} is no rate limiter: it has no check_all")
        self._check = limiter.check_all
        self._ask = getattr(limiter, "acheck_all", None)
        # Where others have to be asked there is something to wait for.
        self.is_local = self._ask is None or getattr(limiter, "mode", "local") == "local"
        # Of the object that was read, so that one that was read anew is looked at anew.
        self._known: dict[str, tuple[ApiKey, Pairs]] = {}

    def check(self, key: ApiKey) -> Decision | None:
        """Charge a request to a key and its organization, from the memory of this process.

        Args:
            key: Whose request it is.

        Returns:
            The decision. None: there are no limits.

        Raises:
            ConfigError: The limiter said nothing, which is no yes.
        """
        pairs = self.pairs_of(key)
        return _said(self._check(pairs)) if pairs else None

    async def acheck(self, key: ApiKey) -> Decision | None:
        """Do what :meth:`check` does, where others have to be asked."""
        if self.is_local or self._ask is None:
            return self.check(key)
        pairs = self.pairs_of(key)
        return _said(await self._ask(pairs)) if pairs else None

    def pairs_of(self, key: ApiKey) -> Pairs:
        """What the limiter is asked about a key.

        Args:
            key: Whose request it is.
        """
        known = self._known.get(key.id)
        if known is not None and known[0] is key:
            return known[1]
        pairs = [
            (name, _limit(limits))
            for name, limits in (
                (f"organization:{key.organization_id}", key.organization_limits),
                (f"key:{key.id}", key.key_limits),
            )
            if limits is not None
        ]
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[key.id] = (key, pairs)
        return pairs


def _said(decision: Decision | None) -> Decision:
    if decision is None:
        raise ConfigError("the rate limiter said neither yes nor no")
    return decision


def _limit(limits: KeyLimits) -> RateLimit:
    return RateLimit(
        requests_per_minute=_at_most(_MOST_PER_MINUTE, limits.requests_per_minute),
        burst=min(_MOST_BURST, limits.burst_size),
        requests_per_day=_at_most(_MOST_PER_DAY, limits.requests_per_day),
    )


def _at_most(most: int, count: int | None) -> int | None:
    return None if count is None else min(most, count)
