"""Roles in teams and projects, as guards ask for them through the cache."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from velro_cache.authorization.models import AuthorizationResult, TeamRole
from velro_cache.config import OptimizedCacheConfig
from velro_cache.exceptions import AuthorizationUnavailable, InvalidKeyError
from velro_cache.fastapi import OptimizedAuthMiddleware
from velro_cache.manager import OptimizedCacheManager
from velro_cache.testing import FrozenClock


class Service:
    """Grants what it was told to; counts how often it was asked."""

    def __init__(self) -> None:
        self.answer: Any = AuthorizationResult(True, role=TeamRole.EDITOR)
        self.asked: list[tuple[Any, ...]] = []
        self.before_answer: Callable[[], Any] | None = None

    async def validate_team_access(self, team_id: Any, user_id: Any, required_role: Any) -> Any:
        return await self.say(team_id, user_id, required_role)

    async def validate_project_access(
        self, project_id: Any, user_id: Any, required_role: Any
    ) -> Any:
        return await self.say(project_id, user_id, required_role)

    async def say(self, *asked: Any) -> Any:
        self.asked.append(asked)
        answer = self.answer
        if self.before_answer is not None:
            await self.before_answer()
        if isinstance(answer, Exception):
            raise answer
        return answer


class Bench:
    def __init__(self, *, max_entries: int = 10_000, **options: Any) -> None:
        self.service, self.clock = Service(), FrozenClock()
        config = OptimizedCacheConfig(auth_ttl_seconds=600, max_entries=max_entries)
        self.cache = OptimizedCacheManager(config, clock=self.clock.engine)
        self.options = {"now": self.clock.now, **options}
        self.checks = self.checks_of(self.service)

    def checks_of(self, service: Any, **more: Any) -> OptimizedAuthMiddleware:
        return OptimizedAuthMiddleware(
            authorization=service, cache_manager=self.cache, **{**self.options, **more}
        )

    async def granted(self, role: TeamRole = TeamRole.VIEWER, **more: Any) -> bool:
        return (await self.checks.check_team_role_cached("t", "ada", role, **more)).granted


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_each_role_user_and_place_is_asked_about_once(bench: Bench) -> None:
    for _ in range(2):
        for role in (TeamRole.VIEWER, TeamRole.EDITOR):
            assert await bench.granted(role)
        await bench.checks.check_team_role_cached("t", "bob")
        await bench.checks.check_project_access_cached("t", "ada")
    assert bench.service.asked == [
        ("t", "ada", TeamRole.VIEWER),
        ("t", "ada", TeamRole.EDITOR),
        ("t", "bob", TeamRole.VIEWER),
        ("t", "ada", TeamRole.VIEWER),
    ]


async def test_spellings_of_a_uuid_are_one_id(bench: Bench) -> None:
    team = uuid4()
    for spelling in (team, str(team), str(team).upper()):
        await bench.checks.check_team_role_cached(spelling, "ada")
    assert len(bench.service.asked) == 1
    assert isinstance(bench.service.asked[0][0], UUID)


@pytest.mark.parametrize(
    "revoke",
    [
        lambda cache: cache.invalidate_user_data("ada"),
        lambda cache: cache.invalidate_by_tags(["team:t"]),
        lambda cache: cache.invalidate_by_pattern("auth:team:t:*"),
    ],
)
async def test_a_revocation_is_seen(bench: Bench, revoke: Callable[[Any], Any]) -> None:
    assert await bench.granted()
    bench.service.answer = AuthorizationResult(False)
    assert await bench.granted()
    revoke(bench.cache)
    assert not await bench.granted()


async def test_a_load_under_way_does_not_outlive_a_revocation(bench: Bench) -> None:
    reached, gate = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        reached.set()
        await gate.wait()

    bench.service.before_answer = wait
    before = asyncio.create_task(bench.granted())
    await reached.wait()
    bench.cache.invalidate_user_data("ada")
    bench.service.answer = AuthorizationResult(False)
    after = asyncio.create_task(bench.granted())
    await asyncio.sleep(0)
    gate.set()
    assert (await before, await after, await bench.granted()) == (True, False, False)


async def test_a_refresh_asks_again(bench: Bench) -> None:
    assert await bench.granted()
    bench.service.answer = AuthorizationResult(False)
    assert not await bench.granted(force_refresh=True)
    assert not await bench.granted()


async def test_denies_are_kept_briefly_and_roles_end_with_their_grant(bench: Bench) -> None:
    bench.service.answer = AuthorizationResult(False)
    await bench.granted()
    bench.clock.advance(29)
    await bench.granted()
    assert len(bench.service.asked) == 1
    bench.clock.advance(1)
    end = bench.clock.now() + timedelta(seconds=60)
    bench.service.answer = AuthorizationResult(True, expires_at=end)
    assert await bench.granted()
    bench.clock.set_wall_clock(end)
    assert not await bench.granted()
    assert len(bench.service.asked) == 3


async def test_denies_may_not_be_kept_at_all() -> None:
    bench = Bench(deny_ttl_seconds=0)
    bench.service.answer = AuthorizationResult(False)
    for _ in range(3):
        assert not await bench.granted()
    assert len(bench.service.asked) == 3


@pytest.mark.parametrize(
    "answer",
    [None, True, "yes", {"granted": True}, ConnectionError("away")],
    ids=str,
)
async def test_what_is_no_answer_is_not_kept(bench: Bench, answer: Any) -> None:
    bench.service.answer = answer
    for _ in range(2):
        with pytest.raises((TypeError, ConnectionError)):
            await bench.granted()
    assert (len(bench.service.asked), bench.cache.keys()) == (2, [])


async def test_a_role_below_the_required_one_is_a_contradiction(bench: Bench) -> None:
    with pytest.raises(ValueError, match="lower"):
        await bench.granted(TeamRole.OWNER)
    assert bench.cache.keys() == []


async def test_services_are_kept_apart_unless_they_have_a_name(bench: Bench) -> None:
    await bench.granted()
    for namespace, asked in ((None, 1), ("x", 1), ("x", 0), ("y", 1)):
        other = Service()
        checks = bench.checks_of(other, namespace=namespace)
        await checks.check_team_role_cached("t", "ada")
        assert len(other.asked) == asked


async def test_mistakes_are_told(bench: Bench) -> None:
    with pytest.raises(ValueError, match="king"):
        await bench.checks.check_team_role_cached("t", "ada", "king")  # type: ignore[arg-type]
    with pytest.raises(InvalidKeyError):
        await bench.checks.check_team_role_cached("", "ada")
    with pytest.raises(AuthorizationUnavailable, match="validate_team_access"):
        await bench.checks_of(object()).check_team_role_cached("t", "ada")
    with pytest.raises(ValueError, match="deny_ttl_seconds"):
        Bench(deny_ttl_seconds=-1)


async def test_made_up_teams_do_not_crowd_out_what_is_real() -> None:
    bench = Bench(max_entries=100)
    assert await bench.granted()
    bench.service.answer = AuthorizationResult(False)
    for number in range(300):
        answer = await bench.checks.check_team_role_cached(f"made-up-{number}", "eve")
        assert not answer.granted
    # A tenth of the cache, and no more: see ``max_cached_denies``.
    assert len(bench.cache.keys()) == 1 + 10
    assert await bench.granted()
    assert len(bench.service.asked) == 1 + 300


async def test_a_role_through_a_team_ends_with_the_team(bench: Bench) -> None:
    bench.service.answer = AuthorizationResult(True, team_context="crew")
    assert (await bench.checks.check_project_access_cached("p", "ada")).granted
    bench.service.answer = AuthorizationResult(False)
    assert (await bench.checks.check_project_access_cached("p", "ada")).granted
    bench.cache.invalidate_by_tags(["team:crew"])
    assert not (await bench.checks.check_project_access_cached("p", "ada")).granted


async def test_roles_are_counted_with_all_other_checks(bench: Bench) -> None:
    for _ in range(3):
        await bench.granted()
    counted = bench.checks.get_performance_stats()["middleware_stats"]
    assert (counted["total_requests"], counted["cache_hits"], counted["granted"]) == (3, 2, 3)
