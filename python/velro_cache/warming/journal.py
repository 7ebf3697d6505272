"""The hot-key journal: which names were hot, for the process that comes after this one.

It holds names alone, kinds and ids, never a value, a token or a digest of one: what was allowed
must be asked for anew. Where ids are not to lie on a disk, a secret turns them into digests; such a
journal cannot say which names were hot, only whether a given one was.

The file is replaced as a whole (written aside, flushed, renamed), so that a reader sees the old one
or the new one, whatever happens meanwhile. It is its owner's alone. What cannot be understood, or
belongs to somebody else, is ignored with a warning: a service without a journal is only slower.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import logging
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from velro_cache.warming.hot_keys import DEFAULT_HOT_KEYS, HotKey

__all__ = ["HotKeyJournal", "JournalContent"]

log = logging.getLogger("velro_cache")

_FORMAT: Final = "velro-cache hot keys"
_VERSION: Final = 1
_LEAST_SECRET_CHARACTERS: Final = 32
_MOST_BYTES_PER_KEY: Final = 8192
"""A name has 1024 characters at the most; one that JSON escapes takes up to six bytes."""
_MOST_PARTS: Final = 8


@dataclass(frozen=True, slots=True)
class JournalContent:
    """What a journal said.

    Attributes:
        keys: The names, the hottest first. Empty if they are hashed.
    """

    keys: tuple[HotKey, ...] = ()
    _marks: frozenset[Any] = frozenset()
    _hash_key: bytes | None = None

    def holds(self, name: HotKey) -> bool:
        """Whether a name was hot.

        Args:
            name: Kind and ids.

        Returns:
            True if it stands there, as it is or as a digest.
        """
        mark = name if self._hash_key is None else _digest(self._hash_key, name)
        return mark in self._marks

    def __len__(self) -> int:
        return len(self._marks)


class HotKeyJournal:
    """A file of hot names.

    Args:
        path: Where it lies. Its folder must exist, and be nobody else's to write.
        max_keys: How many names it holds at the most, 1 to 100,000.
        hash_key: Text of 32 characters or more, the same for all processes that read it; ids are
            then written as digests (HMAC-SHA-256). None: as they are.

    Raises:
        ValueError: ``max_keys`` is out of range, or ``hash_key`` too short.
    """

    __slots__ = ("_hash_key", "_max_keys", "path")

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_keys: int = DEFAULT_HOT_KEYS,
        hash_key: str | None = None,
    ) -> None:
        if not 1 <= max_keys <= 100_000:
            raise ValueError(f"max_keys must be 1 to 100000, not {max_keys}")
        if hash_key is not None and len(hash_key) < _LEAST_SECRET_CHARACTERS:
            raise ValueError(f"hash_key must have {_LEAST_SECRET_CHARACTERS} characters or more")
        self.path = Path(path)
        self._max_keys = max_keys
        self._hash_key = None if hash_key is None else hash_key.encode()

    @property
    def max_keys(self) -> int:
        """How many names it holds at the most."""
        return self._max_keys

    @property
    def is_hashed(self) -> bool:
        """Whether it holds digests in the place of names."""
        return self._hash_key is not None

    def write(self, names: Iterable[HotKey]) -> int:
        """Replace what it says.

        Args:
            names: Kinds and ids, the hottest first; what is beyond ``max_keys`` is left out.

        Returns:
            How many were written.

        Raises:
            OSError: It could not be written. The old one is still there.
        """
        kept: list[Any] = [
            list(name) for name, _ in zip(names, range(self._max_keys), strict=False)
        ]
        if self._hash_key is not None:
            kept = [_digest(self._hash_key, tuple(name)) for name in kept]
        text = json.dumps(
            {
                "format": _FORMAT,
                "version": _VERSION,
                "hashed": self._hash_key is not None,
                "keys": kept,
            }
        )
        self._replace(text.encode())
        return len(kept)

    def read(self) -> JournalContent:
        """Read what it says.

        Returns:
            The names; none, with a warning, if it is damaged, of another version, larger than it
            may be, or not its reader's own. None without a warning if there is no file.
        """
        try:
            data = self._bytes()
            if data is None:
                return JournalContent()
            return self._understood(json.loads(data))
        except (OSError, ValueError, RecursionError) as error:
            # The message of an error in JSON may quote what is there.
            why = error if type(error) in (OSError, _UnfitError) else type(error).__name__
            log.warning("the hot-key journal %s is ignored: %s", self.path, why)
            return JournalContent()

    def _bytes(self) -> bytes | None:
        # Not blocking: somebody may have put a pipe there.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            file = os.open(self.path, flags)
        except FileNotFoundError:
            return None
        with open(file, "rb") as stream:
            about = os.fstat(file)
            if not stat.S_ISREG(about.st_mode):
                raise _UnfitError("it is no regular file")
            if about.st_uid != os.geteuid():
                raise _UnfitError("it belongs to another user")
            if about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise _UnfitError("others may write to it")
            most = _MOST_BYTES_PER_KEY * self._max_keys
            data = stream.read(most + 1)
            if len(data) > most:
                raise _UnfitError("it is larger than it may be")
            return data

    def _understood(self, content: Any) -> JournalContent:
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            raise _UnfitError("it is no hot-key journal")
        if content.get("version") != _VERSION:
            raise _UnfitError("it is of another version")
        keys = content.get("keys")
        hashed = content.get("hashed")
        if not isinstance(keys, list) or not isinstance(hashed, bool):
            raise _UnfitError("it is damaged")
        if hashed != (self._hash_key is not None):
            raise _UnfitError("its ids are hashed, or not, unlike what is asked for")
        keys = keys[: self._max_keys]
        if hashed:
            if not all(isinstance(key, str) for key in keys):
                raise _UnfitError("it is damaged")
            return JournalContent((), frozenset(keys), self._hash_key)
        if not all(_is_name(key) for key in keys):
            raise _UnfitError("it is damaged")
        names = tuple(dict.fromkeys(tuple(key) for key in keys))
        return JournalContent(names, frozenset(names))

    def _replace(self, data: bytes) -> None:
        # One name for each process: what one leaves behind that died here, the next one clears.
        aside = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(aside)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(aside, flags, 0o600)
        try:
            with open(file, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(file)
            os.replace(aside, self.path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(aside)
            raise
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class _UnfitError(ValueError):
    """A journal that is not to be believed; the message says why and quotes nothing."""


def _is_name(key: object) -> bool:
    return (
        isinstance(key, list)
        and 2 <= len(key) <= _MOST_PARTS
        and all(isinstance(part, str) for part in key)
    )


def _digest(hash_key: bytes, name: HotKey) -> str:
    # JSON keeps the parts apart: no id can end in the next one.
    return hmac.new(hash_key, json.dumps(name).encode(), hashlib.sha256).hexdigest()
