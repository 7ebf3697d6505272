"""LRU, LFU and TTL eviction, against rules written down plainly.

The rules: a hit or a set is a request; the entry with the lowest rank goes, where the rank is

* LRU: the number of the request that used it last, and a quarter of the cache more per level of
  priority above 1;
* LFU: uses (its set is one) times priority, then the last use;
* TTL: its deadline, and a minute more per level of priority above 1.

Adaptive eviction learns; of it, this asks only that one entry goes, and only when room is needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from velro_cache import EvictionPolicy, OptimizedCacheConfig, OptimizedCacheManager
from velro_cache._engine import ManualClock


@dataclass
class Entry:
    value: int
    deadline: float
    priority: int
    last_used: int
    hits: int = 0


class Eviction(RuleBasedStateMachine):
    """Keeps a plain dict beside the cache and tells at each eviction who had to go."""

    @initialize(policy=st.sampled_from(EvictionPolicy), size=st.integers(1, 6))
    def begin(self, policy: EvictionPolicy, size: int) -> None:
        self.policy, self.size = policy, size
        self.clock, self.now = ManualClock(), 0.0
        config = OptimizedCacheConfig(max_entries=size, eviction_policy=policy)
        self.cache = OptimizedCacheManager(config, clock=self.clock)
        self.entries: dict[str, Entry] = {}
        self.requests = self.evictions = 0

    def rank(self, entry: Entry) -> Any:
        levels = entry.priority - 1
        match self.policy:
            case EvictionPolicy.LRU:
                return entry.last_used + levels * max(self.size // 4, 1)
            case EvictionPolicy.LFU:
                return ((entry.hits + 1) * entry.priority, entry.last_used)
            case EvictionPolicy.TTL:
                return entry.deadline + levels * 60
            case EvictionPolicy.ADAPTIVE:
                return 0

    @rule(
        key=st.sampled_from("abcdefghi"),
        value=st.integers(),
        ttl=st.integers(1000, 2000),
        priority=st.one_of(st.just(1), st.integers(1, 10)),
    )
    def set(self, key: str, value: int, ttl: int, priority: int) -> None:
        self.requests += 1
        replaced = self.entries.pop(key, None)
        before = dict(self.entries)
        new = Entry(value, self.now + ttl, priority, self.requests)
        assert self.cache.set(key, value, ttl=ttl, priority=priority)
        kept = set(self.cache.keys())
        gone = set(before) - kept
        if replaced is None and len(before) == self.size:
            (victim,) = gone
            lowest = min(map(self.rank, before.values()))
            # Several may have the lowest rank; one of them went.
            assert self.rank(before[victim]) == lowest
            del self.entries[victim]
            self.evictions += 1
        else:
            assert not gone
        self.entries[key] = new

    @rule(key=st.sampled_from("abcdefghi"))
    def get(self, key: str) -> None:
        self.requests += 1
        found, hit = self.cache.get(key)
        entry = self.entries.get(key)
        assert hit == (entry is not None)
        if entry is not None:
            assert found == entry.value
            entry.last_used = self.requests
            entry.hits += 1

    @rule(key=st.sampled_from("abcdefghi"))
    def delete(self, key: str) -> None:
        assert self.cache.delete(key) == (self.entries.pop(key, None) is not None)

    @precondition(lambda self: self.requests % 10 == 9)
    @rule()
    def clear(self) -> None:
        self.cache.clear()
        self.entries.clear()

    @rule(seconds=st.integers(1, 5))
    def time_passes(self, seconds: int) -> None:
        # Not so much that anything expires: expiry has tests of its own.
        self.clock.advance(seconds)
        self.now += seconds

    @invariant()
    def both_hold_the_same(self) -> None:
        assert set(self.cache.keys()) == set(self.entries)
        assert len(self.cache) == len(self.entries) <= self.size
        assert self.cache.get_stats()["evictions"] == self.evictions


TestEviction = Eviction.TestCase
TestEviction.settings = settings(stateful_step_count=100)


@given(
    st.sampled_from(EvictionPolicy),
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 400_000)), max_size=40),
)
def test_bytes_are_never_exceeded_and_never_wasted(
    policy: EvictionPolicy, sets: list[tuple[int, int]]
) -> None:
    config = OptimizedCacheConfig(max_size_mb=1, eviction_policy=policy, compression_enabled=False)
    cache = OptimizedCacheManager(config)
    for number, size in sets:
        before, key = cache.get_stats(), f"k{number}"
        held = set(cache.keys()) - {key}
        assert cache.set(key, bytes(size))
        after = cache.get_stats()
        assert after["total_size_mb"] <= 1
        assert key in cache
        gone = held - set(cache.keys())
        assert after["evictions"] - before["evictions"] == len(gone)
        # What goes, goes because it must: with all of it back there would be no room.
        if gone:
            spared = before["total_size_mb"] * (1 << 20) + size
            assert spared > (1 << 20) - 1024
