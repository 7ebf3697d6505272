"""The feed of one host: what another host invalidates, its clients hear of through the log."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from fed import Fed, listening
from serving import Serve

from services.postgres import PostgresServer
from services.redis import RedisServer, until
from velro_cache.config import OptimizedCacheConfig
from velro_cache.manager import OptimizedCacheManager
from velro_cache.outbox import create_outbox


@pytest.fixture(params=["redis", "postgresql"])
def log(request: Any) -> Iterator[str]:
    """Address of a log on a real server."""
    if request.param == "redis":
        with RedisServer() as redis:
            yield redis.url
        return
    with PostgresServer() as postgres:
        engine = sqlalchemy.create_engine(
            postgres.url.replace("postgresql:", "postgresql+psycopg:")
        )
        with engine.begin() as connection:
            create_outbox(connection)
        engine.dispose()
        yield postgres.url


def settings(log: str, directory: Path) -> OptimizedCacheConfig:
    directory.mkdir()
    return OptimizedCacheConfig(
        name="fed",
        invalidation_log=log,
        shared_memory_directory=str(directory),
    )


def follows(cache: OptimizedCacheManager) -> bool:
    log = cache.get_stats()["log"]
    return bool(log["has_lease"] and log["position"] > 0)


def test_what_another_host_invalidates_is_heard(log: str, tmp_path: Path, serve: Serve) -> None:
    with (
        OptimizedCacheManager(settings(log, tmp_path / "here")) as here,
        OptimizedCacheManager(settings(log, tmp_path / "there")) as there,
    ):
        # A host that begins to follow a log, or a new one, disbelieves everything, and clients are
        # told so.
        there.invalidate_user_data("eve")
        until(lambda: follows(here) and follows(there), "both follow the log")
        client = serve(Fed(cache=here).app)
        with listening(client, "ada") as ada, listening(client, "bob") as bob:
            there.invalidate_user_data("bob")
            assert next(bob)[:2] == ("changed", {"names": ["user"]})
            # The first that Ada hears is her own.
            there.invalidate_user_data("ada")
            assert next(ada)[:2] == ("changed", {"names": ["user"]})
