"""Uses of keys, remembered and written now and then."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from typing import Any

import pytest
from sql_databases import NOON, Clock, Place, keys, now, place

from velro_cache.api_keys import LastUsedStatistics, LastUsedWriter
from velro_cache.api_keys.sql import SqlApiKeys
from velro_cache.exceptions import ConfigError

__all__ = ["keys", "now", "place"]


class Repository:
    """Writes down what it is told, unless it is away."""

    def __init__(self) -> None:
        self.batches: list[dict[str, float]] = []
        self.error: Exception | None = None
        self.asked = 0
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()

    async def touch(self, uses: dict[str, float]) -> None:
        self.asked += 1
        await self.may_go_on.wait()
        if self.error is not None:
            raise self.error
        self.batches.append(dict(uses))


async def until(done: Any, seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not done():  # noqa: ASYNC110 - for what another task does
            await asyncio.sleep(0.005)


async def test_a_key_is_written_once_however_often_it_was_used(now: Clock) -> None:
    repository = Repository()
    writer = LastUsedWriter(repository, clock=now)
    for _ in range(100):
        now.now += 1
        writer.note("a")
    writer.note("b")
    assert await writer.flush() == 0
    assert repository.batches == [{"a": NOON + 100, "b": NOON + 100}]
    assert await writer.flush() == 0
    assert len(repository.batches) == 1
    assert writer.statistics() == LastUsedStatistics(waiting=0, written=2, dropped=0, failures=0)


async def test_many_keys_are_written_in_batches(now: Clock) -> None:
    repository = Repository()
    writer = LastUsedWriter(repository, clock=now)
    for number in range(2500):
        writer.note(f"k{number}")
    await writer.flush()
    assert [len(batch) for batch in repository.batches] == [1000, 1000, 500]


async def test_a_use_during_a_write_is_for_the_next_one(now: Clock) -> None:
    repository = Repository()
    repository.may_go_on.clear()
    writer = LastUsedWriter(repository, clock=now)
    writer.note("a")
    writing = asyncio.create_task(writer.flush())
    await until(lambda: repository.asked == 1)
    now.now += 1
    writer.note("a")
    repository.may_go_on.set()
    assert await writing == 1
    await writer.flush()
    assert repository.batches == [{"a": NOON}, {"a": NOON + 1}]


async def test_writes_in_the_background_and_at_the_end(now: Clock) -> None:
    repository = Repository()
    async with LastUsedWriter(repository, interval_seconds=0.01, clock=now) as writer:
        await writer.start()
        writer.note("a")
        await until(lambda: repository.batches == [{"a": NOON}])
    async with LastUsedWriter(repository, clock=now) as writer:
        writer.note("b")
    assert repository.batches[1:] == [{"b": NOON}]
    with pytest.raises(ConfigError, match="ended"):
        await writer.start()
    writer.note("c")
    assert writer.statistics().dropped == 1
    assert await writer.aclose() == 0


async def test_what_the_database_did_not_take_is_kept(
    now: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    repository = Repository()
    repository.error = ConnectionError("the database says: a secret")
    with caplog.at_level(logging.WARNING):
        async with LastUsedWriter(repository, interval_seconds=0.01, clock=now) as writer:
            writer.note("a")
            await until(lambda: repository.asked >= 3)
            assert writer.statistics().waiting == 1
            assert writer.statistics().failures >= 2
            repository.error = None
            await until(lambda: repository.batches == [{"a": NOON}])
    # Said once, without what the error says.
    assert caplog.text.count("ConnectionError") == 1
    assert "secret" not in caplog.text


async def test_waits_longer_after_each_failure(now: Clock) -> None:
    repository = Repository()
    repository.error = ConnectionError()
    writer = LastUsedWriter(repository, interval_seconds=60, clock=now)
    writer.note("a")
    delays = []
    for _ in range(8):
        await writer.flush()
        delays.append(writer._delay())
    assert 100 < delays[0] <= 120
    assert delays[1] > delays[0]
    assert max(delays) <= 900
    repository.error = None
    await writer.flush()
    assert 54 <= writer._delay() <= 60


async def test_what_is_left_at_the_end_is_told(now: Clock) -> None:
    repository = Repository()
    repository.error = ConnectionError()
    writer = LastUsedWriter(repository, clock=now)
    await writer.start()
    writer.note("a")
    writer.note("b")
    assert await writer.aclose() == 2


async def test_a_database_that_does_not_answer_is_given_up(now: Clock) -> None:
    repository = Repository()
    repository.may_go_on.clear()
    writer = LastUsedWriter(repository, write_timeout_seconds=0.01, clock=now)
    writer.note("a")
    assert await writer.aclose() == 1
    assert writer.statistics().failures == 1


async def test_remembers_no_more_than_it_may_and_writes_early(now: Clock) -> None:
    repository = Repository()
    async with LastUsedWriter(repository, max_keys=3, clock=now) as writer:
        for name in ("a", "b", "c", "d"):
            writer.note(name)
        now.now += 1
        writer.note("a")
        assert writer.statistics().waiting == 3
        assert writer.statistics().dropped == 1
        # An hour before its time.
        await until(lambda: bool(repository.batches))
        assert repository.batches == [{"a": NOON + 1, "b": NOON, "c": NOON}]
        writer.note("d")
        assert writer.statistics().waiting == 1


async def test_a_full_one_does_not_ask_a_database_that_is_away(now: Clock) -> None:
    repository = Repository()
    repository.error = ConnectionError()
    async with LastUsedWriter(repository, max_keys=1, clock=now) as writer:
        writer.note("a")
        await writer.flush()
        for number in range(1000):
            writer.note(f"k{number}")
        await asyncio.sleep(0)
        assert repository.asked == 1
        assert writer.statistics() == LastUsedStatistics(
            waiting=1, written=0, dropped=1000, failures=1
        )


async def test_an_id_that_is_none_does_not_block_the_others(keys: SqlApiKeys, now: Clock) -> None:
    made = await keys.create_key("acme")
    writer = LastUsedWriter(keys, clock=now)
    writer.note("a\0b")
    assert await writer.flush() == 0
    assert writer.statistics().dropped == 1
    writer.note(made.key.id)
    assert await writer.flush() == 0
    assert (await keys.find_key(made.key.id)).last_used_at == NOON


async def test_into_a_real_database(keys: SqlApiKeys, place: Place, now: Clock) -> None:
    made = [(await keys.create_key("acme")).key.id for _ in range(20)]
    writers = [LastUsedWriter(keys, clock=now) for _ in range(4)]
    for writer in writers:
        now.now += 1
        for key_id in made:
            writer.note(key_id)
    assert await asyncio.gather(*(writer.aclose() for writer in writers)) == [0] * 4
    assert {key.last_used_at for key in (await keys.list_keys()).keys} == {NOON + 4}
    assert place.run("SELECT count(*) FROM api_key_last_used") == ["20"]


async def test_may_be_told_from_any_thread(now: Clock) -> None:
    repository = Repository()
    async with LastUsedWriter(repository, interval_seconds=0.01, max_keys=500, clock=now) as writer:

        def use(thread: int) -> None:
            for number in range(2000):
                writer.note(f"{thread}-{number % 200}")

        threads = [threading.Thread(target=use, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        await asyncio.to_thread(lambda: [thread.join() for thread in threads])
    assert writer.statistics().waiting == 0
    assert writer.statistics().failures == 0
    assert all(len(batch) <= 500 for batch in repository.batches)


async def test_a_child_of_a_fork_writes_nothing_of_its_parent(
    now: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = Repository()
    async with LastUsedWriter(repository, clock=now) as writer:
        writer.note("a")
        parents = writer._task
        # As a child sees it: the same objects, under another number.
        with monkeypatch.context() as child:
            child.setattr(os, "getpid", lambda: 1)
            await writer.start()
            writer.note("b")
            assert await writer.flush() == 0
        assert parents is not None
        parents.cancel()
        with pytest.raises(asyncio.CancelledError):
            await parents
    assert repository.batches == [{"b": NOON}]
    assert writer.statistics().written == 1


async def test_a_use_costs_hardly_anything() -> None:
    writer = LastUsedWriter(Repository())
    names = [f"k{number}" for number in range(1000)]
    best = float("inf")
    for _ in range(20):
        begun = time.perf_counter()
        for name in names:
            writer.note(name)
        best = min(best, (time.perf_counter() - begun) / len(names))
    # Under 200 ns on a machine that is not busy; here only that it does nothing else.
    assert best < 2e-6


@pytest.mark.parametrize(
    "arguments",
    [
        {"interval_seconds": 0},
        {"interval_seconds": float("nan")},
        {"interval_seconds": "60"},
        {"max_keys": 0},
        {"max_keys": 1.5},
        {"write_timeout_seconds": 601},
    ],
    ids=str,
)
async def test_refuses_numbers_out_of_range(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        LastUsedWriter(Repository(), **arguments)
