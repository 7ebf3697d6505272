"""Rate limits in the three ways in which they can be counted."""

import re
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Final, Literal, Self, get_args

from velro_cache._engine import Decision, LocalLimiter, ManualClock, RateLimit
from velro_cache.exceptions import ConfigError, InvalidKeyError
from velro_cache.rate_limit.leases import EXACTLY, Leases
from velro_cache.rate_limit.rules import (
    OnErrors,
    Pair,
    Rule,
    as_pairs,
    as_rules,
    check_on_error,
    counted_here,
)
from velro_cache.rate_limit.script import Wish
from velro_cache.rate_limit.shared import SharedBuckets
from velro_cache.rate_limit.statistics import REFUSED_BY, RateLimitStatistics, Tally

__all__ = ["Mode", "RateLimiter"]

Mode = Literal["local", "shared", "leased"]

_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_MOST_KEYS: Final = 100_000_000
_MOST_TOKENS: Final = 1_000_000
_LONGEST_TIMEOUT_SECONDS: Final = 60.0
_MOST_NAMES_OF_A_CHECK: Final = 16
_MOST_KEY_BYTES: Final = 1024

_UNCHECKED_WAIT_NANOSECONDS: Final = 1_000_000_000
"""After so long a client may try again that was refused because nobody could be asked."""

_NOTHING_KNOWN: Final = RateLimit(requests_per_minute=None, requests_per_day=None)
"""Nobody knows what is left, so nothing is told of it."""


class RateLimiter:
    """Token buckets by name: organisations, API keys, whatever is limited.

    Args:
        name: Of the limiter: letters, digits and ``_.-``, at most 64. Processes share buckets that
            have the same name in the same Redis.
        redis_url: Where they are shared: ``redis://``, ``rediss://`` or ``unix://``. None in mode
            ``local``.
        mode: ``local``: each process counts for itself, and lets through what the limit says.
            ``shared``: each check is one call of Redis; exact. ``leased``: tokens are taken ahead,
            so that most checks need not wait; all processes together let through at most 1/60
            (1.7 %) of ``requests_per_minute`` more in a minute than the shared bucket would, and of
            ``requests_per_day`` 1/86,400 more in a day.
        on_error: What holds when Redis cannot be asked in time: ``local``, each process counts for
            itself, from full buckets; ``allow``, everything is allowed; ``deny``, nothing is. An
            :class:`OnErrorByBucket` says it for the minute and the day apart; a :class:`Rule`, for
            one limit of a check.
        max_keys: Names in use that a process holds, 1 to 100,000,000; some 80 bytes each.
        timeout_seconds: Longest wait for Redis, above 0, at most 60.
        lease_tokens: The most that one trip brings in mode ``leased``, 1 to 1,000,000.
        clock: For tests: counts the time of local buckets, leases and the breaker. Shared buckets
            go by the time of Redis.

    Raises:
        ConfigError: A setting is out of range or could have no effect, the package ``redis`` is not
            installed, or ``redis_url`` cannot be read.

    Consistency:
        A check takes from all its names or from none. Limits that differ from those of the check
        before hold at once; what was taken stays taken. Names are not kept, only digests of them:
        no name is in Redis, in statistics or in an error.
    """

    def __init__(
        self,
        *,
        name: str = "default",
        redis_url: str | None = None,
        mode: Mode = "local",
        on_error: OnErrors = "local",
        max_keys: int = 100_000,
        timeout_seconds: float = 0.25,
        lease_tokens: int = 1000,
        clock: ManualClock | None = None,
    ) -> None:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ConfigError("name must be 1 to 64 letters, digits or _.-")
        _one_of("mode", mode, get_args(Mode))
        check_on_error("on_error", on_error)
        _whole("max_keys", max_keys, _MOST_KEYS)
        _whole("lease_tokens", lease_tokens, _MOST_TOKENS)
        if not isinstance(timeout_seconds, int | float) or not (
            0 < timeout_seconds <= _LONGEST_TIMEOUT_SECONDS
        ):
            raise ConfigError("timeout_seconds must be above 0, and at most 60")
        if mode == "local" and redis_url is not None:
            raise ConfigError("redis_url has no effect in mode 'local'")
        self.name = name
        self.mode: Mode = mode
        self._on_error: OnErrors = on_error
        self._local = LocalLimiter(max_keys, clock)
        self._tally = Tally()
        self._shared: SharedBuckets | None = None
        self._leases: Leases | None = None
        if mode != "local":
            if redis_url is None:
                raise ConfigError(f"mode {mode!r} needs redis_url")
            now = time.monotonic if clock is None else clock.now
            self._shared = SharedBuckets(name, redis_url, timeout_seconds, self._tally, now)
            if mode == "leased":
                self._leases = Leases(self._shared, lease_tokens, max_keys, self._tally, now)

    def check(self, key: str, limit: RateLimit, cost: int = 1) -> Decision:
        """Take what a request costs, if it is there; in mode ``local``.

        Args:
            key: Whose request it is: 1 to 1024 bytes of UTF-8. No raw API key.
            limit: What they may do.
            cost: Tokens, from 1 to ``limit.most_at_once``.

        Returns:
            The decision. Nothing was taken if it is a refusal.

        Raises:
            InvalidKeyError: ``key`` is empty or too long.
            ValueError: ``cost`` is out of range.
            ConfigError: The mode is another one: :meth:`acheck` is for all.
        """
        if self._shared is not None:
            raise self._needs_await("check")
        return self._local.check(key, limit, cost)

    def check_all(self, pairs: Iterable[Pair | Rule], cost: int = 1) -> Decision:
        """Take what a request costs from several names, if all have it; in mode ``local``.

        Args:
            pairs: Names with their limits, 1 to 16: an organisation, a key. As tuples, or as
                :class:`Rule`, whose ``on_error`` has nothing to say in this mode.
            cost: As for :meth:`check`, from each.

        Returns:
            The decision: about the name that has to wait longest, or has least left. Nothing was
            taken from any if it is a refusal.

        Raises:
            InvalidKeyError: A name is empty or too long.
            ValueError: ``cost`` is out of range, or there are no names, or too many.
            ConfigError: The mode is another one: :meth:`acheck_all` is for all.
        """
        if self._shared is not None:
            raise self._needs_await("check_all")
        asked: list[Any] = list(pairs)
        try:
            return self._local.check_all(asked, cost)
        except (TypeError, ValueError):
            # Looked for only now, since most checks have none; nothing was taken.
            if Rule not in map(type, asked):
                raise
        return self._local.check_all(as_pairs(asked), cost)

    async def acheck(
        self, key: str, limit: RateLimit, cost: int = 1, *, on_error: OnErrors | None = None
    ) -> Decision:
        """Take what a request costs, if it is there; in any mode.

        Args:
            key: As for :meth:`check`.
            limit: As for :meth:`check`.
            cost: As for :meth:`check`.
            on_error: What holds for this check when Redis cannot be asked: a word, or an
                :class:`OnErrorByBucket`. None: as for all.

        Returns:
            The decision; ``decided_by`` says by whom.

        Raises:
            InvalidKeyError: ``key`` is empty or too long.
            ValueError: ``cost`` is out of range.
            ConfigError: ``on_error`` is something else.
        """
        if self._shared is None:
            return self._local.check(key, limit, cost)
        return await self._acheck([(key, limit)], cost, on_error)

    async def acheck_all(
        self,
        pairs: Iterable[Pair | Rule],
        cost: int = 1,
        *,
        on_error: OnErrors | None = None,
    ) -> Decision:
        """Take what a request costs from several names, if all have it; in any mode.

        Args:
            pairs: As for :meth:`check_all`; a :class:`Rule` says what holds for its limit when
                Redis cannot be asked.
            cost: As for :meth:`check_all`.
            on_error: As for :meth:`acheck`, for all limits that say nothing themselves.

        Returns:
            The decision: about the name that has to wait longest, or has least left. When Redis
            cannot be asked, one limit that says ``deny`` is enough for a refusal; those that say
            ``allow`` are left out, and the others are counted here.

        Raises:
            InvalidKeyError: A name is empty or too long.
            ValueError: ``cost`` is out of range, or there are no names, or too many.
            ConfigError: An ``on_error`` is something else.
        """
        if self._shared is None:
            return self.check_all(pairs, cost)
        return await self._acheck(pairs, cost, on_error)

    def note_refusal(self, limit: str) -> None:
        """Count a refusal by the limit it was for, for the statistics; changes nothing else.

        Whoever asks for several names knows what they are; here they are names.

        Args:
            limit: One of ``organization_minute``, ``organization_day``, ``key_minute``,
                ``key_day``, ``either_minute``, ``either_day``.

        Raises:
            ConfigError: It is another one.
        """
        _one_of("limit", limit, REFUSED_BY)
        self._tally.refused_because(limit)

    def stats(self) -> RateLimitStatistics:
        """Say what was counted so far."""
        allowed, refused, names, displaced = self._local.counts()
        tally, shared = self._tally, self._shared
        return RateLimitStatistics(
            allowed=allowed + tally.allowed,
            refused=refused + tally.refused,
            decided_by={"local": allowed + refused, **tally.decided_by},
            refused_by=dict(tally.refused_by),
            redis_errors=tally.errors,
            redis_timeouts=tally.timeouts,
            redis_skipped=tally.skipped,
            redis_trips=tally.trips,
            tokens_returned=tally.returned,
            breaker=None if shared is None else shared.breaker.state,
            breaker_opened=0 if shared is None else shared.breaker.opened,
            names=names + (0 if self._leases is None else self._leases.holds()),
            displaced=displaced,
        )

    async def aclose(self) -> None:
        """Give back what is held, and close the connections of this event loop.

        It can be used again afterwards.
        """
        if self._leases is not None:
            await self._leases.give_all_back()
        if self._shared is not None:
            await self._shared.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def _acheck(
        self, asked: Iterable[Pair | Rule], cost: int, on_error: OnErrors | None
    ) -> Decision:
        if on_error is None:
            on_error = self._on_error
        else:
            check_on_error("on_error", on_error)
        rules = as_rules(asked, on_error)
        pairs = [(key, limit) for key, limit, _ in rules]
        _check_asked(pairs, cost)
        limited = [pair for pair in pairs if pair[1].most_at_once is not None]
        if not limited:
            return self._local.check_all(pairs, cost)
        decision: Decision | object | None = EXACTLY
        if self._leases is not None:
            decision = await self._leases.decide(limited, cost)
        if decision is EXACTLY:
            decision = await self._exactly(limited, cost)
        if isinstance(decision, Decision):
            self._tally.decided(decision.decided_by, allowed=decision.allowed)
            return decision
        return self._unchecked(rules, cost)

    def _unchecked(self, rules: list[tuple[str, RateLimit, OnErrors]], cost: int) -> Decision:
        """Decide without Redis, as each limit has it."""
        counted = counted_here(rules)
        if counted:
            return self._local.check_all(counted, cost)
        allow = counted is not None
        by, wait = "allowed_unchecked", 0
        if not allow:
            by, wait = "denied_unchecked", _UNCHECKED_WAIT_NANOSECONDS
        self._tally.decided(by, allowed=allow)
        return Decision._made(_NOTHING_KNOWN, allow, wait, 0, 0, by)

    async def _exactly(self, limited: list[tuple[str, RateLimit]], cost: int) -> Decision | None:
        assert self._shared is not None  # noqa: S101 - the mode is not local
        answer = await self._shared.take([Wish(key, limit, cost, cost) for key, limit in limited])
        if answer is None:
            return None
        allowed, found = answer
        decisions = [
            Decision._made(limit, allowed, one.wait, one.minute, one.day, "shared")
            for (_, limit), one in zip(limited, found, strict=True)
        ]
        return min(decisions, key=lambda d: (-d.retry_after_seconds, d.remaining or 0))

    def _needs_await(self, method: str) -> ConfigError:
        return ConfigError(f"{method}() is for mode 'local'; await a{method}() in {self.mode!r}")


def _check_asked(pairs: list[tuple[str, RateLimit]], cost: int) -> None:
    """Refuse what could not be charged, before anybody is asked; by the rules of the local one."""
    if not 1 <= len(pairs) <= _MOST_NAMES_OF_A_CHECK:
        raise ValueError(f"there must be 1 to {_MOST_NAMES_OF_A_CHECK} names")
    for key, limit in pairs:
        if not isinstance(key, str) or not isinstance(limit, RateLimit):
            raise TypeError("each name must be str, with a RateLimit")
        size = len(key)
        if size <= _MOST_KEY_BYTES and not key.isascii():
            size = len(key.encode("utf-8", "surrogatepass"))
        if not 1 <= size <= _MOST_KEY_BYTES:
            raise InvalidKeyError(
                f"the key of a rate limit must have 1 to {_MOST_KEY_BYTES} bytes, not {size}"
            )
        if not isinstance(cost, int):
            raise TypeError("cost must be int")
        most = limit.most_at_once
        if cost < 1 or (most is not None and cost > most):
            raise ValueError(
                f"cost must be between 1 and {most}, what this limit lets through at once"
            )


def _one_of(setting: str, given: str, allowed: tuple[str, ...]) -> None:
    if given not in allowed:
        raise ConfigError(f"{setting} must be one of {', '.join(allowed)}")


def _whole(setting: str, given: int, most: int) -> None:
    if not isinstance(given, int) or isinstance(given, bool) or not 1 <= given <= most:
        raise ConfigError(f"{setting} must be an int between 1 and {most}")
