"""Made-up ids: they get their denial, and take no room from anybody else."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from velro_cache._engine import ManualClock
from velro_cache.authorization.cached_check import CachedGenerationAccess
from velro_cache.authorization.deny_budget import DenyBudget, default_denies, deny_budget_of
from velro_cache.authorization.high_performance import HighPerformanceAuthorizationService
from velro_cache.authorization.models import AuthorizationResult, GenerationPermissions, TeamRole
from velro_cache.config import EvictionPolicy, OptimizedCacheConfig
from velro_cache.manager import Id, OptimizedCacheManager

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
RANDOM_IDS = int(os.environ.get("RANDOM_IDS", "20000"))
REAL = [f"real-{number}" for number in range(500)]


class Members:
    """Grants what is known, denies what is not."""

    def __init__(self) -> None:
        self.calls = 0

    async def validate_generation_media_access(
        self,
        generation_id: Id,
        user_id: Id,
        auth_token: str,
        client_ip: str | None = None,
        expires_in: int = 3600,
    ) -> GenerationPermissions:
        self.calls += 1
        granted = str(generation_id).startswith("real-")
        return GenerationPermissions(generation_id, user_id, granted)

    async def validate_direct_ownership(
        self, generation_id: Id, user_id: Id
    ) -> AuthorizationResult:
        return self._about(generation_id)

    async def validate_team_access(
        self, team_id: Id, user_id: Id, required_role: TeamRole = TeamRole.VIEWER
    ) -> AuthorizationResult:
        return self._about(team_id)

    async def validate_project_access(
        self, project_id: Id, user_id: Id, required_role: TeamRole = TeamRole.VIEWER
    ) -> AuthorizationResult:
        return self._about(project_id)

    def _about(self, resource_id: Id) -> AuthorizationResult:
        self.calls += 1
        return AuthorizationResult(str(resource_id).startswith("real-"))


class Bench:
    """A service whose clocks are in hand, and a way to see who is still remembered."""

    def __init__(self, settings: dict[str, Any], **options: Any) -> None:
        self.clock = ManualClock()
        self.wall = NOON
        config = OptimizedCacheConfig(**settings)
        self.cache = OptimizedCacheManager(config, clock=self.clock)
        self.members = Members()
        self.service = HighPerformanceAuthorizationService(
            self.members, self.cache, now=lambda: self.wall, **options
        )

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.wall += timedelta(seconds=seconds)

    async def ask_about_the_real_ones(self) -> int:
        """How many of them the cache knew."""
        before = self.members.calls
        for one in REAL:
            assert (await self.service.validate_team_access(one, "u")).granted
        return len(REAL) - (self.members.calls - before)

    async def flood(self, first: int, count: int) -> None:
        for number in range(first, first + count):
            await self.service.validate_team_access(f"random-{number}", "u")


@pytest.mark.parametrize("limit", [None, 0, 7])
async def test_random_ids_leave_the_hit_rate_of_real_ones_as_it_was(limit: int | None) -> None:
    bench = Bench({"max_entries": 1000}, max_cached_denies=limit)
    await bench.ask_about_the_real_ones()
    most = 100 if limit is None else limit
    for round_ in range(4):
        await bench.flood(round_ * RANDOM_IDS, RANDOM_IDS // 4)
        assert len(bench.cache) <= len(REAL) + most
        assert await bench.ask_about_the_real_ones() == len(REAL)
        bench.pass_time(10)
    figures = bench.service.get_detailed_cache_metrics()["denies"]
    assert figures["kept"] + figures["not_kept"] == RANDOM_IDS
    assert figures["kept"] <= 2 * most
    assert figures["limit"] == most
    assert bench.cache.get_stats()["evictions"] == 0


@pytest.mark.parametrize("policy", list(EvictionPolicy))
async def test_in_a_full_cache_no_more_than_the_limit_can_be_lost(policy: EvictionPolicy) -> None:
    bench = Bench({"max_entries": len(REAL), "eviction_policy": policy}, max_cached_denies=20)
    await bench.ask_about_the_real_ones()
    await bench.flood(0, RANDOM_IDS)
    # What is lost is asked for again, and may push out another one that would have been a hit.
    kept = sum(bench.cache.get_value(key) is not None for key in bench.cache.keys("*real-*"))
    assert kept >= len(REAL) - 20
    assert len(bench.cache) <= len(REAL)


async def test_tokens_made_up_for_a_real_id_are_bounded_as_well() -> None:
    clock = ManualClock()
    cache = OptimizedCacheManager(OptimizedCacheConfig(max_entries=1000), clock=clock)
    access = CachedGenerationAccess(Members(), cache, now=lambda: NOON)
    for number in range(2000):
        await access.check("unknown", "u", f"forged-{number}")
    assert len(cache) == 100


async def test_a_denial_that_is_not_kept_invalidates_nothing() -> None:
    # Names share slots: enough of them raised would bring down whatever there is.
    bench = Bench({"max_entries": 1000}, max_cached_denies=0)
    await bench.ask_about_the_real_ones()
    before = bench.cache.snapshot()
    await bench.flood(0, 1000)
    assert bench.cache.snapshot() == before


async def test_but_a_denial_ends_the_grant_before_it() -> None:
    bench = Bench({}, max_cached_denies=0)
    access = CachedGenerationAccess(
        bench.members, bench.cache, now=lambda: bench.wall, max_cached_denies=0
    )
    assert (await access.check("real-1", "u", "good", force_refresh=True)).can_view is False
    assert len(bench.cache) == 1

    async def nobody(*_: object, **__: object) -> GenerationPermissions:
        return GenerationPermissions.denied("real-1", "u")

    bench.members.validate_generation_media_access = nobody  # type: ignore[method-assign]
    await access.check("real-1", "u", "good", force_refresh=True)
    assert len(bench.cache) == 0


async def test_there_is_room_again_when_denials_have_expired() -> None:
    bench = Bench({"max_entries": 100}, max_cached_denies=5)
    await bench.flood(0, 50)
    assert len(bench.cache) == 5
    bench.pass_time(60)
    await bench.flood(50, 50)
    bench.cache.sweep()
    assert len(bench.cache) == 5
    assert bench.service.get_detailed_cache_metrics()["denies"]["alive_at_most"] == 5


def test_all_services_of_a_cache_have_one_account() -> None:
    cache, other = OptimizedCacheManager(), OptimizedCacheManager()
    assert deny_budget_of(cache) is deny_budget_of(cache)
    assert deny_budget_of(cache) is not deny_budget_of(other)
    assert [default_denies(entries) for entries in (1, 10, 25, 10_000)] == [1, 1, 2, 1000]


LIVES = st.floats(0.1, 60)
STEPS = st.lists(st.tuples(st.floats(0, 100), LIVES), max_size=60)


@given(st.integers(0, 5), STEPS)
def test_never_more_than_the_limit_are_alive(limit: int, steps: list[tuple[float, float]]) -> None:
    budget = DenyBudget()
    now = NOON
    ends: list[datetime] = []
    for pause, life in steps:
        now += timedelta(seconds=pause)
        if budget.take(limit, life, now):
            ends.append(now + timedelta(seconds=life))
        alive = sum(end > now for end in ends)
        assert alive <= limit
        assert alive <= budget.alive_at_most(now)
    assert budget.kept == len(ends)
    assert budget.kept + budget.not_kept == len(steps)


@given(st.lists(st.tuples(st.floats(-1000, 100), LIVES), max_size=60))
def test_a_clock_that_is_set_back_does_not_stop_denials_for_ever(
    steps: list[tuple[float, float]],
) -> None:
    budget = DenyBudget()
    now = NOON
    for pause, life in steps:
        now += timedelta(seconds=pause)
        budget.take(3, life, now)
    assert budget.take(1, 60, now + timedelta(seconds=120))
