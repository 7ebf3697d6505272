"""What one process of a host has read of the keys, for the others: a file beside the shared table.

The process that holds the lock of the file reads the database and writes; the others read the file.
It holds what is stored of keys, digests under a pepper, and is its owner's alone, as is the folder.
It is written aside and renamed, so that a reader sees an old one or a new one as a whole, and it is
plain JSON: nothing in it is executed.

With it stands the stamp from before the first row was read. The processes share the table that
stamps are counted in, so what was revoked since is refused by each of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import stat
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

from velro_cache.api_keys.models import ApiKey, KeyLimits
from velro_cache.manager import OptimizedCacheManager

__all__ = ["Found", "HostSnapshot"]

_FORMAT: Final = "velro-cache api keys"
_VERSION: Final = 1
_ROWS_AT_ONCE: Final = 200
"""A page that is parsed without letting the event loop go: less than two milliseconds."""


@dataclass(frozen=True, slots=True)
class Found:
    """A file that was not read yet.

    Attributes:
        stamp: From before the first row was read.
        read_at: When that was, in seconds since 1970.
    """

    stamp: int
    read_at: float
    _path: Path
    _count: int

    async def pages(self) -> AsyncIterator[Sequence[ApiKey]]:
        """Read it.

        Yields:
            Pages of keys.

        Raises:
            ValueError: It is not whole, or not what it should be.
        """
        left = self._count
        with self._path.open("rb") as file:
            file.readline()
            while left:
                lines = [file.readline() for _ in range(min(left, _ROWS_AT_ONCE))]
                yield [_key_of(line) for line in lines]
                left -= len(lines)
                await asyncio.sleep(0)


class HostSnapshot:
    """The file of one cache on one host.

    Args:
        path: Where it lies. Its folder must be nobody else's.
        table: What tells the shared table from others.
    """

    def __init__(self, path: Path, table: tuple[int, int]) -> None:
        self._path = path
        self._table = table
        self._lock: int | None = None
        self._seen: tuple[int, int] | None = None

    @classmethod
    def beside_table_of(cls, manager: OptimizedCacheManager) -> Self | None:
        """The one of a cache; None: its table is not shared, so stamps mean nothing to others."""
        sharing = manager.get_stats()["sharing"]
        if sharing["state"] != "shared" or sharing["path"] is None:
            return None
        table = Path(sharing["path"])
        try:
            found = table.stat()
        except OSError:
            return None
        return cls(table.with_suffix(".api-keys"), (found.st_dev, found.st_ino))

    @property
    def is_mine(self) -> bool:
        """Whether this process is the one that reads the database."""
        return self._lock is not None

    def take(self) -> bool:
        """Become the one that reads, if there is none.

        Returns:
            Whether this process is it.
        """
        if self._lock is not None:
            return True
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            file = os.open(self._path.with_suffix(".api-keys-lock"), flags, 0o600)
        except OSError:
            return False
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(file)
            return False
        self._lock = file
        return True

    def close(self) -> None:
        """Let another process be it."""
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def has_newer(self) -> bool:
        """Whether there is a file that :meth:`newer` has not returned, or nobody who writes one."""
        identity = self._identity()
        if identity is not None and identity != self._seen:
            return True
        return self.take()

    def newer(self) -> Found | None:
        """The file, if it was not returned before and is of this table."""
        identity = self._identity()
        if identity is None or identity == self._seen:
            return None
        self._seen = identity
        try:
            with self._path.open("rb") as file:
                found = os.fstat(file.fileno())
                # Whoever may write it could make keys.
                if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
                    return None
                head = json.loads(file.readline())
            if head["format"] != _FORMAT or head["version"] != _VERSION:
                return None
            if tuple(head["table"]) != self._table:
                return None
            stamp, read_at, count = int(head["stamp"]), float(head["read_at"]), int(head["count"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return Found(stamp, read_at, self._path, count)

    async def written(
        self, pages: AsyncIterator[Sequence[ApiKey]], stamp: int, read_at: float
    ) -> AsyncIterator[Sequence[ApiKey]]:
        """Write pages down on their way.

        Args:
            pages: What is read.
            stamp: From before the first row was read.
            read_at: When that was, in seconds since 1970.

        Yields:
            The same pages. The file is there after the last one; nothing of it is if there is an
            error, whoever's it is.
        """
        aside = self._path.with_suffix(".api-keys-new")
        count = 0
        rows = aside.with_suffix(".api-keys-rows")
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
            file: int | None = os.open(rows, flags, 0o600)
        except OSError:
            file = None
        try:
            async for page in pages:
                if file is not None:
                    try:
                        for chunk in _chunks(page):
                            os.write(file, b"".join(_line_of(key) for key in chunk))
                            await asyncio.sleep(0)
                        count += len(page)
                    except OSError:
                        # No room: the others read for themselves.
                        os.close(file)
                        file = None
                yield page
            if file is not None:
                with contextlib.suppress(OSError):
                    self._put(aside, rows, stamp, read_at, count)
        finally:
            if file is not None:
                os.close(file)
            for path in (aside, rows):
                with contextlib.suppress(OSError):
                    path.unlink()

    def _put(self, aside: Path, rows: Path, stamp: int, read_at: float, count: int) -> None:
        head = {
            "format": _FORMAT,
            "version": _VERSION,
            "table": self._table,
            "stamp": stamp,
            "read_at": read_at,
            "count": count,
        }
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        with open(os.open(aside, flags, 0o600), "wb") as file, rows.open("rb") as body:
            file.write(json.dumps(head).encode() + b"\n")
            while chunk := body.read(1 << 20):
                file.write(chunk)
        os.replace(aside, self._path)
        self._seen = self._identity()

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns


def _chunks(page: Sequence[ApiKey]) -> Iterator[Sequence[ApiKey]]:
    for start in range(0, len(page), _ROWS_AT_ONCE):
        yield page[start : start + _ROWS_AT_ONCE]


def _line_of(key: ApiKey) -> bytes:
    row: dict[str, Any] = {name: getattr(key, name) for name in _PLAIN_FIELDS}
    row["digest"] = key.digest.hex()
    row["scopes"] = sorted(key.scopes)
    for name in _LIMITS:
        limits = getattr(key, name)
        row[name] = None if limits is None else asdict(limits)
    return json.dumps(row, separators=(",", ":")).encode() + b"\n"


def _key_of(line: bytes) -> ApiKey:
    try:
        row = json.loads(line)
        row["digest"] = bytes.fromhex(row["digest"])
        row["scopes"] = frozenset(row["scopes"])
        for name in _LIMITS:
            row[name] = None if row[name] is None else KeyLimits(**row[name])
        return ApiKey(**row)
    except (KeyError, TypeError) as error:
        raise ValueError("the file of API keys is not what it should be") from error


_LIMITS: Final = ("organization_limits", "key_limits")
_PLAIN_FIELDS: Final = tuple(
    name for name in ApiKey.__dataclass_fields__ if name not in ("digest", "scopes", *_LIMITS)
)
