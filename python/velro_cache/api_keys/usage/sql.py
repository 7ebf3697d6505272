"""Usage in a table, in PostgreSQL or SQLite, through SQLAlchemy 2.

An event is named by its batch and its place in there. A batch that comes again after an error, of
which nobody knows whether it was written, finds its rows there and adds none.
"""

from __future__ import annotations

from typing import Any, Final

try:
    from sqlalchemy import (
        URL,
        Column,
        Double,
        Index,
        Integer,
        MetaData,
        SmallInteger,
        String,
        Table,
        delete,
        func,
        make_url,
        select,
    )
    from sqlalchemy.dialects import postgresql, sqlite
    from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError
    from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
except ImportError as error:
    raise ImportError(
        "velro_cache.api_keys.usage.sql needs SQLAlchemy 2: pip install velro-cache[api-keys]"
    ) from error

from velro_cache.api_keys.usage.events import UsageBatch
from velro_cache.exceptions import ConfigError

__all__ = ["SqlUsage", "api_key_usage", "metadata"]

metadata: Final = MetaData()

api_key_usage: Final = Table(
    "api_key_usage",
    metadata,
    Column("batch_id", String(32), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("organization_id", String, nullable=False),
    Column("key_id", String, nullable=False),
    Column("endpoint", String, nullable=False),
    Column("method", String, nullable=False),
    Column("status", SmallInteger, nullable=False),
    Column("duration_seconds", Double, nullable=False),
    Column("at", Double, nullable=False),
    # What is asked for: one organization, some time; and what is too old.
    Index("api_key_usage_by_organization", "organization_id", "at"),
    Index("api_key_usage_by_time", "at"),
)
"""One row for each event; no foreign keys, so that usage outlives the key it was made with."""

_DRIVERS: Final = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}
_INSERTS: Final[dict[str, Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


class SqlUsage:
    """Writes usage into the table ``api_key_usage``.

    Args:
        engine_or_url: An engine, which stays open at the end, or ``sqlite:///path`` or
            ``postgresql://user:password@host/name``; the asynchronous driver is put in where none
            is named. An engine of its own keeps writes from taking connections of requests.

    Raises:
        ConfigError: It is another kind of database.
    """

    def __init__(self, engine_or_url: AsyncEngine | str | URL) -> None:
        self._is_own = not isinstance(engine_or_url, AsyncEngine)
        self._engine = (
            engine_or_url if isinstance(engine_or_url, AsyncEngine) else _engine_of(engine_or_url)
        )
        if self._engine.dialect.name not in _INSERTS:
            raise ConfigError("usage is written into PostgreSQL or SQLite")
        self._insert = _INSERTS[self._engine.dialect.name]

    async def create_table(self) -> None:
        """Create the table and its indexes where they are missing."""
        async with self._engine.begin() as connection:
            await connection.run_sync(metadata.create_all)

    async def write(self, batch: UsageBatch) -> None:
        """See :class:`UsageSink`.

        Raises:
            ValueError: The database takes no such values, now or later.
        """
        rows = [
            {
                "batch_id": batch.id,
                "position": position,
                "organization_id": event.organization_id,
                "key_id": event.key_id,
                "endpoint": event.endpoint,
                "method": event.method,
                "status": event.status,
                "duration_seconds": event.duration_seconds,
                "at": event.at,
            }
            for position, event in enumerate(batch.events)
        ]
        statement = self._insert(api_key_usage).on_conflict_do_nothing()
        try:
            async with self._engine.begin() as connection:
                await connection.execute(statement, rows)
        except DBAPIError as error:
            if not _is_of_values(error):
                raise
            # Kept, they would be in the way of all events after them.
            raise ValueError("the database takes no such values") from None

    async def requests_of(self, organization_id: str, *, since: float, until: float) -> int:
        """Count the requests of an organization.

        Args:
            organization_id: Whose.
            since: From then on, in seconds since 1970.
            until: Before then.
        """
        query = (
            select(func.count())
            .select_from(api_key_usage)
            .where(api_key_usage.c.organization_id == organization_id)
            .where(api_key_usage.c.at >= since, api_key_usage.c.at < until)
        )
        async with self._engine.connect() as connection:
            return int((await connection.execute(query)).scalar_one())

    async def purge(self, *, before: float) -> int:
        """Delete what is older.

        Args:
            before: Seconds since 1970.

        Returns:
            How many rows went.
        """
        async with self._engine.begin() as connection:
            gone = await connection.execute(
                delete(api_key_usage).where(api_key_usage.c.at < before)
            )
            return int(gone.rowcount)

    async def aclose(self) -> None:
        """See :class:`UsageSink`."""
        if self._is_own:
            await self._engine.dispose()


def _is_of_values(error: DBAPIError) -> bool:
    """Whether what was written is wrong, now and later, rather than the database away."""
    # Not all drivers have a class of errors for it; classes 22 and 23 of SQL are these.
    state = getattr(error.orig, "sqlstate", None)
    return isinstance(error, (DataError, IntegrityError)) or str(state)[:2] in ("22", "23")


def _engine_of(url: str | URL) -> AsyncEngine:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # Its message may hold the password.
        raise ConfigError("the address of the database is none") from None
    driver = _DRIVERS.get(parsed.drivername)
    if driver is not None:
        parsed = parsed.set(drivername=driver)
    # Parameters of statements are ids; an error is to show none.
    return create_async_engine(parsed, pool_size=1, max_overflow=1, hide_parameters=True)
