"""Makes the tables, and takes them to the version of this package, with Alembic.

The version is kept in a table of its own, ``velro_api_keys_version``: the migrations of the
application, in the same database, are not touched and do not see these.
"""

from collections.abc import Callable
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from velro_cache.api_keys.sql.packages import require

if TYPE_CHECKING:
    from alembic.config import Config

__all__ = ["VERSION_TABLE", "current", "downgrade", "latest", "upgrade"]

VERSION_TABLE: Final = "velro_api_keys_version"
_LOCK_NUMBER: Final = 0x76656C726F6B6579
"""Of an advisory lock of PostgreSQL, so that hosts that start together do not migrate at once."""


async def upgrade(
    engine: AsyncEngine | AsyncConnection, revision: str = "head", *, schema: str | None = None
) -> None:
    """Create the tables, or bring them to a newer version; does nothing if they are.

    Args:
        engine: Engine, or a connection whose transaction is the caller's to commit.
        revision: Which version; ``head`` is the newest.
        schema: Schema of PostgreSQL, which must be there; None: where new tables are made.

    Raises:
        ConfigError: Alembic is not installed.

    Consistency: all of it in one transaction; it happens or it does not.
    """
    require("alembic")
    from alembic import command

    await _run(engine, schema, lambda config: command.upgrade(config, revision))


async def downgrade(
    engine: AsyncEngine | AsyncConnection, revision: str = "base", *, schema: str | None = None
) -> None:
    """Go back to an older version. What newer ones brought is lost; ``base`` drops everything.

    Args:
        engine: As for :func:`upgrade`.
        revision: Which version; ``base`` is before the first.
        schema: As there.

    Raises:
        ConfigError: Alembic is not installed.
    """
    require("alembic")
    from alembic import command

    await _run(engine, schema, lambda config: command.downgrade(config, revision))


async def current(
    engine: AsyncEngine | AsyncConnection, *, schema: str | None = None
) -> str | None:
    """Tell the version of the tables.

    Args:
        engine: As for :func:`upgrade`.
        schema: As there.

    Returns:
        Its name. None: there are no tables.

    Raises:
        ConfigError: Alembic is not installed.
    """
    require("alembic")
    from alembic.runtime.migration import MigrationContext

    def ask(connection: Connection) -> str | None:
        options = {"version_table": VERSION_TABLE, "version_table_schema": schema}
        return MigrationContext.configure(connection, opts=options).get_current_revision()

    if isinstance(engine, AsyncConnection):
        return await engine.run_sync(ask)
    async with engine.connect() as connection:
        return await connection.run_sync(ask)


def latest() -> str:
    """Tell the newest version, which this package is for.

    Raises:
        ConfigError: Alembic is not installed.
    """
    require("alembic")
    from alembic.script import ScriptDirectory

    return str(ScriptDirectory.from_config(_config()).get_current_head())


async def _run(
    engine: AsyncEngine | AsyncConnection, schema: str | None, what: "Callable[[Config], None]"
) -> None:
    def migrate(connection: Connection) -> None:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK_NUMBER})")
        elif not _has_begun(connection):
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        config = _config()
        config.attributes.update(connection=connection, schema=schema)
        what(config)

    if isinstance(engine, AsyncConnection):
        await engine.run_sync(migrate)
        return
    async with engine.begin() as connection:
        await connection.run_sync(migrate)


def _has_begun(connection: Connection) -> bool:
    """Whether SQLite is in a transaction; its driver begins one only before it writes rows."""
    driver: Any = connection.connection.driver_connection
    return bool(driver.in_transaction)


def _config() -> "Config":
    from alembic.config import Config

    config = Config()
    folder = files("velro_cache.api_keys.sql").joinpath("migrations")
    # A percent sign in a path would stand for something else.
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
