"""A database that is away raises; it never says that there is no key."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from sql_databases import NOON, PEPPERS, live_ids

from services.postgres import PostgresServer
from velro_cache.api_keys.sql import SqlApiKeys
from velro_cache.api_keys.sql.database import as_database_error


async def prepared(keys: SqlApiKeys) -> bytes:
    await keys.migrate()
    await keys.create_organization(organization_id="acme")
    return (await keys.create_key("acme")).key.digest


async def every_answer(keys: SqlApiKeys, digest: bytes) -> list[object]:
    """What comes of everything that asks the database."""

    async def stream() -> None:
        async for _ in keys.fetch_live():
            pass

    return await asyncio.gather(
        keys.get(digest),
        stream(),
        keys.touch({"k": NOON}),
        keys.create_key("acme"),
        keys.revoke_key("k"),
        keys.list_keys(),
        return_exceptions=True,
    )


async def test_stopped_crashed_and_started_again() -> None:
    with PostgresServer(extra_config={"fsync": "off"}) as server:
        async with SqlApiKeys(server.url, peppers=PEPPERS, connect_timeout_seconds=2) as keys:
            digest = await prepared(keys)
            for mode in ("fast", "immediate"):
                server.stop(mode)  # type: ignore[arg-type]
                answers = await every_answer(keys, digest)
                assert all(isinstance(answer, Exception) for answer in answers)
                found = [as_database_error(answer) for answer in answers]  # type: ignore[arg-type]
                assert all(one is not None and one.is_unreachable for one in found)
                server.start()
                assert (await keys.get(digest)) is not None
                assert len(await live_ids(keys)) == 1


async def test_stopped_in_the_middle_of_a_stream() -> None:
    with PostgresServer(extra_config={"fsync": "off"}) as server:
        async with SqlApiKeys(server.url, peppers=PEPPERS, connect_timeout_seconds=2) as keys:
            await prepared(keys)
            await keys.create_key("acme")
            pages = keys.fetch_live(page_size=1)
            assert len(await anext(pages)) == 1
            server.stop("immediate")
            with pytest.raises(Exception, match=r"."):
                await anext(pages)


async def test_frozen_it_is_given_up_in_time() -> None:
    with PostgresServer(extra_config={"fsync": "off"}) as server:
        keys = SqlApiKeys(
            server.url,
            peppers=PEPPERS,
            connect_timeout_seconds=0.5,
            statement_timeout_seconds=0.5,
            pool_timeout_seconds=0.5,
            pool_size=2,
        )
        digest = await prepared(keys)
        server.freeze()
        begun = time.monotonic()
        answers = await every_answer(keys, digest)
        assert time.monotonic() - begun < 30
        assert all(isinstance(answer, Exception) for answer in answers)
        server.thaw()
        assert await keys.get(digest) is not None
        await keys.close()


async def test_a_statement_that_waits_for_a_lock_is_ended() -> None:
    with PostgresServer(extra_config={"fsync": "off"}) as server:
        async with (
            SqlApiKeys(server.url, peppers=PEPPERS, statement_timeout_seconds=0.3) as keys,
            SqlApiKeys(server.url) as others,
        ):
            await prepared(keys)
            (key_id,) = await live_ids(keys)
            async with others.engine.begin() as connection:
                await connection.exec_driver_sql("SELECT * FROM api_keys FOR UPDATE")
                with pytest.raises(Exception, match="statement timeout"):
                    await keys.revoke_key(key_id)
            assert (await keys.revoke_key(key_id)).revoked_at is not None


async def test_a_busy_file_is_waited_for_and_then_given_up(tmp_path: Path) -> None:
    path = tmp_path / "keys.db"
    async with SqlApiKeys(f"sqlite:///{path}", peppers=PEPPERS, busy_timeout_seconds=0.1) as keys:
        digest = await prepared(keys)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(Exception, match="locked"):
                await keys.create_key("acme")
            # Who reads does not wait for who writes.
            assert await keys.get(digest) is not None
            other.execute("ROLLBACK")
        await keys.create_key("acme")


async def test_a_file_that_is_gone_or_is_something_else(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("this is no database, and long enough to be read as one" * 20)
    for path in (tmp_path / "nowhere" / "keys.db", tmp_path / "text", tmp_path / "empty.db"):
        async with SqlApiKeys(f"sqlite:///{path}", peppers=PEPPERS) as keys:
            answers = await every_answer(keys, bytes(32))
            assert all(isinstance(answer, Exception) for answer in answers)


def test_errors_of_others_are_not_of_the_database() -> None:
    assert as_database_error(ValueError("x")) is None
    assert as_database_error(KeyError("x")) is None
