"""API keys as rows of bytes, and back.

A key that nobody asks for stays bytes: in the cache, and in what the processes of a host hand each
other. The layout is that of a tuple in the binary form of PostgreSQL's COPY, in the order of
:data:`COLUMNS`: the number of columns in 16 bits, then of each its length in 32 bits, -1 for NULL,
and its bytes; numbers big-endian. So what PostgreSQL sends is kept as it comes.
"""

import functools
import json
import struct
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from velro_cache.api_keys.models import ApiKey, KeyLimits
from velro_cache.exceptions import AuthorizationUnavailable

__all__ = ["COLUMNS", "Rows", "decode", "encode"]

Rows: TypeAlias = list[bytes]
"""Several rows, in parts as they came: each part is one row or more, and ends where one ends."""

COLUMNS: Final = (
    "id",
    "organization_id",
    "digest",
    "pepper_id",
    "shown",
    "name",
    "plan",
    "scopes",
    "created_at",
    "expires_at",
    "revoked_at",
    "is_active",
    "all_burst",
    "all_per_minute",
    "all_per_day",
    "own_burst",
    "own_per_minute",
    "own_per_day",
    "last_used_at",
)

_COUNT: Final = struct.pack("!H", len(COLUMNS))
_NULL: Final = struct.pack("!i", -1)
_LENGTH: Final = struct.Struct("!i")
_FLOAT: Final = struct.Struct("!d")
_LONGEST_ID: Final = 256
_MANY: Final = 1024
"""Bytes of scopes that are not remembered, so that what is remembered takes little memory."""


def encode(key: ApiKey) -> bytes:
    """The row of a key.

    Args:
        key: A key.

    Raises:
        TypeError: It is something else.
        ValueError: A number is too large for a row.
    """
    if type(key) is not ApiKey:
        raise TypeError(f"a repository returned {type(key).__name__}, not ApiKey")
    columns = (
        key.id.encode(),
        key.organization_id.encode(),
        key.digest,
        key.pepper_id.encode(),
        key.shown.encode(),
        key.name.encode(),
        key.plan.encode(),
        _scopes_written(frozenset(key.scopes)),
        _FLOAT.pack(key.created_at),
        _moment_written(key.expires_at),
        _moment_written(key.revoked_at),
        b"\1" if key.is_active else b"\0",
        *_limits_written(key.organization_limits),
        *_limits_written(key.key_limits),
        _moment_written(key.last_used_at),
    )
    parts = [_COUNT]
    for column in columns:
        if column is None:
            parts.append(_NULL)
        else:
            parts.append(_LENGTH.pack(len(column)))
            parts.append(column)
    return b"".join(parts)


def decode(row: bytes) -> ApiKey:
    """The key of a row.

    Args:
        row: Bytes of one row, no more and no less.

    Raises:
        AuthorizationUnavailable: The row holds something that no key has.
    """
    columns: list[bytes | None] = []
    try:
        columns = _columns(row)
        return ApiKey(
            id=_id(columns[0]),
            organization_id=_id(columns[1]),
            digest=_bytes(columns[2]),
            pepper_id=_text(columns[3]),
            shown=_text(columns[4]),
            name=_text(columns[5]),
            plan=_text(columns[6]),
            scopes=_scopes(_bytes(columns[7])),
            created_at=0.0 if columns[8] is None else _FLOAT.unpack(columns[8])[0],
            expires_at=_moment(columns[9]),
            revoked_at=_moment(columns[10]),
            is_active=_bytes(columns[11]) == b"\1",
            organization_limits=_limits(columns[12], columns[13], columns[14]),
            key_limits=_limits(columns[15], columns[16], columns[17]),
            last_used_at=_moment(columns[18]),
        )
    except (TypeError, ValueError, RecursionError, struct.error):
        # Shows nothing of it but its name.
        name = (columns[0] or b"").decode(errors="replace") if columns else ""
        raise AuthorizationUnavailable(f"the row of the API key {name!r:.80} is not one") from None


def _columns(row: bytes) -> list[bytes | None]:
    if row[:2] != _COUNT:
        raise ValueError("another number of columns")
    columns: list[bytes | None] = []
    at = 2
    for _ in COLUMNS:
        (length,) = _LENGTH.unpack_from(row, at)
        at += 4
        if length == -1:
            columns.append(None)
            continue
        if not 0 <= length <= len(row) - at:
            raise ValueError("the row is cut")
        columns.append(row[at : at + length])
        at += length
    if at != len(row):
        raise ValueError("more than a row")
    return columns


def _bytes(column: bytes | None) -> bytes:
    if column is None:
        raise TypeError
    return column


def _text(column: bytes | None) -> str:
    return _bytes(column).decode()


def _id(column: bytes | None) -> str:
    """An id by which the store takes a revocation; see :func:`..sql.checks.check_id`."""
    text = _text(column)
    if not 0 < len(text) <= _LONGEST_ID or "\0" in text:
        raise ValueError("nobody could name it")
    return text


def _moment(column: bytes | None) -> float | None:
    if column is None:
        return None
    moment: float = _FLOAT.unpack(column)[0]
    return moment


def _moment_written(moment: float | None) -> bytes | None:
    return None if moment is None else _FLOAT.pack(moment)


# Many keys have the same ones, which are shared.
def _scopes(written: bytes) -> frozenset[str]:
    return _scopes_remembered(written) if len(written) <= _MANY else _scopes_read(written)


def _scopes_read(written: bytes) -> frozenset[str]:
    found = json.loads(written)
    if type(found) is not list or not all(type(scope) is str for scope in found):
        raise TypeError
    return frozenset(found)


_scopes_remembered: Final = functools.lru_cache(maxsize=4096)(_scopes_read)


def _scopes_written(scopes: frozenset[str]) -> bytes:
    return json.dumps(sorted(scopes), separators=(",", ":")).encode()


@functools.lru_cache(maxsize=4096)
def _limits(
    burst_size: bytes | None, per_minute: bytes | None, per_day: bytes | None
) -> KeyLimits | None:
    # It is never NULL, but where there is no row.
    if burst_size is None:
        return None
    return KeyLimits(
        requests_per_minute=_number(per_minute),
        requests_per_day=_number(per_day),
        burst_size=int.from_bytes(burst_size, "big", signed=True),
    )


def _number(column: bytes | None) -> int | None:
    return None if column is None else int.from_bytes(column, "big", signed=True)


def _limits_written(limits: KeyLimits | None) -> Sequence[bytes | None]:
    if limits is None:
        return (None, None, None)
    numbers: tuple[Any, ...] = (
        limits.burst_size,
        limits.requests_per_minute,
        limits.requests_per_day,
    )
    try:
        return [
            None if number is None else number.to_bytes(8, "big", signed=True) for number in numbers
        ]
    except OverflowError:
        raise ValueError("a limit must be below 2**63") from None
