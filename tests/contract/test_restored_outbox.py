"""An outbox whose old rows are put back into the tables that are there, so that numbers repeat."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from log_under_test import LogUnderTest, PostgresUnderTest, SqliteUnderTest, needs

from services.postgres import until
from services.proxy import Proxy
from velro_cache import OptimizedCacheConfig, OptimizedCacheManager
from velro_cache._engine import LogBatch
from velro_cache.exceptions import InvalidationLogRefused

Outbox = PostgresUnderTest | SqliteUnderTest

REVOKED = b'{"v":1,"tags":["user:ada"]}'
OTHER = b'{"v":1,"tags":["other"]}'


@pytest.fixture(params=[PostgresUnderTest, SqliteUnderTest], ids=lambda kind: kind.kind)
def outbox(request: pytest.FixtureRequest) -> Iterator[Outbox]:
    """One with two entries of which a copy was kept, and a third one since."""
    with request.param() as outbox:
        log = outbox.open()
        log.append(OTHER)
        log.append(OTHER)
        outbox.dump()
        log.append(OTHER)
        yield outbox


POLLS: dict[str, dict[str, Any]] = {"reading": {}, "with a heartbeat": {"host": "a"}}


@pytest.fixture(params=POLLS.values(), ids=POLLS)
def how(request: pytest.FixtureRequest) -> dict[str, Any]:
    """How it is read."""
    return dict(request.param)


def generation(batch: LogBatch) -> str:
    return batch.generation


class TestARewrittenLog:
    @pytest.mark.parametrize(
        "since",
        [[], [REVOKED], [REVOKED, OTHER]],
        ids=["shorter", "as long", "longer"],
    )
    def test_is_of_a_new_generation(
        self, outbox: Outbox, how: dict[str, Any], since: list[bytes]
    ) -> None:
        log = outbox.open()
        before = log.poll(**how)
        assert before.last == 3
        outbox.restore(*since)
        after = log.poll(after=before.last, **how)
        assert after.generation != before.generation
        assert after.last == 2 + len(since)
        everything = log.poll()
        assert everything.generation == after.generation
        assert [body for _, body in everything.entries] == [OTHER, OTHER, *since]

    def test_is_given_one_by_whichever_reader_is_first(
        self, outbox: Outbox, how: dict[str, Any]
    ) -> None:
        readers = [outbox.open() for _ in range(3)]
        before = {generation(reader.poll(**how)) for reader in readers}
        outbox.restore(REVOKED)
        after = {generation(reader.poll(**how)) for reader in readers}
        assert len(before) == len(after) == 1
        assert before != after
        assert {generation(reader.poll(**how)) for reader in readers} == after

    def test_is_noticed_by_who_appends(self, outbox: Outbox) -> None:
        log = outbox.open()
        before = log.poll()
        outbox.restore()
        after, number = log.append(REVOKED)
        assert number == 3
        assert after != before.generation
        assert outbox.open().poll().generation == after
        assert log.append(OTHER) == (after, 4)

    def test_is_noticed_over_a_new_connection(self, outbox: Outbox, how: dict[str, Any]) -> None:
        needs(outbox, "cut")
        log = outbox.open()
        before = log.poll(**how)
        outbox.cut()
        outbox.restore(REVOKED)
        assert log.poll(**how).generation != before.generation

    def test_is_noticed_as_often_as_the_same_copy_is_put_back(
        self, outbox: Outbox, how: dict[str, Any]
    ) -> None:
        log = outbox.open()
        seen = [generation(log.poll(**how))]
        for _ in range(3):
            outbox.restore(REVOKED)
            seen.append(generation(log.poll(**how)))
        assert len(set(seen)) == 4

    def test_is_noticed_where_all_entries_are_removed(
        self, outbox: Outbox, how: dict[str, Any]
    ) -> None:
        log = outbox.open()
        before = log.poll(**how)
        outbox.empty_entries()
        after = log.poll(**how)
        assert after.generation != before.generation
        # Once.
        assert log.poll(**how).generation == after.generation

    def test_is_not_read_where_it_can_be_given_no_generation(self, outbox: Outbox) -> None:
        needs(outbox, "refuse")
        log = outbox.open()
        before = log.poll()
        outbox.restore(REVOKED)
        outbox.refuse()
        for call in (log.poll, log.poll, lambda: log.poll(host="a")):
            with pytest.raises(InvalidationLogRefused):
                call()
        outbox.accept()
        assert log.poll().generation != before.generation


class TestALogThatGoesOn:
    def test_keeps_its_generation(self, outbox: Outbox, how: dict[str, Any]) -> None:
        log, other = outbox.open(), outbox.open()
        seen = {generation(log.poll(**how))}
        for number in range(3):
            appended, _ = (log, other)[number % 2].append(REVOKED)
            seen |= {appended, generation(log.poll(**how)), generation(other.poll(**how))}
        # From the middle on, and what is not all at once.
        seen |= {generation(log.poll(after=4, **how)), generation(log.poll(max_entries=1, **how))}
        seen.add(generation(log.poll(after=1, max_entries=2, **how)))
        seen.add(generation(log.poll(**how)))
        assert len(seen) == 1

    def test_keeps_it_beyond_what_a_reader_has_seen_of_what_is_kept(
        self, outbox: Outbox, how: dict[str, Any]
    ) -> None:
        log, writer = outbox.open(), outbox.open()
        before = log.poll(**how)
        for _ in range(3):
            writer.append(OTHER)
        for number in range(1, 5):
            outbox.remove(number)
        after = log.poll(after=3, **how)
        assert (after.generation, after.first) == (before.generation, 5)

    def test_is_that_of_who_has_seen_nothing(self, outbox: Outbox) -> None:
        outbox.restore(REVOKED)
        assert outbox.open().poll().generation == outbox.open().poll().generation


@contextlib.contextmanager
def a_host(url: str) -> Iterator[OptimizedCacheManager]:
    """One with a table of its own."""
    config = OptimizedCacheConfig(
        name=LogUnderTest.name, invalidation_log=url, share_invalidations=False
    )
    # Caches of other tests may follow logs of their own.
    others = followers()
    host = OptimizedCacheManager(config)
    try:
        yield host
    finally:
        host.stop()
        until(lambda: followers() <= others, "this host does not use the log any more")


def followers() -> set[str]:
    """The threads of this process that follow a log, by their numbers."""
    tasks = Path("/proc/self/task").glob("*/comm")
    # Linux keeps 15 characters of a name.
    return {task.parent.name for task in tasks if _text(task).strip() == "velro-cache-fol"}


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        # It has just ended.
        return ""


def has_lease(host: OptimizedCacheManager) -> bool:
    return bool(host.get_stats()["log"]["has_lease"])


def knows_ada(host: OptimizedCacheManager) -> None:
    """Has a permission of Ada's in the memory of a host, and the whole log applied."""
    until(lambda: has_lease(host), "the host hears from the log")
    host.get_or_load("may-enter", lambda: "yes", tags=["user:ada"])
    until(lambda: host.get("may-enter") == ("yes", True), "it is served from memory")


def test_a_host_that_hears_all_the_time_forgets_what_was_revoked_in_a_restore(
    outbox: Outbox,
) -> None:
    with a_host(outbox.url) as host:
        knows_ada(host)
        until(lambda: host.get_stats()["log"]["position"] == 3, "everything is applied")
        # As many entries as were lost: nothing is missing but what they say.
        outbox.restore(REVOKED)
        until(lambda: host.get("may-enter") == (None, False), "the revocation is heard of")


def test_a_host_that_was_cut_off_meanwhile_does_so_too() -> None:
    with PostgresUnderTest() as outbox, Proxy(outbox.server.port) as way:
        outbox.open().append(OTHER)
        outbox.dump()
        outbox.open().append(OTHER)
        url = outbox.url.replace(f":{outbox.server.port}/", f":{way.port}/")
        with a_host(url) as far:
            knows_ada(far)
            until(lambda: far.get_stats()["log"]["position"] == 2, "everything is applied")
            way.freeze()
            until(lambda: not has_lease(far), "its lease runs out")
            # Nobody else is there who could notice.
            outbox.restore(REVOKED, OTHER)
            way.thaw()
            until(lambda: has_lease(far), "the host hears from the log again")
            assert far.get("may-enter") == (None, False)


def test_numbers_that_no_position_can_hold_are_an_error_and_no_news() -> None:
    with SqliteUnderTest() as outbox, a_host(outbox.url) as host:
        knows_ada(host)
        outbox.run(f"UPDATE velro_counter SET seq = {1 << 40}")
        until(lambda: not has_lease(host), "its lease runs out")
        log = host.get_stats()["log"]
        assert "its last entry has the number 1099511627776" in log["last_error"]
        assert log["errors"] > 0
        assert log["floors"] == 1
        assert host.get("may-enter") == (None, False)
