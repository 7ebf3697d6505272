"""What operators ask: top names, the last minutes, invalidations, one key, pages of keys."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from velro_cache import OptimizedCacheManager, manager
from velro_cache._engine import ManualClock
from velro_cache.exceptions import InvalidKeyError

LOOKUPS = 20_000
MakeCache = Callable[..., OptimizedCacheManager]


def test_every_miss_has_a_reason(make_cache: MakeCache) -> None:
    cache = make_cache(max_entries=64)
    for number in range(100):
        cache.set(f"k{number}", number)
    for number in range(100):
        cache.get(f"k{number}")
    cache.delete("k99")
    cache.get("k99")
    cache.get("never")
    stats = cache.get_stats()
    reasons = stats["miss_reasons"]
    assert reasons["evicted"] == 36
    assert (reasons["invalidated"], reasons["cold"]) == (1, 1)
    assert sum(reasons.values()) == stats["cache_misses"]


def test_a_value_overtaken_while_it_was_loaded_is_the_reason_of_the_next_miss(
    cache: OptimizedCacheManager,
) -> None:
    def load() -> str:
        cache.invalidate_by_tags(["film"])
        return "Metropolis"

    cache.get_or_load("a", load, tags=["film"])
    assert cache.get("a") == (None, False)
    assert cache.get_stats()["miss_reasons"]["stale"] == 1


def test_top_keys_and_tags_are_those_asked_for_most(cache: OptimizedCacheManager) -> None:
    cache.set_user_profile("ada", {"name": "Ada"})
    cache.set("film", 1, tags=["cinema"])
    for _ in range(LOOKUPS):
        cache.get_user_profile("ada")
        cache.get_user_profile("ada")
        cache.get("film")
        cache.get("absent")
    keys = cache.get_top_keys()
    assert [hot["key"] for hot in keys][:1] == ["auth:user:ada:profile"]
    assert {hot["key"] for hot in keys} == {"auth:user:ada:profile", "film", "absent"}
    for hot in keys:
        asked = 2 * LOOKUPS if "ada" in hot["key"] else LOOKUPS
        assert asked * 0.4 < hot["estimated_requests"] < asked * 1.6
        assert hot["estimated_hits"] == (0 if hot["key"] == "absent" else hot["estimated_requests"])
        assert hot["error_bound"] == 0
    tags = {hot["tag"] for hot in cache.get_top_tags()}
    assert tags == {"auth", "user_profile", "user:ada", "cinema"}
    assert len(cache.get_top_keys(1)) == len(cache.get_top_tags(2)) - 1 == 1
    assert cache.get_top_keys(0) == []


def test_ids_can_be_hidden_and_stay_told_apart(cache: OptimizedCacheManager) -> None:
    for user in ("ada", "ben"):
        cache.set_user_profile(user, 1)
        for _ in range(2_000):
            cache.get_user_profile(user)
    cache.get_or_load("film-7", lambda: 1, tags=["movies of ada"])
    for _ in range(4_000):
        cache.get("film-7")
    keys = [hot["key"] for hot in cache.get_top_keys(hash_ids=True)]
    tags = [hot["tag"] for hot in cache.get_top_tags(hash_ids=True)]
    assert len(set(keys)) == len(keys) == 3
    assert sum(key.startswith("auth:user:#") for key in keys) == 2
    assert {"auth", "user_profile"} <= set(tags)
    assert not any(secret in name for name in keys + tags for secret in ("ada", "ben", "film"))
    assert keys == [hot["key"] for hot in cache.get_top_keys(hash_ids=True)]


def test_a_long_name_is_cut_and_a_strange_one_is_shown(cache: OptimizedCacheManager) -> None:
    names = {"x" * 5_000, "half a pair \ud83d", "\u00e4" * 400}
    for name in names:
        for _ in range(3_000):
            cache.get(name)
    assert {hot["key"] for hot in cache.get_top_keys()} == {
        name[:128] if name[0] == "\u00e4" else name[:256] for name in names
    }
    assert len(cache.get_top_keys(hash_ids=True)) == 3


def test_history_has_a_point_for_each_second_in_which_somebody_looked(
    cache: OptimizedCacheManager, clock: ManualClock
) -> None:
    assert set(map(len, cache.get_history().values())) == {0}
    cache.set("a", 1)
    cache.get("a")
    clock.advance(1)
    assert cache.get_history()["hits"] == [1]
    cache.get("b")
    cache.get_or_load("c", lambda: 1)
    cache.invalidate_by_pattern("*")
    clock.advance(3)
    history = cache.get_history()
    assert set(map(len, history.values())) == {4}
    assert history["seconds"] == [1, None, None, 3]
    assert history["hits"] == [1, None, None, 0]
    assert history["misses"] == [0, None, None, 2]
    assert history["loads"] == [0, None, None, 1]
    assert history["invalidations"] == [0, None, None, 2]
    assert history["entries"] == [1, None, None, 0]
    # None where nothing was timed, and not zero.
    for samples, p50, p99 in zip(
        history["samples"], history["p50_ns"], history["p99_ns"], strict=True
    ):
        assert (0 < p50 <= p99) if samples else p50 is p99 is None
    first, *rest = history["timestamps"]
    assert [stamp - first for stamp in rest] == [1, 2, 3]
    assert abs(history["timestamps"][-1] - time.time()) < 60
    assert cache.get_history(1)["seconds"] == [3]
    # Nobody looked for longer than is kept.
    clock.advance(10_000)
    assert cache.get_history()["seconds"] == [10_000]


def test_the_sweeper_notes_once_a_second_how_things_stand(
    cache: OptimizedCacheManager, clock: ManualClock
) -> None:
    class Bell:
        """Passes the time by hand, and ends the sweeper after five waits."""

        waits = 0

        def wait(self, seconds: float) -> tuple[bool, bool]:
            clock.advance(seconds)
            cache.get("a")
            self.waits += 1
            return False, self.waits <= 5

    bell: Any = Bell()
    manager._sweep_regularly(weakref.ref(cache), bell, cache.config)
    assert cache.get_history()["misses"] == [1, 1, 1, 1, 1, 1]


def test_recent_invalidations_say_what_why_and_who(
    cache: OptimizedCacheManager, clock: ManualClock
) -> None:
    cache.set("a", 1, tags=["film"])
    cache.set_user_profile("ada", 1)
    cache.invalidate_by_tags(["film", "t2", "t3", "t4", "t5", "t6"], reason="moved", actor="ops")
    clock.advance(2)
    cache.invalidate_user_data("ada")
    cache.invalidate_generation_data(7)
    cache.invalidate_by_pattern("session:*")
    cache.delete("a")
    with cache.revoking(user_id="ben", keys=["k"], reason="left", actor="hr"):
        pass
    cache.clear(reason="\ud83d")
    cache.invalidate_by_tags([])
    found = cache.get_recent_invalidations()
    assert [[(name["kind"], name["name"]) for name in one["names"]] for one in found] == [
        [("everything", "")],
        [("user", "ben"), ("key", "k")],
        [("key", "a")],
        [("pattern", "session:*")],
        [("generation", "7")],
        [("user", "ada")],
        [("tag", "film"), ("tag", "t2"), ("tag", "t3"), ("tag", "t4"), ("tag", "t5")],
    ]
    first = found[-1]
    assert (first["named"], first["dropped"], first["unfinished"]) == (6, 1, False)
    assert (first["reason"], first["actor"], first["seconds_ago"]) == ("moved", "ops", 2)
    assert time.time() - 60 < first["timestamp"] + 2 < time.time() + 60
    assert (found[1]["reason"], found[1]["actor"]) == ("left", "hr")
    assert (found[0]["reason"], found[0]["actor"]) == ("\ud83d", None)
    assert len(cache.get_recent_invalidations(2)) == 2
    hidden = str(cache.get_recent_invalidations(hash_ids=True)[1:])
    assert not any(
        secret in hidden for secret in ("'ada'", "user:ada", "ben", "film", "'a'", "'7'")
    )


def test_a_reason_that_is_no_text_is_refused_before_anything_is_done(
    cache: OptimizedCacheManager,
) -> None:
    cache.set("a", 1)
    wrong: Any = 7
    with pytest.raises(TypeError):
        cache.invalidate_by_pattern("*", reason=wrong)
    with pytest.raises(TypeError):
        cache.revoking(keys=["a"], actor=wrong)
    assert cache.get("a") == (1, True)
    assert cache.get_recent_invalidations() == []


def test_explain_tells_everything_but_the_value(
    cache: OptimizedCacheManager, clock: ManualClock
) -> None:
    key = "auth:user:ada:profile"
    nothing = dict.fromkeys(
        ("age_seconds", "seconds_left", "tags", "bytes", "permissive", "priority", "adaptive_ttl")
    )
    not_held = {"held": False, "valid": False, **nothing}
    assert cache.explain(key) == {**not_held, "why_not": "cold"}
    cache.set(key, "the secret", ttl=60, tags=["film"], priority=7, permissive=False)
    clock.advance(10)
    told = cache.explain(key)
    assert told.pop("bytes") > 100
    assert told.pop("age_seconds") == pytest.approx(10, abs=0.01)
    assert told == {
        "held": True,
        "valid": True,
        "why_not": None,
        "seconds_left": 50,
        "tags": 2,
        "permissive": False,
        "priority": 7,
        "adaptive_ttl": None,
    }
    assert "secret" not in str(cache.explain(key))
    clock.advance(60)
    told = cache.explain(key)
    assert (told["held"], told["valid"], told["why_not"]) == (True, False, "expired")
    cache.sweep()
    assert cache.explain(key) == {**not_held, "why_not": "expired"}
    cache.set(key, 1)
    cache.invalidate_user_data("ada")
    assert cache.explain(key) == {**not_held, "why_not": "invalidated"}
    assert cache.get_stats()["total_requests"] == 0
    with pytest.raises(InvalidKeyError):
        cache.explain("")


def test_pages_of_keys_are_bounded_and_complete(cache: OptimizedCacheManager) -> None:
    for number in range(25):
        cache.set(f"film:{number}", number)
        cache.set(f"other:{number}", number)
    pages, after = [], None
    while True:
        page = cache.keys_by_prefix("film:", 10, after=after)
        pages.append(page["keys"])
        after = page["after"]
        if after is None:
            break
    assert all(len(page) <= 10 for page in pages)
    listed = [key for page in pages for key in page]
    assert sorted(listed) == sorted(f"film:{number}" for number in range(25))
    cache.invalidate_by_pattern("film:1*")
    assert len(cache.keys_by_prefix("film:")["keys"]) == 14
    assert cache.keys_by_prefix("none")["keys"] == []


@pytest.mark.parametrize(
    "call",
    [
        lambda cache: cache.get_top_keys(-1),
        lambda cache: cache.get_top_tags(-1),
        lambda cache: cache.get_history(0),
        lambda cache: cache.get_history(901),
        lambda cache: cache.get_recent_invalidations(-1),
        lambda cache: cache.keys_by_prefix("", 0),
        lambda cache: cache.keys_by_prefix("", 1001),
        lambda cache: cache.keys_by_prefix("", after=-1),
        lambda cache: cache.keys_by_prefix("", after=1 << 64),
    ],
)
def test_numbers_out_of_range_are_refused(cache: OptimizedCacheManager, call: Any) -> None:
    with pytest.raises(ValueError, match="must"):
        call(cache)


def test_a_stopped_cache_still_tells_what_was(cache: OptimizedCacheManager) -> None:
    cache.set("a", 1)
    cache.delete("a", reason="over")
    cache.stop()
    assert cache.get_recent_invalidations()[0]["reason"] == "over"
    assert cache.explain("a")["why_not"] == "invalidated"
    assert cache.keys_by_prefix("")["keys"] == []
