"""The tables of the outbox."""

import re
from importlib.resources import files
from typing import TYPE_CHECKING

from velro_cache.exceptions import ConfigError
from velro_cache.outbox.names import check_cache_name, check_dialect, literal, qualified, quoted

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.orm import Session

__all__ = ["create_outbox", "drop_ddl", "outbox_ddl", "statements"]

_TABLE = re.compile(r"\bvelro_(counter|invalidations|hosts|incarnation)\b")


def outbox_ddl(dialect: str, *, name: str = "default", schema: str | None = None) -> str:
    """Return the SQL that creates the tables; running it again does no harm.

    Args:
        dialect: ``"postgresql"`` or ``"sqlite"``.
        name: Name of the cache.
        schema: Schema of PostgreSQL to create them in; None: the one new tables are made in.

    Raises:
        ConfigError: The dialect is not known, or a name cannot be used.
    """
    check_dialect(dialect)
    check_cache_name(name)
    text = files("velro_cache.outbox").joinpath(f"{dialect}.sql").read_text(encoding="utf-8")
    text += (
        "\n-- The cache of this name.\n"
        f"INSERT INTO velro_counter (name) VALUES ({literal(name)}) ON CONFLICT DO NOTHING;\n"
    )
    if schema is None:
        return text
    if dialect == "sqlite":
        raise ConfigError("SQLite has no schemas")
    prefix = quoted(schema)
    lines = text.splitlines(keepends=True)
    return "".join(
        line if line.startswith("--") else _TABLE.sub(rf"{prefix}.\g<0>", line) for line in lines
    )


def drop_ddl(dialect: str, *, schema: str | None = None) -> str:
    """Return the SQL that drops the tables, of all caches.

    Args:
        dialect: ``"postgresql"`` or ``"sqlite"``.
        schema: Schema of PostgreSQL they are in; None: where the database looks for them.

    Raises:
        ConfigError: The dialect is not known, or a name cannot be used.
    """
    check_dialect(dialect)
    tables = ["velro_hosts", "velro_invalidations", "velro_counter"]
    if dialect == "postgresql":
        tables.append("velro_incarnation")
    return "".join(f"DROP TABLE IF EXISTS {qualified(table, schema)};\n" for table in tables)


def create_outbox(
    connection: "Connection | Session", *, name: str = "default", schema: str | None = None
) -> None:
    """Create the tables where they are missing, in the transaction of the caller.

    With an asynchronous connection or session: ``await connection.run_sync(create_outbox)``.

    Args:
        connection: A connection or session of SQLAlchemy.
        name: Name of the cache.
        schema: As for :func:`outbox_ddl`.

    Raises:
        ConfigError: The database is neither PostgreSQL nor SQLite, or a name cannot be used.
    """
    from velro_cache.outbox.record import connection_of

    used = connection_of(connection)
    for statement in statements(outbox_ddl(used.dialect.name, name=name, schema=schema)):
        used.exec_driver_sql(statement)


def statements(sql: str) -> list[str]:
    """Split the SQL of the tables, which has no semicolon within a statement."""
    code = "".join(
        line for line in sql.splitlines(keepends=True) if not line.lstrip().startswith("--")
    )
    return [part.strip() for part in code.split(";") if part.strip()]
