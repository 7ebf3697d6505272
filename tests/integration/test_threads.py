"""Many threads and event loops at once, and one promise: what was taken away is not served.

Writers keep the truth in a plain list; they change it first, then invalidate, as a service does
with its database, and note when that is done. Every reader looks at this note *before* it asks.
If the cache then answers with something older, it has served what had been taken away before the
question was asked.
"""

from __future__ import annotations

import asyncio
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from callers import InThread
from velro_cache import (
    CacheStoppedError,
    OptimizedCacheConfig,
    OptimizedCacheManager,
    cached_authorization,
)

USERS = 4
INVALIDATIONS = 150
"""How often each writer takes something away."""


@pytest.fixture(autouse=True)
def _switch_often() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


class Truth:
    """The version of each user's permissions, as a database would hold it."""

    def __init__(self) -> None:
        self.versions = [0] * USERS
        self.taken_away = [0] * USERS
        self._done = threading.Event()
        self.checked = 0

    def load(self, user: int) -> dict[str, int]:
        return {"user": user, "version": self.versions[user]}

    def check(self, user: int, asked_at: int, answer: dict[str, int]) -> None:
        assert answer["user"] == user, "another user's permissions"
        assert answer["version"] >= asked_at, "what had been taken away was served"
        self.checked += 1

    def write(self, user: int, invalidate: Callable[[int], Any]) -> None:
        for _ in range(INVALIDATIONS):
            self.versions[user] += 1
            invalidate(user)
            self.taken_away[user] = self.versions[user]
            self._let_somebody_ask()

    def _let_somebody_ask(self) -> None:
        # Without this the writers are through before the readers have begun. Bounded, should the
        # readers have failed.
        before, end = self.checked, time.monotonic() + 10
        while self.checked == before and time.monotonic() < end:
            time.sleep(0)

    def readers_go_on(self) -> bool:
        return not self._done.is_set()

    def run(self, writers: list[Callable[[], None]], readers: list[Callable[[], None]]) -> None:
        reading = [InThread(reader) for reader in readers]
        writing = [InThread(writer) for writer in writers]
        try:
            for writer in writing:
                writer.outcome()
        finally:
            self._done.set()
        for reader in reading:
            reader.outcome()
        assert self.checked >= INVALIDATIONS, "the readers hardly got to ask"


def key_of(user: int) -> str:
    return f"auth:user:{user}:permissions"


INVALIDATE: dict[str, Callable[[OptimizedCacheManager, int], Any]] = {
    "user": lambda cache, user: cache.invalidate_user_data(user),
    "tags": lambda cache, user: cache.invalidate_by_tags([f"user:{user}"]),
    "key": lambda cache, user: cache.delete(key_of(user)),
    "prefix": lambda cache, user: cache.invalidate_by_pattern(f"auth:user:{user}:*"),
    "scattered": lambda cache, user: cache.invalidate_by_pattern(f"*:{user}:perm*"),
    "clear": lambda cache, user: cache.clear(),
}


@pytest.mark.parametrize("how", INVALIDATE)
def test_no_thread_sees_what_was_taken_away_before_it_asked(how: str) -> None:
    truth, cache = Truth(), OptimizedCacheManager()

    def reader() -> None:
        user = 0
        while truth.readers_go_on():
            user = (user + 1) % USERS
            asked_at = truth.taken_away[user]
            answer = cache.get_or_load(key_of(user), partial(truth.load, user))
            truth.check(user, asked_at, answer)

    def reader_by_hand() -> None:
        # Look, load and set oneself, with a stamp from before the load.
        user = 0
        while truth.readers_go_on():
            user = (user + 1) % USERS
            asked_at = truth.taken_away[user]
            answer, hit = cache.get_user_permissions(user)
            if not hit:
                stamp = cache.snapshot()
                answer = truth.load(user)
                cache.set_user_permissions(user, answer, stamp=stamp)
            truth.check(user, asked_at, answer)

    truth.run(
        [partial(truth.write, user, partial(INVALIDATE[how], cache)) for user in range(USERS)],
        [reader, reader, reader_by_hand, reader_by_hand],
    )
    stats = cache.get_stats()
    assert stats["cache_hits"] > 0
    assert stats["invalidations"] > 0


def test_no_event_loop_sees_what_was_taken_away_before_it_asked() -> None:
    truth, cache = Truth(), OptimizedCacheManager()

    async def load(user: int) -> dict[str, int]:
        seen = truth.load(user)
        await asyncio.sleep(0)
        return seen

    async def ask(user: int) -> None:
        while truth.readers_go_on():
            asked_at = truth.taken_away[user]
            answer = await cache.aget_or_load(key_of(user), lambda: load(user))
            truth.check(user, asked_at, answer)
            await asyncio.sleep(0)

    async def loop() -> None:
        await asyncio.gather(*(ask(user) for user in range(USERS) for _ in range(3)))

    def thread() -> None:
        while truth.readers_go_on():
            for user in range(USERS):
                asked_at = truth.taken_away[user]
                answer = cache.get_or_load(key_of(user), partial(truth.load, user))
                truth.check(user, asked_at, answer)

    truth.run(
        [partial(truth.write, user, cache.invalidate_user_data) for user in range(USERS)],
        [lambda: asyncio.run(loop()), lambda: asyncio.run(loop()), thread],
    )


def test_no_decorated_function_answers_with_what_was_taken_away() -> None:
    truth, cache = Truth(), OptimizedCacheManager()

    @cached_authorization(cache=cache)
    def permissions(user_id: int) -> dict[str, int]:
        return truth.load(user_id)

    @cached_authorization(cache=cache)
    async def permissions_later(user_id: int) -> dict[str, int]:
        seen = truth.load(user_id)
        await asyncio.sleep(0)
        return seen

    def reader() -> None:
        while truth.readers_go_on():
            for user in range(USERS):
                asked_at = truth.taken_away[user]
                truth.check(user, asked_at, permissions(user))

    async def reader_later() -> None:
        while truth.readers_go_on():
            for user in range(USERS):
                asked_at = truth.taken_away[user]
                truth.check(user, asked_at, await permissions_later(user))

    def by_result(user: int) -> None:
        permissions.invalidate(user)
        permissions_later.invalidate(user)

    ways: list[Callable[[int], Any]] = [
        by_result,
        cache.invalidate_user_data,
        lambda user: (permissions.cache_clear(), permissions_later.cache_clear()),
        lambda user: cache.invalidate_by_tags(["auth"]),
    ]
    truth.run(
        [partial(truth.write, user, ways[user]) for user in range(USERS)],
        [reader, reader, lambda: asyncio.run(reader_later())],
    )


@pytest.mark.parametrize("policy", ["lru", "lfu", "ttl", "adaptive"])
def test_everything_at_once_leaves_a_sound_cache(policy: str) -> None:
    config = OptimizedCacheConfig(
        max_entries=64,
        max_size_mb=1,
        eviction_policy=policy,  # type: ignore[arg-type]
        compression_threshold_bytes=64,
        cleanup_interval_seconds=0.01,
        eviction_batch_size=7,
    )
    with OptimizedCacheManager(config) as cache:

        def busy(seed: int) -> None:
            chance = random.Random(seed)  # noqa: S311 - a load, not a secret
            for _ in range(1500):
                number = chance.randrange(200)
                key = f"auth:user:{number}:profile"
                match chance.randrange(12):
                    case 0 | 1 | 2:
                        size = chance.choice([1, 10, 3000, 60_000])
                        value = {"number": number, "padding": [str(number)] * size}
                        ttl = chance.choice([0.001, 10, 300])
                        cache.set(key, value, ttl=ttl, priority=chance.randint(1, 10))
                    case 3 | 4 | 5 | 6:
                        value, hit = cache.get(key)
                        assert not hit or value["number"] == number
                    case 7:
                        loaded: dict[str, int] = cache.get_or_load(
                            key, partial(dict, number=number)
                        )
                        assert loaded["number"] == number
                    case 8:
                        cache.invalidate_user_data(number)
                    case 9:
                        cache.invalidate_by_pattern(f"*:{number}:*")
                    case 10:
                        found = cache.get_many([key, "auth:user:0:profile"])
                        assert all(f":{v['number']}:" in k for k, v in found.items())
                    case 11:
                        others: list[Callable[[], Any]] = [
                            cache.sweep,
                            cache.get_stats,
                            cache.keys,
                            cache.clear,
                        ]
                        chance.choice(others)()
                assert len(cache) <= 64

        for thread in [InThread(partial(busy, seed)) for seed in range(6)]:
            thread.outcome()
        stats = cache.get_stats()
        assert stats["total_entries"] <= 64
        assert 0 <= stats["total_size_mb"] <= 1
        assert stats["total_requests"] == stats["cache_hits"] + stats["cache_misses"]
        left = stats["sets"] - stats["evictions"] - stats["expirations"] - stats["invalidations"]
        # What is neither evicted nor expired nor invalidated is there, or was set over.
        assert left >= stats["total_entries"]
        cache.clear()
        assert cache.get_stats()["total_size_mb"] == cache.get_stats()["total_entries"] == 0


def test_stopping_under_load_leaves_nothing_behind() -> None:
    for _ in range(20):
        cache = OptimizedCacheManager()
        running = threading.Barrier(5)

        def use(cache: OptimizedCacheManager = cache, running: Any = running) -> None:
            running.wait()
            number = 0
            try:
                while True:
                    number += 1
                    cache.set(f"k{number % 50}", number)
                    cache.get_or_load(f"l{number % 50}", lambda: 1)
            except CacheStoppedError:
                return

        threads = [InThread(use) for _ in range(4)]
        running.wait()
        cache.stop()
        for thread in threads:
            thread.outcome()
        assert len(cache) == 0


def test_a_value_being_changed_by_another_thread_is_stored_as_it_was_at_one_moment() -> None:
    cache = OptimizedCacheManager()
    shared: dict[str, Any] = {"a": [0], "b": {0}, "c": (0,)}
    stop = threading.Event()

    def change() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            shared["a"].append(number)
            shared["b"].add(number)
            shared[f"new{number % 100}"] = [number]
            shared.pop(f"new{(number * 7) % 100}", None)
            if number % 50 == 0:
                shared["a"] = [number]
                shared["b"] = {number}

    thread = InThread(change)
    try:
        for _ in range(2000):
            try:
                cache.set("k", shared)
            except RuntimeError as error:
                # As copy.deepcopy would say.
                assert "changed" in str(error)
                continue
            first = cache.get_value("k")
            assert first == cache.get_value("k")
            assert {"a", "b", "c"} <= set(first)
    finally:
        stop.set()
        thread.outcome()
