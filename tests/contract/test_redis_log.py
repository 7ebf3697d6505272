"""What can happen to an invalidation log because it is a Redis stream."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from log_under_test import RedisUnderTest

from processes import output_of
from services.redis import RedisServer, executable, free_port, until
from velro_cache._engine import InvalidationLog, LogBatch
from velro_cache.exceptions import (
    ConfigError,
    InvalidationLogError,
    InvalidationLogRefused,
    InvalidationLogUnavailable,
    NotAnInvalidationLog,
)

EVENT = b'{"v":1,"tags":["user:1"]}'
SLACK_SECONDS = 2.0
"""By how much a call may be late on a busy machine."""


@pytest.fixture
def redis() -> Iterator[RedisUnderTest]:
    """A server with an empty log."""
    with RedisUnderTest() as redis:
        yield redis


@pytest.fixture
def log(redis: RedisUnderTest) -> InvalidationLog:
    """A log with three entries and a host."""
    log = redis.open()
    for _ in range(3):
        log.append(EVENT)
    log.poll(host="a", max_staleness_seconds=60)
    return log


Damage = Callable[[RedisUnderTest], object]
DAMAGE: dict[str, Damage] = {
    "an entry with an id of the server's choice": lambda r: r.cli("XADD", ":log", "*", "body", "x"),
    "an entry with the next number": lambda r: r.cli("XADD", ":log", "4-0", "body", "x"),
    "an entry with a number to come": lambda r: r.cli("XADD", ":log", "9-0", "body", "x"),
    "an entry in between": lambda r: r.cli("XADD", ":log", "3-1", "body", "x"),
    "an entry that was taken away again": lambda r: r.cli(
        "XDEL", ":log", r.cli("XADD", ":log", "*", "body", "x")
    ),
    "the stream deleted": lambda r: r.cli("DEL", ":log"),
    "the counter deleted": lambda r: r.cli("DEL", ":sequence"),
    "the generation deleted": lambda r: r.cli("DEL", ":generation"),
    "the generation changed": lambda r: r.cli("SET", ":generation", "abc"),
    "stream and counter deleted": lambda r: r.cli("DEL", ":log", ":sequence"),
    "everything deleted": lambda r: r.cli("FLUSHALL"),
    "the counter set back": lambda r: r.cli("SET", ":sequence", "1"),
    "the counter set forth": lambda r: r.cli("SET", ":sequence", "1000"),
    "the last id set back": lambda r: (
        r.cli("XTRIM", ":log", "MAXLEN", 0),
        r.cli("XSETID", ":log", "1-0"),
    ),
    "the last id set forth": lambda r: r.cli("XSETID", ":log", "1000-0"),
    "the stream replaced": lambda r: (r.cli("DEL", ":log"), r.cli("XADD", ":log", "*", "a", "b")),
}


class TestDamage:
    @pytest.mark.parametrize("what", DAMAGE)
    def test_begins_a_new_life(
        self, redis: RedisUnderTest, log: InvalidationLog, what: str
    ) -> None:
        before = log.poll()
        DAMAGE[what](redis)
        generation, sequence = log.append(EVENT)
        assert generation != before.generation
        after = redis.open().poll(host="a")
        assert after.generation == generation
        assert after.entries[-1] == (sequence, EVENT)
        assert redis.open().append(EVENT) == (generation, sequence + 1)

    @pytest.mark.parametrize("what", DAMAGE)
    def test_is_noticed_by_a_heartbeat(
        self, redis: RedisUnderTest, log: InvalidationLog, what: str
    ) -> None:
        before = log.poll()
        DAMAGE[what](redis)
        after = log.poll(3, host="a")
        # Either another life, or the reader is ahead of the log.
        assert after.generation != before.generation or after.last < 3
        assert log.poll(host="a").generation == after.generation

    @pytest.mark.parametrize("what", DAMAGE)
    def test_is_noticed_by_a_reader_and_left_to_writers(
        self, redis: RedisUnderTest, log: InvalidationLog, what: str
    ) -> None:
        before = log.poll()
        DAMAGE[what](redis)
        keys = sorted(redis.cli("KEYS", "*"))
        dumps = [redis.cli("TYPE", key) for key in keys]
        after = log.poll(3)
        assert after.generation != before.generation or after.last < 3
        assert sorted(redis.cli("KEYS", "*")) == keys
        assert [redis.cli("TYPE", key) for key in keys] == dumps

    def test_keeps_hosts_that_may_still_serve_something(
        self, redis: RedisUnderTest, log: InvalidationLog
    ) -> None:
        redis.cli("DEL", ":log")
        log.append(EVENT)
        assert [name for name, _, _ in log.hosts()] == ["a"]

    @pytest.mark.parametrize("part", ["log", "sequence", "generation", "hosts"])
    @pytest.mark.parametrize("call", ["poll", "heartbeat", "append"])
    def test_that_is_something_else_under_our_names_is_left_alone(
        self, redis: RedisUnderTest, log: InvalidationLog, part: str, call: str
    ) -> None:
        redis.cli("DEL", f":{part}")
        redis.cli("LPUSH", f":{part}", "precious")
        calls: dict[str, Callable[[], object]] = {
            "poll": log.poll,
            "heartbeat": lambda: log.poll(host="a"),
            "append": lambda: log.append(EVENT),
        }
        with pytest.raises(NotAnInvalidationLog, match=part):
            calls[call]()
        assert redis.cli("LRANGE", f":{part}", 0, -1) == ["precious"]

    @pytest.mark.parametrize(
        ("part", "content"),
        [
            ("sequence", "x"),
            ("sequence", "-1"),
            ("sequence", "1.5"),
            ("sequence", "1e3"),
            ("sequence", "03"),
            ("sequence", ""),
            ("sequence", "9223372036854775807"),
            ("generation", "not ours"),
            ("generation", ""),
        ],
    )
    def test_that_is_no_number_and_no_name_is_left_alone(
        self, redis: RedisUnderTest, log: InvalidationLog, part: str, content: str
    ) -> None:
        redis.cli("SET", f":{part}", content)
        for call in (log.poll, lambda: log.poll(host="a"), lambda: log.append(EVENT)):
            with pytest.raises(NotAnInvalidationLog, match=part):
                call()
        assert redis.cli("GET", f":{part}") == content

    def test_of_hosts_counts_as_a_host_that_has_applied_nothing(
        self, redis: RedisUnderTest, log: InvalidationLog
    ) -> None:
        redis.cli("HSET", ":hosts", "strange", "what is this", "empty", "")
        assert log.hosts() == [("a", "", 0), ("empty", "", 0), ("strange", "", 0)]

    def test_of_fields_makes_an_entry_mean_everything(
        self, redis: RedisUnderTest, log: InvalidationLog
    ) -> None:
        for fields in (["other", EVENT], ["body", EVENT, "more", "x"], ["body", b"x" * 262_145]):
            number = redis.cli("INCR", ":sequence")
            redis.cli("XADD", ":log", f"{number}-0", *fields)
        assert log.poll(3).entries == [(4, b""), (5, b""), (6, b"")]

    def test_of_many_huge_entries_is_read_all_the_same(
        self, redis: RedisUnderTest, log: InvalidationLog
    ) -> None:
        for _ in range(30):
            redis.forge(b"x" * 2_000_000)
        assert log.poll(3).entries == [(number, b"") for number in range(4, 34)]

    def test_of_a_large_part_of_the_stream_is_everything_for_each_that_is_missing(
        self, redis: RedisUnderTest, log: InvalidationLog
    ) -> None:
        for _ in range(298):
            log.append(EVENT)
        for number in range(2, 302):
            redis.remove(number)
        batch = log.poll(0, 200)
        assert batch.entries == [(1, EVENT)] + [(number, b"") for number in range(2, 201)]
        assert log.poll(200, 200).entries == [(number, b"") for number in range(201, 302)]
        assert log.append(b"next") == (batch.generation, 302)

    def test_by_trimming_is_seen_by_who_is_behind(
        self, redis: RedisUnderTest, log: InvalidationLog
    ) -> None:
        generation = log.poll().generation
        redis.cli("XTRIM", ":log", "MAXLEN", 0)
        batch = log.poll(1)
        assert (batch.generation, batch.first, batch.last) == (generation, 4, 3)
        assert log.append(EVENT) == (generation, 4)


class TestFailOver:
    def test_who_returns_with_data_of_another_is_another(self, redis: RedisUnderTest) -> None:
        """The same process, twice a primary, and in between it took over what another one had."""
        replica = redis.replica()
        log = InvalidationLog(replica.url, redis.name)
        replica.replicate(None)
        log.append(EVENT)
        first = log.poll(host="a").generation
        run_id = replica.info("server")["run_id"]
        replica.replicate(redis.server)
        until(lambda: replica.info("replication")["master_link_status"] == "up", "it has a copy")
        other = redis.open()
        other.append(b"what the reader of the replica never sees")
        redis.in_step()
        with pytest.raises(InvalidationLogRefused, match="READONLY"):
            log.poll(host="a")
        replica.replicate(None)
        second = log.poll(host="a")
        assert replica.info("server")["run_id"] == run_id
        assert second.last == 1
        assert second.generation != first

    def test_a_replica_takes_no_heartbeat_and_no_entry(self, redis: RedisUnderTest) -> None:
        redis.open().append(EVENT)
        log = InvalidationLog(redis.replica().url, redis.name)
        assert log.poll().entries == [(1, EVENT)]
        # It may be behind, hence is never taken for its primary.
        assert log.poll().generation != redis.open().poll().generation
        for call in (lambda: log.poll(host="a"), lambda: log.append(EVENT)):
            with pytest.raises(InvalidationLogRefused, match="READONLY"):
                call()

    def test_a_connection_that_stays_open_notices_it(self, redis: RedisUnderTest) -> None:
        """The primary it is connected to steps down and up again, and never hangs up."""
        redis.open().append(EVENT)
        replica = redis.replica()
        log = InvalidationLog(replica.url, redis.name)
        as_replica = log.poll().generation
        connection = at_work(replica)
        assert connection
        replica.replicate(None)
        assert log.poll().generation != as_replica
        assert at_work(replica) == connection


def at_work(server: RedisServer) -> set[str]:
    """Connections that ran one of our scripts last."""
    with server.client() as client:
        return {one["id"] for one in client.client_list() if one["cmd"].startswith("eval")}


class TestReplicas:
    def test_are_waited_for(self, redis: RedisUnderTest) -> None:
        replica = redis.replica()
        log = InvalidationLog(f"{redis.url}?wait_for_replicas=1", redis.name)
        log.append(EVENT)
        assert replica.cli("XLEN", redis.key("log")) == 1
        log.poll(host="a", max_staleness_seconds=60)
        assert replica.cli("HLEN", redis.key("hosts")) == 1

    def test_that_are_too_few_make_it_refuse(self, redis: RedisUnderTest) -> None:
        replica = redis.replica()
        log = InvalidationLog(f"{redis.url}?wait_for_replicas=2", redis.name, 0.5)
        for call in (lambda: log.append(EVENT), lambda: log.poll(host="a")):
            began = time.monotonic()
            with pytest.raises(InvalidationLogRefused, match="1 of 2 replicas"):
                call()
            assert time.monotonic() - began < 0.5 + SLACK_SECONDS
        # Reading and waiting prove nothing, and are not made to.
        assert log.poll().last == 1
        log.wait(0, 1)
        replica.freeze()
        one = InvalidationLog(f"{redis.url}?wait_for_replicas=1", redis.name, 0.5)
        with pytest.raises(InvalidationLogRefused, match="0 of 1 replicas"):
            one.append(EVENT)
        replica.thaw()
        until(lambda: _worked(lambda: one.append(EVENT)), "the replica follows")

    def test_a_deposed_primary_is_refused(self, redis: RedisUnderTest) -> None:
        replica = redis.replica()
        log = InvalidationLog(f"{redis.url}?wait_for_replicas=1", redis.name, 0.5)
        log.poll(host="a")
        replica.replicate(None)
        with pytest.raises(InvalidationLogRefused, match="0 of 1 replicas"):
            log.poll(host="a")


def _worked(call: Callable[[], object]) -> bool:
    with contextlib.suppress(InvalidationLogError):
        call()
        return True
    return False


class TestRefusals:
    def refused(self, log: InvalidationLog, match: str) -> None:
        for call in (lambda: log.append(EVENT), lambda: log.poll(host="a")):
            with pytest.raises(InvalidationLogRefused, match=match) as caught:
                call()
            assert "secret" not in str(caught.value)

    def test_no_memory(self, redis: RedisUnderTest, log: InvalidationLog) -> None:
        before = log.poll()
        redis.cli("CONFIG", "SET", "maxmemory-policy", "noeviction")
        redis.cli("CONFIG", "SET", "maxmemory", "1")
        self.refused(log, "OOM")
        after = log.poll()
        assert (after.generation, after.last) == (before.generation, before.last)
        redis.cli("CONFIG", "SET", "maxmemory", "0")
        assert log.append(EVENT) == (before.generation, 4)

    def test_no_memory_from_the_beginning(self, redis: RedisUnderTest) -> None:
        redis.cli("CONFIG", "SET", "maxmemory", "1")
        log = redis.open()
        self.refused(log, "OOM")
        assert redis.cli("DBSIZE") == 0

    def test_no_disk(self, redis: RedisUnderTest, log: InvalidationLog) -> None:
        redis.cli("CONFIG", "SET", "save", "3600 1")
        # A folder that is gone cannot be written to, not even by root.
        shutil.rmtree(redis.server.folder)
        redis.cli("BGSAVE")
        until(
            lambda: redis.server.info("persistence")["rdb_last_bgsave_status"] != "ok",
            "saving has failed",
        )
        self.refused(log, "MISCONF")

    def test_rights(self, redis: RedisUnderTest) -> None:
        redis.cli("ACL", "SETUSER", "reader", "on", ">reader-secret", "~*", "+@read")
        redis.cli("ACL", "SETUSER", "velro", "on", ">velro-secret", "~velro:*", "+@all")
        place = f"127.0.0.1:{redis.server.port}"
        self.refused(InvalidationLog(f"redis://reader:reader-secret@{place}", "x"), "NOPERM")
        log = InvalidationLog(f"redis://velro:velro-secret@{place}", "x")
        assert log.append(EVENT)[1] == 1

    def test_no_rights_beyond_these(self, redis: RedisUnderTest) -> None:
        commands = (
            "eval evalsha type get set del hset hget hgetall hdel xadd xrange xread xinfo info time"
            " wait"
        )
        allowed = [f"+{command}" for command in commands.split()]
        redis.cli("ACL", "SETUSER", "velro", "on", ">velro-secret", "~velro:*", *allowed)
        redis.replica()
        url = f"redis://velro:velro-secret@127.0.0.1:{redis.server.port}?wait_for_replicas=1"
        log = InvalidationLog(url, redis.name)
        old = int(time.time() * 1000) - 10_000_000
        redis.cli("HSET", ":hosts", "dead", f"{old} 1 0 g")
        assert log.poll(host="a", max_staleness_seconds=60).last == 0
        assert log.append(EVENT)[1] == 1
        assert log.poll().entries == [(1, EVENT)]
        assert log.hosts() == [("a", "", 0)]
        log.wait(0, 1)
        # Each of them is needed.
        for right in allowed:
            name = right[1:]
            redis.cli("ACL", "SETUSER", "velro", f"-{name}")
            redis.cli("SCRIPT", "FLUSH")
            redis.cli("HSET", ":hosts", "dead", f"{old} 1 0 g")
            redis.cli("HDEL", ":hosts", "b")
            redis.cli("DEL", ":sequence")
            works = (
                lambda: log.poll(host="b"),
                lambda: log.append(EVENT),
                log.poll,
                log.hosts,
                lambda: log.wait(0, 0.01),
            )
            assert not all(_worked(work) for work in works), name
            redis.cli("ACL", "SETUSER", "velro", right)

    @pytest.mark.parametrize(
        "userinfo",
        ["", "nobody:right-secret@", ":another-secret@", "default:another-secret@"],
    )
    def test_no_entry(self, redis: RedisUnderTest, userinfo: str) -> None:
        self.refused(
            InvalidationLog(f"redis://{userinfo}127.0.0.1:{redis.server.port}", "x"), "password"
        )

    def test_no_such_database(self, redis: RedisUnderTest) -> None:
        self.refused(InvalidationLog(redis.url.removesuffix("0") + "99", "x"), "database")

    def test_of_a_node_of_a_cluster_that_has_other_keys(self) -> None:
        # A node of a cluster listens 10,000 ports further on as well.
        port = next(port for port in iter(free_port, None) if port < 55_000)
        with RedisServer(port=port, extra_args=("--cluster-enabled", "yes")) as server:
            log = InvalidationLog(server.url, "x")
            self.refused(log, "CLUSTERDOWN")
            server.cli("CLUSTER", "ADDSLOTS", *range(16384))
            until(lambda: "cluster_state:ok" in str(server.cli("CLUSTER", "INFO")), "it is up")
            assert log.append(EVENT)[1] == 1
            assert log.poll(host="a").last == 1


class TestHosts:
    def test_long_dead_are_forgotten_when_one_is_added(
        self, redis: RedisUnderTest, log: InvalidationLog
    ) -> None:
        now = int(time.time() * 1000)
        redis.cli("HSET", ":hosts", "dead", f"{now - 80_000} 1000 5 g")
        redis.cli("HSET", ":hosts", "silent", f"{now - 50_000} 1000 5 g")
        redis.cli("HSET", ":hosts", "patient", f"{now - 80_000} 60000 5 g")
        log.poll(host="a")
        assert redis.cli("HLEN", ":hosts") == 4
        log.poll(host="new")
        assert set(redis.cli("HKEYS", ":hosts")) == {"a", "silent", "patient", "new"}

    def test_are_told_apart_by_the_clock_of_the_server(
        self, redis: RedisUnderTest, log: InvalidationLog
    ) -> None:
        # A heartbeat from the future: clocks of servers differ, and it may still serve.
        redis.cli("HSET", ":hosts", "ahead", f"{int(time.time() * 1000) + 5000} 100 5 g")
        assert ("ahead", "g", 5) in log.hosts()


class TestPlaces:
    def test_a_unix_socket(self, redis: RedisUnderTest) -> None:
        log = InvalidationLog(redis.server.unix_url, redis.name)
        log.append(EVENT)
        assert redis.open().poll().entries == [(1, EVENT)]

    def test_a_unix_socket_that_is_not_there(self, tmp_path: Path) -> None:
        log = InvalidationLog(f"unix://{tmp_path}/none.sock?pass=secret", "x")
        with pytest.raises(InvalidationLogUnavailable, match=r"none\.sock") as caught:
            log.poll()
        assert "secret" not in str(caught.value)

    def test_a_database_of_the_server(self, redis: RedisUnderTest) -> None:
        with_database = redis.url.removesuffix("0") + "3"
        InvalidationLog(with_database, redis.name).append(EVENT)
        assert redis.open().poll().entries == []
        same = f"{redis.url.removesuffix('/0')}?db=3"
        assert InvalidationLog(same, redis.name).poll().entries == [(1, EVENT)]

    def test_a_name(self, redis: RedisUnderTest) -> None:
        url = redis.url.replace("127.0.0.1", "localhost")
        assert InvalidationLog(url, redis.name).append(EVENT)[1] == 1

    def test_a_name_that_does_not_exist(self) -> None:
        log = InvalidationLog("redis://:secret@velro-cache.invalid", "x", 2)
        began = time.monotonic()
        with pytest.raises(InvalidationLogUnavailable, match=r"velro-cache\.invalid") as caught:
            log.poll()
        assert "secret" not in str(caught.value)
        assert time.monotonic() - began < 2 + SLACK_SECONDS

    @pytest.mark.parametrize(
        "url",
        [
            "",
            "redis",
            "redis://",
            "http://:secret@host",
            "redis://:sec/ret@host",
            "redis://:secret@host/x",
            "redis://user@host",
            "rediss://:secret@host?ca=/does/not/exist",
            "redis://:secret@host?retention=0",
            "unix://relative/path?pass=secret",
        ],
    )
    def test_that_cannot_be(self, url: str) -> None:
        with pytest.raises(ConfigError) as caught:
            InvalidationLog(url, "x")
        assert "secret" not in str(caught.value)
        assert "ret@" not in str(caught.value)


class TestConnections:
    def test_that_the_server_closed_are_made_anew_without_an_error(
        self, redis: RedisUnderTest, log: InvalidationLog
    ) -> None:
        used = at_work(redis.server)
        redis.cut()
        until(lambda: not at_work(redis.server), "it is closed")
        assert log.append(EVENT)[1] == 4
        assert at_work(redis.server).isdisjoint(used)
        redis.server.restart(kill=True)
        assert log.append(EVENT)[1] == 5

    def test_are_kept(self, redis: RedisUnderTest, log: InvalidationLog) -> None:
        used = at_work(redis.server)
        for _ in range(5):
            log.append(EVENT)
            log.wait(0, 1)
            log.hosts()
            log.poll(host="a")
        assert at_work(redis.server) == used
        assert len(used) == 1


class TestForks:
    def test_a_child_has_a_connection_of_its_own(self, redis: RedisUnderTest) -> None:
        program = f"""
            import redis
            from velro_cache._engine import InvalidationLog
            log = InvalidationLog({redis.url!r}, "x")
            log.append(b"parent")
            def child():
                log.append(b"child")
                with redis.Redis.from_url({redis.url!r}, decode_responses=True) as client:
                    clients = client.client_list()
                return sum(one["cmd"].startswith("eval") for one in clients)
            print(in_child(child), log.append(b"parent")[1])
        """
        assert output_of(program) == "2 3"


# Servers that are not Redis

Behaviour = Callable[[socket.socket], None]


class Other:
    """A server on a free port that treats each connection as it likes."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._connections: list[socket.socket] = []
        self.url = f"redis://:secret@127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._connections.append(connection)
                threading.Thread(target=self._treat, args=(connection,), daemon=True).start()

    def _treat(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            self._behaviour(connection)

    def __enter__(self) -> str:
        return self.url

    def __exit__(self, *_: object) -> None:
        for opened in (self._listener, *self._connections):
            # Wakes who waits in it; closing alone does not.
            with contextlib.suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)
            opened.close()


def answering(*answers: bytes) -> Behaviour:
    """Answer the first message with the first answer and so on; the last one again and again."""

    def behave(connection: socket.socket) -> None:
        for answer in answers:
            connection.recv(1 << 20)
            connection.sendall(answer)
        while connection.recv(1 << 20):
            connection.sendall(answers[-1])

    return behave


def trickling(connection: socket.socket) -> None:
    connection.sendall(b"+")
    while True:
        connection.sendall(b"x")
        time.sleep(0.02)


def pouring(start: bytes, rest: bytes) -> Behaviour:
    def behave(connection: socket.socket) -> None:
        connection.recv(1 << 20)
        connection.sendall(b"+OK\r\n" + start)
        while True:
            connection.sendall(rest * 10_000)

    return behave


def silent(connection: socket.socket) -> None:
    connection.recv(1 << 20)
    threading.Event().wait(30)


IN = b"+OK\r\n"
"""The answer to logging in."""
TIME_OVER, WRONG, NO = InvalidationLogUnavailable, NotAnInvalidationLog, InvalidationLogRefused
OTHERS: dict[str, tuple[Behaviour, type[InvalidationLogError]]] = {
    "closes at once": (lambda connection: connection.close(), TIME_OVER),
    "says nothing": (silent, TIME_OVER),
    "reads nothing": (lambda _: threading.Event().wait(30) and None, TIME_OVER),
    "speaks HTTP": (answering(b"HTTP/1.1 400 Bad Request\r\n\r\n"), WRONG),
    "speaks SSH": (lambda connection: connection.sendall(b"SSH-2.0-x\r\n"), WRONG),
    "speaks TLS": (answering(b"\x15\x03\x01\x00\x02\x02\x46"), WRONG),
    "speaks gibberish": (answering(bytes(range(256))), WRONG),
    "is always content": (answering(IN), WRONG),
    "always says no": (answering(b"-ERR unknown command 'AUTH' with 'secret'\r\n"), NO),
    "says no in time": (answering(IN, b"-ERR something with secret\r\n"), NO),
    "knows no scripts": (answering(IN, b"-ERR unknown command 'EVALSHA'\r\n"), WRONG),
    "says an odd no": (answering(IN, b"-\r\n"), NO),
    "knows no script ever": (answering(IN, b"-NOSCRIPT no\r\n"), NO),
    "answers with nothing": (answering(IN, b"$-1\r\n"), WRONG),
    "answers with a number": (answering(IN, b":1\r\n"), WRONG),
    "answers with a list": (answering(IN, b"*1\r\n:1\r\n"), WRONG),
    "answers with nulls": (answering(IN, b"*5\r\n$-1\r\n$-1\r\n$-1\r\n:1\r\n*-1\r\n"), WRONG),
    "stops in the middle": (answering(IN, b"*5\r\n$100\r\nabc"), TIME_OVER),
    "promises too much": (answering(IN, b"$9223372036854775807\r\nabc"), TIME_OVER),
    "promises many": (answering(IN, b"*9223372036854775807\r\n:1\r\n"), TIME_OVER),
    "promises less than nothing": (answering(IN, b"=-5\r\nabc\r\n"), TIME_OVER),
    "nests without end": (answering(IN, b"*1\r\n" * 100_000), WRONG),
    "trickles": (trickling, TIME_OVER),
    "pours out one text": (pouring(b"$9223372036854775807\r\n", b"x"), WRONG),
    # Whichever limit is reached first.
    "pours out numbers": (pouring(b"*9223372036854775807\r\n", b":1\r\n"), InvalidationLogError),
}


class TestServersThatAreNotRedis:
    @pytest.mark.parametrize("what", OTHERS)
    def test_are_found_out_in_time(self, what: str) -> None:
        behaviour, expected = OTHERS[what]
        with Other(behaviour) as url:
            log = InvalidationLog(url, "x", 0.4)
            for call in (log.poll, lambda: log.poll(host="a"), lambda: log.append(b""), log.hosts):
                began = time.monotonic()
                with pytest.raises(InvalidationLogError) as caught:
                    call()
                assert time.monotonic() - began < 0.4 + SLACK_SECONDS
                message = str(caught.value).replace("something with secret", "")
                assert "secret" not in message
                assert isinstance(caught.value, expected), message

    @pytest.mark.parametrize("what", OTHERS)
    def test_do_not_hold_up_who_waits(self, what: str) -> None:
        behaviour, _ = OTHERS[what]
        with Other(behaviour) as url:
            log = InvalidationLog(url, "x", 0.3)
            began = time.monotonic()
            with contextlib.suppress(InvalidationLogError):
                log.wait(1, 0.2)
            assert time.monotonic() - began < 0.5 + SLACK_SECONDS

    def test_that_accept_no_connection_are_given_up_in_time(self) -> None:
        with socket.socket() as listener, contextlib.ExitStack() as waiting:
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            # The system accepts a few more than it was told to.
            for _ in range(3):
                client = waiting.enter_context(socket.socket())
                client.setblocking(False)
                client.connect_ex(listener.getsockname())
            log = InvalidationLog(f"redis://127.0.0.1:{listener.getsockname()[1]}", "x", 0.4)
            began = time.monotonic()
            with pytest.raises(InvalidationLogUnavailable):
                log.poll()
            assert time.monotonic() - began < 0.4 + SLACK_SECONDS

    def test_that_accept_no_connection_on_a_unix_socket_are_given_up_in_time(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "full.sock"
        with socket.socket(socket.AF_UNIX) as listener, contextlib.ExitStack() as waiting:
            listener.bind(str(path))
            listener.listen(0)
            for _ in range(3):
                client = waiting.enter_context(socket.socket(socket.AF_UNIX))
                client.setblocking(False)
                client.connect_ex(str(path))
            log = InvalidationLog(f"unix://{path}", "x", 0.4)
            began = time.monotonic()
            with pytest.raises(InvalidationLogUnavailable):
                log.poll()
            assert time.monotonic() - began < 0.4 + SLACK_SECONDS


# Encryption


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an authority (ca.pem), and a certificate of a server called localhost."""
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    new = ("-newkey", "rsa:2048", "-nodes", "-days", "2")
    # fmt: off
    openssl("req", "-x509", *new, "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem")
    openssl("req", *new, "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr")
    (folder / "names").write_text("subjectAltName=DNS:localhost\n")
    openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "2",
            "-CAcreateserial", "-extfile", "names", "-out", "server.pem")
    # fmt: on
    return folder


@pytest.fixture
def tls(certificates: Path) -> Iterator[RedisServer]:
    """A server that speaks TLS on its ``tls_port``, and plainly on the other."""
    linked = subprocess.run(["ldd", executable()], capture_output=True, text=True, check=False)
    if "libssl" not in linked.stdout:
        pytest.skip("this redis-server was built without TLS")
    port = free_port()
    # fmt: off
    arguments = (
        "--tls-port", str(port), "--tls-auth-clients", "no",
        "--tls-cert-file", str(certificates / "server.pem"),
        "--tls-key-file", str(certificates / "server.key"),
        "--tls-ca-cert-file", str(certificates / "ca.pem"),
    )
    # fmt: on
    with RedisServer(password="right-secret", extra_args=arguments) as server:  # noqa: S106
        server.tls_port = port  # type: ignore[attr-defined]
        yield server


class TestEncryption:
    def url(self, server: RedisServer, host: str = "localhost", query: str = "") -> str:
        return f"rediss://:right-secret@{host}:{server.tls_port}{query}"  # type: ignore[attr-defined]

    def test_with_an_authority_of_ones_own(self, tls: RedisServer, certificates: Path) -> None:
        for name in ("ca", "ssl_ca_certs"):
            log = InvalidationLog(self.url(tls, query=f"?{name}={certificates}/ca.pem"), "x")
            body = b"x" * 200_000
            _, sequence = log.append(body)
            assert log.poll(sequence - 1).entries == [(sequence, body)]
            log.wait(sequence, 0.05)
        tls.freeze()
        began = time.monotonic()
        log = InvalidationLog(self.url(tls, query=f"?ca={certificates}/ca.pem"), "x", 0.3)
        with pytest.raises(InvalidationLogUnavailable):
            log.poll()
        assert time.monotonic() - began < 0.3 + SLACK_SECONDS
        tls.thaw()

    @pytest.mark.parametrize(
        ("host", "query"), [("localhost", ""), ("127.0.0.1", "?ca={ca}"), ("127.0.0.1", "")]
    )
    def test_whom_nobody_vouches_for_is_not_talked_to(
        self, tls: RedisServer, certificates: Path, host: str, query: str
    ) -> None:
        url = self.url(tls, host, query.format(ca=certificates / "ca.pem"))
        with pytest.raises(InvalidationLogUnavailable, match="certificate") as caught:
            InvalidationLog(url, "x").poll()
        assert "secret" not in str(caught.value)

    def test_is_not_done_without(self, tls: RedisServer, certificates: Path) -> None:
        plain = f"rediss://:right-secret@localhost:{tls.port}?ca={certificates}/ca.pem"
        with pytest.raises(InvalidationLogError) as caught:
            InvalidationLog(plain, "x", 1).poll()
        assert "secret" not in str(caught.value)
        encrypted = f"redis://:right-secret@localhost:{tls.tls_port}"  # type: ignore[attr-defined]
        with pytest.raises(InvalidationLogError) as caught:
            InvalidationLog(encrypted, "x", 1).poll()
        assert "secret" not in str(caught.value)


def test_a_batch_says_what_it_is(log: InvalidationLog) -> None:
    batch = log.poll()
    assert isinstance(batch, LogBatch)
    with pytest.raises(AttributeError):
        batch.last = 7  # type: ignore[misc]
