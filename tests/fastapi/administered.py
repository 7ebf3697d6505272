"""An application whose API keys can be administered over HTTP, and clients of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
from fastapi import FastAPI
from operated import OPERATOR, require_operator
from sqlalchemy.ext.asyncio import AsyncEngine

from api_keys.sql_databases import NOON, PEPPERS, Clock
from velro_cache.api_keys import ApiKeyCache, KeyAdministration, RefreshManager
from velro_cache.api_keys.sql import CreatedKey, SqlApiKeys
from velro_cache.config import OptimizedCacheConfig
from velro_cache.fastapi import create_key_admin_router
from velro_cache.manager import OptimizedCacheManager

PREFIX = "/admin/keys"

LIMITS = {"requests_per_minute": 7, "requests_per_day": None, "burst_size": 3}

BODIES: dict[str, dict[str, Any]] = {
    "/organizations": {"organization_id": "new", "name": "New Ltd"},
    "/organizations/plan": {"organization_id": "acme", "plan": "pro"},
    "/organizations/limits": {"organization_id": "acme", "limits": LIMITS},
    "/organizations/active": {"organization_id": "acme", "is_active": True},
    "/keys": {"organization_id": "acme", "name": "ci", "scopes": ["read"]},
    "/keys/rotate": {"key_id": "k1", "overlap_seconds": 60},
    "/keys/revoke": {"key_id": "k4"},
    "/keys/expire": {"key_id": "k2", "expires_at": NOON + 60},
    "/keys/limits": {"key_id": "k3", "limits": LIMITS},
    "/keys/active": {"key_id": "k3", "is_active": True},
    "/refresh": {},
}
"""A body that each changing route understands, about the keys k1 to k4 of acme."""

READING = ("/organizations", "/keys", "/stats", "/changes", "/usage")


async def no_usage(organization_id: str | None, seconds: int) -> Sequence[tuple[float, int, int]]:
    """Nobody asked for anything."""
    return []


@dataclass
class Administered:
    """An application, and all that is behind it."""

    store: SqlApiKeys
    cache: ApiKeyCache
    administration: KeyAdministration[CreatedKey]
    refresh: RefreshManager
    manager: OptimizedCacheManager
    clock: Clock

    def app(self, **options: Any) -> FastAPI:
        """An application with the routes."""
        options = {
            "guard": require_operator,
            "administration": self.administration,
            "store": self.store,
            "refresh": self.refresh,
            "usage": no_usage,
            "now": lambda: datetime.fromtimestamp(self.clock(), UTC),
            "change_burst": 100_000,
            "page": False,
        } | options
        app = FastAPI()
        app.include_router(create_key_admin_router(**options))
        return app

    def client(self, headers: dict[str, str] = OPERATOR, **options: Any) -> httpx.AsyncClient:
        """A client within this event loop, an operator's unless told otherwise."""
        return client_of(self.app(**options), headers)


def client_of(app: FastAPI, headers: dict[str, str] = OPERATOR) -> httpx.AsyncClient:
    """A client within this event loop, an operator's unless told otherwise."""
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app),
        base_url=f"http://service.example{PREFIX}",
        headers=headers,
    )


@asynccontextmanager
async def administered(url: str | AsyncEngine) -> AsyncIterator[Administered]:
    """Keys in a database and in memory, with the organization acme and its keys k1 to k4."""
    clock = Clock()
    config = OptimizedCacheConfig(share_invalidations=False)
    async with SqlApiKeys(url, peppers=PEPPERS, clock=clock) as store:
        await store.migrate()
        await store.create_organization("Acme", organization_id="acme", plan="free")
        for number in range(1, 5):
            await store.create_key("acme", key_id=f"k{number}", name=f"key {number}")
        with OptimizedCacheManager(config) as manager:
            cache = ApiKeyCache(
                store, peppers=PEPPERS, cache_manager=manager, now=clock, ttl_jitter=0.0
            )
            yield Administered(
                store,
                cache,
                KeyAdministration(cache, store),
                RefreshManager(cache, share_on_host=False, now=clock),
                manager,
                clock,
            )
