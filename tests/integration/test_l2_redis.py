"""Shared values in a real Redis that is treated badly: no request fails, none waits for long."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fleet import Host, Log, host
from processes import output_of
from services.redis import RedisServer, free_port, until
from velro_cache import ConfigError
from velro_cache.l2 import RedisL2

KEY = "auth:user:42:profile"
TIMEOUT = 0.2
"""Of one call. What it may cost is measured against this."""


@pytest.fixture(scope="module")
def shared_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def server(shared_server: RedisServer) -> RedisServer:
    shared_server.cli("FLUSHALL")
    return shared_server


@pytest.fixture
def own_server() -> Iterator[RedisServer]:
    """One that may be broken."""
    with RedisServer() as server:
        yield server


def joined(url: str, log: Log | None = None, **settings: Any) -> Host:
    """A host that shares values in this Redis."""
    given: dict[str, Any] = {"l2_timeout_seconds": TIMEOUT, "redis_url": url} | settings
    return host(log or Log(), None, **given)


def figures(one: Host) -> dict[str, Any]:
    found: dict[str, Any] = one.get_stats()["l2"]
    return found


def plainly(one: Host, keys: int, start: int = 0) -> list[float]:
    """Load so many keys without an event loop; returns how long each took."""
    seconds = []
    for number in range(start, start + keys):
        began = time.perf_counter()
        assert one.get_or_load(f"{KEY}:{number}", lambda: number) == number  # noqa: B023
        seconds.append(time.perf_counter() - began)
    return seconds


def on_a_loop(one: Host, keys: int, start: int = 0) -> list[float]:
    """The same on an event loop, one after the other."""

    async def main() -> list[float]:
        seconds = []
        for number in range(start, start + keys):
            began = time.perf_counter()
            assert await one.aget_or_load(f"{KEY}:{number}", lambda: number) == number  # noqa: B023
            seconds.append(time.perf_counter() - began)
        while one._l2 is not None and one._l2._tasks:  # noqa: ASYNC110 - nobody is told
            await asyncio.sleep(0.001)
        return seconds

    return asyncio.run(main())


Way = Callable[..., list[float]]
ways = pytest.mark.parametrize("way", [plainly, on_a_loop])


def written(one: Host, count: int) -> None:
    until(lambda: figures(one)["writes"] >= count, f"{count} values are written")


@ways
class TestAWorkingRedis:
    @pytest.mark.parametrize(
        "settings",
        [
            {},
            {"l2_signing_key": "s" * 32},
            {"l2_encryption_key": "e" * 32},
            {"l2_signing_key": "s" * 32, "l2_encryption_key": "e" * 32},
            {"l2_single_flight": True},
        ],
        ids=["plain", "signed", "encrypted", "both", "single flight"],
    )
    def test_what_one_host_loads_another_need_not_load(
        self, way: Way, server: RedisServer, settings: dict[str, Any]
    ) -> None:
        log = Log()
        # However busy the machine is.
        settings = settings | {"l2_timeout_seconds": 10.0}
        a, b = joined(server.url, log, **settings), joined(server.unix_url, log, **settings)
        way(a, 20)
        written(a, 20)
        way(b, 20)
        assert (figures(b)["hits"], figures(b)["misses"]) == (20, 0)
        assert figures(b)["latency_ms"]["p50"] > 0

    def test_values_end_there_by_themselves(self, way: Way, server: RedisServer) -> None:
        one = joined(server.url, default_ttl_seconds=100)
        way(one, 3)
        written(one, 3)
        lives = [server.cli("PTTL", key) for key in server.cli("KEYS", "*")]
        assert len(lives) == 3
        assert all(90_000 < life <= 100_000 for life in lives)

    def test_no_id_can_be_read_there_with_a_secret(self, way: Way, server: RedisServer) -> None:
        one = joined(server.url, l2_encryption_key="e" * 32, name="fleet-1")
        way(one, 3)
        written(one, 3)
        for key in server.cli("KEYS", "*"):
            assert key.startswith("velro:fleet-1:l2:") and "user" not in key
            raw = server.client(decode_responses=False).get(key)
            assert b"user" not in raw

    def test_garbage_there_is_refused_and_replaced(self, way: Way, server: RedisServer) -> None:
        log = Log()
        a, b = joined(server.url, log), joined(server.url, log)
        way(a, 4)
        written(a, 4)
        keys = sorted(server.cli("KEYS", "*"))
        for key, garbage in zip(
            keys, (b"", b"\x01\x00x", os.urandom(50), b"x" * (2 << 20)), strict=True
        ):
            server.cli("SET", key, garbage)
        way(b, 4)
        written(b, 4)
        assert sum(figures(b)["refused"].values()) == 3
        c = joined(server.url, log)
        way(c, 4)
        assert figures(c)["hits"] == 4

    def test_values_copied_under_other_keys_are_refused(
        self, way: Way, server: RedisServer
    ) -> None:
        log = Log()
        a, b = joined(server.url, log), joined(server.url, log)
        way(a, 2)
        written(a, 2)
        first, second = sorted(server.cli("KEYS", "*"))
        server.cli("COPY", first, second, "REPLACE")
        way(b, 2)
        assert (figures(b)["hits"], figures(b)["refused"]) == (1, {"damaged": 1})

    def test_a_key_of_another_kind_there_is_an_error_and_no_more(
        self, way: Way, server: RedisServer
    ) -> None:
        log = Log()
        a, b = joined(server.url, log), joined(server.url, log)
        way(a, 1)
        written(a, 1)
        (key,) = server.cli("KEYS", "*")
        server.cli("DEL", key)
        server.cli("LPUSH", key, "x")
        way(b, 1)
        assert figures(b)["errors"] == 1
        # Writing replaces it, whatever it was.
        written(b, 1)


def listening(answer: bytes | None) -> tuple[str, Callable[[], None]]:
    """A server that is no Redis: says one thing to everybody, or nothing. Returns its address."""
    door = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def serve(client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            while client.recv(65536) and not over.is_set():
                if answer is not None:
                    client.sendall(answer)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = door.accept()
                threading.Thread(target=serve, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()

    def close() -> None:
        over.set()
        door.close()

    return f"redis://127.0.0.1:{door.getsockname()[1]}/0", close


class Broken:
    """Ways in which a Redis does not work. Each returns an address, given a server of its own."""

    @staticmethod
    def nobody_listens(_: RedisServer) -> str:
        return f"redis://127.0.0.1:{free_port()}/0"

    @staticmethod
    def no_such_host(_: RedisServer) -> str:
        return "redis://no-such-host.invalid:6379/0"

    @staticmethod
    def no_such_socket(server: RedisServer) -> str:
        return f"unix://{server.folder}/no-such-socket"

    @staticmethod
    def killed(server: RedisServer) -> str:
        server.kill()
        return server.url

    @staticmethod
    def frozen(server: RedisServer) -> str:
        server.freeze()
        return server.url

    @staticmethod
    def wrong_password(server: RedisServer) -> str:
        server.cli("CONFIG", "SET", "requirepass", "right")
        server.password = "right"  # noqa: S105
        return f"redis://:wrong@127.0.0.1:{server.port}/0"

    @staticmethod
    def no_password(server: RedisServer) -> str:
        server.cli("CONFIG", "SET", "requirepass", "right")
        server.password = "right"  # noqa: S105
        return f"redis://127.0.0.1:{server.port}/0"

    @staticmethod
    def no_such_database(server: RedisServer) -> str:
        return f"redis://127.0.0.1:{server.port}/999"

    @staticmethod
    def speaks_http(_: RedisServer) -> str:
        return listening(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")[0]

    @staticmethod
    def says_nothing(_: RedisServer) -> str:
        return listening(None)[0]

    @staticmethod
    def promises_too_much(_: RedisServer) -> str:
        return listening(b"$99999999999\r\nx")[0]

    @staticmethod
    def speaks_without_end(_: RedisServer) -> str:
        return listening(b"$5\r\nhello\r\n" * 1000)[0]

    @staticmethod
    def encrypted_door(server: RedisServer) -> str:
        return f"rediss://127.0.0.1:{server.port}/0"


HOW = [name for name in vars(Broken) if not name.startswith("_")]


# The client leaves the socket to the collector where a server does not encrypt.
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.parametrize("how", HOW)
@ways
def test_a_redis_that_does_not_work_fails_no_request_and_is_soon_left_alone(
    way: Way, how: str, own_server: RedisServer
) -> None:
    one = joined(getattr(Broken, how)(own_server))
    seconds = way(one, 60)
    found = figures(one)
    assert found["hits"] == 0
    assert found["errors"] + found["timeouts"] + sum(found["refused"].values()) > 0
    # At most the few calls until it is noticed, and now and then a trial, cost a timeout each.
    slow = [one_of_them for one_of_them in seconds if one_of_them > 0.5 * TIMEOUT]
    assert len(slow) <= 8
    assert max(seconds) < TIMEOUT + 1.0
    if how != "speaks_without_end":
        assert found["breaker_opened"] >= 1
    gc.collect()


@ways
class TestHalfOfARedis:
    def test_one_without_memory_goes_on_answering_lookups(
        self, way: Way, own_server: RedisServer
    ) -> None:
        log = Log()
        a, b, c = (joined(own_server.url, log) for _ in range(3))
        way(a, 5)
        written(a, 5)
        own_server.cli("CONFIG", "SET", "maxmemory-policy", "noeviction")
        own_server.cli("CONFIG", "SET", "maxmemory", "1")
        way(b, 30)
        assert figures(b)["hits"] == 5
        until(lambda: figures(b)["not_shared"].get("write", 0) >= 3, "writes have failed")
        assert figures(b)["reading"] == "closed"
        until(lambda: figures(b)["writing"] != "closed", "no more writes are tried")
        # The others still profit.
        way(c, 5)
        assert figures(c)["hits"] == 5

    def test_so_does_a_read_only_copy(self, way: Way, own_server: RedisServer) -> None:
        log = Log()
        a = joined(own_server.url, log)
        way(a, 5)
        written(a, 5)
        with RedisServer(replica_of=own_server) as replica:
            b = joined(replica.url, log)
            way(b, 20)
            assert figures(b)["hits"] == 5
            until(lambda: figures(b)["errors_by_kind"].get("ReadOnlyError", 0) >= 3, "refused")


@ways
def test_it_is_used_again_when_it_works_again(way: Way, own_server: RedisServer) -> None:
    log = Log()
    one = joined(own_server.url, log)
    way(one, 3)
    written(one, 3)
    own_server.freeze()
    way(one, 20, start=100)
    assert figures(one)["reading"] == "open"
    own_server.thaw()
    numbers = iter(range(1000, 1_000_000))

    def works() -> bool:
        way(one, 1, start=next(numbers))
        time.sleep(0.01)
        return bool(figures(one)["reading"] == "closed")

    until(works, "it is used again")
    other = joined(own_server.url, log)
    way(other, 3)
    assert figures(other)["hits"] == 3


@ways
def test_one_that_is_restarted_is_found_again(way: Way, own_server: RedisServer) -> None:
    one = joined(own_server.url)
    way(one, 3)
    own_server.restart(kill=True)
    numbers = iter(range(1000, 1_000_000))
    before = figures(one)["writes"]

    def works() -> bool:
        way(one, 1, start=next(numbers))
        time.sleep(0.01)
        return bool(figures(one)["writes"] > before)

    until(works, "it is used again")


def test_a_frozen_redis_costs_each_of_many_at_once_one_timeout(own_server: RedisServer) -> None:
    one = joined(own_server.url)
    own_server.freeze()

    async def main() -> float:
        began = time.perf_counter()
        await asyncio.gather(*(one.aget_or_load(f"{KEY}{n}", lambda: 1) for n in range(200)))
        return time.perf_counter() - began

    assert asyncio.run(main()) < TIMEOUT + 2.0


def test_a_burst_does_not_make_a_redis_that_works_look_broken(server: RedisServer) -> None:
    log = Log()

    def seconds_of_a_burst(one: Host, prefix: str) -> float:
        async def main() -> None:
            keys = [f"{KEY}:{prefix}{number}" for number in range(3000)]
            await asyncio.gather(*(one.aget_or_load(key, lambda: 1) for key in keys))

        began = time.perf_counter()
        asyncio.run(main())
        return time.perf_counter() - began

    # As long as it takes on this machine, be it busy, if nobody is in a hurry.
    patient = seconds_of_a_burst(joined(server.url, log, l2_timeout_seconds=60), "a")
    one = joined(server.url, log, l2_timeout_seconds=patient / 2)
    seconds_of_a_burst(one, "b")
    assert figures(one)["reading"] == "closed"
    assert figures(one)["breaker_opened"] == 0


class TestEventLoops:
    def test_each_has_its_own_connections_and_leaves_none_behind(self, server: RedisServer) -> None:
        log = Log()
        one = joined(server.url, log)
        before = server.info("clients")["connected_clients"]
        for number in range(10):
            on_a_loop(one, 5, start=5 * number)
        until(lambda: server.info("clients")["connected_clients"] <= before, "all are closed")
        assert figures(one)["errors"] == 0

    def test_loops_in_threads_at_once(self, server: RedisServer) -> None:
        one = joined(server.url)
        threads = [
            threading.Thread(target=on_a_loop, args=(one, 20), kwargs={"start": 100 * number})
            for number in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (figures(one)["errors"], figures(one)["writes"]) == (0, 80)

    def test_stop_closes_connections_and_start_may_follow(self, server: RedisServer) -> None:
        before = server.info("clients")["connected_clients"]
        one = joined(server.url)

        async def main() -> None:
            for number in range(3):
                await one.start()
                await one.aget_or_load(f"{KEY}{number}", lambda: 1)
                await one.stop()
                until(
                    lambda: server.info("clients")["connected_clients"] <= before,
                    "all are closed",
                )

        asyncio.run(main())


PROGRAM = """
import sys
sys.path.insert(0, {tests!r})
from fleet import Log, host
from velro_cache.l2 import RedisL2
URL = {url!r}
one = host(Log(), None, redis_url=URL, l2_timeout_seconds=20)

def load(key, value):
    on_a_loop = asyncio.run(one.aget_or_load(key, lambda: value))
    return on_a_loop, one.get_or_load(key + "p", lambda: value)
"""


def program(server: RedisServer, text: str) -> str:
    tests = os.path.dirname(os.path.dirname(__file__))
    return PROGRAM.format(tests=tests, url=server.url) + text


class TestForks:
    def test_a_child_has_connections_of_its_own(self, server: RedisServer) -> None:
        answer = output_of(
            program(
                server,
                """
assert load("before", 1) == (1, 1)
def work():
    found = load("child", 2)
    stats = one.get_stats()["l2"]
    return found, stats["errors"], stats["timeouts"]
print(in_child(work))
assert load("after", 3) == (3, 3)
stats = one.get_stats()["l2"]
print(stats["errors"], stats["timeouts"])
""",
            )
        )
        assert answer.splitlines() == ["((2, 2), 0, 0)", "0 0"]

    def test_a_child_forked_on_a_running_loop_leaves_its_parents_connection_alone(
        self, server: RedisServer
    ) -> None:
        answer = output_of(
            program(
                server,
                """
async def main():
    await one.aget_or_load("before", lambda: 1)
    def work():
        # As a server that forks does: a loop of its own, in a thread that runs none yet.
        found = []
        thread = threading.Thread(target=lambda: found.append(load("child", 2)))
        thread.start()
        thread.join()
        return found, one.get_stats()["l2"]["errors"]
    print(in_child(work))
    for number in range(20):
        assert await one.aget_or_load(f"after{number}", lambda: number) == number
    stats = one.get_stats()["l2"]
    print(stats["errors"], stats["timeouts"])
asyncio.run(main())
""",
            )
        )
        assert answer.splitlines() == ["([(2, 2)], 0)", "0 0"]

    def test_a_child_whose_parent_waits_for_a_worker_is_not_held_up(
        self, server: RedisServer
    ) -> None:
        answer = output_of(
            program(
                server,
                """
stop = threading.Event()
def busy():
    number = 0
    while not stop.is_set():
        one.get_or_load(f"busy{number}", lambda: 1)
        number += 1
threads = [threading.Thread(target=busy) for _ in range(3)]
for thread in threads: thread.start()
for number in range(10):
    print(in_child(lambda: load(f"child{number}", number)))
stop.set()
for thread in threads: thread.join()
""",
            )
        )
        assert answer.splitlines() == [f"({number}, {number})" for number in range(10)]


class TestExits:
    def test_a_program_ends_though_its_redis_hangs(self, own_server: RedisServer) -> None:
        own_server.freeze()
        answer = output_of(
            program(
                own_server,
                """
hung = host(Log(), None, redis_url=URL, l2_timeout_seconds=0.05)
began = time.monotonic()
assert hung.get_or_load("x", lambda: 1) == 1
assert asyncio.run(hung.aget_or_load("y", lambda: 1)) == 1
print("answered")
""",
            )
        )
        assert answer == "answered"

    def test_nothing_is_complained_about_at_the_end(self, server: RedisServer) -> None:
        text = 'assert load("x", 1) == (1, 1)\nprint("done")'
        assert output_of(program(server, text)) == "done"


class TestAddresses:
    @pytest.mark.parametrize("url", ["redis://host:notaport/0", "redis://[x/0", "unix:///x?db=x"])
    def test_one_that_cannot_be_read_says_so_without_showing_it(self, url: str) -> None:
        with pytest.raises(ConfigError) as caught:
            RedisL2(url)
        assert url not in str(caught.value)

    def test_a_password_is_shown_nowhere(self, server: RedisServer) -> None:
        one = joined("redis://:secret@127.0.0.1:1/0")
        plainly(one, 1)
        assert "secret" not in str(one.get_stats()) + repr(one) + repr(one.config)

    def test_passwords_of_unix_sockets(self) -> None:
        with RedisServer(password="p/w") as server:  # noqa: S106
            for name in ("pass", "password"):
                backend = RedisL2(f"unix://{server.socket_path}?{name}=p%2Fw", 20.0)
                backend.set("k", b"v", 60)
                assert backend.get("k") == b"v"
                backend.close()
