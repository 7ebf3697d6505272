"""The tables of API keys, the same in PostgreSQL and SQLite.

Times are double precision: seconds since 1970, as everywhere in this package. A moment is compared
with ``updated_at`` exactly as it was written, in both databases; whole seconds would make "changed
at or after" a second wide, and types with time zones are not the same in both.

Defaults and checks are in the database, so that rows of other programs are held to them as well.

Deleting an organization deletes its keys and limits, and deleting a key its limits and its last
use: nothing that lets somebody in outlives the one it belongs to. (SQLite does so only on
connections with ``PRAGMA foreign_keys``; a key whose organization is gone is found by nobody.)
"""

from typing import Any, Final

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    text,
    true,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

__all__ = [
    "NOW_SQL",
    "Now",
    "api_key_last_used",
    "api_keys",
    "metadata",
    "organizations",
    "rate_limit_configs",
]

NOW_SQL: Final = {
    "postgresql": "EXTRACT(EPOCH FROM clock_timestamp())::double precision",
    "sqlite": "((julianday('now') - 2440587.5) * 86400.0)",
}
"""The moment by the clock of the database, in seconds since 1970."""


class Now(FunctionElement[float]):
    """The moment by the clock of the database; see :data:`NOW_SQL`."""

    type = Double()
    inherit_cache = True


@compiles(Now)
def _now(_element: Now, compiler: Any, **_: Any) -> str:
    return NOW_SQL[compiler.dialect.name]


def _moment(name: str, **options: Any) -> Column[float]:
    return Column(name, Double, nullable=False, server_default=Now(), **options)


metadata: Final = MetaData()

organizations: Final = Table(
    "organizations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, server_default=""),
    Column("plan", Text, nullable=False, server_default=""),
    Column("is_active", Boolean, nullable=False, server_default=true()),
    _moment("created_at"),
    _moment("updated_at"),
)

api_keys: Final = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    # What is stored of the key; never the key.
    Column("key_digest", LargeBinary(32), nullable=False, unique=True),
    Column("pepper_id", Text, nullable=False),
    Column("shown", Text, nullable=False, server_default=""),
    Column("name", Text, nullable=False, server_default=""),
    Column(
        "organization_id",
        Text,
        ForeignKey("organizations.id", name="api_keys_organization", ondelete="CASCADE"),
        nullable=False,
    ),
    # A list of texts as JSON.
    Column("scopes", Text, nullable=False, server_default="[]"),
    Column("is_active", Boolean, nullable=False, server_default=true()),
    _moment("created_at"),
    _moment("updated_at"),
    Column("expires_at", Double),
    Column("revoked_at", Double),
    Column(
        "replaced_by",
        Text,
        ForeignKey("api_keys.id", name="api_keys_replaced_by", ondelete="SET NULL"),
    ),
    CheckConstraint("length(key_digest) = 32", name="api_keys_digest_length"),
)

_LIVE: Final = text("is_active AND revoked_at IS NULL")
# Pages are read in the order of ids, from the live ones alone.
Index("api_keys_live", api_keys.c.id, postgresql_where=_LIVE, sqlite_where=_LIVE)
Index("api_keys_updated_at", api_keys.c.updated_at)
Index("api_keys_of_organization", api_keys.c.organization_id, api_keys.c.id)
# Deleting a key looks for those it has replaced.
_REPLACED: Final = text("replaced_by IS NOT NULL")
Index(
    "api_keys_replaced",
    api_keys.c.replaced_by,
    postgresql_where=_REPLACED,
    sqlite_where=_REPLACED,
)

rate_limit_configs: Final = Table(
    "rate_limit_configs",
    metadata,
    Column("id", Text, primary_key=True),
    Column(
        "organization_id",
        Text,
        ForeignKey("organizations.id", name="rate_limits_organization", ondelete="CASCADE"),
        nullable=False,
    ),
    # NULL: of all keys of the organization together.
    Column("key_id", Text, ForeignKey("api_keys.id", name="rate_limits_key", ondelete="CASCADE")),
    # NULL: no such limit.
    Column("requests_per_minute", Integer, server_default="60"),
    Column("requests_per_day", Integer, server_default="10000"),
    Column("burst_size", Integer, nullable=False, server_default="10"),
    _moment("updated_at"),
    CheckConstraint("requests_per_minute >= 1", name="rate_limits_per_minute"),
    CheckConstraint("requests_per_day >= 1", name="rate_limits_per_day"),
    CheckConstraint("burst_size >= 0", name="rate_limits_burst"),
)

# Two indexes, because NULLs are never equal in a unique one: one row for each organization, and
# one for each key.
_OF_ORGANIZATION: Final = text("key_id IS NULL")
_OF_KEY: Final = text("key_id IS NOT NULL")
Index(
    "rate_limits_of_organization",
    rate_limit_configs.c.organization_id,
    unique=True,
    postgresql_where=_OF_ORGANIZATION,
    sqlite_where=_OF_ORGANIZATION,
)
Index(
    "rate_limits_of_key",
    rate_limit_configs.c.key_id,
    unique=True,
    postgresql_where=_OF_KEY,
    sqlite_where=_OF_KEY,
)
Index("rate_limits_updated_at", rate_limit_configs.c.updated_at)

# A table of its own, so that the triggers on `api_keys` never fire for a use.
api_key_last_used: Final = Table(
    "api_key_last_used",
    metadata,
    Column(
        "key_id",
        Text,
        ForeignKey("api_keys.id", name="last_used_key", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("last_used_at", Double, nullable=False),
)
