"""Writes an invalidation in the transaction of the caller."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from uuid import UUID

from velro_cache._engine import event_body
from velro_cache.exceptions import ConfigError
from velro_cache.outbox.names import channel_of, check_cache_name, check_dialect

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
    from sqlalchemy.orm import Session

__all__ = ["arecord_invalidation", "connection_of", "record_invalidation"]

_Id = str | UUID | int

# One statement, so that nothing can come in between. NOTIFY takes effect with the commit.
_POSTGRESQL = """
WITH taken AS (
    INSERT INTO velro_counter AS c (name, seq) VALUES (CAST(:name AS text), 1)
    ON CONFLICT (name) DO UPDATE SET seq = c.seq + 1 RETURNING c.seq
), entry AS (
    INSERT INTO velro_invalidations (name, seq, body)
    SELECT CAST(:name AS text), seq, CAST(:body AS bytea) FROM taken RETURNING seq
)
SELECT seq, CAST(pg_notify(CAST(:channel AS text), CAST(seq AS text)) AS text) FROM entry
"""
_SQLITE_TAKE = """
INSERT INTO velro_counter (name, seq) VALUES (:name, 1)
ON CONFLICT (name) DO UPDATE SET seq = seq + 1
"""
_SQLITE_WRITE = """
INSERT INTO velro_invalidations (name, seq, body)
SELECT name, seq, :body FROM velro_counter WHERE name = :name
"""
_SQLITE_TAKEN = "SELECT seq FROM velro_counter WHERE name = :name"


def record_invalidation(
    connection: "Connection | Session",
    *,
    name: str = "default",
    tags: Iterable[str] = (),
    user_id: _Id | None = None,
    generation_id: _Id | None = None,
    keys: Iterable[str] = (),
    patterns: Iterable[str] = (),
    all: bool = False,
) -> int:
    """Write down what is no longer true, in the transaction that makes it so.

    Commits nothing: what the caller commits is heard of by all caches of this name, on every host,
    and what is rolled back by none. In PostgreSQL the transaction holds the counter of this cache
    from here to its end, so that numbers follow the order of commits: call it as late as possible,
    and under REPEATABLE READ or SERIALIZABLE be ready to repeat the transaction, as always there.

    Args:
        connection: A connection or session of SQLAlchemy, with a transaction that is committed
            later; not one in autocommit mode.
        name: Name of the cache, as in its settings.
        tags: Tags, as for ``invalidate_by_tags``; any number.
        user_id: As for ``invalidate_user_data``: a text, a UUID or an integer.
        generation_id: As for ``invalidate_generation_data``.
        keys: Whole keys.
        patterns: Wildcards over keys, as for ``invalidate_by_pattern``.
        all: Everything, as for ``clear``.

    Returns:
        The number of the entry. It is the last one once the transaction is committed.

    Raises:
        InvalidTagError: A tag is none, or nothing is named.
        InvalidKeyError: A key, a pattern or an id is none.
        ConfigError: The database is neither PostgreSQL nor SQLite, the outbox's tables are
            missing, or SQLAlchemy is.

    Consistency: hosts apply it as soon as they hear of it, within ``max_staleness_seconds`` at
    the latest. To have it hold on this host as soon as it is committed, invalidate in the cache
    after the commit as well. Cost: one statement, and nothing beside the fsync of the commit.
    """
    check_cache_name(name)
    body = event_body(tags, keys, patterns, user_id, generation_id, all)
    used = connection_of(connection)
    from sqlalchemy import text
    from sqlalchemy.exc import DBAPIError

    values: dict[str, Any] = {"name": name, "body": body}
    try:
        if check_dialect(used.dialect.name) == "postgresql":
            values["channel"] = channel_of(name)
            row = used.execute(text(_POSTGRESQL), values).one()
        else:
            used.execute(text(_SQLITE_TAKE), {"name": name})
            used.execute(text(_SQLITE_WRITE), values)
            row = used.execute(text(_SQLITE_TAKEN), {"name": name}).one()
    except DBAPIError as error:
        if _is_missing_table(error.orig):
            raise ConfigError(
                "the tables of the outbox are missing; call create_outbox(connection) once, or"
                f" run: velro-cache outbox ddl --dialect {used.dialect.name}"
            ) from error
        raise
    return int(row[0])


async def arecord_invalidation(
    connection: "AsyncConnection | AsyncSession",
    *,
    name: str = "default",
    tags: Iterable[str] = (),
    user_id: _Id | None = None,
    generation_id: _Id | None = None,
    keys: Iterable[str] = (),
    patterns: Iterable[str] = (),
    all: bool = False,
) -> int:
    """Do what :func:`record_invalidation` does, with an asynchronous connection or session.

    Args:
        connection: An ``AsyncConnection`` or an ``AsyncSession``.
        name: As there.
        tags: As there.
        user_id: As there.
        generation_id: As there.
        keys: As there.
        patterns: As there.
        all: As there.

    Returns:
        The number of the entry.

    Raises:
        InvalidTagError: As there.
        InvalidKeyError: As there.
        ConfigError: As there.
    """
    run_sync = getattr(connection, "run_sync", None)
    if run_sync is None:
        raise ConfigError(
            "arecord_invalidation() takes an AsyncConnection or an AsyncSession, not"
            f" {type(connection).__name__}; for that there is record_invalidation()"
        )

    def record(used: "Connection | Session") -> int:
        return record_invalidation(
            used,
            name=name,
            tags=tags,
            user_id=user_id,
            generation_id=generation_id,
            keys=keys,
            patterns=patterns,
            all=all,
        )

    return int(await run_sync(record))


def connection_of(connection: "Connection | Session") -> "Connection":
    """Return the connection of a session, or a connection itself.

    Args:
        connection: What a caller has.

    Raises:
        ConfigError: It is neither, or SQLAlchemy is not installed.
    """
    try:
        from sqlalchemy import Connection
        from sqlalchemy.orm import Session, scoped_session
    except ImportError:
        raise ConfigError(
            "the outbox needs SQLAlchemy 2: pip install 'velro-cache[postgres]'"
        ) from None
    if isinstance(connection, (Session, scoped_session)):
        return connection.connection()
    if isinstance(connection, Connection):
        return connection
    hint = "; use arecord_invalidation()" if hasattr(connection, "run_sync") else ""
    raise ConfigError(
        "the outbox takes a Connection or a Session of SQLAlchemy, not"
        f" {type(connection).__name__}{hint}"
    )


def _is_missing_table(error: object) -> bool:
    # psycopg, asyncpg as SQLAlchemy wraps it, psycopg2; and SQLite, which has no codes.
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    return state == "42P01" or "no such table: velro_" in str(error)
