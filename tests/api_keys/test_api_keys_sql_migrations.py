"""Migrations make exactly the tables of ``tables.py``, beside those of the application."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sql_databases import PEPPERS, Place, live_ids, place
from sqlalchemy import Connection, inspect
from sqlalchemy.ext.asyncio import AsyncEngine

from velro_cache.api_keys.sql import (
    SqlApiKeys,
    create_engine,
    current,
    downgrade,
    metadata,
    upgrade,
)
from velro_cache.api_keys.sql.migrating import VERSION_TABLE, latest

__all__ = ["place"]


@pytest.fixture
async def engine(place: Place) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(place.url)
    yield engine
    await engine.dispose()


async def table_names(engine: AsyncEngine, schema: str | None = None) -> set[str]:
    async with engine.connect() as connection:
        return set(await connection.run_sync(lambda c: inspect(c).get_table_names(schema=schema)))


def shape(connection: Connection) -> dict[str, Any]:
    """All that can be read of the tables, including what Alembic does not compare."""
    found = inspect(connection)
    return {
        table: {
            "columns": [
                {name: str(value) for name, value in column.items()}
                for column in found.get_columns(table)
            ],
            "key": found.get_pk_constraint(table)["constrained_columns"],
            "unique": sorted(
                str(one["column_names"]) for one in found.get_unique_constraints(table)
            ),
            "checks": sorted(
                (str(one["name"]), one["sqltext"]) for one in found.get_check_constraints(table)
            ),
            "foreign": sorted(
                (str(one["name"]), str(one["referred_table"]), str(one["options"]))
                for one in found.get_foreign_keys(table)
            ),
            "indexes": sorted(
                (
                    str(one["name"]),
                    str(one["column_names"]),
                    str({k: str(v) for k, v in one.get("dialect_options", {}).items()}),
                )
                for one in found.get_indexes(table)
                if "duplicates_constraint" not in one
            ),
        }
        for table in sorted(metadata.tables)
    }


async def test_they_make_exactly_the_tables(engine: AsyncEngine) -> None:
    await upgrade(engine)

    def differences(connection: Connection) -> list[Any]:
        options = {"compare_type": True, "version_table": VERSION_TABLE}
        return list(
            compare_metadata(MigrationContext.configure(connection, opts=options), metadata)
        )

    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []
        migrated = await connection.run_sync(shape)
    await downgrade(engine)
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
        assert migrated == await connection.run_sync(shape)


async def test_up_and_down_and_up_again(engine: AsyncEngine) -> None:
    assert await current(engine) is None
    for _ in range(2):
        await upgrade(engine)
        await upgrade(engine)
        assert await current(engine) == latest()
        assert await table_names(engine) == {*metadata.tables, VERSION_TABLE}
        await downgrade(engine)
        assert await current(engine) is None
        assert await table_names(engine) == {VERSION_TABLE}


async def test_beside_the_applications_own(engine: AsyncEngine, place: Place) -> None:
    place.run("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
    place.run("INSERT INTO alembic_version VALUES ('of the application')")
    place.run("CREATE TABLE users (id text)")
    await upgrade(engine)
    await downgrade(engine)
    assert place.run("SELECT version_num FROM alembic_version") == ["of the application"]
    assert "users" in await table_names(engine)


async def test_in_a_transaction_of_the_caller(engine: AsyncEngine, place: Place) -> None:
    async with engine.connect() as connection:
        await connection.begin()
        await upgrade(connection)
        assert await current(connection) == latest()
        await connection.rollback()
    assert not set(metadata.tables) & await table_names(engine)


async def test_hosts_that_start_together_do_not_collide(place: Place) -> None:
    engines = [create_engine(place.url) for _ in range(4)]
    await asyncio.gather(*(upgrade(engine) for engine in engines))
    assert await current(engines[0]) == latest()
    for engine in engines:
        await engine.dispose()


async def test_what_is_there_already_stays(engine: AsyncEngine, place: Place) -> None:
    """Tables of others that are called the same are not taken over."""
    place.run("CREATE TABLE organizations (id text, theirs text)")
    with pytest.raises(Exception, match="already exists"):
        await upgrade(engine)
    assert await current(engine) is None
    assert not {"api_keys", "rate_limit_configs"} & await table_names(engine)


async def test_in_a_schema_of_their_own(place: Place) -> None:
    if place.dialect != "postgresql":
        pytest.skip("SQLite has no schemas")
    place.run("CREATE SCHEMA auth")
    place.run("CREATE TABLE organizations (theirs text)")
    async with SqlApiKeys(place.url, schema="auth", peppers=PEPPERS, outbox_name="default") as keys:
        assert await keys.migrate() == latest()
        assert await table_names(keys.engine, "auth") == {*metadata.tables, VERSION_TABLE}
        await keys.install_triggers()
        await keys.create_organization(organization_id="acme")
        made = await keys.create_key("acme")
        await keys.touch({made.key.id: 5.0})
        assert await live_ids(keys) == {made.key.id}
        assert (await keys.rotate_key(made.key.id)).key.organization_id == "acme"
        before = len(place.events())
        place.run(f"UPDATE auth.api_keys SET is_active = false WHERE id = '{made.key.id}'")
        assert place.events()[before:] == [[f"api_key:{made.key.id}"]]
        await keys.uninstall_triggers()
        await downgrade(keys.engine, schema="auth")
        assert await table_names(keys.engine, "auth") == {VERSION_TABLE}


def test_with_the_users_own_alembic(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = Config()
    config.set_main_option("script_location", "velro_cache.api_keys.sql:migrations")
    config.set_main_option("path_separator", "os")
    config.set_main_option("sqlalchemy.url", f"sqlite:///{tmp_path / 'keys.db'}")
    command.upgrade(config, "head")
    with closing(sqlite3.connect(tmp_path / "keys.db")) as connection:
        found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        assert {name for (name,) in found} == {*metadata.tables, VERSION_TABLE}
    # The SQL alone, for those who run it by hand.
    capsys.readouterr()
    config.set_main_option("sqlalchemy.url", "postgresql+psycopg://nobody@nowhere/nothing")
    command.upgrade(config, "head", sql=True)
    printed = capsys.readouterr().out
    assert "CREATE TABLE api_keys" in printed
    assert f"INSERT INTO {VERSION_TABLE}" in printed
