"""Triggers by which rows that any other program changes count, too.

They write invalidations into the outbox (:mod:`velro_cache.outbox`), and keep ``updated_at`` right
where a program forgets it. Uses are in a table without any.
"""

from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from velro_cache.api_keys.sql.database import Database
from velro_cache.api_keys.sql.tables import NOW_SQL
from velro_cache.outbox.names import check_dialect, qualified
from velro_cache.outbox.tables import create_outbox
from velro_cache.outbox.triggers import drop_trigger_ddl, trigger_ddl

__all__ = ["TAGS", "install", "uninstall"]

TAGS: Final = {
    "organizations": ("organization:{id}",),
    "api_keys": ("api_key:{id}",),
    # Limits of a key name the key as well: nothing makes sure that it is of that organization.
    "rate_limit_configs": ("organization:{organization_id}", "api_key:{key_id}"),
}
"""What a changed row of each table invalidates."""

_FUNCTION: Final = "velro_api_keys_updated_at"


async def install(database: Database, name: str) -> None:
    """Create the triggers, and the outbox where it is missing. To do so again is harmless.

    Args:
        database: With the tables of API keys in it.
        name: Name of the cache.

    Raises:
        ConfigError: The name is none.
    """
    schema = database.schema
    async with database.engine.connect() as connection:
        await connection.run_sync(create_outbox, name=name)
        await connection.commit()
        for table, tags in TAGS.items():
            sql = trigger_ddl(database.dialect, table, tags, name=name, schema=schema)
            await _run(connection, database.dialect, sql)
            for statement in _updating(database.dialect, table, schema):
                await _run(connection, database.dialect, statement)
        await connection.commit()


async def uninstall(database: Database, name: str) -> None:
    """Drop the triggers of :func:`install`; the outbox stays.

    Args:
        database: As there.
        name: As there.

    Raises:
        ConfigError: The name is none.
    """
    schema = database.schema
    async with database.engine.connect() as connection:
        for table in TAGS:
            sql = drop_trigger_ddl(database.dialect, table, name=name, schema=schema)
            for statement in filter(str.strip, sql.split(";\n")):
                await _run(connection, database.dialect, statement)
            trigger = f"{_FUNCTION}_{table}"
            where = f" ON {qualified(table, schema)}" if database.dialect == "postgresql" else ""
            await _run(connection, database.dialect, f"DROP TRIGGER IF EXISTS {trigger}{where}")
        await connection.commit()


def _updating(dialect: str, table: str, schema: str | None) -> list[str]:
    """SQL of a trigger that sets ``updated_at`` where a statement leaves it as it was."""
    target = qualified(table, schema)
    trigger = f"{_FUNCTION}_{table}"
    now = NOW_SQL[dialect]
    if check_dialect(dialect) == "sqlite":
        return [
            f"""
CREATE TRIGGER IF NOT EXISTS {trigger} AFTER UPDATE ON {target} FOR EACH ROW
WHEN NEW.updated_at IS OLD.updated_at
BEGIN UPDATE {target} SET updated_at = {now} WHERE id = NEW.id; END"""
        ]
    function = f"{qualified(_FUNCTION, schema)}()"
    return [
        f"""
CREATE OR REPLACE FUNCTION {function} RETURNS trigger LANGUAGE plpgsql AS $velro_body$
BEGIN NEW.updated_at := {now}; RETURN NEW; END
$velro_body$""",
        f"""
CREATE OR REPLACE TRIGGER {trigger} BEFORE UPDATE ON {target} FOR EACH ROW
WHEN (NEW.updated_at IS NOT DISTINCT FROM OLD.updated_at) EXECUTE FUNCTION {function}""",
    ]


async def _run(connection: AsyncConnection, dialect: str, sql: str) -> None:
    if dialect != "sqlite":
        if connection.dialect.paramstyle in ("format", "pyformat"):
            # To such a driver a percent sign begins a parameter.
            sql = sql.replace("%", "%%")
        await connection.exec_driver_sql(sql)
        return
    # Several statements, which the driver takes in this way alone.
    raw: Any = await connection.get_raw_connection()
    driver = raw.driver_connection
    try:
        await driver.executescript(sql)
    except BaseException:
        await driver.rollback()
        raise
