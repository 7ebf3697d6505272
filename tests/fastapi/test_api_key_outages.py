"""PostgreSQL and Redis stopped and started again under load: each answer is counted."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from keyed import FORMAT, PEPPERS, application

from services.postgres import PostgresServer
from services.redis import RedisServer
from velro_cache.api_keys import ApiKeyCache, KeyAdministration, KeyLimits
from velro_cache.api_keys.sql import SqlApiKeys
from velro_cache.config import OptimizedCacheConfig
from velro_cache.fastapi import ApiKeyMiddleware
from velro_cache.manager import OptimizedCacheManager
from velro_cache.rate_limit import RateLimiter

pytestmark = pytest.mark.timeout(300)

LIMIT_SECONDS = 60


class Gateway:
    """An application behind keys of a real PostgreSQL and limits of a real Redis."""

    def __init__(
        self, store: SqlApiKeys, limiter: RateLimiter, manager: OptimizedCacheManager
    ) -> None:
        self.keys = ApiKeyCache(
            store,
            peppers=PEPPERS,
            key_format=FORMAT,
            cache_manager=manager,
            unknown_ttl_seconds=0,
            misses_per_second=1e6,
            miss_burst=1_000_000,
        )
        self.admin = KeyAdministration(self.keys, store)
        app = application()
        app.add_middleware(ApiKeyMiddleware, keys=self.keys, limiter=limiter)
        transport = httpx.ASGITransport(app)
        self.client = httpx.AsyncClient(
            transport=transport, base_url="http://test", timeout=LIMIT_SECONDS
        )

    async def ask(self, plain: str) -> int:
        answer = await self.client.get("/whose", headers={"X-API-Key": plain})
        return answer.status_code

    async def counted(self, plains: list[str]) -> Counter[int]:
        """Ask for all of them at once."""
        return Counter(await asyncio.gather(*(self.ask(plain) for plain in plains)))

    async def until(self, plain: str, status: int) -> None:
        end = time.monotonic() + LIMIT_SECONDS
        while await self.ask(plain) != status:
            assert time.monotonic() < end
            await asyncio.sleep(0.05)


@pytest.fixture
async def places() -> AsyncIterator[tuple[PostgresServer, RedisServer, Gateway]]:
    async with AsyncExitStack() as stack:
        database = stack.enter_context(PostgresServer())
        redis = stack.enter_context(RedisServer())
        config = OptimizedCacheConfig(share_invalidations=False)
        manager = stack.enter_context(OptimizedCacheManager(config))
        store = await stack.enter_async_context(
            SqlApiKeys(database.url, key_format=FORMAT, peppers=PEPPERS, connect_timeout_seconds=2)
        )
        await store.migrate()
        limits = KeyLimits(requests_per_minute=60_000, requests_per_day=None, burst_size=10_000)
        await store.create_organization("Acme", organization_id="acme", limits=limits)
        limiter = RateLimiter(redis_url=redis.url, mode="shared")
        gateway = Gateway(store, limiter, manager)
        await stack.enter_async_context(gateway.client)
        yield database, redis, gateway


Places = tuple[PostgresServer, RedisServer, Gateway]


async def test_a_database_that_is_away_and_comes_back(places: Places) -> None:
    database, _, gateway = places
    known = (await gateway.admin.create("acme")).plain.reveal()
    later = (await gateway.admin.create("acme")).plain.reveal()
    made_up = [FORMAT.generate() for _ in range(20)]
    assert await gateway.ask(known) == 200
    assert await gateway.counted(made_up) == {403: 20}
    await asyncio.to_thread(database.stop, "immediate")
    # Known ones go on; of the others nobody can tell, which is neither a yes nor a no.
    assert await gateway.counted([known] * 200) == {200: 200}
    assert await gateway.counted([*made_up, later]) == {503: 21}
    await asyncio.to_thread(database.start)
    await gateway.until(later, 200)
    assert await gateway.counted(made_up) == {403: 20}
    assert await gateway.counted([known, later] * 50) == {200: 100}


async def test_a_key_revoked_just_before_the_database_goes_is_not_let_in(places: Places) -> None:
    database, _, gateway = places
    made = await gateway.admin.create("acme")
    plain = made.plain.reveal()
    assert await gateway.ask(plain) == 200
    await gateway.admin.revoke(made.key.id)
    await asyncio.to_thread(database.stop, "immediate")
    assert await gateway.counted([plain] * 20) == {503: 20}
    await asyncio.to_thread(database.start)
    await gateway.until(plain, 403)


@pytest.mark.parametrize("hurt", [RedisServer.kill, RedisServer.freeze])
async def test_limits_are_counted_here_while_redis_is_away(
    places: Places, hurt: Callable[[RedisServer], Any]
) -> None:
    _, redis, gateway = places
    plain = (await gateway.admin.create("acme")).plain.reveal()
    assert await gateway.counted([plain] * 50) == {200: 50}
    await gateway.admin.set_limits(
        KeyLimits(requests_per_minute=1, requests_per_day=None, burst_size=4),
        organization_id="acme",
    )
    hurt(redis)
    # Five at once, by the memory of this process; none, by a Redis that answered a last time, which
    # knows of the fifty. Nobody waits for Redis for long, and nobody is told that nobody can tell.
    began = time.monotonic()
    answers = await gateway.counted([plain] * 40)
    assert set(answers) <= {200, 429}
    assert answers[200] <= 5
    assert time.monotonic() - began < LIMIT_SECONDS / 2
    if hurt is RedisServer.freeze:
        redis.thaw()
    else:
        redis.start()
