"""Threads that run at once on the same entries, in an interpreter without a GIL.

What each test promises does not depend on luck: every thread checks its own answers against what
it knew before it asked.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from velro_cache import OptimizedCacheConfig, OptimizedCacheManager, cached_authorization

THREADS = 4
ROUNDS = 3_000


def at_once(*works: Callable[[], Any]) -> None:
    """Run all of it at once; raise what any of them raises."""
    barrier = threading.Barrier(len(works))

    def run(work: Callable[[], Any]) -> None:
        barrier.wait()
        work()

    with ThreadPoolExecutor(len(works)) as pool:
        for done in [pool.submit(run, work) for work in works]:
            done.result()


@pytest.fixture(params=["copy", "shared"])
def cache(request: pytest.FixtureRequest) -> OptimizedCacheManager:
    return OptimizedCacheManager(OptimizedCacheConfig(isolation=request.param))


def test_importing_the_package_leaves_the_gil_off() -> None:
    assert not sys._is_gil_enabled()


def test_a_thread_finds_what_it_set_itself(cache: OptimizedCacheManager) -> None:
    def work(number: int) -> None:
        for at in range(ROUNDS):
            key, value = f"own:{number}:{at % 50}", {"at": at, "of": [number]}
            assert cache.set(key, value)
            assert cache.get(key) == (value, True)

    at_once(*(lambda number=number: work(number) for number in range(THREADS)))


def test_a_value_is_one_that_was_set_whole(cache: OptimizedCacheManager) -> None:
    def write(number: int) -> None:
        for at in range(ROUNDS):
            cache.set(f"k{at % 3}", {"a": (number, at), "b": [(number, at)]})

    def read() -> None:
        for at in range(ROUNDS):
            value, hit = cache.get(f"k{at % 3}")
            assert not hit or value["b"] == [value["a"]]

    at_once(lambda: write(0), lambda: write(1), read, read)


@pytest.mark.parametrize("invalidate", ["tags", "delete", "pattern", "clear"])
def test_no_answer_is_older_than_the_last_invalidation(
    cache: OptimizedCacheManager, invalidate: str
) -> None:
    how: dict[str, Callable[[], Any]] = {
        "tags": lambda: cache.invalidate_by_tags(["user:1"]),
        "delete": lambda: cache.delete("user:1:rights"),
        "pattern": lambda: cache.invalidate_by_pattern("user:1:*"),
        "clear": cache.clear,
    }
    truth, taken_away, done = [0], [0], threading.Event()

    def write() -> None:
        for version in range(1, ROUNDS):
            truth[0] = version
            how[invalidate]()
            taken_away[0] = version
        done.set()

    def fill() -> None:
        while not done.is_set():
            stamp = cache.snapshot()
            cache.set("user:1:rights", truth[0], tags=["user:1"], stamp=stamp)

    def read() -> None:
        while not done.is_set():
            least = taken_away[0]
            version, hit = cache.get("user:1:rights")
            assert not hit or version >= least

    at_once(write, fill, read, read)


def test_answers_belong_to_who_asked(cache: OptimizedCacheManager) -> None:
    """A tuple that is handed out again while somebody holds it would change under his eyes."""

    def work(number: int) -> None:
        key = f"answer:{number}"
        cache.set(key, number)
        kept = [cache.get(key) for _ in range(ROUNDS)]
        missed = [cache.get(f"no:{number}") for _ in range(ROUNDS)]
        assert kept == [(number, True)] * ROUNDS
        assert missed == [(None, False)] * ROUNDS

    at_once(*(lambda number=number: work(number) for number in range(THREADS)))


def test_copies_belong_to_who_asked() -> None:
    cache = OptimizedCacheManager()
    cache.set("k", {"by": [], "plain": 0})

    def work(number: int) -> None:
        for _ in range(ROUNDS):
            value = cache.get_value("k")
            assert value == {"by": [], "plain": 0}
            value["by"].append(number)
            value["plain"] = number

    at_once(*(lambda number=number: work(number) for number in range(THREADS)))


def test_a_decorated_function_answers_for_its_own_arguments(cache: OptimizedCacheManager) -> None:
    calls = []

    @cached_authorization(cache=cache)
    def check(user: int, generation: str) -> tuple[int, str]:
        calls.append(user)
        return user, generation

    def work() -> None:
        for at in range(ROUNDS):
            user, generation = at % 40, f"g{at % 7}"
            assert check(user, generation) == (user, generation)

    at_once(*[work] * THREADS)
    # Whoever comes while it is being loaded waits: one call for each of 280 pairs.
    assert len(calls) == 280


def test_one_load_at_a_time(cache: OptimizedCacheManager) -> None:
    def load_once(key: str) -> None:
        loads: list[int] = []
        answers: list[int] = []

        def load() -> int:
            loads.append(1)
            return len(loads)

        at_once(*[lambda: answers.append(cache.get_or_load(key, load))] * THREADS)
        assert (answers, loads) == ([1] * THREADS, [1])

    for at in range(50):
        load_once(f"l{at}")


def test_bounds_hold_while_threads_fill_evict_and_clear() -> None:
    cache = OptimizedCacheManager(OptimizedCacheConfig(max_entries=2_000, max_size_mb=1))
    done = threading.Event()

    def fill(number: int) -> None:
        for at in range(4 * ROUNDS):
            cache.set(f"{number}:{at}", [at] * (at % 60), tags=[f"t{at % 9}"])
            cache.get(f"{1 - number}:{at}")
        done.set()

    def take_away() -> None:
        while not done.is_set():
            cache.invalidate_by_tags(["t3"])
            cache.sweep()

    def look() -> None:
        while not done.is_set():
            stats = cache.get_stats()
            assert stats["total_entries"] <= 2_000
            assert stats["total_size_mb"] <= 1

    at_once(lambda: fill(0), lambda: fill(1), take_away, look)
    assert cache.get_stats()["evictions"] > 0
    cache.clear()
    assert len(cache) == 0


@pytest.mark.parametrize("max_size_mb", [1, 2, 3, 8, 128, 1000])
def test_a_value_of_two_mebibytes_fits_or_as_much_as_the_bound(max_size_mb: int) -> None:
    cache = OptimizedCacheManager(OptimizedCacheConfig(max_size_mb=max_size_mb))
    assert cache.set("k", bytes(min(2, max_size_mb) * 2**20 - 1_000))
