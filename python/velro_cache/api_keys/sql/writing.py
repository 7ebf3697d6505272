"""Statements that change keys, within a transaction of the caller, by :mod:`.management`."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import uuid4

from sqlalchemy import insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from velro_cache.api_keys.models import ApiKey, KeyLimits
from velro_cache.api_keys.sql.checks import scopes_as_json
from velro_cache.api_keys.sql.rows import as_key, key_query
from velro_cache.api_keys.sql.tables import api_keys, organizations, rate_limit_configs
from velro_cache.exceptions import KeyConflict, KeyNotFound, OrganizationNotFound

__all__ = [
    "add_keys",
    "add_organization",
    "change_key",
    "change_organization",
    "locked_key",
    "read_key",
    "remove_limits",
    "write_limits",
]

# Not all: a row that is no key has to be found, too, if only to be revoked.
_LOCKED: Final = (
    api_keys.c.organization_id,
    api_keys.c.is_active,
    api_keys.c.expires_at,
    api_keys.c.revoked_at,
    api_keys.c.replaced_by,
)
_INSERT: Final[dict[str, Any]] = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}


async def read_key(connection: AsyncConnection, key_id: str) -> ApiKey:
    """Read a key in the transaction.

    Args:
        connection: With the transaction.
        key_id: A checked id.

    Raises:
        KeyNotFound: There is none.
    """
    query = key_query(with_last_use=True).where(api_keys.c.id == key_id)
    row = (await connection.execute(query)).first()
    if row is None:
        raise KeyNotFound(f"there is no API key {key_id!r:.80}")
    return as_key(row)


async def locked_key(connection: AsyncConnection, key_id: str) -> Any:
    """Read the row of a key, which nobody else changes until the transaction ends.

    Args:
        connection: With the transaction.
        key_id: A checked id.

    Returns:
        A row with what rotating and ending a key have to know.

    Raises:
        KeyNotFound: There is none.
    """
    # SQLite has one writer at a time, and no such clause.
    query = select(*_LOCKED).where(api_keys.c.id == key_id).with_for_update()
    row = (await connection.execute(query)).first()
    if row is None:
        raise KeyNotFound(f"there is no API key {key_id!r:.80}")
    return row


async def add_keys(
    connection: AsyncConnection, rows: Sequence[dict[str, Any]], *, skip_existing: bool = False
) -> list[str]:
    """Write new keys.

    Args:
        connection: With the transaction.
        rows: Checked columns; ``scopes`` as a set.
        skip_existing: Whether those whose digest is there already are passed over.

    Returns:
        Ids of those that were written.

    Raises:
        OrganizationNotFound: An organization is not there.
        KeyConflict: An id is taken, or a digest is there already.
    """
    if not rows:
        return []
    by_id: dict[str, dict[str, Any]] = {}
    for row in rows:
        same = by_id.setdefault(row["id"], row)
        if same["key_digest"] != row["key_digest"]:
            raise KeyConflict(f"two API keys have the id {row['id']!r:.80}")
    owners = {str(row["organization_id"]) for row in rows}
    # Locked, so that none is deleted in between.
    query = (
        select(organizations.c.id)
        .where(organizations.c.id.in_(owners))
        .order_by(organizations.c.id)
        .with_for_update(read=True, key_share=True)
    )
    for missing in sorted(owners.difference((await connection.execute(query)).scalars())):
        raise OrganizationNotFound(f"there is no organization {missing!r:.80}")
    # Rather than an error, whose message would hold the digest.
    statement = _INSERT[connection.dialect.name](api_keys).on_conflict_do_nothing()
    written = set(
        await connection.scalars(
            statement.returning(api_keys.c.id),
            [row | {"scopes": scopes_as_json(row["scopes"])} for row in by_id.values()],
        )
    )
    left = {row["key_digest"]: row["id"] for row in by_id.values() if row["id"] not in written}
    if left:
        digests = select(api_keys.c.key_digest).where(api_keys.c.key_digest.in_(list(left)))
        there = set((await connection.execute(digests)).scalars())
        for digest, key_id in left.items():
            if digest not in there:
                raise KeyConflict(f"there is an API key {key_id!r:.80} already")
        if not skip_existing:
            raise KeyConflict("this API key is in the database already")
    return [key_id for key_id in by_id if key_id in written]


async def add_organization(connection: AsyncConnection, values: dict[str, Any]) -> None:
    """Write a new organization.

    Args:
        connection: With the transaction.
        values: Checked columns.

    Raises:
        KeyConflict: Its id is taken.
    """
    statement = _INSERT[connection.dialect.name](organizations).values(values)
    if not await _is_inserted(connection, statement):
        raise KeyConflict(f"there is an organization {values['id']!r:.80} already")


async def change_key(connection: AsyncConnection, key_id: str, at: float, **values: Any) -> None:
    """Change columns of a key.

    Args:
        connection: With the transaction.
        key_id: A checked id.
        at: Now, in seconds since 1970.
        **values: New ones by column.

    Raises:
        KeyNotFound: There is none.
    """
    statement = update(api_keys).where(api_keys.c.id == key_id).values(updated_at=at, **values)
    if (await connection.execute(statement)).rowcount != 1:
        raise KeyNotFound(f"there is no API key {key_id!r:.80}")


async def change_organization(
    connection: AsyncConnection, organization_id: str, at: float, **values: Any
) -> None:
    """Change columns of an organization.

    Args:
        connection: With the transaction.
        organization_id: A checked id.
        at: Now, in seconds since 1970.
        **values: New ones by column.

    Raises:
        OrganizationNotFound: There is none.
    """
    statement = (
        update(organizations)
        .where(organizations.c.id == organization_id)
        .values(updated_at=at, **values)
    )
    if (await connection.execute(statement)).rowcount != 1:
        raise OrganizationNotFound(f"there is no organization {organization_id!r:.80}")


async def write_limits(
    connection: AsyncConnection,
    organization_id: str,
    key_id: str | None,
    limits: KeyLimits,
    at: float,
) -> None:
    """Write the limits of an organization, or of one of its keys, in the place of others.

    Args:
        connection: With the transaction, in which the owner was locked.
        organization_id: Whose.
        key_id: Which key; None: all of them together.
        limits: The new ones.
        at: Now, in seconds since 1970.
    """
    values = {
        "requests_per_minute": limits.requests_per_minute,
        "requests_per_day": limits.requests_per_day,
        "burst_size": limits.burst_size,
        "updated_at": at,
    }
    statement = update(rate_limit_configs).where(_of(organization_id, key_id))
    if (await connection.execute(statement.values(values))).rowcount == 0:
        row = {"id": str(uuid4()), "organization_id": organization_id, "key_id": key_id}
        await connection.execute(insert(rate_limit_configs).values(row | values))


async def remove_limits(
    connection: AsyncConnection, organization_id: str, key_id: str | None
) -> None:
    """Remove the limits of an organization, or of one of its keys.

    Args:
        connection: With the transaction.
        organization_id: Whose.
        key_id: Which key; None: all of them together.
    """
    await connection.execute(rate_limit_configs.delete().where(_of(organization_id, key_id)))


async def _is_inserted(connection: AsyncConnection, statement: Any) -> bool:
    """Whether a row was written, rather than one that conflicts with it found."""
    # Without the option, it depends on the driver whether the rows are counted.
    counted = statement.on_conflict_do_nothing().execution_options(preserve_rowcount=True)
    return (await connection.execute(counted)).rowcount == 1


def _of(organization_id: str, key_id: str | None) -> Any:
    if key_id is not None:
        return rate_limit_configs.c.key_id == key_id
    of_organization = rate_limit_configs.c.organization_id == organization_id
    return of_organization & rate_limit_configs.c.key_id.is_(None)
