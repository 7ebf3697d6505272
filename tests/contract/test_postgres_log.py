"""The log in PostgreSQL: lost commits, standbys, refusals, and what is no PostgreSQL."""

from __future__ import annotations

import contextlib
import itertools
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from callers import InThread
from services.postgres import PostgresServer, free_port, shared_server, until
from velro_cache._engine import InvalidationLog, LogBatch
from velro_cache.exceptions import (
    ConfigError,
    InvalidationLogError,
    InvalidationLogRefused,
    InvalidationLogUnavailable,
    NotAnInvalidationLog,
)

SLACK_SECONDS = 2.0
"""By how much a call may be late on a busy machine."""

_numbers = itertools.count(1)


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """A server for one test alone, which writes through to the disk."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def database() -> Iterator[str]:
    """Name of an empty database."""
    name = f"trouble_{next(_numbers)}"
    shared_server().create_database(name)
    yield name
    shared_server().psql(f"DROP DATABASE {name} WITH (FORCE)")


def open_log(database: str, timeout_seconds: float = 5.0, options: str = "") -> InvalidationLog:
    url = shared_server().url_of(dbname=database) + options
    return InvalidationLog(url, "default", timeout_seconds)


def eventually(call: Callable[[], LogBatch]) -> LogBatch:
    """The first answer after a disturbance."""
    answers: list[LogBatch] = []

    def answered() -> bool:
        try:
            answers.append(call())
        except InvalidationLogUnavailable:
            return False
        return True

    until(answered, "the log is back")
    return answers[0]


class TestLostCommits:
    def test_of_a_crash_that_the_server_recovers_from_by_itself(self) -> None:
        """The server process stays the same one, and yet acknowledged entries are gone."""
        lazy = {"synchronous_commit": "off", "wal_writer_delay": "10s"}
        with PostgresServer(extra_config=lazy) as server:
            log = InvalidationLog(server.url, "default", 5)
            log.append(b"kept")
            server.psql("CHECKPOINT")
            before = log.append(b"lost")
            started = server.psql("SELECT pg_postmaster_start_time()")
            server.crash_a_backend()
            assert server.psql("SELECT pg_postmaster_start_time()") == started
            after = eventually(log.poll)
            assert [body for _, body in after.entries] == [b"kept"]
            assert after.last < before[1]
            assert after.generation != before[0]
            # The number is given again, and says which life it is of.
            assert log.append(b"new") == (after.generation, before[1])

    def test_every_crash_is_a_new_generation_and_every_clean_start_too(
        self, server: PostgresServer
    ) -> None:
        log = InvalidationLog(server.url, "default", 5)
        seen = [log.append(b"a")[0]]
        for mode in ("immediate", "fast"):
            server.restart(mode)
            seen.append(eventually(lambda: log.poll(host="a")).generation)
        server.kill()
        server.start()
        seen.append(eventually(log.poll).generation)
        assert len(set(seen)) == 4
        assert [body for _, body in log.poll().entries] == [b"a"]

    def test_a_copy_that_is_put_back_is_another_log(self, server: PostgresServer) -> None:
        log = InvalidationLog(server.url, "default", 5)
        log.append(b"a")
        dump = [str(server._bin / "pg_dump"), "--clean", "--if-exists", server.url]
        saved = subprocess.run(dump, capture_output=True, text=True, check=True).stdout
        before = log.append(b"b")
        restore = [str(server._bin / "psql"), "-qX", "-d", server.url]
        subprocess.run(restore, input=saved, text=True, check=True, capture_output=True)
        after = eventually(log.poll)
        assert after.last == 1
        assert after.generation != before[0]


class TestStandby:
    def test_is_refused_for_reads_as_well(self, server: PostgresServer) -> None:
        log = InvalidationLog(server.url, "default", 5)
        log.append(b"a")
        with PostgresServer(standby_of=server) as standby:
            standby.wait_for_replay()
            of_standby = InvalidationLog(standby.url, "default", 5)
            for call in (of_standby.poll, of_standby.hosts, lambda: of_standby.append(b"x")):
                with pytest.raises(InvalidationLogRefused, match="standby"):
                    call()
            both = (
                f"postgresql://postgres@127.0.0.1:{standby.port},127.0.0.1:{server.port}/postgres"
            )
            of_both = InvalidationLog(both, "default", 5)
            before = of_both.append(b"b")
            assert before == (log.poll().generation, 2)
            standby.wait_for_replay()
            server.kill()
            with pytest.raises(InvalidationLogError):
                of_both.poll(host="a")
            standby.promote()
            after = eventually(lambda: of_both.poll(host="a"))
            assert (after.last, after.generation == before[0]) == (2, False)
            assert of_both.append(b"c") == (after.generation, 3)

    def test_a_frozen_server_leaves_time_for_the_next_one(self, server: PostgresServer) -> None:
        with PostgresServer() as other:
            hosts = f"127.0.0.1:{server.port},127.0.0.1:{other.port}"
            log = InvalidationLog(f"postgresql://postgres@{hosts}/postgres", "default", 2)
            server.freeze()
            began = time.monotonic()
            assert log.poll(host="a").last == 0
            assert time.monotonic() - began < 2 + SLACK_SECONDS
            server.thaw()
            assert InvalidationLog(other.url, "default").hosts() == [("a", "", 0)]

    def test_a_deposed_primary_acknowledges_nothing(self, server: PostgresServer) -> None:
        """With synchronous replication a heartbeat proves that the standby still follows."""
        with PostgresServer(standby_of=server) as standby:
            server.psql("ALTER SYSTEM SET synchronous_standby_names = '*'")
            server.psql("SELECT pg_reload_conf()")
            log = InvalidationLog(server.url, "default", 1)
            log.append(b"a")
            until(
                lambda: "sync" in server.psql("SELECT sync_state FROM pg_stat_replication"),
                "the standby is a synchronous one",
            )
            assert log.poll(host="a").last == 1
            standby.part()
            with pytest.raises(InvalidationLogUnavailable):
                log.poll(host="a")
            with pytest.raises(InvalidationLogUnavailable):
                log.append(b"b")


class TestRefusals:
    def test_tables_are_made_where_that_is_allowed(self, database: str) -> None:
        threads = [InThread(open_log(database).poll) for _ in range(6)]
        generations = {thread.outcome().generation for thread in threads}
        assert len(generations) == 1

    def test_and_explained_where_it_is_not(self, database: str) -> None:
        server = shared_server()
        role = f"guest_{database}"
        server.psql(f"CREATE ROLE {role} LOGIN", dbname=database)
        server.psql("REVOKE CREATE ON SCHEMA public FROM public", dbname=database)
        url = server.url_of(user=role, dbname=database)
        log = InvalidationLog(url, "default")
        with pytest.raises(InvalidationLogRefused, match="velro-cache outbox ddl"):
            log.poll()
        open_log(database).poll()
        with pytest.raises(InvalidationLogRefused, match="permission denied"):
            log.poll()
        server.psql(
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}",
            dbname=database,
        )
        assert log.poll(host="a").last == 0
        assert log.append(b"a")[1] == 1
        server.psql(f"DROP OWNED BY {role}; DROP ROLE {role}", dbname=database)

    def test_tables_that_go_while_it_is_connected_are_made_anew(self, database: str) -> None:
        log = open_log(database)
        before = log.append(b"a")[0]
        shared_server().psql(
            "DROP TABLE velro_counter, velro_invalidations, velro_hosts, velro_incarnation",
            dbname=database,
        )
        with pytest.raises(InvalidationLogRefused, match="velro-cache outbox ddl"):
            log.poll()
        assert log.poll().generation != before

    @pytest.mark.parametrize(
        "made",
        [
            "ALTER TABLE velro_invalidations RENAME COLUMN body TO text",
            "ALTER TABLE velro_invalidations ALTER COLUMN body TYPE text USING ''",
            "UPDATE velro_counter SET seq = -5",
        ],
    )
    def test_tables_of_another_make_are_no_log(self, database: str, made: str) -> None:
        log = open_log(database)
        log.append(b"a")
        shared_server().psql(made, dbname=database)
        with pytest.raises(NotAnInvalidationLog):
            log.poll()

    def test_a_database_that_is_not_there(self) -> None:
        log = InvalidationLog(shared_server().url_of(dbname="nowhere"), "default")
        with pytest.raises(InvalidationLogRefused, match="nowhere"):
            log.poll()

    def test_a_transaction_that_holds_the_counter_delays_appends_but_no_readers(
        self, database: str
    ) -> None:
        log = open_log(database, timeout_seconds=0.5)
        log.append(b"a")
        psql = shared_server()._psql_command(
            "BEGIN; UPDATE velro_counter SET seq = seq + 1; SELECT pg_sleep(60)", database
        )
        with subprocess.Popen(psql, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as holder:
            busy = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
            until(lambda: shared_server().psql(busy).strip() == "1", "the counter is held")
            with pytest.raises(InvalidationLogUnavailable):
                log.append(b"b")
            # Also one that has yet to connect.
            assert open_log(database, 0.5).poll(host="a").last == 1
            assert log.poll(host="a").last == 1
            shared_server().psql(busy.replace("count(*)", "pg_terminate_backend(pid)"))
            holder.wait(20)
        assert log.append(b"c")[1] == 2


class TestHeartbeats:
    def test_are_seen_before_anything_is_read(self, database: str) -> None:
        """Or an entry could be acknowledged that neither is read nor waits for this host."""
        log, other = open_log(database), open_log(database)
        log.poll()
        other.poll()
        # Whoever reads entries has to wait, whoever writes or reads heartbeats has not.
        psql = shared_server()._psql_command(
            "BEGIN; LOCK TABLE velro_invalidations; SELECT pg_sleep(60)", database
        )
        with subprocess.Popen(psql, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as holder:
            busy = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
            until(lambda: shared_server().psql(busy).strip() == "1", "entries are locked")
            polling = InThread(lambda: log.poll(host="a", max_staleness_seconds=60))
            until(lambda: other.hosts() == [("a", "", 0)], "the heartbeat is seen")
            assert polling.is_running
            shared_server().psql(busy.replace("count(*)", "pg_terminate_backend(pid)"))
            holder.wait(20)
        polling.outcome()


class TestRetention:
    def test_old_entries_go_oldest_first_and_leave_no_gap(self, database: str) -> None:
        log = open_log(database)
        for number in range(1, 11):
            log.append(b"%d" % number)
        # Entry 5 looks young, as if the clock had been set back: nothing after it goes either. Nor
        # does entry 4, which has had a successor for a short time only.
        shared_server().psql(
            "UPDATE velro_invalidations SET created_at = now() - interval '25 hours'"
            " WHERE seq <= 8 AND seq <> 5",
            dbname=database,
        )
        assert open_log(database).poll(host="a").last == 10
        batch = log.poll()
        assert (batch.first, batch.last) == (4, 10)
        assert [number for number, _ in batch.entries] == [4, 5, 6, 7, 8, 9, 10]

    def test_young_ones_stay(self, database: str) -> None:
        open_log(database).append(b"a")
        shared_server().psql(
            "UPDATE velro_invalidations SET created_at = now() - interval '23 hours'",
            dbname=database,
        )
        open_log(database).poll(host="a")
        assert open_log(database).poll().first == 1

    def test_when_all_are_old_the_newest_stays(self, database: str) -> None:
        log = open_log(database)
        log.append(b"a")
        log.append(b"b")
        shared_server().psql(
            "UPDATE velro_invalidations SET created_at = now() - interval '25 hours'",
            dbname=database,
        )
        open_log(database).poll(host="a")
        batch = log.poll()
        assert (batch.first, batch.last, batch.entries) == (2, 2, [(2, b"b")])
        assert log.append(b"c")[1] == 3


class TestNoPostgres:
    @pytest.mark.parametrize(
        "says",
        [
            b"",
            b"-ERR unknown command\r\n",
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            b"S",
            b"\0" * 64,
            b"R\xff\xff\xff\xff",
            b"N" + b"\xff" * 1000,
        ],
        ids=["nothing", "redis", "http", "tls", "zeros", "length", "garbage"],
    )
    def test_is_recognized_in_time(self, says: bytes) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            stop = threading.Event()

            def serve() -> None:
                while not stop.is_set():
                    connection, _ = listener.accept()
                    with connection, contextlib.suppress(OSError):
                        connection.recv(8)
                        connection.sendall(says)
                        connection.recv(1000)

            serving = InThread(serve)
            log = InvalidationLog(f"postgresql://u:secret@127.0.0.1:{port}/x", "default", 1)
            began = time.monotonic()
            with pytest.raises(InvalidationLogError) as caught:
                log.poll()
            assert time.monotonic() - began < 1 + SLACK_SECONDS
            assert "secret" not in str(caught.value)
            stop.set()
            # The last one it waits for.
            socket.create_connection(("127.0.0.1", port)).close()
            serving.outcome()

    def test_one_that_says_nothing_and_stays(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            log = InvalidationLog(f"postgresql://127.0.0.1:{port}/x", "default", 0.3)
            for call in (log.poll, lambda: log.wait(0, 0.1), lambda: log.append(b"x"), log.hosts):
                began = time.monotonic()
                with pytest.raises(InvalidationLogUnavailable):
                    call()
                assert time.monotonic() - began < 0.4 + SLACK_SECONDS

    @pytest.mark.parametrize("host", ["127.0.0.1:{port}", "/nowhere", "no-such-host.invalid"])
    def test_nobody_there(self, host: str) -> None:
        host = host.format(port=free_port())
        where = f"/x?host={host}" if host.startswith("/") else f"{host}/x"
        log = InvalidationLog(f"postgresql://{where}", "default", 2)
        with pytest.raises(InvalidationLogUnavailable):
            log.poll()


class TestAddresses:
    @pytest.mark.parametrize(
        ("url", "says"),
        [
            ("postgresql://u:secret@h/d?sslmode=verify-ca", "sslmode"),
            ("postgresql://u:secret@h/d?sslmode=secret", "sslmode"),
            ("postgresql://u:secret@h/d?nonsense=secret", "nonsense"),
            ("postgresql://u:secret@h:port/d", "port"),
            ("postgresql://u:secret@h/d?sslcert=x", "sslcert"),
            ("postgresql:///d", "host"),
            ("postgresql://u:secret@h/d?sslrootcert=/nowhere&sslmode=verify-full", "sslrootcert"),
        ],
    )
    def test_that_cannot_be_used_are_explained(self, url: str, says: str) -> None:
        with pytest.raises(ConfigError, match=says) as caught:
            InvalidationLog(url, "default")
        assert "secret" not in str(caught.value)

    def test_of_a_unix_socket(self, database: str) -> None:
        server = shared_server()
        url = f"postgresql://postgres@/{database}?host={server.folder}&port={server.port}"
        assert InvalidationLog(url, "default").append(b"a")[1] == 1

    def test_the_password_may_come_from_the_environment(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with PostgresServer(password="from-outside") as server:  # noqa: S106
            bare = f"postgresql://postgres@127.0.0.1:{server.port}/postgres"
            with pytest.raises(InvalidationLogError):
                InvalidationLog(bare, "default").poll()
            monkeypatch.setenv("PGPASSWORD", "from-outside")
            assert InvalidationLog(bare, "default").append(b"a")[1] == 1


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an authority (ca.crt), and a certificate of a server called localhost."""
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    new = ("-newkey", "rsa:2048", "-nodes", "-days", "2")
    # fmt: off
    openssl("req", "-x509", *new, "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.crt")
    openssl("req", *new, "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr")
    (folder / "names").write_text("subjectAltName=DNS:localhost\n")
    openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key",
            "-days", "2", "-CAcreateserial", "-extfile", "names", "-out", "server.crt")
    openssl("req", "-x509", *new, "-subj", "/CN=x", "-keyout", "other.key", "-out", "other.crt")
    # fmt: on
    return folder


@pytest.fixture(scope="module")
def encrypted(certificates: Path) -> Iterator[PostgresServer]:
    with PostgresServer(certificate=certificates, password="secret") as server:  # noqa: S106
        (server.data / "pg_hba.conf").write_text(
            "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n"
        )
        server.psql("SELECT pg_reload_conf()")
        yield server


class TestEncryption:
    @pytest.mark.parametrize(
        ("host", "query", "error"),
        [
            ("localhost", "", None),
            ("localhost", "?sslmode=prefer", None),
            ("localhost", "?sslmode=require", None),
            ("127.0.0.1", "?sslmode=require", None),
            ("localhost", "?sslmode=verify-full&sslrootcert={folder}/ca.crt", None),
            ("localhost", "?sslmode=require&sslrootcert={folder}/ca.crt", None),
            ("localhost", "?sslmode=verify-full&sslrootcert={folder}%2Fca.crt", None),
            ("localhost", "?sslmode=require&channel_binding=require", None),
            ("localhost", "?sslmode=disable", InvalidationLogRefused),
            ("localhost", "?sslmode=verify-full", InvalidationLogRefused),
            (
                "127.0.0.1",
                "?sslmode=verify-full&sslrootcert={folder}/ca.crt",
                InvalidationLogRefused,
            ),
            (
                "localhost",
                "?sslmode=require&sslrootcert={folder}/other.crt",
                InvalidationLogRefused,
            ),
        ],
    )
    def test_is_what_the_address_says(
        self,
        encrypted: PostgresServer,
        certificates: Path,
        host: str,
        query: str,
        error: type[Exception] | None,
    ) -> None:
        query = query.format(folder=certificates)
        url = f"postgresql://postgres:secret@{host}:{encrypted.port}/postgres{query}"
        log = InvalidationLog(url, "default", 5)
        if error is None:
            assert log.append(b"x" * 100_000)[1] >= 1
            shown = encrypted.psql(
                "SELECT DISTINCT s.ssl FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid)"
                " WHERE a.application_name = 'velro-cache'"
            )
            assert shown.strip() == "t"
        else:
            with pytest.raises(error) as caught:
                log.poll()
            assert "secret" not in str(caught.value)

    def test_is_insisted_on(self, database: str) -> None:
        with pytest.raises(InvalidationLogRefused):
            open_log(database, options="?sslmode=require").poll()


def test_a_forked_child_uses_a_connection_of_its_own(database: str) -> None:
    program = """
import os, sys
from velro_cache._engine import InvalidationLog
log = InvalidationLog(sys.argv[1], "default", 5)
log.append(b"parent")
log.wait(1, 0.01)
children = []
for child in range(3):
    pid = os.fork()
    if pid == 0:
        for number in range(20):
            log.append(b"child")
            log.poll(0, 1, host="child")
        del log
        os._exit(0)
    children.append(pid)
for number in range(20):
    log.append(b"parent")
assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0, 0]
log.append(b"parent")
print(log.poll().last)
"""
    url = shared_server().url_of(dbname=database)
    command = [sys.executable, "-W", "ignore", "-c", program, url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == "82", done.stderr
