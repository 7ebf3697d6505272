"""Databases for tests of API keys: a SQLite file and a real PostgreSQL, the same tests on both."""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from services.postgres import shared_server
from velro_cache._engine import InvalidationLog
from velro_cache.api_keys import ApiKey, KeyFormat, Peppers
from velro_cache.api_keys.sql import SqlApiKeys

PEPPERS = Peppers("1", {"1": b"a pepper of 26 characters!"}, accept_plain_sha256=True)
NOON = 1_900_000_000.0

_numbers = itertools.count(1)


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


@dataclass
class Place:
    """Where a database is, for this package and for other programs."""

    dialect: str
    url: str
    name: str

    def run(self, sql: str) -> list[Any]:
        """Run a statement as another program would, on a connection of its own."""
        if self.dialect == "postgresql":
            return shared_server().psql(sql, dbname=self.name).splitlines()
        with closing(sqlite3.connect(self.name, timeout=20)) as connection:
            found = connection.execute(sql).fetchall()
            connection.commit()
            return ["|".join(map(str, row)) for row in found]

    def dump(self) -> str:
        """All that is in it, as text."""
        if self.dialect == "sqlite":
            with closing(sqlite3.connect(self.name)) as connection:
                return "\n".join(connection.iterdump())
        tables = self.run("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        return "\n".join(line for table in tables for line in self.run(f'TABLE "{table}"'))

    def events(self, after: int = 0) -> list[list[str]]:
        """Tags of the invalidations in the outbox; ["*"] for everything."""
        batch = InvalidationLog(self.url, "default", 5.0).poll(after)
        bodies = [json.loads(body) for _, body in batch.entries]
        return [["*"] if body.get("all") else body["tags"] for body in bodies]


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "sqlite":
        path = str(tmp_path / "keys.db")
        yield Place("sqlite", f"sqlite:///{path}", path)
        return
    name = f"api_keys_{next(_numbers)}"
    yield Place("postgresql", shared_server().create_database(name), name)
    shared_server().psql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def now() -> Clock:
    return Clock()


@pytest.fixture
async def keys(place: Place, now: Clock) -> AsyncIterator[SqlApiKeys]:
    async with SqlApiKeys(
        place.url, key_format=KeyFormat(), peppers=PEPPERS, clock=now, pool_size=10
    ) as keys:
        await keys.migrate()
        await keys.create_organization("Acme", organization_id="acme", plan="pro")
        yield keys


async def live_ones(keys: SqlApiKeys, **options: Any) -> list[ApiKey]:
    """All that is streamed, in one list."""
    return [key async for page in keys.fetch_live(**options) for key in page]


async def live_ids(keys: SqlApiKeys, **options: Any) -> set[str]:
    return {key.id for key in await live_ones(keys, **options)}
