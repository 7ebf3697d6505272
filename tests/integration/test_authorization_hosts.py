"""The authorization service on two hosts with a real log in Redis.

Two managers whose tables lie in different folders are two hosts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services.redis import RedisServer, until
from velro_cache import (
    AuthorizationResult,
    GenerationPermissions,
    HighPerformanceAuthorizationService,
    OptimizedCacheConfig,
    OptimizedCacheManager,
    TeamRole,
)
from velro_cache.manager import Id

Service = HighPerformanceAuthorizationService


class Database:
    """One database behind all hosts."""

    def __init__(self) -> None:
        self.members = {"ada"}

    async def validate_generation_media_access(
        self,
        generation_id: Id,
        user_id: Id,
        auth_token: str,
        client_ip: str | None = None,
        expires_in: int = 3600,
    ) -> GenerationPermissions:
        may = user_id in self.members
        team = "t" if may else None
        return GenerationPermissions(generation_id, user_id, may, can_view=may, team_context=team)

    async def validate_direct_ownership(
        self, generation_id: Id, user_id: Id
    ) -> AuthorizationResult:
        return AuthorizationResult(user_id in self.members)

    async def validate_team_access(
        self, team_id: Id, user_id: Id, required_role: TeamRole = TeamRole.VIEWER
    ) -> AuthorizationResult:
        return AuthorizationResult(user_id in self.members)

    async def validate_project_access(
        self, project_id: Id, user_id: Id, required_role: TeamRole = TeamRole.VIEWER
    ) -> AuthorizationResult:
        return AuthorizationResult(user_id in self.members, team_context="t")


@pytest.fixture
def database() -> Database:
    return Database()


@pytest.fixture
def hosts(tmp_path: Path, database: Database) -> Iterator[list[Service]]:
    with RedisServer() as server:
        services = []
        for name in ("here", "there"):
            folder = tmp_path / name
            folder.mkdir()
            cache = OptimizedCacheManager(
                OptimizedCacheConfig(
                    invalidation_log=server.url,
                    shared_memory_directory=str(folder),
                    log_timeout_seconds=20,
                    max_staleness_seconds=3,
                )
            )
            until(lambda cache=cache: cache.get_stats()["log"]["has_lease"], "news")  # type: ignore[misc]
            services.append(HighPerformanceAuthorizationService(database, cache))
        yield services
        for service in services:
            service.cache.stop()


async def everything(service: Service) -> list[bool]:
    return [
        (await service.validate_generation_media_access("g", "ada", "token")).granted,
        (await service.validate_project_access("p", "ada")).granted,
        (await service.validate_team_access("t", "ada")).granted,
    ]


REVOCATIONS: dict[str, Callable[[Service], object]] = {
    "team": lambda service: service.invalidate_team_permissions("t", wait="fleet"),
    "user": lambda service: service.invalidate_user_permissions("ada", wait="fleet"),
    "all": lambda service: service.clear_all_caches(wait="fleet"),
}


@pytest.mark.parametrize("what", REVOCATIONS)
async def test_no_host_allows_what_was_revoked_on_another(
    hosts: list[Service], database: Database, what: str
) -> None:
    here, there = hosts
    for service in hosts:
        for _ in range(2):
            assert await everything(service) == [True] * 3
    hits = there.get_performance_metrics()["total"]["cache_hits"]
    assert hits == 3, "they were in memory"
    database.members.clear()
    dropped = await REVOCATIONS[what](here)  # type: ignore[misc]
    assert dropped == 3
    assert await everything(here) == [False] * 3
    assert await everything(there) == [False] * 3
