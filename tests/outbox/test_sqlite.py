"""The outbox in SQLite, with both SQLites of a process at work: Python's writes permissions, ours
reads the log."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from callers import InThread
from processes import output_of
from velro_cache._engine import InvalidationLog
from velro_cache.exceptions import (
    ConfigError,
    InvalidationLogError,
    InvalidationLogRefused,
    InvalidationLogUnavailable,
    NotAnInvalidationLog,
)
from velro_cache.outbox import (
    arecord_invalidation,
    create_outbox,
    drop_ddl,
    drop_trigger_ddl,
    outbox_ddl,
    record_invalidation,
    trigger_ddl,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "permissions.db"


@pytest.fixture
def engine(path: Path) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        create_outbox(connection)
    yield engine
    engine.dispose()


def open_log(path: Path, timeout_seconds: float = 5.0) -> InvalidationLog:
    return InvalidationLog(f"sqlite:///{path}", "default", timeout_seconds)


def events(path: Path, after: int = 0) -> list[dict[str, Any]]:
    batch = open_log(path).poll(after)
    assert [number for number, _ in batch.entries] == list(range(after + 1, batch.last + 1))
    return [json.loads(body) for _, body in batch.entries]


@contextlib.contextmanager
def python_sqlite(path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(path, timeout=20, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


def is_whole(path: Path) -> bool:
    with python_sqlite(path) as connection:
        answers: list[tuple[str]] = connection.execute("PRAGMA integrity_check").fetchall()
    return answers == [("ok",)]


class TestRecording:
    def test_is_part_of_the_transaction(self, path: Path, engine: Engine) -> None:
        with engine.connect() as connection:
            assert record_invalidation(connection, user_id=1) == 1
            connection.rollback()
        assert events(path) == []
        with Session(engine) as session, session.begin():
            assert record_invalidation(session, user_id=2) == 1
            assert record_invalidation(session, tags=["ü'\""], name="other") == 1
            assert record_invalidation(session, generation_id="g", keys=["k"]) == 2
        assert events(path) == [
            {"v": 1, "tags": ["user:2"]},
            {"v": 1, "tags": ["generation:g"], "keys": ["k"]},
        ]

    async def test_takes_asynchronous_ones(self, path: Path, engine: Engine) -> None:
        of_async = create_async_engine(f"sqlite+aiosqlite:///{path}")
        async with AsyncSession(of_async) as session, session.begin():
            assert await arecord_invalidation(session, user_id=1) == 1
        async with of_async.connect() as connection:
            assert await arecord_invalidation(connection, user_id=2) == 2
        await of_async.dispose()
        assert events(path) == [{"v": 1, "tags": ["user:1"]}]

    def test_missing_tables_are_explained(self, path: Path) -> None:
        engine = create_engine(f"sqlite:///{path}")
        with engine.begin() as connection, pytest.raises(ConfigError, match="create_outbox"):
            record_invalidation(connection, user_id=1)
        open_log(path).poll()
        with engine.begin() as connection:
            # The log has made them.
            assert record_invalidation(connection, user_id=1) == 1
        engine.dispose()

    def test_a_log_that_waits_sees_it_soon(self, path: Path, engine: Engine) -> None:
        log = open_log(path)
        for number in range(5):
            waiting = InThread(lambda number=number: log.wait(number, 30))
            with engine.begin() as connection:
                record_invalidation(connection, user_id=1)
            began = time.monotonic()
            waiting.outcome()
            assert time.monotonic() - began < 1
            assert log.poll(number).last == number + 1


class TestTriggers:
    @pytest.fixture
    def table(self, path: Path) -> Iterator[sqlite3.Connection]:
        with python_sqlite(path) as connection:
            connection.executescript(outbox_ddl("sqlite"))
            connection.execute("CREATE TABLE permission (id INTEGER PRIMARY KEY, user_id, gen)")
            script = trigger_ddl("sqlite", "permission", ["user:{user_id}", "generation:{gen}"])
            connection.executescript(script)
            connection.executescript(script)
            yield connection

    def test_name_old_and_new(self, path: Path, table: sqlite3.Connection) -> None:
        table.execute("INSERT INTO permission VALUES (1, 7, 'g'), (2, 'b', NULL)")
        table.execute("UPDATE permission SET user_id = 'new' WHERE id = 1")
        table.execute("DELETE FROM permission WHERE id = 2")
        table.execute("DELETE FROM permission WHERE id = 99")
        assert [sorted(event["tags"]) for event in events(path)] == [
            ["generation:g", "user:7"],
            ["user:b"],
            ["generation:g", "user:7", "user:new"],
            ["user:b"],
        ]

    def test_a_row_without_any_tag_and_one_too_long_are_everything(
        self, path: Path, table: sqlite3.Connection
    ) -> None:
        table.execute("INSERT INTO permission VALUES (1, NULL, NULL)")
        table.execute("UPDATE permission SET user_id = 'a'")
        table.execute("INSERT INTO permission VALUES (2, ?, NULL)", ["x" * 300_000])
        assert events(path) == [{"v": 1, "all": True}] * 3

    def test_neither_values_nor_names_are_code(self, path: Path, table: sqlite3.Connection) -> None:
        hostile = ["'); DROP TABLE permission; --", '"}', "\\", "%s", "ü\n\t\x01", "$velro$"]
        for value in hostile:
            table.execute("INSERT INTO permission (user_id) VALUES (?)", [value])
        assert [event["tags"] for event in events(path)] == [[f"user:{v}"] for v in hostile]
        odd = "a\"b'c; --\nä"
        quoted = odd.replace('"', '""')
        table.execute(f'CREATE TABLE "{quoted}" ("{quoted}" INT)')
        table.executescript(trigger_ddl("sqlite", odd, [f"it's {{{{x}}}}:{{{odd}}}"]))
        table.execute(f'INSERT INTO "{quoted}" VALUES (7)')
        assert events(path, len(hostile)) == [{"v": 1, "tags": ["it's {x}:7"]}]

    def test_without_its_counter_nothing_is_changed(
        self, path: Path, table: sqlite3.Connection
    ) -> None:
        table.execute("DELETE FROM velro_counter")
        with pytest.raises(sqlite3.IntegrityError, match="velro_counter"):
            table.execute("INSERT INTO permission VALUES (1, 'a', NULL)")
        assert table.execute("SELECT count(*) FROM permission").fetchone() == (0,)

    def test_can_be_dropped(self, path: Path, table: sqlite3.Connection) -> None:
        table.executescript(drop_trigger_ddl("sqlite", "permission"))
        table.executescript(drop_trigger_ddl("sqlite", "permission"))
        table.execute("INSERT INTO permission VALUES (1, 'a', NULL)")
        assert events(path) == []
        table.executescript(drop_ddl("sqlite"))
        assert open_log(path).poll().last == 0

    @pytest.mark.parametrize("how", ["OR REPLACE", "OR IGNORE"])
    def test_a_conflict_never_resets_the_counter(
        self, path: Path, table: sqlite3.Connection, how: str
    ) -> None:
        for _ in range(3):
            table.execute(f"INSERT {how} INTO permission VALUES (1, 'a', NULL)")
        assert [event["tags"] for event in events(path)] == [["user:a"]] * (
            3 if how == "OR REPLACE" else 1
        )


@pytest.mark.parametrize("mode", ["wal", "delete"])
class TestTwoSqlitesInOneProcess:
    """Either respects what the other has locked, though the process is the same."""

    @pytest.fixture
    def python(self, path: Path, mode: str) -> Iterator[sqlite3.Connection]:
        with python_sqlite(path) as connection:
            connection.execute(f"PRAGMA journal_mode = {mode}")
            connection.executescript(outbox_ddl("sqlite"))
            yield connection

    def test_ours_waits_for_pythons(self, path: Path, python: sqlite3.Connection) -> None:
        log = open_log(path, 0.2)
        log.append(b"a")
        python.execute("BEGIN IMMEDIATE")
        for call in (lambda: log.append(b"b"), lambda: log.poll(host="a")):
            with pytest.raises(InvalidationLogUnavailable, match="locked"):
                call()
        assert log.poll().last == 1
        python.execute("ROLLBACK")
        assert log.append(b"b")[1] == 2

    def test_pythons_keeps_its_locks_whatever_ours_does(
        self, path: Path, python: sqlite3.Connection
    ) -> None:
        """Also against a third, in another process."""
        log = open_log(path, 0.2)
        log.append(b"a")
        python.execute("BEGIN IMMEDIATE")
        for _ in range(3):
            log.poll()
            log.hosts()
            log.wait(1, 0.01)
            with contextlib.suppress(InvalidationLogError):
                log.append(b"b")
        attempt = (
            "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], timeout=0)\n"
            "c.execute('BEGIN IMMEDIATE')"
        )
        command = [sys.executable, "-c", attempt, str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "database is locked" in done.stderr
        python.execute("COMMIT")

    def test_a_reader_is_not_pulled_along(self, path: Path, python: sqlite3.Connection) -> None:
        log = open_log(path, 0.2)
        log.append(b"a")
        python.execute("BEGIN")
        count = "SELECT count(*) FROM velro_invalidations"
        assert python.execute(count).fetchone() == (1,)
        with contextlib.suppress(InvalidationLogUnavailable):
            log.append(b"b")
        assert python.execute(count).fetchone() == (1,)
        python.execute("COMMIT")
        assert python.execute(count).fetchone() in [(1,), (2,)]

    def test_closing_pythons_does_not_unlock_ours(
        self, path: Path, python: sqlite3.Connection
    ) -> None:
        log = open_log(path, 20)
        log.append(b"a")
        writers = [InThread(lambda: [log.append(b"x") for _ in range(60)])]
        writers += [InThread(lambda: self.short_lived(path)) for _ in range(2)]
        for writer in writers:
            writer.outcome()
        assert len(open_log(path).poll(0, 1000).entries) == 1 + 60 + 2 * 20
        assert is_whole(path)

    def short_lived(self, path: Path) -> None:
        for _ in range(20):
            with python_sqlite(path) as connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("UPDATE velro_counter SET seq = seq + 1")
                connection.execute(
                    "INSERT INTO velro_invalidations (name, seq, body)"
                    " SELECT name, seq, 'y' FROM velro_counter"
                )
                connection.execute("COMMIT")

    def test_many_of_all_kinds_and_processes(
        self, path: Path, python: sqlite3.Connection, mode: str
    ) -> None:
        program = """
import sys, sqlite3, threading
from velro_cache._engine import InvalidationLog
path, each = sys.argv[1], 25
log = InvalidationLog(f"sqlite:///{path}", "default", 60)
def appends():
    for _ in range(each):
        log.append(b"ours")
        log.poll(0, 1, host="a")
def records():
    connection = sqlite3.connect(path, timeout=60, isolation_level=None)
    for _ in range(each):
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE velro_counter SET seq = seq + 1")
        connection.execute(
            "INSERT INTO velro_invalidations (name, seq, body)"
            " SELECT name, seq, zeroblob(5000) FROM velro_counter")
        connection.execute("COMMIT")
    connection.close()
threads = [threading.Thread(target=work) for work in (appends, records, appends, records)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""
        command = [sys.executable, "-c", program, str(path)]
        processes = [subprocess.Popen(command) for _ in range(3)]
        assert [process.wait(100) for process in processes] == [0, 0, 0]
        log = open_log(path)
        found: list[int] = []
        while batch := log.poll(len(found)).entries:
            found += [number for number, _ in batch]
        assert found == list(range(1, 3 * 4 * 25 + 1))
        assert is_whole(path)


class TestForks:
    @pytest.mark.parametrize("mode", ["wal", "delete"])
    def test_children_use_the_file_on_their_own(self, path: Path, mode: str) -> None:
        with python_sqlite(path) as connection:
            connection.execute(f"PRAGMA journal_mode = {mode}")
            connection.executescript(outbox_ddl("sqlite"))
        answer = output_of(
            f"""
            import velro_cache
            from velro_cache._engine import InvalidationLog
            url = "sqlite:///{path}"
            log = InvalidationLog(url, "default", 30)
            log.append(b"parent")
            # An object of its own: a thread that is inside one takes it along into no child.
            own = InvalidationLog(url, "default", 30)
            busy = threading.Thread(target=lambda: [own.append(b"parent") for _ in range(40)])
            busy.start()
            def child():
                for number in range(20):
                    log.append(b"child")
                    InvalidationLog(url, "default", 30).poll(0, 1, host="child")
            warnings.simplefilter("ignore")
            children = []
            for _ in range(3):
                pid = os.fork()
                if pid == 0:
                    signal.alarm(40)
                    child()
                    os._exit(0)
                children.append(pid)
            busy.join()
            assert [child_exit(pid) for pid in children] == [0, 0, 0]
            log.append(b"parent")
            print(log.poll().last)
            """
        )
        assert answer == "102"
        assert is_whole(path)

    def test_a_child_and_its_parent_do_not_share_locks(self, path: Path) -> None:
        log = open_log(path, 0.3)
        log.append(b"a")
        context = multiprocessing.get_context("fork")
        inside, go_on = context.Event(), context.Event()

        def child() -> None:
            of_child = open_log(path, 5)
            of_child.append(b"child")
            with python_sqlite(path) as connection:
                connection.execute("BEGIN IMMEDIATE")
                inside.set()
                go_on.wait(30)
                connection.execute("COMMIT")
            of_child.append(b"child")

        process = context.Process(target=child)
        process.start()
        assert inside.wait(30)
        with pytest.raises(InvalidationLogUnavailable):
            log.append(b"b")
        go_on.set()
        process.join(30)
        assert process.exitcode == 0
        assert log.poll().last == 3


class TestTrouble:
    def test_a_file_that_was_replaced_is_another_log(self, path: Path) -> None:
        log = open_log(path)
        before = log.append(b"a")[0]
        log.append(b"b")
        copy = path.with_name("copy.db")
        with python_sqlite(path) as connection, contextlib.closing(sqlite3.connect(copy)) as other:
            connection.backup(other)
        log.append(b"c")
        waiting = InThread(lambda: log.wait(3, 30))
        for name in (path.name + "-wal", path.name + "-shm"):
            path.with_name(name).unlink(missing_ok=True)
        copy.replace(path)
        # It is told, and does not wait for an entry that may never come.
        waiting.outcome()
        batch = log.poll(3)
        assert (batch.last, batch.generation == before) == (2, False)
        assert log.append(b"d") == (batch.generation, 3)

    def test_a_file_that_was_removed_begins_anew(self, path: Path) -> None:
        log = open_log(path)
        before = log.append(b"a")[0]
        for name in (path.name, path.name + "-wal", path.name + "-shm"):
            path.with_name(name).unlink(missing_ok=True)
        batch = log.poll(1, host="a")
        assert (batch.last, batch.generation == before) == (0, False)

    def test_a_folder_that_is_not_there(self, tmp_path: Path) -> None:
        folder = tmp_path / "later"
        log = open_log(folder / "permissions.db")
        with pytest.raises(InvalidationLogUnavailable):
            log.poll()
        folder.mkdir()
        assert log.append(b"a")[1] == 1
        shutil.rmtree(folder)
        with pytest.raises(InvalidationLogUnavailable):
            log.poll()

    @pytest.mark.parametrize("content", [b"x" * 5000, b"SQLite format 3\0" + b"\xff" * 5000])
    def test_a_file_that_is_no_database(self, path: Path, content: bytes) -> None:
        path.write_bytes(content)
        with pytest.raises(NotAnInvalidationLog):
            open_log(path).poll()
        assert path.read_bytes() == content

    @pytest.mark.parametrize(
        "made",
        [
            "ALTER TABLE velro_invalidations RENAME COLUMN body TO text",
            "UPDATE velro_counter SET seq = -5",
            "UPDATE velro_counter SET seq = 'x'",
        ],
    )
    def test_tables_of_another_make(self, path: Path, made: str) -> None:
        log = open_log(path)
        log.append(b"a")
        with python_sqlite(path) as connection:
            connection.execute(made)
        with pytest.raises(NotAnInvalidationLog):
            log.poll()

    def test_a_file_that_cannot_be_written(self) -> None:
        """By somebody who is not root, whom no permission stops."""
        folder = Path(tempfile.mkdtemp())
        folder.chmod(0o777)
        path = folder / "permissions.db"
        with python_sqlite(path) as connection:
            connection.executescript(outbox_ddl("sqlite"))
        path.chmod(0o444)
        answer = output_of(
            f"""
            from velro_cache._engine import InvalidationLog
            path = {str(path)!r}
            if os.geteuid() == 0:
                os.setgid(65534)
                os.setuid(65534)
            log = InvalidationLog("sqlite:///" + path, "default", 1)
            print(log.poll().last)
            for call in (lambda: log.append(b"x"), lambda: log.poll(host="a")):
                try:
                    call()
                except Exception as error:
                    print(type(error).__name__)
            """
        )
        shutil.rmtree(folder)
        refused = InvalidationLogRefused.__name__
        assert answer.splitlines() == ["0", refused, refused]

    def test_a_lock_is_waited_for(self, path: Path) -> None:
        log = open_log(path, 20)
        log.append(b"a")
        with python_sqlite(path) as connection:
            connection.execute("BEGIN IMMEDIATE")
            appending = InThread(lambda: log.append(b"b"))
            forking = InThread(lambda: os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0))
            forking.outcome()
            assert appending.is_running
            connection.execute("COMMIT")
            assert appending.outcome()[1] == 2

    @pytest.mark.parametrize(
        "url",
        ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite:///a?mode=ro", "sqlite://host/a"],
    )
    def test_addresses_that_cannot_be_used(self, url: str) -> None:
        with pytest.raises(ConfigError):
            InvalidationLog(url, "default")

    def test_old_entries_go_oldest_first_and_leave_no_gap(self, path: Path) -> None:
        log = open_log(path)
        for number in range(1, 11):
            log.append(b"%d" % number)
        with python_sqlite(path) as connection:
            connection.execute(
                "UPDATE velro_invalidations SET created_at = created_at - 25 * 3600"
                " WHERE seq <= 8 AND seq <> 5"
            )
        open_log(path).poll(host="a")
        batch = log.poll()
        # Entry 4 has had a successor for a short time only.
        assert (batch.first, batch.last) == (4, 10)
        assert [number for number, _ in batch.entries] == [4, 5, 6, 7, 8, 9, 10]

    def test_when_all_are_old_the_newest_stays(self, path: Path) -> None:
        log = open_log(path)
        log.append(b"a")
        log.append(b"b")
        with python_sqlite(path) as connection:
            connection.execute("UPDATE velro_invalidations SET created_at = created_at - 25 * 3600")
        open_log(path).poll(host="a")
        batch = log.poll()
        assert (batch.first, batch.last, batch.entries) == (2, 2, [(2, b"b")])

    def test_the_journal_mode_of_a_file_that_was_there_is_left_alone(self, path: Path) -> None:
        with python_sqlite(path) as connection:
            connection.execute("CREATE TABLE permission (user_id)")
        open_log(path).append(b"a")
        with python_sqlite(path) as connection:
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
