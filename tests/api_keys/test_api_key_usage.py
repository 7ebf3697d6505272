"""Events of usage: batches that no request waits for, and sinks that fail."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
import types
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import create_async_engine

from services.postgres import PostgresServer
from velro_cache.api_keys.usage import BatchedUsage, LogUsage, UsageBatch, UsageEvent
from velro_cache.api_keys.usage.kafka import KafkaUsage, as_json
from velro_cache.api_keys.usage.sql import SqlUsage, api_key_usage
from velro_cache.exceptions import ConfigError


def event(number: int = 1, **fields: Any) -> UsageEvent:
    values: dict[str, Any] = {
        "organization_id": "o1",
        "key_id": f"k{number}",
        "endpoint": "/items/{item_id}",
        "method": "GET",
        "status": 200,
        "duration_seconds": 0.25,
        "at": 1_800_000_000.0 + number,
    }
    return UsageEvent(**(values | fields))


class HeldSink:
    """Keeps batches; fails, or waits, where it is told to."""

    def __init__(self) -> None:
        self.batches: list[UsageBatch] = []
        self.error: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.tried: list[str] = []
        self.is_closed = False

    async def write(self, batch: UsageBatch) -> None:
        self.tried.append(batch.id)
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.batches.append(batch)

    async def aclose(self) -> None:
        self.is_closed = True

    @property
    def keys(self) -> list[str]:
        return [one.key_id for batch in self.batches for one in batch.events]


async def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end
        await asyncio.sleep(0.005)


async def test_events_are_written_in_batches_and_in_order() -> None:
    sink = HeldSink()
    usage = BatchedUsage(sink, max_batch=3, interval_seconds=3600)
    async with usage:
        for number in range(8):
            usage.record(event(number))
        # So many write early; nobody waits an hour.
        await until(lambda: len(sink.batches) >= 2)
    assert sink.keys == [f"k{number}" for number in range(8)]
    assert [len(batch.events) for batch in sink.batches] == [3, 3, 2]
    assert sink.is_closed
    stats = usage.statistics()
    assert (stats.written, stats.dropped, stats.waiting, stats.failures) == (8, 0, 0, 0)


async def test_few_events_are_written_after_the_interval() -> None:
    sink = HeldSink()
    async with BatchedUsage(sink, interval_seconds=0.01) as usage:
        usage.record(event())
        await until(lambda: len(sink.batches) == 1)


async def test_what_finds_no_room_is_dropped_and_counted_and_nobody_waits() -> None:
    sink = HeldSink()
    sink.gate = asyncio.Event()
    usage = BatchedUsage(sink, max_waiting=10, max_batch=5, interval_seconds=0.01)
    await usage.start()
    for number in range(5):
        usage.record(event(number))
    await until(lambda: len(sink.tried) == 1)
    for number in range(25):
        usage.record(event(number))
    stats = usage.statistics()
    assert (stats.waiting, stats.dropped) == (15, 15)
    sink.gate.set()
    assert await usage.aclose() == 0
    assert usage.statistics().written == 15
    usage.record(event())
    assert usage.statistics().dropped == 16


async def test_a_batch_that_failed_comes_again_under_its_id(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sink = HeldSink()
    sink.error = ConnectionError("password=secret")
    usage = BatchedUsage(sink, interval_seconds=0.01)
    async with usage:
        usage.record(event(1))
        await until(lambda: len(sink.tried) >= 2)
        usage.record(event(2))
        sink.error = None
        await until(lambda: len(sink.keys) == 2)
    assert len(set(sink.tried[:-1])) == 1
    assert sink.keys == ["k1", "k2"]
    assert usage.statistics().failures >= 2
    # Once, however often it fails, and only of which kind it is.
    assert caplog.text.count("ConnectionError") == 1
    assert "secret" not in caplog.text


async def test_a_batch_that_is_refused_does_not_stand_in_the_way() -> None:
    sink = HeldSink()
    sink.error = ValueError("too long")
    usage = BatchedUsage(sink, interval_seconds=3600)
    usage.record(event(1))
    assert await usage.flush() == 0
    sink.error = None
    usage.record(event(2))
    assert await usage.aclose() == 0
    assert sink.keys == ["k2"]
    assert usage.statistics().dropped == 1


async def test_the_end_waits_for_no_sink_that_is_away() -> None:
    sink = HeldSink()
    sink.gate = asyncio.Event()
    usage = BatchedUsage(sink, max_batch=1, interval_seconds=3600, write_timeout_seconds=0.05)
    for number in range(4):
        usage.record(event(number))
    assert await usage.aclose() == 4
    assert sink.is_closed
    assert usage.statistics().dropped == 4
    with pytest.raises(ConfigError):
        await usage.start()


async def test_many_events_of_another_thread_are_written_early() -> None:
    sink = HeldSink()
    async with BatchedUsage(sink, max_batch=2, interval_seconds=3600) as usage:
        await asyncio.to_thread(lambda: [usage.record(event(number)) for number in range(2)])
        await until(lambda: len(sink.batches) == 1)


async def test_a_refusal_is_an_answer_and_what_follows_is_not_put_off() -> None:
    sink = HeldSink()
    usage = BatchedUsage(sink, interval_seconds=1)
    sink.error = ConnectionError()
    usage.record(event())
    for _ in range(6):
        await usage.flush()
    assert usage._delay() > 1
    sink.error = ValueError("too long")
    await usage.flush()
    assert usage._delay() <= 1
    await usage.aclose()


def test_an_event_costs_little() -> None:
    usage = BatchedUsage(HeldSink(), max_waiting=100_000)
    one = event()
    best = min(_seconds_of(lambda: usage.record(one), 10_000) for _ in range(5))
    assert best / 10_000 < 20e-6


def _seconds_of(call: Callable[[], None], times: int) -> float:
    began = time.perf_counter()
    for _ in range(times):
        call()
    return time.perf_counter() - began


def test_methods_nobody_knows_are_one() -> None:
    assert event(method="GET").method == "GET"
    assert event(method="X-" + "A" * 1000).method == "OTHER"


@pytest.mark.parametrize(
    "options",
    [
        {"max_waiting": 0},
        {"max_batch": 0},
        {"max_batch": 1.5},
        {"interval_seconds": 0},
        {"interval_seconds": float("nan")},
        {"write_timeout_seconds": 601},
    ],
)
def test_nonsense_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        BatchedUsage(HeldSink(), **options)
    with pytest.raises(TypeError):
        BatchedUsage(object())  # type: ignore[arg-type]


@pytest.mark.parametrize("place", ["sqlite", "postgresql"])
async def test_values_that_no_table_takes_keep_no_others_waiting(
    place: str, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        url = f"sqlite:///{tmp_path}/usage.db"
        if place == "postgresql":
            url = stack.enter_context(PostgresServer()).url
        sink = SqlUsage(url)
        await sink.create_table()
        usage = BatchedUsage(sink, max_batch=1, interval_seconds=3600)
        usage.record(event(1, organization_id=None))
        if place == "postgresql":
            usage.record(event(2, status=70_000))
            usage.record(event(3, organization_id="a\0b"))
        usage.record(event(4))
        assert await usage.flush() == 0
        assert await sink.requests_of("o1", since=0, until=2e9) == 1
        assert usage.statistics().dropped == (3 if place == "postgresql" else 1)
        await usage.aclose()


async def test_log_records_have_the_fields(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "velro_cache.api_keys.usage")
    sink = LogUsage()
    await sink.write(UsageBatch("b", [event(status=429)]))
    await sink.aclose()
    (record,) = caplog.records
    assert record.getMessage() == "GET /items/{item_id} 429"
    assert vars(record)["organization_id"] == "o1"
    assert vars(record)["duration_seconds"] == 0.25


@pytest.fixture(scope="module")
def postgres() -> Any:
    with PostgresServer() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
async def sql(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqlUsage]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/usage.db"
    else:
        url = request.getfixturevalue("postgres").url
    sink = SqlUsage(url)
    await sink.create_table()
    await sink.create_table()
    yield sink
    async with sink._engine.begin() as connection:
        await connection.execute(text("DROP TABLE api_key_usage"))
    await sink.aclose()


async def test_rows_are_what_happened_and_count_once(sql: SqlUsage) -> None:
    batch = UsageBatch("a" * 32, [event(1), event(2, status=404), event(3, organization_id="o2")])
    await sql.write(batch)
    # Nobody knew whether it was written.
    await sql.write(batch)
    async with sql._engine.connect() as connection:
        rows = (await connection.execute(select(api_key_usage))).mappings().all()
    assert len(rows) == 3
    assert {(row["key_id"], row["status"], row["endpoint"]) for row in rows} == {
        ("k1", 200, "/items/{item_id}"),
        ("k2", 404, "/items/{item_id}"),
        ("k3", 200, "/items/{item_id}"),
    }
    start = 1_800_000_000.0
    assert await sql.requests_of("o1", since=start, until=start + 10) == 2
    assert await sql.requests_of("o1", since=start + 2, until=start + 10) == 1
    assert await sql.purge(before=start + 2) == 1
    assert await sql.requests_of("o1", since=start, until=start + 10) == 1


async def test_an_engine_of_ones_own_stays_open(tmp_path: Path) -> None:
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/own.db")
    sink = SqlUsage(engine)
    await sink.create_table()
    async with BatchedUsage(sink) as usage:
        usage.record(event())
    async with engine.connect() as connection:
        assert (await connection.execute(text("SELECT count(*) FROM api_key_usage"))).scalar() == 1
    await engine.dispose()


class _Producer:
    """What of aiokafka is used, and what it was told. No broker can be run in these tests."""

    made: list[_Producer]

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.messages: list[dict[str, Any]] = []
        self.state = "made"
        self.error: Exception | None = None
        self.made.append(self)

    async def start(self) -> None:
        self.state = "started"

    async def stop(self) -> None:
        self.state = "stopped"

    async def send(self, topic: str, **fields: Any) -> asyncio.Future[None]:
        assert self.state == "started"
        acknowledged = asyncio.get_running_loop().create_future()
        if self.error is not None:
            acknowledged.set_exception(self.error)
        else:
            self.messages.append({"topic": topic} | fields)
            acknowledged.set_result(None)
        return acknowledged


async def test_kafka_is_told_each_event_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    _Producer.made = []
    module = types.ModuleType("aiokafka")
    module.AIOKafkaProducer = _Producer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "aiokafka", module)
    sink = KafkaUsage("kafka:9092", "usage", client_id="gateway")
    await sink.write(UsageBatch("b", [event(1), event(2)]))
    (producer,) = _Producer.made
    assert producer.options["acks"] == "all"
    assert producer.options["enable_idempotence"] is True
    assert producer.options["client_id"] == "gateway"
    first, second = producer.messages
    assert (first["topic"], first["key"]) == ("usage", b"o1")
    assert second["headers"] == [("event", b"b-1")]
    assert json.loads(first["value"]) == json.loads(as_json(event(1)))
    producer.error = ConnectionError("away")
    with pytest.raises(ConnectionError):
        await sink.write(UsageBatch("c", [event(3)]))
    producer.error = type("MessageSizeTooLargeError", (Exception,), {})()
    with pytest.raises(ValueError, match="MessageSizeTooLargeError"):
        await sink.write(UsageBatch("d", [event(3)]))
    await sink.aclose()
    assert producer.state == "stopped"


def test_kafka_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiokafka", None)
    with pytest.raises(ConfigError, match=r"velro-cache\[kafka\]"):
        KafkaUsage("kafka:9092")
    with pytest.raises(ConfigError):
        KafkaUsage("kafka:9092", "")
