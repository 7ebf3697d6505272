"""Old answers against a plain model: whatever happens, none that was taken away, and no old allow.

The model knows for each key what was stored, until when it lives, and whether it was taken away
since. What the cache answers must be the value of now, or one the caller has asked to be given.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from callers import PATIENCE
from velro_cache import LoaderTimeoutError, OptimizedCacheConfig, OptimizedCacheManager
from velro_cache._engine import ManualClock
from velro_cache.freshness import Freshness

KEYS = ("a", "b", "c")
TTL = 10.0
TICK = 0.1
"""The engine's clock may call a life over a little early."""

POLICIES: dict[str, Freshness | None] = {
    "none": None,
    "revalidate": Freshness(stale_while_revalidate_seconds=20),
    "if error": Freshness(stale_if_error_seconds=30, fail_mode="stale"),
    "soft": Freshness(stale_if_error_seconds=30, soft_timeout_seconds=0.001),
    "hard": Freshness(
        stale_if_error_seconds=30,
        fail_mode="stale",
        soft_timeout_seconds=0.001,
        hard_timeout_seconds=0.002,
    ),
    "ahead": Freshness(refresh_ahead=0.5),
    "adaptive": Freshness(stale_while_revalidate_seconds=5, adaptive_ttl=True),
}

keys = st.sampled_from(KEYS)
policies = st.sampled_from(sorted(POLICIES))


class Down(Exception):
    pass


@dataclass
class Stored:
    value: tuple[str, int]
    at: float
    is_void: bool = False
    """Taken away, or set over."""


def allows(value: tuple[str, int]) -> bool:
    return value[0] == "allow"


class Old(RuleBasedStateMachine):
    """One cache, one source of truth, and everything that can happen to them."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = ManualClock()
        config = OptimizedCacheConfig(max_entries=50, share_invalidations=False)
        self.cache = OptimizedCacheManager(config, clock=self.clock)
        self.now = 0.0
        self.number = 0
        self.stored: dict[str, list[Stored]] = {key: [] for key in KEYS}

    def teardown(self) -> None:
        self.cache.stop()
        self.loop.run_until_complete(self.end_all())
        self.loop.close()

    async def end_all(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @rule(seconds=st.sampled_from([0.5, 3.0, 6.0, 11.0, 25.0, 100.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.clock.advance(seconds)

    @rule(key=keys, way=st.sampled_from(["key", "tag", "pattern", "all"]))
    def is_taken_away(self, key: str, way: str) -> None:
        if way == "key":
            self.cache.delete(key)
        elif way == "tag":
            self.cache.invalidate_by_tags([f"tag-{key}"])
        elif way == "pattern":
            self.cache.invalidate_by_pattern(f"[{key}]")
        else:
            self.cache.clear()
        for name in KEYS if way == "all" else [key]:
            for stored in self.stored[name]:
                stored.is_void = True

    @rule(key=keys, kind=st.sampled_from(["allow", "deny"]))
    def is_set_by_hand(self, key: str, kind: str) -> None:
        value = self.make(key, kind)
        self.cache.set(key, value, TTL, [f"tag-{key}"], permissive=allows(value))
        for stored in self.stored[key]:
            stored.is_void = True
        self.stored[key].append(Stored(value, self.now))

    @rule(
        key=keys,
        policy=policies,
        kind=st.sampled_from(["allow", "deny"]),
        outcome=st.sampled_from(["loads", "fails", "hangs", "is overtaken"]),
        refresh=st.booleans(),
    )
    def is_asked_for(self, key: str, policy: str, kind: str, outcome: str, refresh: bool) -> None:
        freshness = POLICIES[policy]
        if outcome == "hangs" and (freshness is None or freshness.hard_timeout_seconds is None):
            outcome = "fails"

        async def ask() -> None:
            # In this task: all other ones are loads.
            async with asyncio.timeout(PATIENCE):
                await self.ask(key, freshness, kind, outcome, refresh)

        self.loop.run_until_complete(ask())

    def judge(
        self, key: str, value: tuple[str, int], freshness: Freshness | None, refresh: bool
    ) -> None:
        """Say whether one of the values of before may be the answer now."""
        (stored,) = (one for one in self.stored[key] if one.value == value)
        assert not stored.is_void, "what was taken away was given"
        assert not refresh, "who must see the state of now was given an older one"
        age = self.now - stored.at
        window = 0.0
        if freshness is not None and not allows(stored.value):
            window = freshness.longest_stale_seconds
        assert age < TTL + window + TICK, f"given {age - TTL} s past its end"

    async def ask(
        self,
        key: str,
        freshness: Freshness | None,
        kind: str,
        outcome: str,
        refresh: bool,
    ) -> None:
        loaded: list[tuple[str, int]] = []

        async def load() -> tuple[str, int]:
            if outcome == "fails":
                raise Down
            if outcome == "hangs":
                await asyncio.Event().wait()
            value = self.make(key, kind)
            if outcome == "is overtaken":
                self.is_taken_away(key, "key")
            else:
                # Whatever was there is replaced.
                for stored in self.stored[key]:
                    stored.is_void = True
            self.stored[key].append(Stored(value, self.now, outcome == "is overtaken"))
            loaded.append(value)
            return value

        try:
            value = await self.cache.aget_or_load(
                key,
                load,
                ttl=TTL,
                tags=[f"tag-{key}"],
                refresh=refresh,
                permissive=allows,
                freshness=freshness,
            )
        except (Down, LoaderTimeoutError):
            pass
        else:
            # At once: what runs beside may change everything.
            if tuple(value) not in loaded:
                self.judge(key, tuple(value), freshness, refresh)
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        if outcome == "hangs":
            for task in tasks:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def make(self, key: str, kind: str) -> tuple[str, int]:
        self.number += 1
        return (kind, self.number)

    @invariant()
    def plain_lookups_find_what_lives(self) -> None:
        for key in KEYS:
            value, hit = self.cache.get(key)
            if not hit:
                continue
            (stored,) = (one for one in self.stored[key] if one.value == tuple(value))
            assert not stored.is_void
            assert self.now - stored.at < TTL + TICK

    @invariant()
    def lives_are_within_their_bounds(self) -> None:
        for key in KEYS:
            left = self.cache.explain(key)["seconds_left"]
            assert left is None or left <= TTL


TestOldAnswers = Old.TestCase
TestOldAnswers.settings = settings(stateful_step_count=40, deadline=None)
