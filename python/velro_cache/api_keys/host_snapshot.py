"""What one process of a host has read of the keys, for the others: a file beside the shared table.

The process that holds the lock of the file reads the database and writes; the others read the file.
It holds what is stored of keys, digests under a pepper, and is its owner's alone, as is the folder.
It is written aside and renamed, so that a reader sees an old one or a new one as a whole. It is a
line of JSON and then blocks of rows (:mod:`velro_cache.api_keys.key_rows`), each with its length
before it: nothing in it is executed.

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
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Self

from velro_cache.api_keys.key_rows import Rows
from velro_cache.manager import OptimizedCacheManager

__all__ = ["Found", "HostSnapshot"]

_FORMAT: Final = "velro-cache api keys"
_VERSION: Final = 2
_HEAD_BYTES: Final = 512
_LENGTH: Final = struct.Struct("!I")
_MOST_BLOCK_BYTES: Final = 64 * 1024 * 1024


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
    _blocks: int

    async def blocks(self) -> AsyncIterator[Rows]:
        """Read it.

        Yields:
            Rows.

        Raises:
            ValueError: It is not whole, or not what it should be.
        """
        with self._path.open("rb") as file:
            file.seek(_HEAD_BYTES)
            for _ in range(self._blocks):
                yield [await asyncio.to_thread(_next_block, file)]


def _next_block(file: BinaryIO) -> bytes:
    length = file.read(_LENGTH.size)
    if len(length) == _LENGTH.size and (count := _LENGTH.unpack(length)[0]) <= _MOST_BLOCK_BYTES:
        block = file.read(count)
        if len(block) == count:
            return block
    raise ValueError("the file of API keys is not what it should be")


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
                head = json.loads(file.read(_HEAD_BYTES))
            if head["format"] != _FORMAT or head["version"] != _VERSION:
                return None
            if tuple(head["table"]) != self._table or head["bytes"] != found.st_size:
                return None
            stamp, read_at, blocks = int(head["stamp"]), float(head["read_at"]), int(head["blocks"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return Found(stamp, read_at, self._path, blocks)

    async def written(
        self, read: AsyncIterator[Rows], stamp: int, read_at: float
    ) -> AsyncIterator[Rows]:
        """Write rows down on their way.

        Args:
            read: What is read.
            stamp: From before the first row was read.
            read_at: When that was, in seconds since 1970.

        Yields:
            The same rows. The file is there after the last one; nothing of it is if there is an
            error, whoever's it is.
        """
        aside = self._path.with_suffix(".api-keys-new")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        count = 0
        file: BinaryIO | None = None
        with contextlib.suppress(OSError):
            file = os.fdopen(os.open(aside, flags, 0o600), "wb")
        try:
            if file is not None:
                file.write(bytes(_HEAD_BYTES))
            async for rows in read:
                if file is not None:
                    try:
                        await asyncio.to_thread(_write_block, file, rows)
                        count += 1
                    except OSError:
                        # No room: the others read for themselves.
                        _abandon(file)
                        file = None
                yield rows
            if file is not None:
                with contextlib.suppress(OSError):
                    size = file.tell()
                    file.seek(0)
                    file.write(self._head(stamp, read_at, count, size))
                    file.flush()
                    os.replace(aside, self._path)
                    self._seen = self._identity()
        finally:
            if file is not None:
                _abandon(file)
            with contextlib.suppress(OSError):
                aside.unlink()

    def _head(self, stamp: int, read_at: float, blocks: int, size: int) -> bytes:
        head = {
            "format": _FORMAT,
            "version": _VERSION,
            "table": self._table,
            "stamp": stamp,
            "read_at": read_at,
            "blocks": blocks,
            "bytes": size,
        }
        return json.dumps(head).encode().ljust(_HEAD_BYTES - 1) + b"\n"

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns


def _write_block(file: BinaryIO, rows: Rows) -> None:
    file.write(_LENGTH.pack(sum(map(len, rows))))
    file.writelines(rows)


def _abandon(file: BinaryIO) -> None:
    # What is in its buffer may find no room now either.
    with contextlib.suppress(OSError):
        file.close()
