"""Loading ahead what a user is likely to ask for next.

The uses that are noted for the hottest names (see :mod:`velro_cache.warming.hot_keys`) are also put
into a bounded queue; that is all a request pays. A few times a second they are read: what follows
what is learned, what became of earlier loads is judged, and what is likely to follow is loaded, if
it is not there.

A load is the same question that the user's own request would ask, to the same source, under a stamp
of its own. Whatever is likely, nobody gets what the source does not grant; nothing that is there is
touched, and so nothing is prolonged. Whether it pays is measured; see
:mod:`velro_cache.warming.payoff`.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from velro_cache.warming.habits import Habits, Item, item_of, name_of
from velro_cache.warming.hot_keys import HotKey, HotKeys
from velro_cache.warming.limits import cancel_all
from velro_cache.warming.payoff import Payoff, PreloadBudget
from velro_cache.warming.prediction_limits import PredictionLimits
from velro_cache.warming.refresh import Reload

__all__ = ["Predictable", "Predictor"]

log = logging.getLogger("velro_cache")

_LOAD_TIMEOUT_SECONDS: Final = 30.0
_MOST_QUEUED: Final = 4096
_MANY_PER_SECOND: Final = 1000
"""With more accesses than that, those of fewer users are looked at: each takes some 20 us of the
processor, and a core must not lose more than some hundredths to it."""
_USER_CLASSES: Final = 1024


@dataclass(frozen=True, slots=True)
class Predictable:
    """How names of a kind are loaded ahead.

    Attributes:
        load: A coroutine function of the ids; as for ``register_reload``.
        is_cached: A function of the ids: whether there is an entry that would be served now. It
            must be quick, and count as no use.
    """

    load: Reload
    is_cached: Callable[..., bool]


@dataclass(slots=True)
class _Waiting:
    """Something that was loaded ahead, and not asked for yet."""

    user: str
    round: int
    until: float


class Predictor:
    """Loads ahead what is likely to be asked for next. Made by ``cache.warmers.predict()``.

    Args:
        hot_keys: Where uses are noted.
        user_at: By kind, which of the ids is the user's, from 0. Other kinds are left alone.
        predictable: How names of a kind are loaded; None: they are not.
        limits: How much of it there may be.
        group_of: Whose habits a user's accesses are part of, such as the user's role. None: each
            user has habits of his own.
        seconds: A clock that only goes forward.
    """

    __slots__ = (
        "_budget",
        "_counts",
        "_ends",
        "_group_of",
        "_habits",
        "_hot_keys",
        "_limits",
        "_payoff",
        "_per_user",
        "_predictable",
        "_queue",
        "_seconds",
        "_share",
        "_tasks",
        "_under_way",
        "_user_at",
        "_waiting",
    )

    def __init__(
        self,
        hot_keys: HotKeys,
        user_at: Mapping[str, int],
        predictable: Callable[[str], Predictable | None],
        limits: PredictionLimits,
        group_of: Callable[[str], str | None] | None = None,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        for kind, place in user_at.items():
            if isinstance(place, bool) or not isinstance(place, int) or place < 0:
                raise ValueError(f"the user's place in {kind!r:.80} must be 0 or more")
        self._hot_keys = hot_keys
        self._user_at = dict(user_at)
        self._predictable = predictable
        self._limits = limits
        self._group_of = group_of
        self._seconds = seconds
        self._habits = Habits(
            limits.max_sources,
            limits.width,
            limits.lookahead,
            limits.session_seconds,
            limits.max_users,
            limits.hash_ids,
        )
        self._payoff = Payoff(
            limits.least_precision, limits.window, limits.trial, limits.pause_seconds, seconds
        )
        self._budget = PreloadBudget(
            limits.per_miss, limits.max_per_second, limits.max_outstanding, seconds
        )
        self._queue: deque[tuple[HotKey, bool]] = deque(maxlen=_MOST_QUEUED)
        self._waiting: dict[HotKey, _Waiting] = {}
        self._ends: list[tuple[float, HotKey]] = []
        self._per_user: Counter[str] = Counter()
        self._under_way: set[HotKey] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._share = limits.share_of_users
        self._counts: Counter[str] = Counter()

    def figures(self) -> dict[str, Any]:
        """What became of it.

        Returns:
            ``enabled``, ``switched_off`` (it did not pay, and pauses), ``precision`` (of the last
            ones, 0 to 1; None: not known yet); counts since it was made: ``preloaded`` (granted and
            stored), ``used`` (of these, asked for while there), ``unused`` (they ended, or left,
            before), ``denied``, ``failed``, ``pauses``; levels: ``outstanding`` (there, not asked
            for yet), ``sources`` (names of which followers are known), ``share_of_users`` (whose
            accesses are looked at).
        """
        counts = self._counts
        return {
            "enabled": True,
            "switched_off": self._payoff.is_off,
            "precision": self._payoff.precision,
            **{name: counts[name] for name in ("preloaded", "used", "unused", "denied", "failed")},
            "pauses": self._payoff.times_off,
            "outstanding": len(self._waiting),
            "sources": len(self._habits.successors),
            "share_of_users": self._share,
        }

    async def run(self) -> None:
        """Listen, learn and load until cancelled. ``cache.start()`` begins it."""
        self._queue.clear()
        self._hot_keys.heard = self._queue.append
        try:
            while True:
                await asyncio.sleep(self._limits.every_seconds)
                try:
                    self.step()
                except Exception as error:
                    self._failed(error)
        finally:
            self._hot_keys.heard = None
            await cancel_all(self._tasks)

    def step(self) -> None:
        """Look at what was used since the last time, and begin to load what is likely to follow.

        Needs a running event loop. Cost: microseconds for each access.
        """
        now = self._seconds()
        looked_at = 0
        overflow = len(self._queue) >= _MOST_QUEUED
        for _ in range(len(self._queue)):
            name, loaded = self._queue.popleft()
            place = self._user_at.get(name[0])
            if place is None or len(name) < place + 2:
                continue
            if loaded:
                self._budget.missed()
            self._judge(name, loaded)
            user = name[place + 1]
            # The same users each time: half of somebody's accesses teach nothing.
            if hash(user) % _USER_CLASSES < self._share * _USER_CLASSES:
                looked_at += 1
                try:
                    self._follow(user, item_of(name, place), now)
                except Exception as error:
                    # A function of the caller's, perhaps for this user alone.
                    self._failed(error)
        self._end_what_is_over(now)
        self._adjust_share(looked_at, overflow)

    def _failed(self, error: Exception) -> None:
        # It will fail again soon enough. Its text may hold anything.
        if not self._counts["errors"]:
            kind = type(error).__name__
            log.warning("predicting failed (%s); it goes on, and this is not said again", kind)
        self._counts["errors"] += 1

    def _follow(self, user: str, item: Item, now: float) -> None:
        group = f"user {user}"
        if self._group_of is not None:
            named = self._group_of(user)
            group = group if named is None else f"group {named}"
        self._habits.learn(group, user, item, now)
        if not self._payoff.allows_one():
            return
        likely = self._habits.likely(group, item, self._limits.least_probability)
        for one in likely[: self._limits.max_at_once]:
            place = self._user_at.get(one[0])
            if place is not None:
                self._load_ahead(name_of(one, place, user), user)

    def _load_ahead(self, name: HotKey, user: str) -> None:
        kind, *ids = name
        how = self._predictable(kind)
        if (
            how is None
            or name in self._waiting
            or name in self._under_way
            or len(self._tasks) >= self._limits.concurrency
            or len(self._waiting) + len(self._tasks) >= self._limits.max_outstanding
            or self._per_user[user] >= self._limits.max_outstanding_per_user
            or not self._payoff.allows_one()
            # The dear ones last; and what is taken must be used.
            or how.is_cached(*ids)
            or not self._budget.take()
        ):
            return
        self._under_way.add(name)
        self._per_user[user] += 1
        # A context of its own: it belongs to no request.
        work = asyncio.get_running_loop().create_task(
            self._load(how.load, name, user, self._payoff.begin()),
            name="velro-cache-predicted",
            context=contextvars.Context(),
        )
        self._tasks.add(work)
        work.add_done_callback(self._tasks.discard)

    async def _load(self, load: Reload, name: HotKey, user: str, round: int) -> None:
        _, *ids = name
        life_seconds: float | None = None
        try:
            async with asyncio.timeout(_LOAD_TIMEOUT_SECONDS):
                life_seconds = await load(*ids)
            if life_seconds is None or not life_seconds > 0:
                self._counts["denied"] += 1
                life_seconds = None
        except Exception as error:
            self._counts["failed"] += 1
            # Its class alone: nobody knows what is in the message.
            log.debug("loading ahead failed: %s", type(error).__name__)
        finally:
            self._under_way.discard(name)
            if life_seconds is None:
                self._payoff.judge(round, used=False)
                self._forget_one_of(user)
        if life_seconds is not None:
            self._counts["preloaded"] += 1
            until = self._seconds() + life_seconds
            self._waiting[name] = _Waiting(user, round, until)
            heapq.heappush(self._ends, (until, name))

    def _judge(self, name: HotKey, loaded: bool) -> None:
        waiting = self._waiting.pop(name, None)
        if waiting is None:
            return
        self._forget_one_of(waiting.user)
        # What had to be loaded all the same had left before: invalidated, or for want of room.
        self._counts["unused" if loaded else "used"] += 1
        if not loaded:
            self._budget.used()
        self._payoff.judge(waiting.round, used=not loaded)

    def _end_what_is_over(self, now: float) -> None:
        ends = self._ends
        while ends and ends[0][0] <= now:
            until, name = heapq.heappop(ends)
            waiting = self._waiting.get(name)
            if waiting is not None and waiting.until == until:
                self._judge(name, loaded=True)

    def _forget_one_of(self, user: str) -> None:
        self._per_user[user] -= 1
        if self._per_user[user] <= 0:
            del self._per_user[user]

    def _adjust_share(self, looked_at: int, overflow: bool) -> None:
        # Of short times chance decides how many there are.
        many = max(50.0, _MANY_PER_SECOND * self._limits.every_seconds)
        if overflow or looked_at > many:
            self._share = max(1 / _USER_CLASSES, self._share / 2)
        elif looked_at < many / 8:
            self._share = min(self._limits.share_of_users, self._share * 2)
