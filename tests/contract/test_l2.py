"""What every backend of shared values must do, run on each: see `velro_cache.l2.L2Backend`.

To check a backend of your own, add it to `BACKENDS`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import os
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from services.redis import RedisServer, until
from velro_cache.l2 import L2Backend, L2Locks, MemoryL2, RedisL2

TIMEOUT = 20.0
"""Patient: it is not about speed here."""


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


class PlainDict:
    """As little as a user may write: plain methods, no locks."""

    def __init__(self) -> None:
        self.kept: dict[str, tuple[bytes, float]] = {}

    def get(self, key: str, /) -> bytes | None:
        value, end = self.kept.get(key, (None, 0.0))
        return value if time.monotonic() < end else None

    def set(self, key: str, value: bytes, ttl_seconds: float, /) -> None:
        self.kept[key] = (value, time.monotonic() + ttl_seconds)

    def delete(self, key: str, /) -> None:
        self.kept.pop(key, None)


class AsynchronousDict:
    """The same with coroutine functions."""

    def __init__(self) -> None:
        self.plain = PlainDict()

    async def get(self, key: str, /) -> bytes | None:
        return self.plain.get(key)

    async def set(self, key: str, value: bytes, ttl_seconds: float, /) -> None:
        self.plain.set(key, value, ttl_seconds)

    async def delete(self, key: str, /) -> None:
        self.plain.delete(key)


Call = Callable[..., Any]

BACKENDS: dict[str, Callable[[RedisServer], L2Backend]] = {
    "plain": lambda _: PlainDict(),
    "asynchronous": lambda _: AsynchronousDict(),
    "memory": lambda _: MemoryL2(),
    "redis": lambda server: RedisL2(server.url, TIMEOUT),
    "redis, unix socket": lambda server: RedisL2(server.unix_url, TIMEOUT),
}


def sides(backend: Any) -> list[Call]:
    """Ways to call a backend: without and with an event loop, as far as it has them."""
    found: list[Call] = []
    if not inspect.iscoroutinefunction(backend.get):
        found.append(lambda method, *arguments: getattr(backend, method)(*arguments))
    else:
        found.append(lambda method, *arguments: asyncio.run(getattr(backend, method)(*arguments)))
    if hasattr(backend, "aget"):
        found.append(
            lambda method, *arguments: asyncio.run(getattr(backend, "a" + method)(*arguments))
        )
    return found


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, server: RedisServer) -> Iterator[L2Backend]:
    made = BACKENDS[request.param](server)
    yield made
    if isinstance(made, RedisL2):
        made.close()


@pytest.fixture
def key() -> str:
    return f"contract:{uuid.uuid4()}"


class TestEveryBackend:
    def test_fits_the_protocol(self, backend: L2Backend) -> None:
        assert isinstance(backend, L2Backend)

    def test_returns_what_was_set_to_every_side_of_it(self, backend: L2Backend, key: str) -> None:
        for setting in sides(backend):
            for getting in sides(backend):
                value = os.urandom(100)
                setting("set", key, value, 60.0)
                assert getting("get", key) == value
                assert type(getting("get", key)) is bytes

    def test_has_nothing_under_other_keys(self, backend: L2Backend, key: str) -> None:
        for call in sides(backend):
            call("set", key, b"1", 60.0)
            assert call("get", key + "x") is None
            assert call("get", key[:-1]) is None

    def test_replaces(self, backend: L2Backend, key: str) -> None:
        for call in sides(backend):
            call("set", key, b"long before", 60.0)
            call("set", key, b"now", 60.0)
            assert call("get", key) == b"now"

    def test_deletes_what_is_there_and_what_is_not(self, backend: L2Backend, key: str) -> None:
        for call in sides(backend):
            call("set", key, b"1", 60.0)
            call("delete", key)
            assert call("get", key) is None
            call("delete", key)

    def test_forgets_in_time(self, backend: L2Backend, key: str) -> None:
        for call in sides(backend):
            call("set", key, b"1", 0.05)
            until(lambda: call("get", key) is None, "it is forgotten")  # noqa: B023
            call("set", key, b"2", 0.0001)
            until(lambda: call("get", key) is None, "it is forgotten")  # noqa: B023

    @pytest.mark.parametrize("size", [1, 1000, 1 << 20])
    def test_keeps_bytes_of_every_kind_and_size(
        self, backend: L2Backend, key: str, size: int
    ) -> None:
        for call in sides(backend):
            for value in (b"\0" * size, os.urandom(size), b"\r\n$-1\r\n"[:size]):
                call("set", key, value, 60.0)
                assert call("get", key) == value

    @pytest.mark.parametrize("name", ["ключ", "a b", "{x}", "*?[", "x" * 300, "\ud800"])
    def test_takes_keys_of_every_kind(self, backend: L2Backend, key: str, name: str) -> None:
        for call in sides(backend):
            call("set", key + name, b"1", 60.0)
            assert call("get", key + name) == b"1"
            assert call("get", key) is None

    def test_may_be_used_by_many_threads_at_once(self, backend: L2Backend, key: str) -> None:
        wrong: list[Any] = []

        def use(number: int) -> None:
            try:
                for call in sides(backend):
                    for turn in range(20):
                        value = b"%d,%d" % (number, turn)
                        call("set", f"{key}{number}", value, 60.0)
                        found = call("get", f"{key}{number}")
                        if found != value:
                            wrong.append((value, found))
            except Exception as error:
                wrong.append(error)

        threads = [threading.Thread(target=use, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong

    def test_may_be_used_by_many_tasks_at_once(self, backend: L2Backend, key: str) -> None:
        name = "a" if hasattr(backend, "aget") else ""
        if not name and not inspect.iscoroutinefunction(backend.get):
            return

        async def use(number: int) -> None:
            for turn in range(5):
                value = b"%d,%d" % (number, turn)
                await getattr(backend, name + "set")(f"{key}{number}", value, 60.0)
                assert await getattr(backend, name + "get")(f"{key}{number}") == value

        async def all_of_them() -> None:
            await asyncio.gather(*map(use, range(100)))

        asyncio.run(all_of_them())

    def test_whoever_is_cancelled_does_not_take_the_answer_of_another(
        self, backend: L2Backend, key: str
    ) -> None:
        if not hasattr(backend, "aget"):
            return

        async def main() -> None:
            for number in range(10):
                await backend.aset(f"{key}{number}", b"%d" % number, 60.0)
            for number in range(200):
                task = asyncio.create_task(backend.aget(f"{key}{number % 10}"))
                for _ in range(number % 7):
                    await asyncio.sleep(0)
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
                other = (number + 1) % 10
                assert await backend.aget(f"{key}{other}") == b"%d" % other

        asyncio.run(main())


@pytest.fixture(params=[name for name in BACKENDS if "memory" in name or "redis" in name])
def locks(request: pytest.FixtureRequest, server: RedisServer) -> Iterator[L2Locks]:
    made = BACKENDS[request.param](server)
    assert isinstance(made, L2Locks)
    yield made
    if isinstance(made, RedisL2):
        made.close()


class TestEveryBackendWithLocks:
    def test_one_of_many_gets_it(self, locks: L2Locks, key: str) -> None:
        for call in sides(locks):
            for other in sides(locks):
                assert call("try_lock", key, "one", 60.0) == "mine"
                assert other("try_lock", key, "two", 60.0) == "taken"
                call("unlock", key, "one", 0.0)

    def test_of_many_at_once_exactly_one_gets_it(self, locks: L2Locks, key: str) -> None:
        answers: list[str] = []

        def ask(number: int) -> None:
            answers.append(sides(locks)[number % 2]("try_lock", key, str(number), 60.0))

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(answers) == ["mine"] + ["taken"] * 19

    def test_it_is_free_when_it_was_given_back(self, locks: L2Locks, key: str) -> None:
        for call in sides(locks):
            assert call("try_lock", key, "one", 60.0) == "mine"
            call("unlock", key, "one", 0.0)
            assert call("try_lock", key, "two", 60.0) == "mine"
            call("unlock", key, "two", 0.0)

    def test_nobody_gives_back_what_is_held_by_another(self, locks: L2Locks, key: str) -> None:
        for call in sides(locks):
            assert call("try_lock", key, "one", 60.0) == "mine"
            for useless in (0.0, 60.0):
                call("unlock", key, "two", useless)
                assert call("try_lock", key, "three", 60.0) == "taken"
            call("unlock", key, "one", 0.0)

    def test_it_is_free_when_its_time_is_over(self, locks: L2Locks, key: str) -> None:
        for call in sides(locks):
            assert call("try_lock", key, "one", 0.05) == "mine"
            until(lambda: call("try_lock", key, "two", 60.0) == "mine", "it is free")  # noqa: B023
            # Whoever had it before can do nothing about it any more.
            call("unlock", key, "one", 0.0)
            assert call("try_lock", key, "three", 60.0) == "taken"
            call("unlock", key, "two", 0.0)

    def test_others_are_told_for_a_while_that_waiting_is_useless(
        self, locks: L2Locks, key: str
    ) -> None:
        for call in sides(locks):
            assert call("try_lock", key, "one", 60.0) == "mine"
            call("unlock", key, "one", 0.2)
            assert call("try_lock", key, "two", 60.0) == "useless"
            until(lambda: call("try_lock", key, "two", 60.0) == "mine", "it is free")  # noqa: B023
            call("unlock", key, "two", 0.0)


class TestRedis:
    def test_never_fetches_more_than_a_value_may_hold(self, server: RedisServer, key: str) -> None:
        server.cli("SET", key, b"x" * (8 << 20))
        backend = RedisL2(server.url, TIMEOUT)
        for call in sides(backend):
            assert len(call("get", key)) == (1 << 20) + 1
        backend.close()

    def test_a_connection_that_was_cut_costs_one_call_at_most(
        self, server: RedisServer, key: str
    ) -> None:
        backend = RedisL2(server.url, TIMEOUT)

        async def main() -> None:
            await backend.aset(key, b"1", 60.0)
            server.cli("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            # The loop has not run since, so it cannot know yet.
            with contextlib.suppress(redis.ConnectionError):
                await backend.aget(key)
            assert await backend.aget(key) == b"1"

        asyncio.run(main())
        backend.set(key, b"2", 60.0)
        server.cli("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        assert backend.get(key) == b"2"
        backend.close()

    def test_an_event_loop_that_ends_leaves_no_connection_behind(
        self, server: RedisServer, key: str
    ) -> None:
        backend = RedisL2(server.url, TIMEOUT)
        before = server.info("clients")["connected_clients"]
        for _ in range(5):
            asyncio.run(backend.aset(key, b"1", 60.0))
        until(
            lambda: server.info("clients")["connected_clients"] <= before,
            "the connections are closed",
        )

    def test_nothing_of_an_event_loop_that_has_ended_is_kept(
        self, server: RedisServer, key: str
    ) -> None:
        backend = RedisL2(server.url, TIMEOUT)

        async def main() -> weakref.ref[asyncio.AbstractEventLoop]:
            # So many that some have to wait for a connection.
            await asyncio.gather(*(backend.aget(f"{key}{number}") for number in range(100)))
            return weakref.ref(asyncio.get_running_loop())

        ended = asyncio.run(main())
        assert not backend._loops._connected
        gc.collect()
        assert ended() is None

    def test_it_can_be_used_after_it_was_closed(self, server: RedisServer, key: str) -> None:
        backend = RedisL2(server.url, TIMEOUT)

        async def main() -> None:
            for _ in range(2):
                await backend.aset(key, b"1", 60.0)
                assert await backend.aget(key) == b"1"
                await backend.aclose()

        asyncio.run(main())
        backend.set(key, b"2", 60.0)
        backend.close()
        assert backend.get(key) == b"2"
        backend.close()

    def test_many_tasks_share_a_few_connections(self, server: RedisServer, key: str) -> None:
        backend = RedisL2(server.url, TIMEOUT)

        async def main() -> None:
            await asyncio.gather(*(backend.aget(f"{key}{number}") for number in range(500)))
            assert server.info("clients")["connected_clients"] <= 16 + 2

        asyncio.run(main())


def test_the_one_in_memory_keeps_no_more_than_it_may() -> None:
    backend = MemoryL2(max_entries=3)
    for number in range(5):
        backend.set(str(number), b"x", 60.0)
    assert len(backend) == 3
    assert [backend.get(str(number)) for number in range(5)] == [None, None, b"x", b"x", b"x"]
