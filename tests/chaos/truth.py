"""The databases the loaders read: what is really allowed, in SQLite or in PostgreSQL.

The one in SQLite also keeps what was the case before, so that a loader can be made to read as if
from a replica that lags behind; PostgreSQL has real replicas.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

from board import now

__all__ = ["PostgresTruth", "SqliteTruth", "Truth", "open_truth"]


class Truth(Protocol):
    """What is really allowed; for many processes, threads and forks."""

    def read(self, permission: int, lag_seconds: float = 0.0) -> tuple[bool, int]:
        """Whether a permission is granted, and the version of that."""
        ...

    def commit(self, permission: int, granted: bool) -> int:
        """Grant or revoke; it is committed when this returns the new version."""
        ...

    def close(self) -> None:
        """End the connections of this thread; the next use makes new ones."""
        ...


def open_truth(address: str, replica: str | None = None) -> Truth:
    """The database at a path or at an address; if there is a replica, reads go there."""
    return PostgresTruth(address, replica) if "://" in address else SqliteTruth(Path(address))


_parents: list[object] = []

_SCHEMA = """
PRAGMA journal_mode = WAL;
CREATE TABLE permissions (id INTEGER PRIMARY KEY, version INTEGER, granted INTEGER);
CREATE TABLE history (permission INTEGER, version INTEGER, granted INTEGER, at INTEGER);
CREATE INDEX by_time ON history (permission, at);
"""


class SqliteTruth:
    """Permissions in a file.

    Args:
        path: The file; see :meth:`create`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._own = threading.local()

    @classmethod
    def create(cls, path: Path, permissions: int) -> SqliteTruth:
        """Make the file; nobody is allowed anything."""
        with closing(sqlite3.connect(path)) as database, database:
            database.executescript(_SCHEMA)
            rows = [(number,) for number in range(permissions)]
            database.executemany("INSERT INTO permissions VALUES (?, 0, 0)", rows)
            database.executemany("INSERT INTO history VALUES (?, 0, 0, 0)", rows)
        return cls(path)

    def read(self, permission: int, lag_seconds: float = 0.0) -> tuple[bool, int]:
        """As in :class:`Truth`; as of some time ago."""
        query = "SELECT granted, version FROM permissions WHERE id = ?"
        arguments: tuple[int, ...] = (permission,)
        if lag_seconds:
            query = (
                "SELECT granted, version FROM history WHERE permission = ? AND at <= ?"
                " ORDER BY at DESC, version DESC LIMIT 1"
            )
            arguments = (permission, now() - int(lag_seconds * 1e9))
        granted, version = self._database().execute(query, arguments).fetchone()
        return bool(granted), int(version)

    def commit(self, permission: int, granted: bool) -> int:
        """As in :class:`Truth`."""
        database = self._database()
        database.execute("BEGIN IMMEDIATE")
        ((version,),) = database.execute(
            "UPDATE permissions SET version = version + 1, granted = ? WHERE id = ?"
            " RETURNING version",
            (granted, permission),
        ).fetchall()
        database.execute(
            "INSERT INTO history VALUES (?, ?, ?, ?)", (permission, version, granted, now())
        )
        database.execute("COMMIT")
        return int(version)

    def close(self) -> None:
        """As in :class:`Truth`."""
        if getattr(self._own, "process", None) == os.getpid():
            self._own.database.close()
            self._own.process = None

    def _database(self) -> sqlite3.Connection:
        # A connection is for one thread of one process; a forked child must make its own.
        if getattr(self._own, "process", None) != os.getpid():
            # The parent's is neither used nor closed here; SQLite could not stand either.
            _parents.append(getattr(self._own, "database", None))
            self._own.process = os.getpid()
            database = sqlite3.connect(self._path, timeout=60, isolation_level=None)
            # What a crash of the machine would lose is not what is tested.
            database.execute("PRAGMA synchronous = OFF")
            self._own.database = database
        return self._own.database  # type: ignore[no-any-return]


class PostgresTruth:
    """Permissions in a table.

    Args:
        address: Where; see :meth:`create`.
        replica: Where reads go. None: to the same server.
    """

    def __init__(self, address: str, replica: str | None = None) -> None:
        self.address = address
        self.replica = replica or address
        self._own = threading.local()

    @classmethod
    def create(cls, address: str, permissions: int) -> PostgresTruth:
        """Make the table; nobody is allowed anything."""
        truth = cls(address)
        database = truth.connection()
        database.execute(
            "CREATE TABLE permissions (id int PRIMARY KEY, version int, granted boolean)"
        )
        database.execute(
            "INSERT INTO permissions SELECT n, 0, false FROM generate_series(0, %s) n",
            (permissions - 1,),
        )
        truth.close()
        return truth

    def read(self, permission: int, lag_seconds: float = 0.0) -> tuple[bool, int]:
        """As in :class:`Truth`; replicas lag on their own."""
        query = "SELECT granted, version FROM permissions WHERE id = %s"
        connection = self.connection(self.replica)
        granted, version = connection.execute(query, (permission,)).fetchone()
        return bool(granted), int(version)

    def commit(self, permission: int, granted: bool) -> int:
        """As in :class:`Truth`."""
        (version,) = (
            self.connection()
            .execute(
                "UPDATE permissions SET version = version + 1, granted = %s WHERE id = %s"
                " RETURNING version",
                (granted, permission),
            )
            .fetchone()
        )
        return int(version)

    def close(self) -> None:
        """As in :class:`Truth`."""
        if getattr(self._own, "process", None) == os.getpid():
            for connection in self._own.connections.values():
                connection.close()
            self._own.process = None

    def connection(self, address: str | None = None) -> Any:
        """A connection of this thread of this process, outside of any transaction."""
        import psycopg

        address = address or self.address
        if getattr(self._own, "process", None) != os.getpid():
            self._own.process, self._own.connections = os.getpid(), {}
        connection = self._own.connections.get(address)
        if connection is None or connection.closed or connection.broken:
            connection = psycopg.connect(address, autocommit=True, connect_timeout=20)
            self._own.connections[address] = connection
        return connection
