"""Hosts with all that is real: a log in Redis, values in Redis, tables in shared memory.

Two managers whose tables lie in different folders are two hosts, whichever process they are in.
"""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from services.redis import RedisServer, until
from velro_cache import OptimizedCacheConfig, OptimizedCacheManager
from velro_cache.l2 import MemoryL2

KEY = "auth:user:42:permissions"
TAG = "user:42"


@pytest.fixture(scope="module")
def shared_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def server(shared_server: RedisServer) -> RedisServer:
    shared_server.cli("FLUSHALL")
    return shared_server


MakeHost = Callable[..., OptimizedCacheManager]


@pytest.fixture
def make_host(tmp_path: Path) -> Iterator[MakeHost]:
    """Make a host, or with `at` another worker of one, and wait until it knows where it stands."""
    with ExitStack() as stack:
        count = 0

        def make(
            url: str, *, at: str | None = None, l2: Any = None, **settings: Any
        ) -> OptimizedCacheManager:
            nonlocal count
            count += 1
            folder = tmp_path / (at or f"host{count}")
            folder.mkdir(exist_ok=True)
            given: dict[str, Any] = {
                "redis_url": url,
                "shared_memory_directory": str(folder),
                "l2_timeout_seconds": 20,
                "log_timeout_seconds": 20,
                "name": "fleet",
            }
            made = OptimizedCacheManager(OptimizedCacheConfig(**(given | settings)), l2=l2)
            stack.enter_context(made)
            until(lambda: made.get_stats()["log"]["has_lease"], "it has heard from the log")
            return made

        yield make


def l2(one: OptimizedCacheManager) -> dict[str, Any]:
    found: dict[str, Any] = one.get_stats()["l2"]
    return found


def caught_up(*hosts: OptimizedCacheManager) -> None:
    newest = max(one._position() or ("", 0) for one in hosts)
    until(lambda: all(one._position() == newest for one in hosts), "all know the same")


def load(one: OptimizedCacheManager, value: Any, key: str = KEY, **options: Any) -> Any:
    before = l2(one)["writes"]
    asked = []

    def loader() -> Any:
        asked.append(1)
        return value

    found = one.get_or_load(key, loader, **({"tags": [TAG]} | options))
    if asked:
        until(lambda: l2(one)["writes"] > before, "it is written")
    return found


class TestTwoHosts:
    def test_what_one_has_loaded_the_other_need_not_load(
        self, make_host: MakeHost, server: RedisServer
    ) -> None:
        a, b = make_host(server.url), make_host(server.url)
        caught_up(a, b)
        assert load(a, {"role": "editor"}) == {"role": "editor"}
        assert load(b, "not asked") == {"role": "editor"}
        assert (l2(b)["hits"], b.get(KEY)) == (1, ({"role": "editor"}, True))

    def test_what_is_revoked_on_one_the_other_does_not_take_from_there(
        self, make_host: MakeHost, server: RedisServer
    ) -> None:
        a, b = make_host(server.url), make_host(server.url)
        caught_up(a, b)
        load(a, "old")
        assert load(b, "not asked") == "old"
        b.invalidate_by_tags([TAG], wait="fleet")
        assert load(a, "new") == "new"
        assert load(b, "not asked") == "new"

    def test_what_is_revoked_is_refused_at_once_where_it_was_revoked(
        self, make_host: MakeHost, server: RedisServer
    ) -> None:
        """Before the log has heard of it."""
        a, b = make_host(server.url), make_host(server.url)
        caught_up(a, b)
        for number in range(50):
            # What it told before, all have heard then.
            b.invalidate_by_tags(["nothing"], wait="fleet")
            key = f"{KEY}:{number}"
            load(a, "old", key=key)
            b.invalidate_by_tags([TAG])
            assert b.get_or_load(key, lambda: "new", tags=[TAG]) == "new"

    def test_the_tags_of_who_loaded_reach_who_did_not(
        self, make_host: MakeHost, server: RedisServer
    ) -> None:
        a, b = make_host(server.url), make_host(server.url)
        caught_up(a, b)
        load(a, "old")
        assert b.get_or_load(KEY, lambda: "not asked") == "old"
        a.invalidate_by_tags([TAG], wait="fleet")
        assert b.get(KEY) == (None, False)

    @pytest.mark.parametrize("seed", range(3))
    def test_whatever_is_done_nobody_is_told_what_was_taken_away(
        self, make_host: MakeHost, server: RedisServer, seed: int
    ) -> None:
        rng = random.Random(seed)  # noqa: S311
        hosts = [make_host(server.url), make_host(server.url), make_host(server.url)]
        caught_up(*hosts)
        truth = dict.fromkeys(range(8), 0)

        async def ask(one: OptimizedCacheManager, user: int) -> int:
            async def loader() -> int:
                found = truth[user]
                await asyncio.sleep(rng.choice([0, 0, 0.001]))
                return found

            options: dict[str, Any] = {"tags": [f"user:{user}"]}
            return await one.aget_or_load(f"auth:x:{user}", loader, **options)

        async def main() -> None:
            for _ in range(150):
                user, revoking = rng.randrange(8), rng.choice(hosts)
                # Loads that are under way while it is taken away.
                others = [asyncio.create_task(ask(rng.choice(hosts), user)) for _ in range(4)]
                await asyncio.sleep(rng.choice([0, 0.001]))
                truth[user] += 1
                await asyncio.to_thread(revoking.invalidate_by_tags, [f"user:{user}"], wait="fleet")
                for one in rng.sample(hosts, 3):
                    assert await ask(one, user) == truth[user]
                await asyncio.gather(*others)
                other = rng.randrange(8)
                assert await ask(rng.choice(hosts), other) == truth[other]

        asyncio.run(main())
        # It was about something.
        assert sum(l2(one)["hits"] for one in hosts) > 50
        assert sum(l2(one)["refused"].get("position", 0) for one in hosts) > 10
        assert sum(l2(one)["errors"] + l2(one)["timeouts"] for one in hosts) == 0

    def test_a_host_that_joins_profits_from_what_is_there(
        self, make_host: MakeHost, server: RedisServer
    ) -> None:
        a = make_host(server.url)
        # A log begins its life with its first entry.
        a.invalidate_by_tags(["nothing"], wait="fleet")
        load(a, "old", key="auth:user:7:profile", tags=[])
        load(a, "old")
        a.invalidate_by_tags([TAG], wait="bus")
        b = make_host(server.url)
        caught_up(a, b)
        assert load(b, "not asked", key="auth:user:7:profile", tags=[]) == "old"
        assert load(b, "new") == "new"

    def test_a_new_worker_of_a_host_as_well(self, make_host: MakeHost, server: RedisServer) -> None:
        a = make_host(server.url, at="one")
        load(a, "old")
        b = make_host(server.url, at="one")
        assert load(b, "not asked") == "old"

    def test_when_the_log_begins_anew_nothing_from_before_is_believed(
        self, make_host: MakeHost, server: RedisServer
    ) -> None:
        with RedisServer() as log:
            a = make_host(server.url, invalidation_log=log.url)
            load(a, "old")
            before = a._position()
            log.restart(kill=True)
            until(lambda: a._position() != before, "the new log is known")
            until(lambda: a.get_stats()["log"]["has_lease"], "it has heard from the log")
            assert load(a, "new") == "new"


class TestSilence:
    def test_a_host_cut_off_from_the_log_takes_nothing_permissive_from_there(
        self, make_host: MakeHost, server: RedisServer
    ) -> None:
        with RedisServer() as log:
            hosts = [make_host(server.url, invalidation_log=log.url) for _ in range(2)]
            caught_up(*hosts)
            load(hosts[0], "old")
            log.freeze()
            for one in hosts:
                until(lambda: not one.get_stats()["log"]["has_lease"], "it is silent")  # noqa: B023
                assert one.get_or_load(KEY, lambda: "of now", tags=[TAG]) == "of now"
                assert l2(one)["hits"] == 0
            log.thaw()

    @pytest.mark.parametrize("on_silence", ["reload", "serve_stale"])
    def test_so_does_one_that_serves_what_is_stale(
        self, make_host: MakeHost, server: RedisServer, on_silence: str
    ) -> None:
        """That is about what it has itself."""
        with RedisServer() as log:
            settings = {"invalidation_log": log.url, "on_silence": on_silence}
            a, b = make_host(server.url, **settings), make_host(server.url, **settings)
            caught_up(a, b)
            load(a, "old")
            log.freeze()
            until(lambda: not b.get_stats()["log"]["has_lease"], "it is silent")
            assert b.get_or_load(KEY, lambda: "of now", tags=[TAG]) == "of now"
            log.thaw()


class TestOtherPlaces:
    def test_values_in_a_place_of_ones_own_and_the_log_in_redis(
        self, make_host: MakeHost, server: RedisServer
    ) -> None:
        place = MemoryL2()
        settings: dict[str, Any] = {"redis_url": None, "invalidation_log": server.url}
        a, b = (make_host(server.url, l2=place, **settings) for _ in range(2))
        caught_up(a, b)
        load(a, "old")
        assert load(b, "not asked") == "old"
        b.invalidate_by_tags([TAG], wait="fleet")
        assert load(a, "new") == "new"

    def test_the_log_in_a_file_and_values_in_redis(
        self, make_host: MakeHost, server: RedisServer, tmp_path: Path
    ) -> None:
        settings = {"invalidation_log": f"sqlite:///{tmp_path}/log.db"}
        a, b = make_host(server.url, **settings), make_host(server.url, **settings)
        caught_up(a, b)
        load(a, "old")
        assert load(b, "not asked") == "old"
        b.invalidate_by_tags([TAG], wait="fleet")
        assert load(a, "new") == "new"


WORKER = """
import asyncio, sys, time
from velro_cache import OptimizedCacheConfig, OptimizedCacheManager
url, folder = sys.argv[1:]
config = OptimizedCacheConfig(redis_url=url, shared_memory_directory=folder, name="fleet",
    l2_single_flight=True, l2_timeout_seconds=20, l2_encryption_key="k" * 32)

async def slowly():
    print("loaded", flush=True)
    await asyncio.sleep(0.2)
    return {"of": "one of them"}

async def main():
    async with OptimizedCacheManager(config) as cache:
        while not cache.get_stats()["log"]["has_lease"]:
            await asyncio.sleep(0.005)
        print("ready", flush=True)
        sys.stdin.readline()
        value = await cache.aget_or_load("auth:user:1:profile", slowly)
        assert value == {"of": "one of them"}, value
        while cache._l2._tasks:
            await asyncio.sleep(0.005)
        print("answered", flush=True)

asyncio.run(main())
"""


class TestProcesses:
    def test_of_many_workers_on_many_hosts_one_loads(
        self, server: RedisServer, tmp_path: Path
    ) -> None:
        workers = []
        for number in range(4):
            folder = tmp_path / f"host{number % 2}"
            folder.mkdir(exist_ok=True)
            workers.append(
                subprocess.Popen(
                    [sys.executable, "-W", "error", "-c", WORKER, server.url, str(folder)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
        try:
            for worker in workers:
                assert worker.stdout is not None
                assert worker.stdout.readline() == "ready\n"
            for worker in workers:
                assert worker.stdin is not None
                worker.stdin.write("go\n")
                worker.stdin.flush()
            answers = [worker.communicate(timeout=60)[0].split() for worker in workers]
        finally:
            for worker in workers:
                worker.kill()
        assert all(answer[-1] == "answered" for answer in answers)
        assert sum(answer.count("loaded") for answer in answers) == 1
        assert all(worker.returncode == 0 for worker in workers)

    def test_a_loader_that_dies_delays_the_others_a_little(
        self, make_host: MakeHost, server: RedisServer
    ) -> None:
        one = make_host(server.url, l2_single_flight=True)
        assert one._l2 is not None
        lock = one._l2._levels.names.lock(KEY)
        server.cli("SET", lock, "of a dead process", "PX", 60_000)
        began = time.perf_counter()
        assert load(one, "value") == "value"
        assert 1.0 < time.perf_counter() - began < 10
