"""How long it takes to read all live API keys, and for how long others wait for the event loop.

    PYTHONPATH=tests python benches/python/api_key_fetch.py --rows 100000 1000000

Starts a PostgreSQL of its own and makes a SQLite file, fills them with keys of which 5 % are
revoked, reads all live ones page by page, and times every callback of the event loop: the longest
one is for how long everybody else had to wait. "cpu" leaves out what the machine did meanwhile.
Garbage collection is timed by itself: Python walks through all objects of the process whenever
they have grown by a quarter, whatever these are; see gc.freeze(). With --keep, what was read is
kept.
"""

from __future__ import annotations

import argparse
import asyncio
import asyncio.events
import gc
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from sqlalchemy import text

from services.postgres import PostgresServer
from velro_cache.api_keys.sql import SqlApiKeys

ORGANIZATIONS = 1000
FILL = {
    "postgresql": (
        "INSERT INTO organizations (id, plan) SELECT 'o' || i, 'pro'"
        " FROM generate_series(0, :organizations - 1) AS i",
        "INSERT INTO rate_limit_configs (id, organization_id)"
        " SELECT 'l' || i, 'o' || i FROM generate_series(0, :organizations - 1) AS i",
        "INSERT INTO api_keys (id, key_digest, pepper_id, shown, name, organization_id, scopes,"
        " revoked_at) SELECT gen_random_uuid()::text, sha256(i::text::bytea), '1', 'vk_live_abcd',"
        " 'key ' || i, 'o' || (i % :organizations), '[\"read\",\"write\"]',"
        " CASE WHEN i % 20 = 0 THEN 1.0 END FROM generate_series(1, :rows) AS i",
        "ANALYZE",
    ),
    "sqlite": (
        "WITH RECURSIVE s(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM s WHERE i + 1 <"
        " :organizations) INSERT INTO organizations (id, plan) SELECT 'o' || i, 'pro' FROM s",
        "WITH RECURSIVE s(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM s WHERE i + 1 <"
        " :organizations) INSERT INTO rate_limit_configs (id, organization_id)"
        " SELECT 'l' || i, 'o' || i FROM s",
        "WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < :rows)"
        " INSERT INTO api_keys (id, key_digest, pepper_id, shown, name, organization_id, scopes,"
        " revoked_at) SELECT lower(hex(randomblob(16))), randomblob(32), '1', 'vk_live_abcd',"
        " 'key ' || i, 'o' || (i % :organizations), '[\"read\",\"write\"]',"
        " CASE WHEN i % 20 = 0 THEN 1.0 END FROM s",
        "ANALYZE",
    ),
}


class Callbacks:
    """Times every callback of the event loops of this process."""

    def __init__(self) -> None:
        self.longest = self.longest_cpu = 0.0
        self.over_5_ms = 0
        self.collecting = self.longest_collection = 0.0
        self._collection_begun = 0.0
        self._original = asyncio.events.Handle._run

    def __enter__(self) -> Callbacks:
        original = self._original

        def timed(handle: asyncio.Handle) -> Any:
            collecting = self.collecting
            wall, cpu = time.perf_counter(), time.thread_time()
            try:
                return original(handle)
            finally:
                cpu = time.thread_time() - cpu
                wall = time.perf_counter() - wall
                # Measured by the processor's time, which is less on a busy machine: no favour.
                cpu -= self.collecting - collecting
                wall -= self.collecting - collecting
                self.longest = max(self.longest, wall)
                self.longest_cpu = max(self.longest_cpu, cpu)
                self.over_5_ms += wall > 0.005

        asyncio.events.Handle._run = timed  # type: ignore[method-assign]
        gc.callbacks.append(self._collection)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.events.Handle._run = self._original  # type: ignore[method-assign]
        gc.callbacks.remove(self._collection)

    def _collection(self, phase: str, _info: dict[str, int]) -> None:
        now = time.thread_time()
        if phase == "start":
            self._collection_begun = now
        else:
            self.collecting += now - self._collection_begun
            self.longest_collection = max(self.longest_collection, now - self._collection_begun)


async def fill(keys: SqlApiKeys, rows: int) -> None:
    """Make the tables and put keys into them."""
    await keys.migrate()
    values = {"rows": rows, "organizations": ORGANIZATIONS}
    async with keys.engine.begin() as connection:
        for statement in FILL[keys.engine.dialect.name]:
            used = {name: value for name, value in values.items() if f":{name}" in statement}
            await connection.execute(text(statement), used)


async def read(keys: SqlApiKeys, page_size: int, keep: bool) -> dict[str, Any]:
    """Read all live ones."""
    kept: list[Any] = []
    live = 0
    gc.collect()
    with Callbacks() as callbacks:
        begun, cpu = time.perf_counter(), time.process_time()
        async for page in keys.fetch_live(page_size=page_size):
            live += len(page)
            if keep:
                kept.append(page)
        seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    return {
        "live": live,
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu, 2),
        "longest_stall_ms": round(callbacks.longest * 1000, 2),
        "longest_stall_cpu_ms": round(callbacks.longest_cpu * 1000, 2),
        "stalls_over_5_ms": callbacks.over_5_ms,
        "longest_collection_cpu_ms": round(callbacks.longest_collection * 1000, 2),
    }


async def measure(url: str, rows: int, page_size: int, keep: bool) -> dict[str, Any]:
    """Fill a database and read it twice; the second time counts."""
    async with SqlApiKeys(url, statement_timeout_seconds=600) as keys:
        await fill(keys, rows)
        await read(keys, page_size, keep)
        figures = await read(keys, page_size, keep)
        assert figures["live"] == rows - rows // 20
        return {"database": keys.engine.dialect.name, "rows": rows} | figures


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000])
    parser.add_argument("--page-size", type=int, default=1000)
    parser.add_argument("--keep", action="store_true", help="keep all that was read")
    options = parser.parse_args()
    for rows in options.rows:
        with (
            PostgresServer(extra_config={"fsync": "off", "shared_buffers": "128MB"}) as server,
            tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        ):
            for url in (server.url, f"sqlite:///{Path(folder) / 'keys.db'}"):
                figures = asyncio.run(measure(url, rows, options.page_size, options.keep))
                sys.stdout.write(json.dumps(figures) + "\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
