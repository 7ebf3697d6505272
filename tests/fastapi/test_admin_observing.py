"""The last minutes, the hottest names, one key, and one list of who invalidated what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from operated import PREFIX, client_of, operated

from velro_cache._engine import ManualClock
from velro_cache.fastapi import create_admin_router
from velro_cache.manager import OptimizedCacheManager

Ask = Callable[..., Any]


@pytest.fixture
def app(cache: OptimizedCacheManager) -> FastAPI:
    return operated(cache)


@pytest.fixture
def ask(app: FastAPI) -> Ask:
    client = client_of(app)

    def get(path: str, status: int = 200, **query: Any) -> Any:
        answer = client.get(PREFIX + path, params=query)
        assert answer.status_code == status, answer.text
        return answer.json()

    return get


def invalidate(app: FastAPI, path: str, **body: Any) -> Any:
    answer = client_of(app).post(f"{PREFIX}/invalidate/{path}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_history_is_that_of_the_cache(
    ask: Ask, cache: OptimizedCacheManager, clock: ManualClock
) -> None:
    clock.advance(1)
    ask("/history")
    cache.set_user_profile("ada", 1)
    cache.get_user_profile("ada"), cache.get_user_profile("ben")
    clock.advance(1)
    points = ask("/history")["points"]
    assert (points["hits"][-1], points["misses"][-1], points["entries"][-1]) == (1, 1, 1)
    assert {len(column) for column in points.values()} == {2}
    assert ask("/history", seconds=1)["points"]["hits"] == [1]
    clock.advance(3)
    # Nobody looked in two seconds; what happened then is in the third point.
    points = ask("/history", seconds=4)["points"]
    assert points["hits"] == [1, None, None, 0]
    assert points["seconds"] == [1, None, None, 3]
    for seconds in (0, 901, "many"):
        ask("/history", 422, seconds=seconds)


def test_hot_names_are_there_and_their_ids_hidden_on_request(
    ask: Ask, cache: OptimizedCacheManager
) -> None:
    cache.set_user_profile("ada", 1)
    for _ in range(20_000):
        cache.get_user_profile("ada")
    top = ask("/top")
    assert top["keys"][0]["key"] == "auth:user:ada:profile"
    assert top["keys"][0]["estimated_requests"] > 1000
    assert {"user:ada"} <= {tag["tag"] for tag in top["tags"]}
    hidden = ask("/top", hash_ids=True)
    assert hidden["keys"][0]["key"].startswith("auth:user:#")
    assert "ada" not in str(hidden)
    assert ask("/top", limit=1)["tags"] == top["tags"][:1]
    for limit in (0, 101):
        ask("/top", 422, limit=limit)


def test_a_key_is_explained_without_its_value(
    ask: Ask, cache: OptimizedCacheManager, clock: ManualClock
) -> None:
    cache.set("film", "Metropolis", ttl=10, priority=3)
    clock.advance(4)
    known = ask("/keys/explain", key="film")
    assert (known["held"], known["valid"], known["why_not"]) == (True, True, None)
    assert (known["age_seconds"], known["seconds_left"], known["priority"]) == (4, 6, 3)
    assert "Metropolis" not in str(known)
    cache.delete("film")
    known = ask("/keys/explain", key="film")
    assert (known["held"], known["why_not"], known["bytes"]) == (False, "invalidated", None)
    # Neither question was a lookup.
    assert ask("/stats")["total_requests"] == 0


@pytest.mark.parametrize("key", ["", "k" * 1025, "a\x00b", "a\nb"])
def test_what_is_no_key_is_not_explained(ask: Ask, key: str) -> None:
    assert key.strip() not in str(ask("/keys/explain", 422, key=key)) or not key


def test_why_lookups_missed_is_among_the_statistics(ask: Ask, cache: OptimizedCacheManager) -> None:
    cache.get("never")
    cache.set("film", 1), cache.delete("film"), cache.get("film")
    stats = ask("/stats")
    assert stats["miss_reasons"]["cold"] == stats["miss_reasons"]["invalidated"] == 1
    assert sum(stats["miss_reasons"].values()) == stats["cache_misses"]
    assert stats["host"]
    assert not stats["is_stopped"]
    cache.stop()
    assert ask("/stats")["is_stopped"]


def test_what_came_over_http_and_what_code_did_are_one_list(
    app: FastAPI, ask: Ask, cache: OptimizedCacheManager
) -> None:
    cache.set_user_profile("ben", 1)
    cache.invalidate_by_tags(["cinema"], reason="moved", actor="nightly job")
    invalidate(app, "user", user_id="ben", reason="left")
    cache.delete("film")
    listed = ask("/invalidations")["invalidations"]
    assert [(one["made"], one["action"], one["names"]) for one in listed] == [
        ("by_code", "key", ["film"]),
        ("over_http", "user", ["ben"]),
        ("by_code", "tags", ["cinema"]),
    ]
    assert [(one["actor"], one["reason"]) for one in listed] == [
        ("", ""),
        ("ada", "left"),
        ("nightly job", "moved"),
    ]
    assert [one["wait"] for one in listed] == [None, "host", None]
    assert listed[1]["dropped_entries"] == 1
    newest = ask("/invalidations", limit=2)["invalidations"]
    assert [one["names"] for one in newest] == [["film"], ["ben"]]


def test_several_kinds_at_once_and_everything_are_told_as_such(
    ask: Ask, cache: OptimizedCacheManager
) -> None:
    with cache.revoking(user_id="ben", tags=["cinema"]):
        pass
    cache.clear(actor="ops")
    cleared, several = ask("/invalidations")["invalidations"]
    assert (cleared["action"], cleared["names"], cleared["names_count"]) == ("clear", [], 0)
    assert (several["action"], several["names_count"]) == ("several", 2)


def test_ids_in_the_list_are_hidden_on_request(
    app: FastAPI, ask: Ask, cache: OptimizedCacheManager
) -> None:
    cache.invalidate_user_data("zoe")
    invalidate(app, "user", user_id="zoe")
    by_code, over_http = sorted(
        ask("/invalidations", hash_ids=True)["invalidations"], key=lambda one: one["made"]
    )
    assert by_code["names"] == over_http["names"]
    assert by_code["names"][0].startswith("#")


def test_each_router_tells_what_came_through_the_other(cache: OptimizedCacheManager) -> None:
    async def second() -> str:
        return "eve"

    app = operated(cache)
    app.include_router(create_admin_router(second, cache=cache, prefix="/other"))
    client = client_of(app)
    client.post("/other/invalidate/user", json={"user_id": "ben", "reason": "left"})
    (own,) = client.get("/other/invalidations").json()["invalidations"]
    (others,) = client.get(PREFIX + "/invalidations").json()["invalidations"]
    for entry in (own, others):
        assert (entry["made"], entry["actor"], entry["reason"]) == ("over_http", "eve", "left")
    assert (own["wait"], others["wait"]) == ("host", None)


def test_an_actor_of_the_application_is_told_whole(ask: Ask, cache: OptimizedCacheManager) -> None:
    actors = ["http-gateway nightly", "http-00000000-1 eve", "http-gateway-1 x", "http- x", "-1 x"]
    for actor in actors:
        cache.delete("film", actor=actor)
    listed = ask("/invalidations")["invalidations"]
    assert [(one["made"], one["actor"]) for one in reversed(listed)] == [
        ("by_code", actor) for actor in actors
    ]


def test_nobody_hides_an_invalidation_behind_a_mark(
    app: FastAPI, ask: Ask, cache: OptimizedCacheManager
) -> None:
    invalidate(app, "user", user_id="ben")
    cache.delete("film", actor="http-00000000-1 eve")
    assert len(ask("/invalidations")["invalidations"]) == 2
