"""A million API keys: what a refresh takes, does to requests, and asks of the database.

    PYTHONPATH=tests python benches/python/api_key_refresh.py --rows 100000 1000000

Starts a PostgreSQL of its own, fills it with keys of which 5 % are revoked, and reads all live ones
into memory with a RefreshManager, twice: the second time is the usual one. Meanwhile requests come
at fixed moments, 500 in a second: each takes three turns of the event loop, verifies a key and
checks the answer; its time counts from when it was to begin. They are measured for as long without
a refresh, too.

Then requests for 1,000 keys on a clock of their own, 1,000 in a second for half an hour, with a
refresh every quarter: the transactions of the server are counted, each statement by itself one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from typing import Any

from api_key_fetch import fill
from services.postgres import PostgresServer
from velro_cache.api_keys import ApiKey, ApiKeyCache, KeyFormat, Peppers, RefreshManager
from velro_cache.api_keys.sql import SqlApiKeys
from velro_cache.config import OptimizedCacheConfig
from velro_cache.manager import OptimizedCacheManager

PEPPERS = Peppers.one(b"a pepper for a benchmark")
REQUESTS_PER_SECOND = 500
KNOWN = 1000


class Requests:
    """Requests at fixed moments, whether the ones before were answered or not."""

    def __init__(self, cache: ApiKeyCache, plains: list[str]) -> None:
        self._cache = cache
        self._plains = plains
        self.seconds: list[float] = []

    async def run(self, until: asyncio.Event) -> None:
        """Send them until that is set."""
        began, number = time.perf_counter(), 0
        tasks: set[asyncio.Task[None]] = set()
        while not until.is_set():
            number += 1
            at = began + number / REQUESTS_PER_SECOND
            await asyncio.sleep(max(0.0, at - time.perf_counter()))
            task = asyncio.create_task(self._one(at, self._plains[number % KNOWN]))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)

    async def _one(self, at: float, plain: str) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
        found = await self._cache.verify(plain)
        assert found.shown == KeyFormat().shown(plain)
        self.seconds.append(time.perf_counter() - at)

    def percentile(self, share: float) -> float:
        """The time in milliseconds that this share of them did not exceed."""
        return sorted(self.seconds)[int(len(self.seconds) * share)] * 1000


def known_keys() -> tuple[list[str], list[ApiKey]]:
    """Keys whose plain text is known, beside the many of the table."""
    plains = [KeyFormat().generate() for _ in range(KNOWN)]
    keys = [
        ApiKey(id=f"known{number}", organization_id="o1", digest=PEPPERS.digest(plain)[1],
               shown=KeyFormat().shown(plain))
        for number, plain in enumerate(plains)
    ]  # fmt: skip
    return plains, keys


async def insert(keys: SqlApiKeys, known: list[ApiKey]) -> None:
    """Put them into the table."""
    from sqlalchemy import insert as inserting

    from velro_cache.api_keys.sql.tables import api_keys

    rows = [
        {"id": key.id, "key_digest": key.digest, "pepper_id": "1", "organization_id": "o1",
         "shown": key.shown, "scopes": "[]"}
        for key in known
    ]  # fmt: skip
    async with keys.engine.begin() as connection:
        await connection.execute(inserting(api_keys), rows)


async def refreshing(url: str, rows: int) -> dict[str, Any]:
    """Refresh a cache from a table of so many rows, and measure requests with and without."""
    config = OptimizedCacheConfig(
        share_invalidations=False, max_entries=2 * rows + 10_000, max_size_mb=8192
    )
    plains, known = known_keys()
    async with SqlApiKeys(url, statement_timeout_seconds=600) as keys:
        await fill(keys, rows)
        await insert(keys, known)
        with OptimizedCacheManager(config) as manager:
            cache = ApiKeyCache(keys, peppers=PEPPERS, cache_manager=manager)
            refresh = RefreshManager(cache, share_on_host=False)
            first = await refresh.refresh_now()
            figures, second = {}, first
            for name in ("with a refresh", "without"):
                requests, over = Requests(cache, plains), asyncio.Event()
                running = asyncio.create_task(requests.run(over))
                if name == "without":
                    await asyncio.sleep(min(10.0, second.seconds))
                else:
                    second = await refresh.refresh_now()
                over.set()
                await running
                figures[name] = requests.percentile(0.99)
            assert second.total == rows - rows // 20 + KNOWN
            return {
                "rows": rows,
                "first_seconds": round(first.seconds, 2),
                "seconds": round(second.seconds, 2),
                "p99_ms_with": round(figures["with a refresh"], 2),
                "p99_ms_without": round(figures["without"], 2),
            }


class Clock:
    """Seconds since 1970, moved by hand."""

    now = 1_800_000_000.0

    def __call__(self) -> float:
        """The moment it stands at."""
        return self.now


async def loading(server: PostgresServer, name: str) -> dict[str, Any]:
    """Half an hour of requests for 1,000 keys; what the server has done for them is counted."""
    url, clock = server.create_database(name), Clock()
    plains, known = known_keys()
    config = OptimizedCacheConfig(share_invalidations=False)
    async with SqlApiKeys(url, clock=clock) as keys:
        await fill(keys, 20)
        await insert(keys, known)
    before = transactions(server, name)
    async with SqlApiKeys(url, clock=clock) as keys:
        with OptimizedCacheManager(config) as manager:
            cache = ApiKeyCache(keys, peppers=PEPPERS, cache_manager=manager, now=clock)
            refresh = RefreshManager(cache, share_on_host=False, now=clock)
            requests = 1000 * 1800
            for number in range(requests):
                if number % (1000 * 850) == 0:
                    await refresh.refresh_now()
                clock.now += 0.001
                assert (await cache.verify(plains[number % KNOWN])).id == f"known{number % KNOWN}"
    counted = transactions(server, name) - before
    return {"requests": requests, "transactions": counted, "share": counted / requests}


def transactions(server: PostgresServer, name: str) -> int:
    """What a server has done in a database; each statement by itself is one."""
    sum_of = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname"
    return int(server.psql(f"{sum_of} = '{name}'"))


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000])
    options = parser.parse_args()
    with PostgresServer(extra_config={"fsync": "off", "shared_buffers": "128MB"}) as server:
        for number, rows in enumerate(options.rows):
            url = server.create_database(f"keys_{number}")
            sys.stdout.write(json.dumps(asyncio.run(refreshing(url, rows))) + "\n")
            sys.stdout.flush()
        sys.stdout.write(json.dumps(asyncio.run(loading(server, "keys_load"))) + "\n")


if __name__ == "__main__":
    main()
