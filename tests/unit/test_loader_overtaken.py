"""A load that was overtaken, by a set or by a refresh, does not have the last word."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from callers import Gate, InThread
from velro_cache import OptimizedCacheManager

SET: dict[str, Callable[[OptimizedCacheManager], Any]] = {
    "set": lambda cache: cache.set("auth:user:u:profile", "deny"),
    "set_many": lambda cache: cache.set_many({"auth:user:u:profile": "deny"}),
    "typed": lambda cache: cache.set_user_profile("u", "deny"),
    "refresh": lambda cache: cache.get_or_load("auth:user:u:profile", lambda: "deny", refresh=True),
}
KEY = "auth:user:u:profile"


@pytest.mark.parametrize("way", SET)
def test_what_was_set_while_a_load_ran_is_not_replaced_by_the_load(
    cache: OptimizedCacheManager, way: str
) -> None:
    gate = Gate()

    def older() -> str:
        gate.wait_inside()
        return "allow"

    thread = InThread(lambda: cache.get_or_load(KEY, older))
    gate.until_reached()
    SET[way](cache)
    assert cache.get(KEY) == ("deny", True)
    gate.open()
    thread.outcome()
    assert cache.get(KEY) == ("deny", True)


class Slow:
    """A value whose copy is made in the middle of storing it, and takes its time there."""

    gate: Gate | None = None
    thread: threading.Thread | None = None

    def __init__(self, answer: str) -> None:
        self.answer = answer

    def __deepcopy__(self, memo: object) -> Slow:
        if Slow.gate is not None and threading.current_thread() is not threading.main_thread():
            gate, Slow.gate = Slow.gate, None
            gate.wait_inside()
        return Slow(self.answer)


@pytest.mark.parametrize("way", [*SET, "delete", "invalidate"])
def test_nor_by_one_that_is_being_stored_already(cache: OptimizedCacheManager, way: str) -> None:
    gate = Slow.gate = Gate()
    thread = InThread(lambda: cache.get_or_load(KEY, lambda: Slow("allow")))
    gate.until_reached()
    if way == "delete":
        cache.delete(KEY)
    elif way == "invalidate":
        cache.invalidate_user_data("u")
    else:
        SET[way](cache)
    gate.open()
    thread.outcome()
    expected = (None, False) if way in ("delete", "invalidate") else ("deny", True)
    assert cache.get(KEY) == expected


@pytest.mark.parametrize("life", [0, -1])
async def test_a_refresh_that_is_not_to_be_kept_takes_the_older_value_with_it(
    cache: OptimizedCacheManager, life: float
) -> None:
    for _ in range(2):
        cache.set("k", "allow")
        answer = cache.get_or_load("k", lambda: "deny", ttl=lambda value: life, refresh=True)
        assert answer == "deny"
        assert cache.get("k") == (None, False)
        cache.set("k", "allow")
        answer = await cache.aget_or_load("k", lambda: "deny", ttl=lambda value: life, refresh=True)
        assert answer == "deny"
        assert cache.get("k") == (None, False)


def test_a_value_replaced_by_set_may_use_the_cache_as_it_goes_and_set_still_wins(
    make_cache: Any,
) -> None:
    cache = make_cache(isolation="shared")
    gate, ended = Gate(), threading.Event()

    def older() -> str:
        gate.wait_inside()
        return "allow"

    class Going:
        def __del__(self) -> None:
            gate.open()
            ended.wait(30)

    def load() -> None:
        try:
            cache.get_or_load("k", older, refresh=True)
        finally:
            ended.set()

    cache.set("k", Going())
    thread = InThread(load)
    gate.until_reached()
    assert cache.set("k", "deny")
    thread.outcome()
    assert cache.get("k") == ("deny", True)


def test_what_a_second_look_finds_is_given_to_nobody_who_asks_after_it_was_taken_away(
    cache: OptimizedCacheManager,
) -> None:
    # A value found there may depend on other tags than the load that found it.
    gate = Slow.gate = Gate()
    cache.set("k", "placeholder")
    Slow.gate = None
    cache.set("k", Slow("old"), tags=["team:7"])
    Slow.gate = gate
    leader = InThread(lambda: cache.load_missing("k", lambda: Slow("by the leader")))
    gate.until_reached()
    assert cache.invalidate_by_tags(["team:7"]) == 1
    joiner = InThread(lambda: cache.get_or_load("k", lambda: Slow("fresh"), refresh=False))
    gate.open()
    leader.outcome()
    assert joiner.outcome().answer in ("fresh", "by the leader")
