"""From rows to keys.

What is in the database was perhaps not written by this package. A row that cannot be understood is
no key: it lets nobody in, and does not keep the others from being read.
"""

import functools
import json
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Double,
    FromClause,
    Select,
    and_,
    cast,
    null,
    or_,
    select,
    type_coerce,
    union,
)
from sqlalchemy.types import NullType

from velro_cache.api_keys.models import ApiKey, KeyLimits
from velro_cache.api_keys.sql.checks import LONGEST_ID
from velro_cache.api_keys.sql.tables import (
    api_key_last_used,
    api_keys,
    organizations,
    rate_limit_configs,
)
from velro_cache.exceptions import AuthorizationUnavailable

__all__ = ["KEY_COLUMNS", "as_key", "changed", "key_query", "live", "row_query"]

_MANY: Final = 1024
"""Characters of scopes that are not remembered, so that what is remembered takes little memory."""

_own: Final = rate_limit_configs.alias("own")
_all: Final = rate_limit_configs.alias("of_all")

# In the order in which `as_key` takes them.
KEY_COLUMNS: Final[tuple[Any, ...]] = (
    api_keys.c.id,
    api_keys.c.organization_id,
    # As the driver has it: converting would cost, and fail on what is no digest.
    type_coerce(api_keys.c.key_digest, NullType()),
    api_keys.c.pepper_id,
    api_keys.c.shown,
    api_keys.c.name,
    organizations.c.plan,
    api_keys.c.scopes,
    api_keys.c.created_at,
    api_keys.c.expires_at,
    api_keys.c.revoked_at,
    type_coerce(and_(api_keys.c.is_active, organizations.c.is_active), NullType()),
    _all.c.burst_size.label("all_burst"),
    _all.c.requests_per_minute.label("all_per_minute"),
    _all.c.requests_per_day.label("all_per_day"),
    _own.c.burst_size.label("own_burst"),
    _own.c.requests_per_minute.label("own_per_minute"),
    _own.c.requests_per_day.label("own_per_day"),
)
_SOURCE: Final = (
    api_keys.join(organizations, organizations.c.id == api_keys.c.organization_id)
    .outerjoin(_all, and_(_all.c.organization_id == organizations.c.id, _all.c.key_id.is_(None)))
    .outerjoin(_own, _own.c.key_id == api_keys.c.id)
)


def key_query(*, with_last_use: bool = False) -> Select[Any]:
    """Keys with their organization and limits.

    Args:
        with_last_use: Whether to look up when they were used last, too; the last column.
    """
    if not with_last_use:
        return select(*KEY_COLUMNS).select_from(_SOURCE)
    source: FromClause = _SOURCE.outerjoin(
        api_key_last_used, api_key_last_used.c.key_id == api_keys.c.id
    )
    return select(*KEY_COLUMNS, api_key_last_used.c.last_used_at).select_from(source)


def row_query() -> Select[Any]:
    """Keys with their organization and limits, columns in the order of ``key_rows.COLUMNS``."""
    return select(*KEY_COLUMNS, cast(null(), Double).label("last_used_at")).select_from(_SOURCE)


def live(query: Select[Any], at: float | ColumnElement[float]) -> Select[Any]:
    """Of these, the ones that are good at a moment.

    Args:
        query: Of :func:`key_query` or :func:`row_query`.
        at: Seconds since 1970.
    """
    return query.where(
        api_keys.c.is_active,
        api_keys.c.revoked_at.is_(None),
        or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > at),
        organizations.c.is_active,
    )


def changed(query: Select[Any], since: float) -> Select[Any]:
    """Of these, the ones of which something has changed: themselves, their limits, their owner.

    Args:
        query: Of :func:`key_query`.
        since: Seconds since 1970.
    """
    key, owner, limit = api_keys.alias(), organizations.alias(), rate_limit_configs.alias()
    # One after the other, so that each finds its index.
    ids = union(
        select(key.c.id).where(key.c.updated_at >= since),
        select(key.c.id)
        .join(owner, owner.c.id == key.c.organization_id)
        .where(owner.c.updated_at >= since),
        select(key.c.id)
        .join(limit, limit.c.organization_id == key.c.organization_id)
        .where(limit.c.updated_at >= since, limit.c.key_id.is_(None)),
        select(limit.c.key_id).where(limit.c.updated_at >= since, limit.c.key_id.is_not(None)),
    )
    return query.where(api_keys.c.id.in_(ids))


def as_key(row: Sequence[Any]) -> ApiKey:
    """Make a key of a row of :func:`key_query`.

    Args:
        row: Its columns, in their order.

    Raises:
        AuthorizationUnavailable: The row holds something that no key has.
    """
    try:
        # SQLite keeps whatever it is given, such as bytes where a text belongs. And what nobody
        # could name, nobody could revoke.
        if not _is_id(row[0]) or not _is_id(row[1]):
            raise TypeError
        if not (type(row[3]) is type(row[4]) is type(row[5]) is type(row[6]) is str):
            raise TypeError
        return ApiKey(
            id=row[0],
            organization_id=row[1],
            digest=row[2],
            pepper_id=row[3],
            shown=row[4],
            name=row[5],
            plan=row[6],
            scopes=_scopes(row[7]) if len(row[7]) <= _MANY else _parsed(row[7]),
            created_at=_moment(row[8]) or 0.0,
            expires_at=_moment(row[9]),
            revoked_at=_moment(row[10]),
            is_active=bool(row[11]),
            organization_limits=_limits(row[12], row[13], row[14]),
            key_limits=_limits(row[15], row[16], row[17]),
            last_used_at=row[18] if len(row) > len(KEY_COLUMNS) else None,
        )
    except (TypeError, ValueError, RecursionError):
        # Shows nothing of it but its name.
        raise AuthorizationUnavailable(
            f"the row of the API key {str(row[0])!r:.80} is not one"
        ) from None


def _is_id(text: object) -> bool:
    """Whether :func:`check_id` takes it; in less time, for a text of a database."""
    return type(text) is str and 0 < len(text) <= LONGEST_ID and "\0" not in text


def _moment(value: object) -> float | None:
    if value is None or type(value) is float or type(value) is int:
        return value
    raise TypeError


def _parsed(text: str) -> frozenset[str]:
    found = json.loads(text)
    if type(found) is not list or not all(type(scope) is str for scope in found):
        raise TypeError
    return frozenset(found)


# Many keys have the same ones, which are shared.
_scopes = functools.lru_cache(maxsize=4096)(_parsed)


@functools.lru_cache(maxsize=4096)
def _limits(
    burst_size: int | None, per_minute: int | None, per_day: int | None
) -> KeyLimits | None:
    # It is never NULL, but where there is no row.
    if burst_size is None:
        return None
    return KeyLimits(
        requests_per_minute=per_minute, requests_per_day=per_day, burst_size=burst_size
    )
