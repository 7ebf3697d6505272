"""A cache that has the database of the permissions as its log."""

from __future__ import annotations

import contextlib
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from services.postgres import shared_server, until
from velro_cache.config import OptimizedCacheConfig
from velro_cache.manager import OptimizedCacheManager
from velro_cache.outbox import create_outbox, record_invalidation, trigger_ddl

Run = Callable[[str], None]


@pytest.fixture(params=["postgresql", "sqlite"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str, Run]]:
    """The address of a log, that of its database for SQLAlchemy, and a way to run SQL there."""
    if request.param == "sqlite":
        path = tmp_path / "permissions.db"

        def run(sql: str) -> None:
            with contextlib.closing(sqlite3.connect(path, timeout=20)) as connection:
                connection.executescript(sql)

        yield f"sqlite:///{path}", f"sqlite:///{path}", run
        return
    server, name = shared_server(), f"with_cache_{uuid.uuid4().hex}"
    url = server.create_database(name)
    address = url.replace("postgresql://", "postgresql+psycopg://", 1)
    yield url, address, lambda sql: print(server.psql(sql, dbname=name), end="")
    server.psql(f"DROP DATABASE {name} WITH (FORCE)")


def test_what_is_committed_there_is_no_longer_believed(place: tuple[str, str, Run]) -> None:
    url, address, run = place
    engine = create_engine(address)
    name = f"outbox-{uuid.uuid4().hex[:8]}"
    config = OptimizedCacheConfig(name=name, invalidation_log=url, share_invalidations=False)
    with OptimizedCacheManager(config) as cache:

        def cached() -> bool:
            cache.get_or_load("auth:user:1:permissions", lambda: {"read": True})
            return cache.get("auth:user:1:permissions")[1]

        until(cached, "results are cached once the log was heard")
        with engine.connect() as connection:
            record_invalidation(connection, name=name, user_id=1)
            connection.rollback()
        assert cached()
        with engine.begin() as connection:
            record_invalidation(connection, name=name, user_id=1)
        until(lambda: not cache.get("auth:user:1:permissions")[1], "it is heard of")

        until(cached, "and cached again")
        with engine.begin() as connection:
            create_outbox(connection, name=name)
        run("CREATE TABLE permission (user_id int);")
        run(trigger_ddl(engine.dialect.name, "permission", ["user:{user_id}"], name=name))
        run("INSERT INTO permission VALUES (2);")
        run("INSERT INTO permission VALUES (1);")
        until(lambda: not cache.get("auth:user:1:permissions")[1], "it is heard of by a trigger")
    engine.dispose()
