"""The gateway: keys, limits, usage, and a proxy behind them.

    BACKEND_URLS=http://127.0.0.1:9001 API_KEY_PEPPER=... \
      uvicorn --app-dir examples --factory gateway.app:from_environment

It starts and stops in one order: database, keys, usage, proxy, and the other way round.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from typing import Any

import httpx
from fastapi import Depends, FastAPI, HTTPException, Path, Request, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel

from gateway.proxy import ReverseProxy
from gateway.settings import Settings
from velro_cache.api_keys import ApiKeyCache, LastUsedWriter, Peppers, RefreshManager
from velro_cache.api_keys.sql import SqlApiKeys
from velro_cache.api_keys.usage import BatchedUsage
from velro_cache.api_keys.usage.sql import SqlUsage
from velro_cache.config import OptimizedCacheConfig
from velro_cache.exceptions import KeyNotFound
from velro_cache.fastapi import API_KEY_RESPONSES, ApiKeyAuth, ApiKeyMiddleware, velro_lifespan
from velro_cache.prometheus import ApiKeyCollector, RateLimitCollector
from velro_cache.prometheus.exposition import exposition
from velro_cache.rate_limit import OnErrorByBucket, RateLimiter

METHODS = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"]
PUBLIC = ["/health", "/openapi.json"]
# Without Redis, each process counts the minute for itself; the day is a matter of billing.
WITHOUT_REDIS = OnErrorByBucket(minute="local", day="allow")
BACKEND_TIMEOUT = httpx.Timeout(10.0, connect=2.0)


class Revoked(BaseModel):
    """A key that lets nobody in any more."""

    key_id: str


class Owner(BaseModel):
    """Whose key it is."""

    organization_id: str
    plan: str
    scopes: list[str]


class Statistics(BaseModel):
    """What happened in this process."""

    keys: dict[str, int]
    usage: dict[str, int]


def create_app(settings: Settings) -> FastAPI:
    """Make a gateway.

    Args:
        settings: Of this one.
    """
    peppers = Peppers.one(settings.pepper)
    store = SqlApiKeys(settings.database_url, peppers=peppers)
    keys = ApiKeyCache(store, peppers=peppers)
    limiter = (
        RateLimiter()
        if settings.redis_url is None
        else RateLimiter(name="gateway", redis_url=settings.redis_url, mode="leased")
    )
    # What one gateway revokes, the others hear of through the same Redis; workers of one host need
    # none for that.
    config = OptimizedCacheConfig(name="gateway", invalidation_log=settings.redis_url)
    written = SqlUsage(settings.database_url)
    usage = BatchedUsage(written)
    last_used = LastUsedWriter(store)
    refresh = RefreshManager(keys)
    collectors = [
        ApiKeyCollector(keys, refresh=refresh, usage=usage, last_used=last_used),
        RateLimitCollector(limiter),
    ]

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[dict[str, Any]]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(store)
            await store.migrate()
            await written.create_table()
            running = velro_lifespan(config, alongside=[refresh])(app)
            state = await stack.enter_async_context(running)
            await stack.enter_async_context(usage)
            await stack.enter_async_context(last_used)
            # Backends are one's own: no proxy of the environment stands before them.
            client = await stack.enter_async_context(
                httpx.AsyncClient(timeout=BACKEND_TIMEOUT, trust_env=False)
            )
            yield {**state, "proxy": ReverseProxy(settings.backend_urls, client)}

    app = FastAPI(title="Gateway", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.add_middleware(
        ApiKeyMiddleware,
        keys=keys,
        limiter=limiter,
        organization_on_error=WITHOUT_REDIS,
        key_on_error=WITHOUT_REDIS,
        public_paths=PUBLIC,
        trusted_proxies=settings.trusted_proxies,
        problem_details=True,
        last_used=last_used,
        usage=usage,
    )
    # The middleware has charged the request; here it is only about the scope.
    is_admin = Depends(ApiKeyAuth(keys, scopes=["admin"]))

    @app.get("/health")
    async def health() -> str:
        return "well"

    @app.get("/whoami", responses=API_KEY_RESPONSES)
    async def whoami(request: Request) -> Owner:
        key = request.state.api_key
        return Owner(organization_id=key.organization_id, plan=key.plan, scopes=sorted(key.scopes))

    @app.get("/admin/statistics", dependencies=[is_admin], responses=API_KEY_RESPONSES)
    async def statistics() -> Statistics:
        return Statistics(keys=keys.stats(), usage=asdict(usage.statistics()))

    @app.get(
        "/admin/metrics",
        dependencies=[is_admin],
        response_class=PlainTextResponse,
        responses=API_KEY_RESPONSES,
    )
    async def metrics(request: Request) -> Response:
        # A scraper sends its key as `authorization: {credentials: ...}`.
        accept = ",".join(request.headers.getlist("accept"))
        text, content_type = exposition(request.state.velro_cache, accept, collectors)
        return Response(text, headers={"Content-Type": content_type})

    @app.post(
        "/admin/keys/{key_id}/revoke",
        dependencies=[is_admin],
        responses={**API_KEY_RESPONSES, 404: {"description": "There is no such key"}},
    )
    async def revoke(key_id: str = Path(pattern=r"^[0-9a-f-]{36}$")) -> Revoked:
        try:
            await store.revoke_key(key_id)
        except KeyNotFound:
            raise HTTPException(404, "There is no such key") from None
        finally:
            # Even if nobody knows whether it was written: to ask again does no harm.
            keys.invalidate(key_id=key_id)
        return Revoked(key_id=key_id)

    @app.api_route("/{path:path}", methods=METHODS, include_in_schema=False)
    async def forward(request: Request) -> Response:
        proxy: ReverseProxy = request.state.proxy
        return await proxy.forward(request)

    return app


def from_environment() -> FastAPI:
    """Make the gateway that the environment describes."""
    return create_app(Settings.from_env())
