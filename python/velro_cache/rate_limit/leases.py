"""Tokens taken ahead, so that a request need not wait for Redis.

A process takes some tokens from the shared bucket, and for one second, counted from before it
asked, may hand them out; what is left then goes back. So a token is used at most a second after it
was taken, and all processes together use in any stretch of time what the shared buckets give out in
one that is a second longer: in a minute at most one sixtieth (1.7 %) more than the steady rate,
however many processes there are and however large their leases.

How many are taken follows what is used: twice as many after a lease that was used up, half as many
after one that was not. Each event loop has leases of its own, so nothing here needs a lock.
"""

import asyncio
import contextlib
import os
import weakref
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from velro_cache._engine import Decision, RateLimit
from velro_cache.rate_limit.script import Found, Wish
from velro_cache.rate_limit.shared import SharedBuckets
from velro_cache.rate_limit.statistics import Tally

__all__ = ["EXACTLY", "LEASE_SECONDS", "Leases"]

EXACTLY: Final = object()
"""What comes of a question for which the shared bucket is to be asked, for just what it costs."""

LEASE_SECONDS: Final = 1.0
"""How long a token may be held. All of the error bound."""

_ATTEMPTS: Final = 3
"""Trips after which the shared bucket is asked for exactly what one request costs."""

_PAUSE_SECONDS: Final = 0.01
"""While a bucket is as good as empty, a process asks no more often, but for what fills as fast."""

_MARGIN_SECONDS: Final = 0.01
"""An event loop may be a little early."""

_NANOS: Final = 1e9

Pairs = Sequence[tuple[str, RateLimit]]


class Leases:
    """What a process holds of the buckets in Redis.

    Args:
        shared: The buckets.
        most_tokens: The most that one trip brings.
        most_names: Names of which tokens are held at once; the rest goes to Redis each time.
        tally: Where tokens that go back are counted.
        now: A clock that only goes forward, in seconds.
    """

    def __init__(
        self,
        shared: SharedBuckets,
        most_tokens: int,
        most_names: int,
        tally: Tally,
        now: Callable[[], float],
    ) -> None:
        self._shared = shared
        self._most_tokens = most_tokens
        self._most_names = most_names
        self._tally = tally
        self._now = now
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, _Lease]] = (
            weakref.WeakKeyDictionary()
        )
        self._tasks: set[asyncio.Task[Any]] = set()
        _all_leases.add(self)

    async def decide(self, pairs: Pairs, cost: int) -> Decision | object | None:
        """Take what a request costs from every name, or from none.

        Returns:
            The decision, or :data:`EXACTLY`. None: Redis could not be asked, and too little is
            held.
        """
        leases = self._leases()
        needs = {key: (limit, cost) for key, limit in pairs}
        if len(needs) < len(pairs):
            return EXACTLY
        for _ in range(_ATTEMPTS):
            now = self._now()
            short = []
            for key, (limit, need) in needs.items():
                lease = self._lease(leases, key, limit)
                if lease is None:
                    return EXACTLY
                if lease.held(now) < need:
                    if (refusal := lease.refusal(need, now)) is not None:
                        return refusal
                    short.append((key, lease, need))
            if not short:
                return self._hand_out(leases, needs, now)
            came = await asyncio.gather(*(self._renew(leases, *one) for one in short))
            if not all(came):
                return None
        # Others were faster each time.
        return EXACTLY

    def holds(self) -> int:
        """Names of which tokens are held, by all event loops."""
        return sum(len(leases) for leases in list(self._loops.values()))

    async def give_all_back(self) -> None:
        """Give back what the running event loop holds, and wait for it."""
        leases = self._leases()
        for key in list(leases):
            await self._give_back(key, leases.pop(key).drop())

    def _leases(self) -> "dict[str, _Lease]":
        return self._loops.setdefault(asyncio.get_running_loop(), {})

    def _lease(self, leases: "dict[str, _Lease]", key: str, limit: RateLimit) -> "_Lease | None":
        lease = leases.get(key)
        if lease is not None and lease.limit == limit:
            return lease
        if lease is None and len(leases) >= self._most_names:
            return None
        fresh = leases[key] = _Lease(limit)
        if lease is not None:
            # Another limit holds at once. What was taken under the old one is not used any more;
            # nor does it go back, since it may not fit into the new bucket.
            lease.drop()
        return fresh

    def _hand_out(
        self, leases: "dict[str, _Lease]", needs: dict[str, tuple[RateLimit, int]], now: float
    ) -> Decision:
        scarcest: Decision | None = None
        for key, (limit, need) in needs.items():
            lease = leases[key]
            lease.take(need, now)
            left = lease.held(now)
            if left * 4 <= lease.size and lease.flight is None and lease.size > 1:
                lease.flight = self._begin(self._bring(leases, key, lease, 1))
            decision = lease.decision(limit, now, left)
            if scarcest is None or (decision.remaining or 0) < (scarcest.remaining or 0):
                scarcest = decision
        assert scarcest is not None  # noqa: S101 - there is a name
        return scarcest

    async def _renew(
        self, leases: "dict[str, _Lease]", key: str, lease: "_Lease", need: int
    ) -> bool:
        """Bring tokens, once for all who wait for them. False: Redis could not be asked."""
        if lease.flight is None:
            lease.flight = self._begin(self._bring(leases, key, lease, need))
        # Whoever gives up waiting does not take it from the others.
        return await asyncio.shield(lease.flight)

    async def _bring(
        self, leases: "dict[str, _Lease]", key: str, lease: "_Lease", need: int
    ) -> bool:
        began = self._now()
        try:
            lease.grow(self._most_tokens)
            wish = Wish(key, lease.limit, need, max(need, lease.size))
            answer = await self._shared.take([wish])
        finally:
            lease.flight = None
        if answer is None:
            self._forget_if_over(leases, key, lease)
            return False
        allowed, (found,) = answer
        until = began + LEASE_SECONDS
        lease.learn(allowed, found, need, began, until)
        if leases.get(key) is not lease:
            # Its limit was changed meanwhile, or everything is given back.
            lease.drop()
        else:
            wait = max(0.0, until - self._now()) + _MARGIN_SECONDS
            asyncio.get_running_loop().call_later(wait, self._end, leases, key, lease)
        return True

    def _end(self, leases: "dict[str, _Lease]", key: str, lease: "_Lease") -> None:
        now = self._now()
        if old := lease.drop_old(now):
            self._begin(self._give_back(key, (lease.limit, old)))
        self._forget_if_over(leases, key, lease)

    def _forget_if_over(self, leases: "dict[str, _Lease]", key: str, lease: "_Lease") -> None:
        if leases.get(key) is lease and lease.is_over(self._now()):
            del leases[key]

    async def _give_back(self, key: str, what: tuple[RateLimit, int]) -> None:
        limit, tokens = what
        if tokens > 0:
            self._tally.count("returned", tokens)
            await self._shared.take([Wish(key, limit, -tokens, -tokens)])

    def _begin(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            with contextlib.suppress(Exception):
                task.exception()

    def _after_fork_in_child(self) -> None:
        # Tokens of the parent's are the parent's.
        self._loops = weakref.WeakKeyDictionary()
        self._tasks = set()


class _Lease:
    """Tokens of one name, each with its end."""

    __slots__ = (
        "_at",
        "_day",
        "_minute",
        "_parts",
        "_ready_at",
        "_refused_need",
        "_refused_until",
        "flight",
        "limit",
        "size",
        "used_up",
    )

    def __init__(self, limit: RateLimit) -> None:
        self.limit = limit
        self.size = 0
        self.used_up = True
        self.flight: asyncio.Task[bool] | None = None
        self._parts: deque[tuple[int, float]] = deque()
        self._at = 0.0
        self._minute = 0
        self._day = 0
        self._ready_at = 0.0
        self._refused_until = 0.0
        self._refused_need = 0

    def held(self, now: float) -> int:
        """Tokens that may be used now."""
        return sum(tokens for tokens, until in self._parts if now < until)

    def take(self, need: int, now: float) -> None:
        """Use tokens, the oldest first; there are so many."""
        for number, (tokens, until) in enumerate(self._parts):
            # Those whose time is over wait to be given back.
            if now < until:
                used = min(need, tokens)
                self._parts[number] = tokens - used, until
                need -= used
            if need == 0:
                break
        while self._parts and self._parts[0][0] == 0:
            self._parts.popleft()

    def grow(self, most: int) -> None:
        """Choose how many to take next."""
        self.size = min(most, self.size * 2 or 1) if self.used_up else max(1, self.size // 2)
        self.used_up = True

    def learn(self, allowed: bool, found: Found, need: int, began: float, until: float) -> None:
        """Take up what Redis said."""
        self._at, self._minute, self._day = began, found.minute, found.day
        if allowed:
            self._parts.append((found.tokens, until))
        else:
            # It may be there sooner if others give tokens back; then nobody waits for long.
            _, minute, _, day = self.limit._nanoseconds()
            pause = min(_PAUSE_SECONDS, max(minute, day) / 8 / _NANOS)
            self._ready_at = began + max(pause, found.wait / _NANOS)
            self._refused_until = min(until, self._ready_at)
            self._refused_need = need

    def refusal(self, need: int, now: float) -> Decision | None:
        """What was refused a moment ago is refused still."""
        if now >= self._refused_until or need < self._refused_need:
            return None
        wait = int((self._ready_at - now) * _NANOS)
        return self._decision(self.limit, now, 0, wait)

    def decision(self, limit: RateLimit, now: float, left: int) -> Decision:
        """What a request is told that was let through."""
        return self._decision(limit, now, left, None)

    def _decision(self, limit: RateLimit, now: float, left: int, wait: int | None) -> Decision:
        per_minute, _, per_day, _ = limit._nanoseconds()
        passed = int((now - self._at) * _NANOS)
        # What is held here is as good as what is there.
        minute = max(0, self._minute - passed - left * per_minute)
        day = max(0, self._day - passed - left * per_day)
        return Decision._made(limit, wait is None, wait or 0, minute, day, "lease")

    def drop(self) -> tuple[RateLimit, int]:
        """Hold nothing; returns what was held."""
        tokens = sum(tokens for tokens, _ in self._parts)
        self._parts.clear()
        return self.limit, tokens

    def drop_old(self, now: float) -> int:
        """Let go of what may not be used any more; returns how many."""
        old = 0
        while self._parts and self._parts[0][1] <= now:
            old += self._parts.popleft()[0]
        if old * 2 > self.size:
            self.used_up = False
        return old

    def is_over(self, now: float) -> bool:
        """Whether nothing is held, refused or under way."""
        return not self._parts and self.flight is None and now >= self._refused_until


_all_leases: "weakref.WeakSet[Leases]" = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for leases in list(_all_leases):
        leases._after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
