"""What the suite of invalidation logs asks of each of them, and each of them.

To put another one under test: a subclass of :class:`LogUnderTest`, and its name in ``KINDS``.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import sqlite3
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Self

import pytest

from services.postgres import PostgresServer
from services.redis import RedisServer, free_port
from velro_cache._engine import InvalidationLog

PASSWORD = "right-secret"  # noqa: S105


class LogUnderTest(ABC):
    """One empty log of its own, on a server that may be treated badly.

    A context manager. What a server of some kind cannot suffer is left out of ``can``; tests that
    need it are skipped for that kind.
    """

    kind: ClassVar[str]
    can: ClassVar[frozenset[str]] = frozenset(
        {"freeze", "stop", "cut", "refuse", "password", "fail_over"}
    )
    name = "under-test"

    @abstractmethod
    def __enter__(self) -> Self:
        """Start what is needed."""

    @abstractmethod
    def __exit__(self, *_: object) -> None:
        """Remove every trace."""

    @property
    @abstractmethod
    def url(self) -> str:
        """Where it is."""

    def open(self, timeout_seconds: float = 5.0, name: str | None = None) -> InvalidationLog:
        """A connection of one's own."""
        return InvalidationLog(self.url, name or self.name, timeout_seconds)

    @abstractmethod
    def open_keeping(self, entries: int) -> InvalidationLog:
        """A connection whose appends leave so many entries."""

    @abstractmethod
    def wipe(self) -> None:
        """All of the log is gone, as if somebody had emptied the server."""

    @abstractmethod
    def forge(self, body: bytes) -> None:
        """Somebody else appends this body, properly but for what it says."""

    @abstractmethod
    def remove(self, sequence: int) -> None:
        """Somebody takes this entry out of the log."""

    # From here on: what not every kind can.

    def restart(self) -> None:
        """The server ends at once and starts again, with what it is set up to keep."""
        raise NotImplementedError

    def stop(self) -> None:
        """Nobody listens any more."""
        raise NotImplementedError

    def start(self) -> None:
        """After :meth:`stop`."""
        raise NotImplementedError

    def freeze(self) -> None:
        """The server does not do anything; connections stay."""
        raise NotImplementedError

    def thaw(self) -> None:
        """After :meth:`freeze`."""
        raise NotImplementedError

    def cut(self) -> None:
        """All connections end."""
        raise NotImplementedError

    def refuse(self) -> None:
        """The server answers reads and refuses writes."""
        raise NotImplementedError

    def accept(self) -> None:
        """After :meth:`refuse`."""
        raise NotImplementedError

    @property
    def url_with_wrong_password(self) -> str:
        """An address with ``wrong-secret`` for a password; the server lets nobody in by that."""
        raise NotImplementedError

    def fail_over(self) -> None:
        """A replica takes over that has not got the newest entry. Afterwards ``url`` is its."""
        raise NotImplementedError


class RedisUnderTest(LogUnderTest):
    """A Redis stream. What is appended is on disk when the server says so."""

    kind = "redis"

    def __init__(self, **server: Any) -> None:
        """Choose a server; nothing is started yet."""
        keeping = ("--appendonly", "yes", "--appendfsync", "always")
        self.server = RedisServer(password=PASSWORD, extra_args=keeping, **server)
        self._servers = [self.server]

    def __enter__(self) -> Self:
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.close()

    @property
    def url(self) -> str:
        return self.server.url

    def open_keeping(self, entries: int) -> InvalidationLog:
        return InvalidationLog(f"{self.url}?retention={entries}", self.name)

    def key(self, part: str) -> str:
        """Name of one of the keys: log, sequence, generation or hosts."""
        return f"velro:{{{self.name}}}:{part}"

    def cli(self, *command: str | bytes | int | float) -> Any:
        """One command; a word ``:log`` and the like stands for the key."""
        parts = (":log", ":sequence", ":generation", ":hosts")
        return self.server.cli(
            *(self.key(str(word)[1:]) if word in parts else word for word in command)
        )

    def wipe(self) -> None:
        self.cli("FLUSHALL")

    def forge(self, body: bytes) -> None:
        self.cli("XADD", ":log", f"{self.cli('INCR', ':sequence')}-0", "body", body)

    def remove(self, sequence: int) -> None:
        assert self.cli("XDEL", ":log", f"{sequence}-0") == 1

    def restart(self) -> None:
        self.server.restart(kill=True)

    def stop(self) -> None:
        self.server.stop()

    def start(self) -> None:
        self.server.start()

    def freeze(self) -> None:
        self.server.freeze()

    def thaw(self) -> None:
        self.server.thaw()

    def cut(self) -> None:
        self.cli("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    def refuse(self) -> None:
        self.cli("CONFIG", "SET", "min-replicas-to-write", "1")

    def accept(self) -> None:
        self.cli("CONFIG", "SET", "min-replicas-to-write", "0")

    @property
    def url_with_wrong_password(self) -> str:
        return self.url.replace(PASSWORD, "wrong-secret")

    def replica(self) -> RedisServer:
        """A replica that has everything."""
        server = RedisServer(password=PASSWORD, replica_of=self.server)
        self._servers.append(server)
        server.start()
        self.in_step()
        return server

    def in_step(self) -> None:
        """Wait until a replica has everything."""
        with self.server.client() as client:
            # A connection waits for what it has written itself; this is kept nowhere.
            client.publish("in step?", "yes")
            assert client.wait(1, 10_000) == 1

    def fail_over(self) -> None:
        replica = self.replica()
        # From here on it hears nothing more.
        replica.cli("REPLICAOF", "127.0.0.1", free_port())
        self.open().append(b"what the replica does not get")
        self.server.kill()
        replica.replicate(None)
        self.server = replica


@functools.cache
def shared_postgres() -> PostgresServer:
    """One server for all tests; each has a database of its own."""
    return PostgresServer(password=PASSWORD, extra_config={"fsync": "off"}).start()


class PostgresUnderTest(LogUnderTest):
    """An outbox in PostgreSQL."""

    kind = "postgres"
    _numbers = itertools.count(1)

    def __init__(self) -> None:
        """Choose a database; nothing is started yet."""
        self.server = shared_postgres()
        self.database = f"under_test_{next(self._numbers)}"
        self._others: list[PostgresServer] = []

    def __enter__(self) -> Self:
        self.server.create_database(self.database)
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._others:
            server.destroy()
        shared = shared_postgres()
        shared.thaw()
        shared.start()
        shared.psql(f"DROP DATABASE {self.database} WITH (FORCE)")

    @property
    def url(self) -> str:
        return self.server.url_of(dbname=self.database)

    def psql(self, sql: str) -> str:
        """Run SQL in the database of the log."""
        return self.server.psql(sql, dbname=self.database)

    def open_keeping(self, entries: int) -> InvalidationLog:
        log = self.open()
        log.poll()
        # What is kept goes by age there; this is what is left of it then.
        self.psql(
            "CREATE FUNCTION trim_log() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            f" DELETE FROM velro_invalidations WHERE seq <= NEW.seq - {entries}; RETURN NULL;"
            " END $$; CREATE TRIGGER trim_log AFTER INSERT ON velro_invalidations"
            " FOR EACH ROW EXECUTE FUNCTION trim_log()"
        )
        return log

    def wipe(self) -> None:
        self.open().poll()
        self.psql("DELETE FROM velro_invalidations; DELETE FROM velro_counter")

    def forge(self, body: bytes) -> None:
        shown = f"decode('{body.hex()}', 'hex')"
        if len(body) > 10_000:
            # There is a limit to what a command line can hold.
            shown = f"convert_to(repeat('{body[:1].decode()}', {len(body)}), 'UTF8')"
        self.psql(
            f"WITH taken AS (UPDATE velro_counter SET seq = seq + 1 WHERE name = '{self.name}'"
            " RETURNING name, seq) INSERT INTO velro_invalidations (name, seq, body)"
            f" SELECT name, seq, {shown} FROM taken"
        )

    def remove(self, sequence: int) -> None:
        self.psql(f"DELETE FROM velro_invalidations WHERE seq = {sequence}")

    def restart(self) -> None:
        self.server.restart("immediate")

    def stop(self) -> None:
        self.server.stop("immediate")

    def start(self) -> None:
        self.server.start()

    def freeze(self) -> None:
        self.server.freeze()

    def thaw(self) -> None:
        self.server.thaw()

    def cut(self) -> None:
        self.psql(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    def refuse(self) -> None:
        self._read_only(True)

    def accept(self) -> None:
        self._read_only(False)

    def dump(self) -> None:
        """Keep a copy of the rows."""
        self.psql(
            "DROP TABLE IF EXISTS kept_counter, kept_invalidations;"
            " CREATE TABLE kept_counter AS TABLE velro_counter;"
            " CREATE TABLE kept_invalidations AS TABLE velro_invalidations"
        )

    def restore(self, *bodies: bytes) -> None:
        """Put the rows of :meth:`dump` back into the same tables, and append, all at once."""
        self.psql(
            "BEGIN; DELETE FROM velro_invalidations; DELETE FROM velro_counter;"
            " INSERT INTO velro_counter TABLE kept_counter;"
            " INSERT INTO velro_invalidations TABLE kept_invalidations;"
            + "".join(
                f" UPDATE velro_counter SET seq = seq + 1; INSERT INTO velro_invalidations"
                f" (name, seq, body) SELECT name, seq, decode('{body.hex()}', 'hex')"
                " FROM velro_counter;"
                for body in bodies
            )
            + " COMMIT"
        )

    def empty_entries(self) -> None:
        """Remove all entries; the counter stays."""
        self.psql("DELETE FROM velro_invalidations")

    def _read_only(self, on: bool) -> None:
        # From another database, where writing is allowed.
        self.server.psql(f"ALTER DATABASE {self.database} SET default_transaction_read_only = {on}")
        self.cut()

    @property
    def url_with_wrong_password(self) -> str:
        return self.url.replace(PASSWORD, "wrong-secret")

    def fail_over(self) -> None:
        primary = PostgresServer(password=PASSWORD).start()
        self._others.append(primary)
        primary.create_database(self.database)
        for _, body in self.open().poll().entries:
            InvalidationLog(primary.url_of(dbname=self.database), self.name).append(body)
        replica = PostgresServer(standby_of=primary).start()
        self._others.append(replica)
        replica.wait_for_replay()
        replica.part()
        self.server = primary
        self.open().append(b"what the replica does not get")
        primary.kill()
        replica.promote()
        self.server = replica


class SqliteUnderTest(LogUnderTest):
    """An outbox in a file of SQLite. There is no server that anything could happen to."""

    kind = "sqlite"
    can = frozenset()

    def __init__(self) -> None:
        """Choose a folder."""
        self._folder = tempfile.TemporaryDirectory(prefix="velro-sqlite-")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    @property
    def path(self) -> Path:
        """The file."""
        return Path(self._folder.name) / "under-test.db"

    @property
    def url(self) -> str:
        return f"sqlite:///{self.path}"

    def run(self, *statements: str, body: bytes | None = None) -> None:
        """Run SQL as another program would."""
        with contextlib.closing(sqlite3.connect(self.path, timeout=10)) as other, other:
            for statement in statements:
                other.execute(statement, {"body": body} if ":body" in statement else {})

    def open_keeping(self, entries: int) -> InvalidationLog:
        log = self.open()
        log.poll()
        self.run(
            "CREATE TRIGGER trim AFTER INSERT ON velro_invalidations BEGIN"
            f" DELETE FROM velro_invalidations WHERE seq <= NEW.seq - {entries}; END"
        )
        return log

    def wipe(self) -> None:
        self.open().poll()
        self.run("DELETE FROM velro_invalidations", "DELETE FROM velro_counter")

    def forge(self, body: bytes) -> None:
        self.run(
            f"UPDATE velro_counter SET seq = seq + 1 WHERE name = '{self.name}'",
            "INSERT INTO velro_invalidations (name, seq, body) SELECT name, seq, :body"
            f" FROM velro_counter WHERE name = '{self.name}'",
            body=body,
        )

    def remove(self, sequence: int) -> None:
        self.run(f"DELETE FROM velro_invalidations WHERE seq = {sequence}")

    def dump(self) -> None:
        """Keep a copy of the file."""
        self._copy(self.path, self.path.with_suffix(".kept"))

    def restore(self, *bodies: bytes) -> None:
        """Write the copy over the same file, and append, all before anybody reads."""
        kept, changed = self.path.with_suffix(".kept"), self.path.with_suffix(".changed")
        self._copy(kept, changed)
        with contextlib.closing(sqlite3.connect(changed)) as other, other:
            for body in bodies:
                other.execute("UPDATE velro_counter SET seq = seq + 1")
                other.execute(
                    "INSERT INTO velro_invalidations (name, seq, body)"
                    " SELECT name, seq, ? FROM velro_counter",
                    (body,),
                )
        self._copy(changed, self.path)

    def empty_entries(self) -> None:
        """Remove all entries; the counter stays."""
        self.run("DELETE FROM velro_invalidations")

    @staticmethod
    def _copy(source: Path, target: Path) -> None:
        with (
            contextlib.closing(sqlite3.connect(source, timeout=10)) as there,
            contextlib.closing(sqlite3.connect(target, timeout=10)) as here,
        ):
            there.backup(here)


KINDS: tuple[type[LogUnderTest], ...] = (RedisUnderTest, PostgresUnderTest, SqliteUnderTest)


def needs(under_test: LogUnderTest, *abilities: str) -> None:
    """Skip a test of what this kind cannot suffer."""
    if missing := set(abilities) - under_test.can:
        pytest.skip(f"nothing of the sort happens to {under_test.kind}: {', '.join(missing)}")
