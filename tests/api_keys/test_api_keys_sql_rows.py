"""All live keys as a server sends them are the keys that are read one by one."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from sql_databases import NOON, PEPPERS, Clock, Place, keys, live_ones, now, place
from test_api_keys_sql_repository import fill

from services.postgres import PostgresServer
from velro_cache._engine import last_key_id
from velro_cache.api_keys import ApiKey, ApiKeyCache, KeyLimits, RefreshManager
from velro_cache.api_keys.key_rows import Rows, decode
from velro_cache.api_keys.live_rows import live_rows
from velro_cache.api_keys.sql import SqlApiKeys, copying
from velro_cache.config import OptimizedCacheConfig
from velro_cache.manager import OptimizedCacheManager

__all__ = ["keys", "now", "place"]


def split(rows: Rows) -> list[ApiKey]:
    """The keys of some rows."""
    found = []
    for part in rows:
        while part:
            end = 2
            for _ in range(int.from_bytes(part[:2], "big")):
                length = int.from_bytes(part[end : end + 4], "big", signed=True)
                end += 4 + max(0, length)
            found.append(decode(part[:end]))
            assert last_key_id(part[:end]) == found[-1].id
            part = part[end:]
    return found


async def keys_of_rows(keys: SqlApiKeys) -> list[ApiKey]:
    return [key async for rows in live_rows(keys, 1000) for key in split(rows)]


async def varied(keys: SqlApiKeys) -> None:
    """Keys of all kinds, some of which are not good."""
    await keys.create_organization("Größe '\\ 😀", organization_id="O.1_-", plan="ünï")
    await keys.create_organization(organization_id="off")
    await keys.set_limits(KeyLimits(requests_per_day=None, burst_size=0), organization_id="acme")
    await keys.create_key("acme", scopes=["b", "a"], expires_at=NOON + 0.125)
    await keys.create_key("O.1_-", name='\\N "', limits=KeyLimits(requests_per_minute=1))
    await keys.create_key("acme", expires_at=NOON + 9)
    ended = await keys.create_key("acme")
    await keys.revoke_key(ended.key.id)
    await keys.create_key("off")
    await keys.set_active(False, organization_id="off")


async def test_rows_are_the_keys(keys: SqlApiKeys, now: Clock) -> None:
    await varied(keys)
    await fill(keys, 50)
    now.now += 1
    found = await live_ones(keys)
    assert len(found) == 52
    assert await keys_of_rows(keys) == found


async def test_in_a_schema(place: Place) -> None:
    if place.dialect == "sqlite":
        pytest.skip("SQLite has no schemas")
    place.run("CREATE SCHEMA auth")
    async with SqlApiKeys(place.url, schema="auth", peppers=PEPPERS) as keys:
        await keys.migrate()
        await keys.create_organization(organization_id="acme")
        made = await keys.create_key("acme")
        assert [key.id for key in await keys_of_rows(keys)] == [made.key.id]


async def test_may_be_the_first_thing_a_process_reads(keys: SqlApiKeys, place: Place) -> None:
    await fill(keys, 3)
    async with SqlApiKeys(place.url, peppers=PEPPERS) as fresh:
        assert len(await keys_of_rows(fresh)) == 3


async def test_of_no_keys_there_are_no_rows(keys: SqlApiKeys) -> None:
    assert await keys_of_rows(keys) == []


async def test_pages_join(keys: SqlApiKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "_ROWS_OF_A_PAGE", 7)
    for count in (6, 1, 7):
        start = len(await live_ones(keys))
        await fill(keys, count, start=start)
        assert await keys_of_rows(keys) == await live_ones(keys)


async def test_may_be_left_in_the_middle(keys: SqlApiKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "_ROWS_OF_A_PAGE", 5)
    await fill(keys, 30)
    for _ in range(20):
        # More often than there are connections.
        rows = live_rows(keys, 5)
        assert await anext(rows)
        await rows.aclose()  # type: ignore[attr-defined]
    assert len(await keys_of_rows(keys)) == 30


async def test_a_row_that_is_no_key_lets_nobody_in(keys: SqlApiKeys, place: Place) -> None:
    bad, good = await keys.create_key("acme"), await keys.create_key("acme")
    place.run(f"UPDATE api_keys SET scopes = 'read' WHERE id = '{bad.key.id}'")
    config = OptimizedCacheConfig(share_invalidations=False)
    with OptimizedCacheManager(config) as manager:
        cache = ApiKeyCache(keys, peppers=PEPPERS, cache_manager=manager, now=lambda: NOON)
        refresh = RefreshManager(cache, share_on_host=False, now=lambda: NOON)
        for _ in range(2):
            await refresh.refresh_now()
            assert await cache.verify(good.plain.reveal()) == good.key
            for plain in (bad.plain.reveal(), bad.plain.reveal().encode()):
                assert cache.recall(plain) is None
            with pytest.raises(RuntimeError, match="cannot be told"):
                await cache.verify(bad.plain.reveal())
        # Mended, it is asked about again.
        place.run("UPDATE api_keys SET scopes = '[]'")
        assert (await cache.verify(bad.plain.reveal())).id == bad.key.id
        # Gone, it is dropped like any other one.
        place.run(f"UPDATE api_keys SET scopes = 'read' WHERE id = '{bad.key.id}'")
        await refresh.refresh_now()
        place.run(f"DELETE FROM api_keys WHERE id = '{bad.key.id}'")
        await refresh.refresh_now()
        assert len(manager) == 1


async def test_a_refresh_counts_no_lookups(keys: SqlApiKeys) -> None:
    await fill(keys, 100)
    config = OptimizedCacheConfig(share_invalidations=False)
    with OptimizedCacheManager(config) as manager:
        cache = ApiKeyCache(keys, peppers=PEPPERS, cache_manager=manager, now=lambda: NOON)
        refresh = RefreshManager(cache, share_on_host=False, now=lambda: NOON)
        for _ in range(2):
            report = await refresh.refresh_now()
            assert report.total == 100
        assert report.updated == 0
        found = manager.get_stats()
        assert (found["cache_hits"], found["cache_misses"]) == (0, 0)


async def test_a_key_that_was_asked_for_by_itself_is_the_same_when_all_are_read(
    keys: SqlApiKeys,
) -> None:
    made = await keys.create_key("acme", scopes=["b", "a"], limits=KeyLimits())
    config = OptimizedCacheConfig(share_invalidations=False)
    with OptimizedCacheManager(config) as manager:
        cache = ApiKeyCache(keys, peppers=PEPPERS, cache_manager=manager, now=lambda: NOON)
        refresh = RefreshManager(cache, share_on_host=False, now=lambda: NOON)
        found = await cache.verify(made.plain.reveal())
        assert (await refresh.refresh_now()).updated == 0
        assert cache.recall(made.plain.reveal()) is found
        cache.set(replace(found, plan="other"))
        assert (await refresh.refresh_now()).updated == 1
        assert cache.recall(made.plain.reveal()) == found


async def test_a_server_that_stops_midway_takes_nothing_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(copying, "_ROWS_OF_A_PAGE", 5)
    config = OptimizedCacheConfig(share_invalidations=False)
    with PostgresServer(extra_config={"fsync": "off"}) as server:
        async with SqlApiKeys(server.url, peppers=PEPPERS, connect_timeout_seconds=2) as keys:
            await keys.migrate()
            await keys.create_organization(organization_id="acme")
            await fill(keys, 30)
            with OptimizedCacheManager(config) as manager:
                cache = ApiKeyCache(keys, peppers=PEPPERS, cache_manager=manager)
                refresh = RefreshManager(cache, share_on_host=False)
                assert (await refresh.refresh_now()).total == 30
                rows = live_rows(keys, 5)
                await anext(rows)
                server.stop("immediate")
                with pytest.raises(Exception, match=r"."):
                    while True:
                        await anext(rows)
                with pytest.raises(Exception, match=r"."):
                    await refresh.refresh_now()
                assert len(manager) == 30
                server.start()
                assert (await refresh.refresh_now()).total == 30


async def test_nothing_is_left_running_when_a_reader_is_cancelled(
    keys: SqlApiKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "_ROWS_OF_A_PAGE", 5)
    await fill(keys, 200)
    before = asyncio.all_tasks()

    async def read() -> None:
        async for _ in live_rows(keys, 5):
            await asyncio.sleep(0)

    for turns in (1, 5, 20, 60):
        reading = asyncio.create_task(read())
        for _ in range(turns):
            await asyncio.sleep(0)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
    assert asyncio.all_tasks() <= before
    assert len(await keys_of_rows(keys)) == 200
