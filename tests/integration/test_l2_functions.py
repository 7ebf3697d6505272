"""Decorated functions whose results hosts share, with all that is real: Redis, tables, processes.

Two managers whose tables lie in different folders are two hosts, whichever process they are in.
Values lie in a Redis of their own here, so that everything in it can be looked at.
"""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from services.redis import RedisServer, until
from velro_cache import OptimizedCacheConfig, OptimizedCacheManager, cached_authorization

SECRET = "one text of 32 characters or more"  # noqa: S105
numbers = itertools.count(1)


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[RedisServer, RedisServer]]:
    with RedisServer() as log, RedisServer() as values:
        yield log, values


@pytest.fixture
def log(servers: tuple[RedisServer, RedisServer]) -> RedisServer:
    servers[0].cli("FLUSHALL")
    return servers[0]


@pytest.fixture
def values(servers: tuple[RedisServer, RedisServer]) -> RedisServer:
    servers[1].cli("FLUSHALL")
    servers[1].cli("CONFIG", "RESETSTAT")
    return servers[1]


@pytest.fixture
def name() -> str:
    """A name that no other test has."""
    return f"tests.function{next(numbers)}.v1"


MakeHost = Callable[..., OptimizedCacheManager]


@pytest.fixture
def make_host(tmp_path: Path, log: RedisServer, values: RedisServer) -> Iterator[MakeHost]:
    """Make a host, or with `at` another worker of one, and wait until it knows where it stands."""
    with ExitStack() as stack:
        count = itertools.count(1)

        def make(at: str | None = None, **settings: Any) -> OptimizedCacheManager:
            folder = tmp_path / (at or f"host{next(count)}")
            folder.mkdir(exist_ok=True)
            given: dict[str, Any] = {
                "invalidation_log": log.url,
                "redis_url": values.url,
                "shared_memory_directory": str(folder),
                "l2_timeout_seconds": 20,
                "log_timeout_seconds": 20,
                "l2_signing_key": SECRET,
                "name": "fleet",
            }
            made = OptimizedCacheManager(OptimizedCacheConfig(**(given | settings)))
            stack.enter_context(made)
            until(lambda: made.get_stats()["log"]["has_lease"], "it has heard from the log")
            return made

        yield make


class Truth:
    """What is really so, and who has asked."""

    def __init__(self) -> None:
        self.answer = "old"
        self.calls = 0

    def read(self) -> str:
        self.calls += 1
        return self.answer


Ask = Callable[..., str]


def plainly(truth: Truth, cache: OptimizedCacheManager, **options: Any) -> tuple[Ask, Any]:
    @cached_authorization(cache=cache, **options)
    def role(user_id: Any, scope: Any = "all") -> str:
        return truth.read()

    return role, role


def on_a_loop(truth: Truth, cache: OptimizedCacheManager, **options: Any) -> tuple[Ask, Any]:
    @cached_authorization(cache=cache, **options)
    async def role(user_id: Any, scope: Any = "all") -> str:
        return truth.read()

    def ask(*args: Any, **kwargs: Any) -> str:
        async def main() -> str:
            answer = await role(*args, **kwargs)
            # What is written is written by tasks of this loop.
            while cache._l2 is not None and cache._l2._tasks:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            return answer

        return asyncio.run(main())

    return ask, role


ways = pytest.mark.parametrize("decorate", [plainly, on_a_loop])
Decorate = Callable[..., tuple[Ask, Any]]


def l2(one: OptimizedCacheManager) -> dict[str, Any]:
    found: dict[str, Any] = one.get_stats()["l2"]
    return found


def caught_up(*hosts: OptimizedCacheManager) -> None:
    newest = max(one._position() or ("", 0) for one in hosts)
    until(lambda: all(one._position() == newest for one in hosts), "all know the same")


@contextmanager
def writing(one: OptimizedCacheManager) -> Iterator[None]:
    """What is loaded inside is written when it is left."""
    before = l2(one)["writes"]
    yield
    until(lambda: l2(one)["writes"] > before, "it is written")


@ways
class TestWithoutAName:
    def test_redis_hears_nothing_of_it(
        self, decorate: Decorate, make_host: MakeHost, log: RedisServer, values: RedisServer
    ) -> None:
        one, truth = make_host(), Truth()
        ask, role = decorate(truth, one, tags=["scope:{scope}"])
        for _ in range(3):
            assert ask("ada", "a secret of 32 characters, say 1") == "old"
        assert role.invalidate("ada", "a secret of 32 characters, say 1") == 1
        one.invalidate_by_tags(["role"], wait="bus")
        ask("ada", "a secret of 32 characters, say 1")
        assert (truth.calls, values.cli("KEYS", "*")) == (2, [])
        asked = values.cli("INFO", "commandstats")
        assert not {"cmdstat_get", "cmdstat_set", "cmdstat_mget"} & {*asked}
        # Nor does the log, of what the call was about.
        told = repr(log.client(decode_responses=False).xrange("velro:{fleet}:log"))
        assert "role" in told and "secret" not in told and "call:" in told
        assert l2(one)["skipped"] == {"process_key": 2}

    def test_a_call_is_invalidated_alone_on_its_host(
        self, decorate: Decorate, make_host: MakeHost
    ) -> None:
        one, truth = make_host(), Truth()
        ask, role = decorate(truth, one)
        ask("ada")
        ask("eve")
        assert (role.invalidate("ada"), role.cache_info().currsize) == (1, 1)


@ways
class TestWithAName:
    def test_what_one_host_has_called_another_need_not_call(
        self, decorate: Decorate, make_host: MakeHost, values: RedisServer, name: str
    ) -> None:
        a, b = make_host(), make_host()
        caught_up(a, b)
        truth, other = Truth(), Truth()
        with writing(a):
            assert decorate(truth, a, l2_name=name)[0]("ada") == "old"
        assert decorate(other, b, l2_name=name)[0](user_id="ada") == "old"
        assert (truth.calls, other.calls, l2(b)["hits"]) == (1, 0, 1)
        # The result is there for all to read without encryption; the arguments are not.
        (key,) = values.cli("KEYS", "*")
        raw = values.client(decode_responses=False).get(key)
        assert name not in key and b"call:" not in raw and name.encode() not in raw

    @pytest.mark.parametrize(
        "revoke",
        [
            lambda cache, _: cache.invalidate_user_data("ada", wait="fleet"),
            lambda cache, _: cache.invalidate_by_tags(["scope:all"], wait="fleet"),
            lambda cache, _: cache.clear(wait="fleet"),
            lambda _, role: role.invalidate("ada"),
            lambda _, role: role.cache_clear(),
        ],
        ids=["user", "tag", "clear", "call", "function"],
    )
    def test_what_one_host_revokes_no_host_serves(
        self, decorate: Decorate, make_host: MakeHost, name: str, revoke: Callable[..., object]
    ) -> None:
        a, b, c = make_host(), make_host(), make_host("other")
        worker = make_host("other")
        caught_up(a, b, c, worker)
        truth = Truth()
        options: dict[str, Any] = {"l2_name": name, "tags": ["scope:{scope}"]}
        asks = [decorate(truth, one, **options) for one in (a, b, c, worker)]
        with writing(a):
            asks[0][0]("ada")
        for ask, _ in asks[1:3]:
            assert ask("ada") == "old"
        assert truth.calls == 1
        truth.answer = "new"
        revoke(b, asks[1][1])
        # At once where it was revoked, before the log has heard of it.
        assert asks[1][0]("ada") == "new"
        b.invalidate_by_tags(["nothing"], wait="fleet")
        for ask, _ in asks:
            assert ask("ada") == "new"

    def test_hosts_with_another_secret_believe_nothing(
        self, decorate: Decorate, make_host: MakeHost, values: RedisServer, name: str
    ) -> None:
        a, b = make_host(), make_host(l2_signing_key=SECRET[::-1])
        caught_up(a, b)
        truth = Truth()
        with writing(a):
            decorate(truth, a, l2_name=name)[0]("ada")
        with writing(b):
            decorate(truth, b, l2_name=name)[0]("ada")
        assert (truth.calls, l2(b)["hits"], len(values.cli("KEYS", "*"))) == (2, 0, 2)
        # Not even if somebody puts what one has written where the other one looks.
        one, other = values.cli("KEYS", "*")
        values.cli("COPY", one, other, "REPLACE")
        for cache in (a, b):
            cache.clear(wait="host")
        c, d = make_host(), make_host(l2_signing_key=SECRET[::-1])
        for cache in (c, d):
            decorate(truth, cache, l2_name=name)[0]("ada")
        refused = [reason for cache in (c, d) for reason in l2(cache)["refused"]]
        assert "forged" in refused

    def test_revoking_reaches_hosts_that_have_another_secret_by_now(
        self, decorate: Decorate, make_host: MakeHost, name: str
    ) -> None:
        """While keys are being replaced, hosts do not share, but hear of each other."""
        a, b = make_host(), make_host(l2_signing_key=SECRET[::-1])
        caught_up(a, b)
        truth = Truth()
        asks = [decorate(truth, one, l2_name=name) for one in (a, b)]
        for ask, _ in asks:
            ask("ada")
        truth.answer = "new"
        asks[0][1].invalidate("ada")
        a.invalidate_by_tags(["nothing"], wait="fleet")
        assert asks[1][0]("ada") == "new"


HOST = """
import sys, time
from velro_cache import OptimizedCacheConfig, OptimizedCacheManager, cached_authorization
log, values, folder, before = sys.argv[1:]
cache = OptimizedCacheManager(OptimizedCacheConfig(invalidation_log=log, redis_url=values,
    shared_memory_directory=folder, name="fleet", l2_timeout_seconds=20, log_timeout_seconds=20,
    l2_encryption_key="k" * 32))
cache.start()

# Definitions before it have numbers, and differ from process to process.
for _ in range(int(before)):
    def role(user_id, scope="all"): return "another function"
    role = cached_authorization(cache=cache)(role)

truth = "?"
called = 0

@cached_authorization(cache=cache, l2_name="tests.role.v1", tags=["scope:{scope}"])
def role(user_id, scope="all"):
    global called
    called += 1
    return truth

while not cache.get_stats()["log"]["has_lease"]:
    time.sleep(0.005)
print("ready", flush=True)
for line in sys.stdin:
    what, *rest = line.split()
    if what == "ask":
        truth, called, before = rest[1], 0, cache.get_stats()["l2"]["writes"]
        answer = role(rest[0])
        while called and cache.get_stats()["l2"]["writes"] == before:
            time.sleep(0.005)
        print(answer, "called" if called else "shared", flush=True)
    elif what == "revoke":
        role.invalidate(rest[0])
        cache.invalidate_by_tags(["nothing"], wait="fleet")
        print("revoked", flush=True)
"""


class Process:
    """A host that is a process of its own, told what to do line by line."""

    def __init__(self, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", HOST, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def do(self, *words: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(words) + "\n")
        self._process.stdin.flush()
        return self.line()

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


def test_processes_share_whatever_each_has_defined_before(
    tmp_path: Path, log: RedisServer, values: RedisServer
) -> None:
    hosts = []
    try:
        for number in range(2):
            (folder := tmp_path / f"host{number}").mkdir()
            hosts.append(Process(log.url, values.url, str(folder), str(3 * number)))
        assert [one.line() for one in hosts] == ["ready", "ready"]
        # A log begins its life with its first entry.
        assert hosts[0].do("revoke", "nobody") == "revoked"
        assert hosts[0].do("ask", "ada", "old") == "old called"
        assert hosts[1].do("ask", "ada", "unasked") == "old shared"
        assert hosts[1].do("ask", "eve", "other") == "other called"
        assert hosts[1].do("revoke", "ada") == "revoked"
        assert hosts[0].do("ask", "ada", "new") == "new called"
        assert hosts[1].do("ask", "ada", "unasked") == "new shared"
    finally:
        for one in hosts:
            one.end()
    for key in values.cli("KEYS", "*"):
        raw = values.client(decode_responses=False).get(key)
        assert b"ada" not in raw and b"role" not in raw and "role" not in key
