"""From the limits that come with a key to what a rate limiter is asked.

The organization and the key are charged together: all of it or nothing. Limits stand in the row of
the key, so a change holds from the first request after the invalidation on. What holds while Redis
cannot be asked is said once for all organizations and once for all keys.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, Protocol, TypeAlias, runtime_checkable

from velro_cache.api_keys.models import ApiKey, KeyLimits
from velro_cache.exceptions import ConfigError
from velro_cache.rate_limit import Decision, OnErrors, RateLimit, Rule
from velro_cache.rate_limit.rules import check_on_error

__all__ = ["AppliedLimits", "KeyLimiter", "Limiter", "Pairs"]

Pairs: TypeAlias = list[tuple[str, RateLimit]]
"""Names, each with what it may do."""

_MOST_KNOWN: Final = 20_000
_ORGANIZATION: Final = "organization:"

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
        organization_on_error: What holds for limits of organizations while Redis cannot be asked.
            None: as the limiter has it.
        key_on_error: Likewise for limits of keys.

    Raises:
        TypeError: It cannot be asked.
        ConfigError: What is to hold is no ``OnErrors``.
    """

    __slots__ = ("_ask", "_check", "_known", "_note_refusal", "_on_error", "is_local")

    def __init__(
        self,
        limiter: Limiter,
        organization_on_error: OnErrors | None = None,
        key_on_error: OnErrors | None = None,
    ) -> None:
        if not isinstance(limiter, Limiter):
            raise TypeError(f"{type(limiter).__name__} is no rate limiter: it has no check_all")
        self._check = limiter.check_all
        self._ask = getattr(limiter, "acheck_all", None)
        # Where others have to be asked there is something to wait for.
        self.is_local = self._ask is None or getattr(limiter, "mode", "local") == "local"
        for setting, given in (
            ("organization_on_error", organization_on_error),
            ("key_on_error", key_on_error),
        ):
            if given is not None:
                check_on_error(setting, given)
        self._on_error = (organization_on_error, key_on_error)
        self._note_refusal = getattr(limiter, "note_refusal", None)
        # Of the object that was read, so that one that was read anew is looked at anew.
        self._known: dict[str, tuple[ApiKey, list[Any]]] = {}

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

    def pairs_of(self, key: ApiKey) -> list[Any]:
        """What the limiter is asked about a key: :data:`Pairs`, or rules where others are asked.

        Args:
            key: Whose request it is.
        """
        known = self._known.get(key.id)
        if known is not None and known[0] is key:
            return known[1]
        pairs: list[Any] = []
        for name, limits, on_error in (
            (f"{_ORGANIZATION}{key.organization_id}", key.organization_limits, self._on_error[0]),
            (f"key:{key.id}", key.key_limits, self._on_error[1]),
        ):
            if limits is not None:
                # Where nobody else is asked, nobody can be away.
                plain = self.is_local or on_error is None
                limit = _limit(limits)
                pairs.append((name, limit) if plain else Rule(name, limit, on_error))
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[key.id] = (key, pairs)
        return pairs

    def note_refusal(self, key: ApiKey, decision: Decision) -> None:
        """Have a refusal counted by the limit it was for, where the limiter counts such.

        Args:
            key: Whose request was refused.
            decision: What the limiter said.
        """
        if self._note_refusal is not None:
            limit = _refused_by(self.pairs_of(key), decision)
            if limit is not None:
                self._note_refusal(limit)


# By whose number it is: nobody's, the organization's, the key's, both.
_MINUTE: Final = (None, "organization_minute", "key_minute", "either_minute")
_DAY: Final = (None, "organization_day", "key_day", "either_day")


def _refused_by(pairs: list[Any], decision: Decision) -> str | None:
    """The limit that a refusal is for; None: nobody was asked."""
    number = decision.limit
    if number is None:
        return None
    minute = day = 0
    for name, limit, *_ in pairs:
        place = 1 if name.startswith(_ORGANIZATION) else 2
        minute += place * (limit.requests_per_minute == number)
        day += place * (limit.requests_per_day == number)
    if minute and day:
        # Rare, and not for free: a refusal tells clients of its bucket alone.
        told = dict(decision.headers()).get(b"ratelimit", b"")
        return _MINUTE[minute] if told.startswith(b'"minute"') else _DAY[day]
    return _MINUTE[minute] or _DAY[day]


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
