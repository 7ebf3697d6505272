"""The whole manager against a model in plain Python: every answer, every returned count.

Nothing is evicted here, so there is no excuse for a miss but one: two names may share one of
262,144 slots of the invalidation table, and then an invalidation of the one also drops the
other. The names below were chosen so that none of them do; the machine says so if they did.
"""

from __future__ import annotations

import fnmatch
import itertools
from dataclasses import dataclass
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from velro_cache import OptimizedCacheConfig, OptimizedCacheManager
from velro_cache._engine import ManualClock

USERS = ["u1", "u2", "a:*"]
ESCAPED = {"a:*": "a%3A%2A"}
GENERATIONS = ["g1", "g2"]
KEYS = [
    "auth:user:u1:profile",
    "auth:user:a%3A%2A:profile",
    *(f"auth:gen:{g}:user:{ESCAPED.get(u, u)}:access" for g in GENERATIONS for u in USERS),
    "session:u1:data",
    "plain",
    "plain:x",
    "deep:1:2:3:4:5:6:7:8:9",
]
TAGS = ["t1", "t2", "user:u1", "user:a:*"]
PATTERNS = [
    "*",
    "auth:*",
    "auth:user:*",
    "auth:user:u1:*",
    "auth:gen:g1:*",
    "auth:gen:*:access",
    "auth:*:user:u2:*",
    "*:user:u1:*",
    "session:??:data",
    "[ps]*",
    "[!a]*",
    "auth:user:u[12]:profile",
    "auth:user:a%3A%2A:*",
    "plain",
    "plain:*",
    "plain*",
    "deep:1:2:3:4:5:6:7:*",
    "deep:1:2:3:4:5:6:7:8:9",
    "deep:1:2:3:4:5:6:7:8:*",
    "nothing:*",
]

keys = st.sampled_from(KEYS)
tag_sets: st.SearchStrategy[list[str]] = st.lists(
    st.sampled_from(TAGS), min_size=1, max_size=3
) | st.just([])
values = st.one_of(st.integers(), st.none(), st.lists(st.integers(), max_size=2))


def tag_of(kind: str, id_: str) -> str:
    return f"{kind}:{id_}"


def implied_by(key: str) -> set[str]:
    """Tags a key stands for whoever set it: one for each id in it."""
    names = {"user": "user", "gen": "generation", "session": "user"}
    unescaped = {escaped: plain for plain, escaped in ESCAPED.items()}
    parts = key.split(":")
    return {
        tag_of(names[kind], unescaped.get(id_, id_))
        for kind, id_ in itertools.pairwise(parts)
        if kind in names and (kind != "session" or parts[0] == kind)
    }


@dataclass
class Entry:
    value: Any
    deadline: float
    tags: set[str]


@dataclass(frozen=True)
class Invalidation:
    """What was taken away, to tell which loads under way it refuses."""

    tags: frozenset[str] = frozenset()
    pattern: str | None = None

    def covers(self, key: str, tags: set[str]) -> bool:
        by_pattern = self.pattern is not None and fnmatch.fnmatchcase(key, self.pattern)
        return by_pattern or bool(self.tags & tags)


@dataclass(frozen=True)
class Load:
    """A load under way: it began when so many invalidations had happened."""

    key: str
    tags: tuple[str, ...]
    stamp: int
    seen: int


class Manager(RuleBasedStateMachine):
    loads: Bundle[Load] = Bundle("loads")

    @initialize(isolation=st.sampled_from(["copy", "shared"]), compression=st.booleans())
    def begin(self, isolation: Any, compression: bool) -> None:
        self.clock, self.now = ManualClock(), 0.0
        config = OptimizedCacheConfig(
            isolation=isolation,
            compression_enabled=compression,
            compression_threshold_bytes=64,
            eviction_batch_size=3,
            auth_ttl_seconds=700,
        )
        self.cache = OptimizedCacheManager(config, clock=self.clock)
        self.entries: dict[str, Entry] = {}
        self.history: list[Invalidation] = []
        self.hits = self.misses = self.sets = self.refused = 0

    # -------------------------------------------------------------- the model

    def live(self, key: str) -> Entry | None:
        entry = self.entries.get(key)
        return entry if entry is not None and self.now < entry.deadline else None

    def store(self, key: str, value: Any, ttl: float | None, tags: set[str]) -> None:
        life = 300 if ttl is None else min(ttl, 3600)
        self.entries[key] = Entry(value, self.now + life, tags | implied_by(key))
        self.sets += 1

    def invalidate(self, invalidation: Invalidation) -> int:
        self.history.append(invalidation)
        gone = [k for k, e in self.entries.items() if invalidation.covers(k, e.tags)]
        count = sum(self.live(key) is not None for key in gone)
        for key in gone:
            del self.entries[key]
        return count

    # -------------------------------------------------------------- what is done to both

    @rule(key=keys, value=values, ttl=st.sampled_from([None, 1, 50, 5000]), tags=tag_sets)
    def set(self, key: str, value: Any, ttl: float | None, tags: list[str]) -> None:
        assert self.cache.set(key, value, ttl=ttl, tags=tags)
        self.store(key, value, ttl, {*tags})

    @rule(pairs=st.dictionaries(keys, values, max_size=4), tags=tag_sets)
    def set_many(self, pairs: dict[str, Any], tags: list[str]) -> None:
        assert self.cache.set_many(pairs, ttl=100, tags=tags) == len(pairs)
        for key, value in pairs.items():
            self.store(key, value, 100, {*tags})

    @rule(user=st.sampled_from(USERS), generation=st.sampled_from(GENERATIONS), value=values)
    def set_typed(self, user: str, generation: str, value: Any) -> None:
        assert self.cache.set_generation_access(generation, user, value)
        key = self.cache.generate_auth_key(
            "generation_access", generation_id=generation, user_id=user
        )
        assert key in KEYS
        self.store(key, value, 700, {"auth", "generation_access"})

    @rule(key=keys)
    def get(self, key: str) -> None:
        entry = self.live(key)
        expected = (entry.value, True) if entry is not None else ("default", False)
        assert self.cache.get(key, "default") == expected
        self.hits += entry is not None
        self.misses += entry is None

    @rule(wanted=st.lists(keys, max_size=6))
    def get_many(self, wanted: list[str]) -> None:
        found = {key: entry.value for key in wanted if (entry := self.live(key))}
        assert self.cache.get_many(wanted) == found
        self.hits += sum(key in found for key in wanted)
        self.misses += sum(key not in found for key in wanted)

    @rule(key=keys, value=values, tags=tag_sets)
    def get_or_load(self, key: str, value: Any, tags: list[str]) -> None:
        entry = self.live(key)
        loaded = self.cache.get_or_load(key, lambda: value, ttl=200, tags=tags)
        if entry is not None:
            assert loaded == entry.value
            self.hits += 1
        else:
            assert loaded == value
            self.misses += 1
            self.store(key, value, 200, {*tags})

    @rule(key=keys)
    def delete(self, key: str) -> None:
        existed = self.live(key) is not None
        assert self.cache.delete(key) is existed
        self.entries.pop(key, None)
        # It also refuses loads of this key that are under way.
        self.history.append(Invalidation(pattern=key.replace("[", "[[]")))

    @rule(tags=st.lists(st.sampled_from([*TAGS, "auth", "unknown"]), max_size=3))
    def invalidate_by_tags(self, tags: list[str]) -> None:
        count = self.cache.invalidate_by_tags(tags)
        assert count == self.invalidate(Invalidation(tags=frozenset(tags)))

    @rule(pattern=st.sampled_from(PATTERNS))
    def invalidate_by_pattern(self, pattern: str) -> None:
        count = self.cache.invalidate_by_pattern(pattern)
        assert count == self.invalidate(Invalidation(pattern=pattern))

    @rule(user=st.sampled_from([*USERS, "unknown"]))
    def invalidate_user(self, user: str) -> None:
        count = self.cache.invalidate_user_data(user)
        assert count == self.invalidate(Invalidation(tags=frozenset({tag_of("user", user)})))

    @rule(generation=st.sampled_from([*GENERATIONS, "unknown"]))
    def invalidate_generation(self, generation: str) -> None:
        count = self.cache.invalidate_generation_data(generation)
        tag = tag_of("generation", generation)
        assert count == self.invalidate(Invalidation(tags=frozenset({tag})))

    @precondition(lambda self: len(self.history) % 10 == 9)
    @rule()
    def clear(self) -> None:
        self.cache.clear()
        self.invalidate(Invalidation(pattern="*"))

    @rule()
    def sweep(self) -> None:
        self.cache.sweep()
        assert len(self.cache) == sum(self.live(key) is not None for key in self.entries)

    @rule(seconds=st.sampled_from([0.5, 1, 10, 100, 1000]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.now += seconds

    # -------------------------------------------------------------- loads that take their time

    @rule(target=loads, key=keys, tags=tag_sets)
    def begin_load(self, key: str, tags: list[str]) -> Load:
        return Load(key, tuple(tags), self.cache.snapshot(), len(self.history))

    @rule(load=loads, value=values)
    def end_load(self, load: Load, value: Any) -> None:
        tags = {*load.tags, *implied_by(load.key)}
        overtaken = any(
            invalidation.covers(load.key, tags) for invalidation in self.history[load.seen :]
        )
        stored = self.cache.set(load.key, value, ttl=60, tags=load.tags, stamp=load.stamp)
        if overtaken:
            # The one thing that must never happen: old state brought back.
            assert not stored
        wildcards = sum(i.pattern is not None for i in self.history[load.seen :])
        if stored:
            self.store(load.key, value, 60, {*load.tags})
        else:
            self.refused += 1
            # Beyond so many wildcards a load may be refused unseen.
            assert overtaken or wildcards > 60

    # -------------------------------------------------------------- what always holds

    @invariant()
    def both_hold_the_same(self) -> None:
        alive = {key for key in self.entries if self.live(key)}
        assert set(self.cache.keys()) == alive
        assert all((key in self.cache) == (key in alive) for key in KEYS)

    @invariant()
    def the_sums_are_right(self) -> None:
        stats = self.cache.get_stats()
        assert (stats["cache_hits"], stats["cache_misses"]) == (self.hits, self.misses)
        assert (stats["sets"], stats["stale_rejects"]) == (self.sets, self.refused)
        assert stats["evictions"] == stats["oversize_rejects"] == 0
        assert len(self.cache) == stats["total_entries"] >= len(self.cache.keys())


TestManager = Manager.TestCase
TestManager.settings = settings(stateful_step_count=100)
