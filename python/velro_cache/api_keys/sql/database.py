"""A database with API keys: how it is reached, for how long it is waited for, and transactions."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import URL, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from velro_cache.api_keys.sql.packages import require
from velro_cache.exceptions import ConfigError

__all__ = ["Database", "DatabaseError", "as_database_error", "create_engine"]

_DRIVERS: Final = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}
_LONGEST_SECONDS: Final = 3600.0


def create_engine(
    url: str | URL,
    *,
    pool_size: int = 5,
    pool_timeout_seconds: float = 5.0,
    connect_timeout_seconds: float = 5.0,
    statement_timeout_seconds: float = 30.0,
    busy_timeout_seconds: float = 5.0,
) -> AsyncEngine:
    """Make an engine whose every wait has an end, and whose errors show no digests.

    Args:
        url: ``sqlite:///path`` or ``postgresql://user:password@host/name``; the asynchronous
            driver is put in where none is named.
        pool_size: Most connections.
        pool_timeout_seconds: Longest wait for a free connection.
        connect_timeout_seconds: Longest wait for a new connection (PostgreSQL).
        statement_timeout_seconds: Longest a statement may run (PostgreSQL): the server ends it
            then, and a server that does not answer is given up a second later.
        busy_timeout_seconds: Longest wait for another one's transaction (SQLite).

    Raises:
        ConfigError: The address is none, the driver is missing, or a number is out of range.
    """
    if type(pool_size) is not int or not 1 <= pool_size <= 1000:
        raise ConfigError("pool_size must be an integer from 1 to 1000")
    for name, seconds in (
        ("pool_timeout_seconds", pool_timeout_seconds),
        ("connect_timeout_seconds", connect_timeout_seconds),
        ("statement_timeout_seconds", statement_timeout_seconds),
        ("busy_timeout_seconds", busy_timeout_seconds),
    ):
        if not isinstance(seconds, (int, float)) or not 0.001 <= seconds <= _LONGEST_SECONDS:
            raise ConfigError(f"{name} must be a number from 0.001 to {_LONGEST_SECONDS:g}")
    parsed = _parsed(url)
    options: dict[str, Any] = {"hide_parameters": True, "pool_pre_ping": True}
    if parsed.get_backend_name() == "postgresql":
        connect_args: dict[str, Any] = {}
        if parsed.drivername == _DRIVERS["postgresql"]:
            milliseconds = max(1, round(statement_timeout_seconds * 1000))
            connect_args = {
                "timeout": connect_timeout_seconds,
                # For a server that does not keep its own time.
                "command_timeout": statement_timeout_seconds + 1,
                "server_settings": {
                    "statement_timeout": str(milliseconds),
                    "idle_in_transaction_session_timeout": str(milliseconds),
                },
            }
        return create_async_engine(
            parsed,
            **options,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=pool_timeout_seconds,
            connect_args=connect_args,
        )
    if parsed.database not in (None, "", ":memory:"):
        # A database in memory has one connection, and no pool that takes these.
        options |= {
            "pool_size": pool_size,
            "max_overflow": 0,
            "pool_timeout": pool_timeout_seconds,
        }
    engine = create_async_engine(parsed, **options, connect_args={"timeout": busy_timeout_seconds})
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    return engine


class Database:
    """An engine, and whether it is ours to close.

    Args:
        engine_or_url: An engine of the user's, used as it is, or an address.
        schema: Schema of PostgreSQL; None: where the database looks for tables.
        **limits: Of :func:`create_engine`; for an address alone.

    Raises:
        ConfigError: The database is neither PostgreSQL nor SQLite, or a limit is given with an
            engine, which has its own.
    """

    def __init__(
        self, engine_or_url: AsyncEngine | str | URL, *, schema: str | None = None, **limits: Any
    ) -> None:
        self._owned: AsyncEngine | None = None
        if isinstance(engine_or_url, AsyncEngine):
            if limits:
                raise ConfigError(f"{', '.join(limits)}: an engine that is given has its own")
            engine = engine_or_url
        elif isinstance(engine_or_url, (str, URL)):
            engine = self._owned = create_engine(engine_or_url, **limits)
        else:
            raise ConfigError(
                f"an AsyncEngine or an address is needed, not {type(engine_or_url).__name__}"
            )
        self.dialect: Final = engine.dialect.name
        if self.dialect not in _DRIVERS:
            raise ConfigError(f"API keys are kept in PostgreSQL or SQLite, not in {self.dialect}")
        if schema is not None and self.dialect != "postgresql":
            raise ConfigError("SQLite has no schemas")
        self.schema: Final = schema
        self.engine: Final = engine
        # Shares the pool; only the names of the tables differ.
        self._used = (
            engine
            if schema is None
            else engine.execution_options(schema_translate_map={None: schema})
        )

        # One statement needs no transaction, which would be two more trips to a server.
        self._reading = (
            self._used.execution_options(isolation_level="AUTOCOMMIT")
            if self.dialect == "postgresql"
            else self._used
        )

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A connection to read with, one statement at a time."""
        async with self._reading.connect() as connection:
            yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A transaction: committed at the end, rolled back if anything is raised."""
        async with self._used.begin() as connection:
            if self.dialect == "sqlite" and not await _has_begun(connection):
                # Its driver begins before the first change only, so that what was read before
                # might be true no more. And who reads first may find no way to write later.
                await connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection

    async def close(self) -> None:
        """Close the connections, if the engine was made here."""
        if self._owned is not None:
            await self._owned.dispose()


async def _has_begun(connection: AsyncConnection) -> bool:
    raw: Any = await connection.get_raw_connection()
    return bool(raw.driver_connection.in_transaction)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseError:
    """What is to be said about an error of a database.

    Attributes:
        message: One line. Holds no values of rows.
        is_unreachable: Whether it did not answer, rather than answer no.
    """

    message: str
    is_unreachable: bool


def as_database_error(error: BaseException) -> DatabaseError | None:
    """Tell an error of the database from others.

    Args:
        error: Anything that was raised.

    Returns:
        What to say about it. None: it is not of the database.
    """
    # What a driver raises while it connects is not always put into SQLAlchemy's.
    of_driver = type(error).__module__.partition(".")[0] in ("asyncpg", "aiosqlite", "sqlite3")
    if not of_driver and not isinstance(error, (SQLAlchemyError, OSError, TimeoutError)):
        return None
    cause: Any = error.orig if isinstance(error, DBAPIError) else error
    lines = str(cause).strip().splitlines()
    # The lines after the first may hold values, such as a digest that is there already.
    first = lines[0].rpartition("'>: ")[2] if lines else ""
    state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    unreachable = isinstance(cause, (OSError, TimeoutError)) or "unable to open" in first
    if isinstance(state, str):
        # Connections, resources, shutdown; and who may come in.
        unreachable = state[:2] in ("08", "53", "57", "28", "3D")
    return DatabaseError(message=first or type(cause).__name__, is_unreachable=unreachable)


def _parsed(url: str | URL) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # Its message holds the address, and that a password; or part of one, where a port belongs.
        raise ConfigError(
            "the address of the database is none; such as sqlite:///keys.db or"
            " postgresql://user:password@host/name"
        ) from None
    backend = parsed.get_backend_name()
    if backend == "postgres":
        backend = "postgresql"
        parsed = parsed.set(drivername=backend)
    if backend not in _DRIVERS:
        raise ConfigError(f"API keys are kept in PostgreSQL or SQLite, not in {backend!r:.40}")
    if "+" not in parsed.drivername:
        parsed = parsed.set(drivername=_DRIVERS[backend])
    if parsed.drivername == _DRIVERS[backend]:
        require(parsed.drivername.partition("+")[2])
    return parsed


def _prepare_sqlite(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    # Readers and a writer do not wait for each other; and rows of deleted ones go with them.
    cursor.execute("PRAGMA foreign_keys = ON")
    try:
        cursor.execute("PRAGMA journal_mode = WAL")
    except Exception as error:
        # Another one changes it right now, or writes: then the next connection does it.
        if "locked" not in str(error):
            raise
    cursor.close()
