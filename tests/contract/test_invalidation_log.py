"""What every invalidation log must do, whatever it is made of."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from log_under_test import KINDS, LogUnderTest, needs

from callers import InThread
from processes import output_of
from services.redis import until
from velro_cache._engine import InvalidationLog, LogBatch
from velro_cache.exceptions import (
    ConfigError,
    InvalidationLogError,
    InvalidationLogRefused,
    InvalidationLogUnavailable,
)

SLACK_SECONDS = 2.0
"""By how much a call may be late on a busy machine."""

Call = Callable[[InvalidationLog], object]
CALLS: dict[str, Call] = {
    "poll": lambda log: log.poll(),
    "poll with a heartbeat": lambda log: log.poll(host="a"),
    "wait": lambda log: log.wait(99, 0.1),
    "append": lambda log: log.append(b"x"),
    "hosts": lambda log: log.hosts(),
}
WRITES = {name: CALLS[name] for name in ("poll with a heartbeat", "append")}
READS = {name: call for name, call in CALLS.items() if name not in WRITES}


@pytest.fixture(params=KINDS, ids=lambda kind: kind.kind)
def under_test(request: pytest.FixtureRequest) -> Iterator[LogUnderTest]:
    """An empty log of each kind."""
    with request.param() as under_test:
        yield under_test


@pytest.fixture
def log(under_test: LogUnderTest) -> InvalidationLog:
    """A connection to it."""
    return under_test.open()


def numbers(batch: LogBatch) -> list[int]:
    return [sequence for sequence, _ in batch.entries]


def bodies(batch: LogBatch) -> list[bytes]:
    return [body for _, body in batch.entries]


def read_all(log: InvalidationLog, after: int = 0, max_entries: int = 1000) -> list[bytes]:
    """All bodies, with as many polls as it takes."""
    found: list[bytes] = []
    while True:
        batch = log.poll(after, max_entries)
        found += bodies(batch)
        if not batch.entries:
            assert after == batch.last
            return found
        assert numbers(batch) == list(range(after + 1, after + 1 + len(batch.entries)))
        after = numbers(batch)[-1]


def means_everything(body: bytes) -> bool:
    """Whether no reader can understand it."""
    try:
        event = json.loads(body)
    except ValueError:
        return True
    return not isinstance(event, dict) or event.get("v") != 1 or event.get("all", False)


class TestEntries:
    def test_an_empty_log_is_empty(self, log: InvalidationLog) -> None:
        log.poll(host="a")
        batch = log.poll()
        assert (batch.first, batch.last, batch.entries) == (1, 0, [])
        assert batch.generation

    def test_are_numbered_from_one_and_read_in_order(self, log: InvalidationLog) -> None:
        appended = [log.append(body) for body in (b"a", b"b", b"c")]
        batch = log.poll()
        assert appended == [(batch.generation, number) for number in (1, 2, 3)]
        assert (batch.first, batch.last) == (1, 3)
        assert batch.entries == [(1, b"a"), (2, b"b"), (3, b"c")]

    def test_are_read_from_where_one_asks_and_no_more_than_one_asks_for(
        self, log: InvalidationLog
    ) -> None:
        for body in (b"a", b"b", b"c"):
            log.append(body)
        for after, most, expected in [
            (0, 2, [1, 2]),
            (1, 1, [2]),
            (2, 9, [3]),
            (3, 9, []),
            (0, 0, []),
            (99, 9, []),
            (2**63 - 1, 9, []),
        ]:
            batch = log.poll(after, most)
            assert numbers(batch) == expected
            assert (batch.first, batch.last) == (1, 3)

    @pytest.mark.parametrize(
        "body",
        [b"", b"\x00", bytes(range(256)), b"'\"\\;--{}\r\n$5\r\n", "ü✓".encode(), b"x" * 262_144],
        ids=["empty", "zero", "all bytes", "quotes", "unicode", "longest"],
    )
    def test_are_what_was_appended(self, log: InvalidationLog, body: bytes) -> None:
        log.append(body)
        assert bodies(log.poll()) == [body]

    def test_too_long_is_refused_and_takes_no_number(self, log: InvalidationLog) -> None:
        with pytest.raises(ConfigError, match="262144"):
            log.append(b"x" * 262_145)
        assert log.append(b"next")[1] == 1

    def test_many_long_ones_come_in_several_batches(self, log: InvalidationLog) -> None:
        expected = [bytes([letter]) * 262_144 for letter in range(40)]
        for body in expected:
            log.append(body)
        assert sum(map(len, bodies(log.poll()))) < sum(map(len, expected))
        assert read_all(log) == expected

    def test_a_batch_of_every_size_misses_nothing(self, log: InvalidationLog) -> None:
        expected = [b"%d" % number for number in range(173)]
        for body in expected:
            log.append(body)
        for size in (1, 2, 49, 50, 51, 100, 172, 173, 174):
            assert read_all(log, max_entries=size) == expected

    def test_of_another_name_are_others(
        self, under_test: LogUnderTest, log: InvalidationLog
    ) -> None:
        log.append(b"mine")
        for name in ("other", "under", "under-test:log", "UNDER-TEST", "a b", "{x}", "ü", "%", "'"):
            other = under_test.open(name=name)
            assert other.poll(host="a").entries == []
            assert other.append(b"not yours")[1] == 1
        assert bodies(log.poll()) == [b"mine"]
        assert log.hosts() == []

    def test_beyond_what_is_kept_are_visibly_gone(self, under_test: LogUnderTest) -> None:
        log = under_test.open_keeping(5)
        for number in range(1, 13):
            log.append(b"%d" % number)
        batch = log.poll()
        assert (batch.first, batch.last) == (8, 12)
        assert numbers(batch) == [8, 9, 10, 11, 12]
        assert numbers(log.poll(after=10)) == [11, 12]

    @pytest.mark.parametrize("taken", [1, 2, 3])
    def test_that_was_taken_out_is_missed(
        self, under_test: LogUnderTest, log: InvalidationLog, taken: int
    ) -> None:
        body = b'{"v":1,"tags":["user:1"]}'
        for _ in range(3):
            log.append(body)
        under_test.remove(taken)
        batch = log.poll()
        assert batch.last == 3
        found = dict(batch.entries)
        # A gap, a later beginning, or an entry that means everything.
        assert (
            taken not in found and (batch.first > taken or set(found) < {1, 2, 3})
        ) or means_everything(found[taken])

    @pytest.mark.parametrize("body", [b"", b"nonsense", b"\xff\x00", b'{"v":99}', b"x" * 300_000])
    def test_of_somebody_else_are_not_passed_over(
        self, under_test: LogUnderTest, log: InvalidationLog, body: bytes
    ) -> None:
        log.append(b'{"v":1,"tags":["user:1"]}')
        under_test.forge(body)
        log.append(b'{"v":1,"tags":["user:2"]}')
        batch = log.poll()
        assert numbers(batch) == [1, 2, 3]
        assert [means_everything(body) for body in bodies(batch)] == [False, True, False]


class TestOrder:
    def test_is_the_same_for_all_and_never_changes(self, under_test: LogUnderTest) -> None:
        writers, each = 4, 60
        stop = threading.Event()
        acknowledged: dict[int, bytes] = {}

        def write(writer: int) -> None:
            log = under_test.open(timeout_seconds=30)
            for number in range(each):
                body = b"%d %d" % (writer, number)
                _, sequence = log.append(body)
                assert acknowledged.setdefault(sequence, body) == body

        def read() -> list[bytes]:
            """Read on and on, and see that what was there once stays as it was."""
            log, found, last = under_test.open(timeout_seconds=30), list[bytes](), 0
            while True:
                ending = stop.is_set()
                known = len(acknowledged)
                batch = log.poll(len(found))
                assert batch.first == 1
                assert batch.last >= max(last, known)
                last = batch.last
                assert numbers(batch) == list(range(len(found) + 1, batch.last + 1))
                found += bodies(batch)
                if ending:
                    return found

        readers = [InThread(read) for _ in range(2)]
        workers = [InThread(lambda writer=writer: write(writer)) for writer in range(writers)]
        for worker in workers:
            worker.outcome()
        stop.set()
        first, second = (reader.outcome() for reader in readers)
        assert first == second == read_all(under_test.open())
        assert dict(enumerate(first, start=1)) == acknowledged
        for writer in range(writers):
            mine = [body for body in first if body.startswith(b"%d " % writer)]
            assert mine == [b"%d %d" % (writer, number) for number in range(each)]

    def test_is_the_same_for_processes(
        self, under_test: LogUnderTest, log: InvalidationLog
    ) -> None:
        program = (
            "import sys; from velro_cache._engine import InvalidationLog\n"
            "log = InvalidationLog(sys.argv[1], sys.argv[2], 30)\n"
            "for number in range(50): log.append(f'{sys.argv[3]} {number}'.encode())\n"
        )
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", program, under_test.url, under_test.name, str(writer)]
            )
            for writer in range(3)
        ]
        assert [process.wait(60) for process in processes] == [0, 0, 0]
        found = read_all(log)
        assert len(found) == 150
        for writer in range(3):
            mine = [body for body in found if body.startswith(b"%d " % writer)]
            assert mine == [b"%d %d" % (writer, number) for number in range(50)]


class TestWaiting:
    def test_ends_soon_after_an_append_of_another_connection(
        self, under_test: LogUnderTest, log: InvalidationLog
    ) -> None:
        waiter, took = under_test.open(), list[float]()
        log.append(b"first")
        for number in range(1, 21):
            waiting = InThread(lambda number=number: (waiter.wait(number, 10), time.monotonic()))
            # Whether it already waits does not matter: an entry that is there ends it, too.
            time.sleep(0.01)
            log.append(b"next")
            began = time.monotonic()
            _, ended = waiting.outcome()
            took.append(ended - began)
            assert waiter.poll(number).last == number + 1
        assert statistics.median(took) < 0.05, took

    def test_does_not_begin_where_there_is_an_entry(self, log: InvalidationLog) -> None:
        log.append(b"a")
        log.append(b"b")
        began = time.monotonic()
        log.wait(1, 30)
        log.wait(0, 30)
        assert time.monotonic() - began < SLACK_SECONDS

    @pytest.mark.parametrize("seconds", [0, 0.0001, 0.01, 0.3])
    def test_ends_when_the_time_is_over(self, log: InvalidationLog, seconds: float) -> None:
        log.append(b"a")
        began = time.monotonic()
        log.wait(1, seconds)
        assert time.monotonic() - began < seconds + SLACK_SECONDS
        assert log.poll(1).entries == []

    def test_takes_place_without_the_interpreter(
        self, under_test: LogUnderTest, log: InvalidationLog
    ) -> None:
        log.append(b"a")
        waiting = InThread(lambda: log.wait(1, 30))
        counted = 0
        while waiting.is_running and counted < 1_000_000:
            counted += 1
        assert counted == 1_000_000
        assert waiting.is_running
        under_test.open().append(b"b")
        waiting.outcome()


class TestHosts:
    def test_are_those_that_say_so(self, under_test: LogUnderTest, log: InvalidationLog) -> None:
        batch = log.poll(host="a", max_staleness_seconds=60)
        log.poll(host="b b", generation="old", applied=3, max_staleness_seconds=60)
        log.poll(host="ü'\"", generation=batch.generation, applied=2**53, max_staleness_seconds=60)
        log.poll(applied=9)
        expected = [("a", "", 0), ("b b", "old", 3), ("ü'\"", batch.generation, 2**53)]
        assert sorted(log.hosts()) == expected
        assert sorted(under_test.open().hosts()) == expected

    def test_tell_the_newest_of_themselves(self, log: InvalidationLog) -> None:
        for applied in (1, 7, 5):
            log.poll(host="a", generation="g", applied=applied, max_staleness_seconds=60)
        assert log.hosts() == [("a", "g", 5)]

    def test_are_gone_when_they_no_longer_serve_what_they_knew(self, log: InvalidationLog) -> None:
        log.poll(host="lasting", max_staleness_seconds=60)
        log.poll(host="brief", max_staleness_seconds=0.5)
        began = time.monotonic()
        assert {name for name, _, _ in log.hosts()} == {"brief", "lasting"}
        until(lambda: [name for name, _, _ in log.hosts()] == ["lasting"], "the heartbeat is old")
        assert time.monotonic() - began > 0.4
        log.poll(host="brief", max_staleness_seconds=60)
        assert {name for name, _, _ in log.hosts()} == {"brief", "lasting"}

    def test_are_waited_for_as_long_as_the_slowest_of_their_workers_serves(
        self, log: InvalidationLog
    ) -> None:
        for seconds in (60, 0.1):
            log.poll(host="a", max_staleness_seconds=seconds)
        # By now it would be gone, if the last worker spoke for all.
        log.poll(host="brief", max_staleness_seconds=0.1)
        until(lambda: "brief" not in [name for name, _, _ in log.hosts()], "that one is gone")
        assert [name for name, _, _ in log.hosts()] == ["a"]

    def test_do_not_disturb_entries(self, log: InvalidationLog) -> None:
        log.append(b"a")
        batch = log.poll(host="a", applied=1)
        assert batch.entries == [(1, b"a")]
        assert log.append(b"b") == (batch.generation, 2)


class TestGenerations:
    def test_stay_while_nothing_happens(
        self, under_test: LogUnderTest, log: InvalidationLog
    ) -> None:
        generation, _ = log.append(b"a")
        assert under_test.open().append(b"b") == (generation, 2)
        for _ in range(3):
            other = under_test.open()
            assert other.poll().generation == generation
            assert other.poll(host="a").generation == generation

    def test_stay_when_connections_are_cut(
        self, under_test: LogUnderTest, log: InvalidationLog
    ) -> None:
        needs(under_test, "cut")
        generation, _ = log.append(b"a")
        under_test.cut()
        assert recovered(log).generation == generation

    def test_are_new_when_the_log_is_emptied(
        self, under_test: LogUnderTest, log: InvalidationLog
    ) -> None:
        seen = set()
        for _ in range(3):
            seen.add(log.append(b"a")[0])
            seen.add(log.poll(host="a").generation)
            under_test.wipe()
            recovered(log)
        assert len(seen) == 3
        assert log.append(b"a")[0] not in seen

    def test_are_never_the_same_before_and_after_the_log_is_emptied(
        self, under_test: LogUnderTest, log: InvalidationLog
    ) -> None:
        """Also not for somebody who only reads and saw it empty both times."""
        before = recovered(log)
        assert before.last == 0
        log.append(b"what this reader misses")
        under_test.wipe()
        after = recovered(log)
        assert after.last == 0
        assert after.generation != before.generation

    def test_are_new_when_the_server_was_started_again(
        self, under_test: LogUnderTest, log: InvalidationLog
    ) -> None:
        needs(under_test, "stop")
        before, _ = log.append(b"a")
        under_test.restart()
        after = recovered(log)
        assert after.generation != before
        assert bodies(after) == [b"a"]
        assert log.append(b"b") == (after.generation, 2)

    def test_are_new_when_a_replica_takes_over_that_has_less(
        self, under_test: LogUnderTest, log: InvalidationLog
    ) -> None:
        needs(under_test, "fail_over")
        log.append(b"a")
        before = log.poll(host="a").generation
        under_test.fail_over()
        new = under_test.open()
        after = new.poll(host="a")
        assert after.last == 1
        assert after.generation != before
        # A number that was given before means something else now, and says so.
        assert new.append(b"b") == (after.generation, 2)


def recovered(log: InvalidationLog) -> LogBatch:
    """The first answer after a disturbance."""

    def poll() -> LogBatch | None:
        try:
            return log.poll()
        except InvalidationLogError:
            return None

    batch: LogBatch = until(poll, "the log is back")
    return batch


def fails(call: Call, log: InvalidationLog, limit_seconds: float) -> InvalidationLogError:
    """The error of this call, which must come in time and without a secret."""
    began = time.monotonic()
    with pytest.raises(InvalidationLogError) as caught:
        call(log)
    assert time.monotonic() - began < limit_seconds + SLACK_SECONDS
    assert "secret" not in str(caught.value)
    return caught.value


class TestTrouble:
    @pytest.mark.parametrize("connected", [True, False], ids=["connected", "not yet connected"])
    @pytest.mark.parametrize("name", CALLS)
    def test_a_frozen_server_is_given_up_in_time(
        self, under_test: LogUnderTest, name: str, connected: bool
    ) -> None:
        needs(under_test, "freeze")
        log = under_test.open(timeout_seconds=0.4)
        if connected:
            log.append(b"a")
        under_test.freeze()
        error = fails(CALLS[name], log, 0.5)
        assert type(error) is InvalidationLogUnavailable
        under_test.thaw()
        recovered(log)
        log.append(b"b")

    @pytest.mark.parametrize("name", CALLS)
    def test_after_a_cut_it_connects_anew(self, under_test: LogUnderTest, name: str) -> None:
        needs(under_test, "cut")
        log = under_test.open()
        log.append(b"a")
        under_test.cut()
        try:
            CALLS[name](log)
        except InvalidationLogError as error:
            assert type(error) is InvalidationLogUnavailable
        CALLS[name](log)

    @pytest.mark.parametrize("name", CALLS)
    def test_where_nobody_listens(self, under_test: LogUnderTest, name: str) -> None:
        needs(under_test, "stop")
        log = under_test.open()
        log.append(b"a")
        under_test.stop()
        for log_without in (log, log, under_test.open()):
            assert type(fails(CALLS[name], log_without, 1)) is InvalidationLogUnavailable
        under_test.start()
        recovered(log)
        CALLS[name](log)

    @pytest.mark.parametrize("name", CALLS)
    def test_a_server_that_refuses_writes_proves_nothing(
        self, under_test: LogUnderTest, name: str
    ) -> None:
        needs(under_test, "refuse")
        log = under_test.open()
        log.append(b"a")
        under_test.refuse()
        if name in READS:
            CALLS[name](log)
        else:
            assert type(fails(CALLS[name], log, 1)) is InvalidationLogRefused
            batch = log.poll()
            assert bodies(batch) == [b"a"]
            assert log.hosts() == []
        under_test.accept()
        CALLS[name](log)

    @pytest.mark.parametrize("name", CALLS)
    def test_a_wrong_password_is_refused_and_not_repeated(
        self, under_test: LogUnderTest, name: str
    ) -> None:
        needs(under_test, "password")
        log = InvalidationLog(under_test.url_with_wrong_password, under_test.name)
        assert type(fails(CALLS[name], log, 1)) is InvalidationLogRefused

    def test_one_that_is_in_use_takes_turns(
        self, under_test: LogUnderTest, log: InvalidationLog
    ) -> None:
        """One object, many threads: everybody gets the answer to their own question."""

        def work(host: int) -> None:
            for number in range(30):
                _, sequence = log.append(b"%d %d" % (host, number))
                entries = log.poll(sequence - 1, 1, host=f"{host}", max_staleness_seconds=60)
                assert entries.entries == [(sequence, b"%d %d" % (host, number))]

        for thread in [InThread(lambda host=host: work(host)) for host in range(4)]:
            thread.outcome()
        assert len(log.hosts()) == 4


class TestSettings:
    @pytest.mark.parametrize("seconds", [0, -1, 1e9, float("nan"), float("inf")])
    def test_a_time_limit_must_be_one(self, under_test: LogUnderTest, seconds: float) -> None:
        with pytest.raises(ValueError, match="seconds"):
            under_test.open(timeout_seconds=seconds)

    @pytest.mark.parametrize("name", ["", "a\n", "\x00", "x" * 201])
    def test_a_name_must_be_one(self, under_test: LogUnderTest, name: str) -> None:
        with pytest.raises(ConfigError, match="name"):
            InvalidationLog(under_test.url, name)


def test_a_forked_child_has_a_connection_of_its_own(under_test: LogUnderTest) -> None:
    program = f"""
        from velro_cache._engine import InvalidationLog

        log = InvalidationLog({under_test.url!r}, {under_test.name!r}, timeout_seconds=20)
        numbers = [log.append(b"x")[1]]
        waiting = threading.Event()

        def wait():
            waiting.set()
            log.wait(99, 1)

        # A child that neither uses it nor knows of it ends it for nobody.
        in_child(lambda: globals().pop("log") and None)
        thread = threading.Thread(target=wait)
        thread.start()
        waiting.wait()
        numbers.append(int(in_child(lambda: log.append(b"x")[1])))
        thread.join()
        numbers.append(log.append(b"x")[1])
        print(numbers, len(log.poll().entries))
        """
    assert output_of(program) == "[1, 2, 3] 3"
