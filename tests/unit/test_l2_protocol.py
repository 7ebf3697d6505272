"""Two levels: what one host has loaded another need not load, and nothing taken away is believed.

Each test runs with and without an event loop. The log of invalidations lies in the memory of the
test, so that each host hears of an invalidation when the test says so.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fleet import Host, Log, host
from services.redis import until
from velro_cache import (
    AuthorizationMethod,
    ConfigError,
    GenerationPermissions,
    LoaderTimeoutError,
    OptimizedCacheConfig,
    OptimizedCacheManager,
)
from velro_cache._engine import ManualClock
from velro_cache.freshness import Freshness
from velro_cache.l2 import LockAnswer, MemoryL2

KEY = "auth:user:42:profile"
OTHER_SECRET = "another text of 32 characters or so"  # noqa: S105


class Loader:
    """Counts its calls; returns what it is told to."""

    def __init__(self, value: Any = None) -> None:
        self.value = value
        self.calls = 0

    def __call__(self) -> Any:
        self.calls += 1
        return self.value


class Plain:
    """Asks without an event loop."""

    asynchronous = False

    def load(self, host: OptimizedCacheManager, key: str, loader: Any, **options: Any) -> Any:
        value = host.get_or_load(key, loader, **options)
        until(lambda: not writes_under_way(host), "it is written")
        return value


class OnALoop:
    """Asks on an event loop, a new one each time."""

    asynchronous = True

    def load(self, host: OptimizedCacheManager, key: str, loader: Any, **options: Any) -> Any:
        async def main() -> Any:
            value = await host.aget_or_load(key, loader, **options)
            await writes_are_over(host)
            return value

        return asyncio.run(main())


def writes_under_way(host: OptimizedCacheManager) -> bool:
    assert host._l2 is not None
    workers = host._l2._calls._workers
    return bool(host._l2._tasks or workers._queue or workers._idle < workers._threads)


async def writes_are_over(host: OptimizedCacheManager) -> None:
    # Nobody is told when they are.
    while writes_under_way(host):  # noqa: ASYNC110
        await asyncio.sleep(0.001)


@pytest.fixture(params=[Plain(), OnALoop()], ids=["plain", "asynchronous"])
def way(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def l2() -> MemoryL2:
    return MemoryL2()


def figures(host: OptimizedCacheManager) -> dict[str, Any]:
    found: dict[str, Any] = host.get_stats()["l2"]
    return found


class Wall:
    """The wall clock, moved by hand."""

    seconds = 1_000_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def wall() -> Wall:
    return Wall()


class TestSharing:
    @pytest.mark.parametrize("value", [{"name": "Ada"}, None, 0, [1, (2,)], "x"])
    def test_what_one_host_loads_another_need_not_load(
        self, way: Any, log: Log, l2: MemoryL2, value: Any
    ) -> None:
        a, b, loader = host(log, l2), host(log, l2), Loader(value)
        assert way.load(a, KEY, loader) == value
        assert way.load(b, KEY, loader) == value
        assert loader.calls == 1
        assert (figures(a)["writes"], figures(a)["misses"], figures(a)["hits"]) == (1, 1, 0)
        assert (figures(b)["writes"], figures(b)["misses"], figures(b)["hits"]) == (0, 0, 1)

    def test_it_is_in_the_first_level_afterwards(self, way: Any, log: Log, l2: MemoryL2) -> None:
        a, b, loader = host(log, l2), host(log, l2), Loader([1])
        way.load(a, KEY, loader)
        for _ in range(3):
            assert way.load(b, KEY, loader) == [1]
        assert b.get(KEY) == ([1], True)
        assert (loader.calls, figures(b)["hits"]) == (1, 1)

    def test_many_who_ask_at_once_ask_the_second_level_once(self, log: Log, l2: MemoryL2) -> None:
        a, b, loader = host(log, l2), host(log, l2), Loader(1)
        asyncio.run(gather(a, loader, 1))
        assert asyncio.run(gather(b, loader, 50)) == [1] * 50
        assert (loader.calls, figures(b)["hits"], figures(b)["misses"]) == (1, 1, 0)

    def test_threads_too(self, log: Log, l2: MemoryL2) -> None:
        a, b, loader = host(log, l2), host(log, l2), Loader(1)
        Plain().load(a, KEY, loader)
        found: list[Any] = []
        threads = [
            threading.Thread(target=lambda: found.append(b.get_or_load(KEY, loader)))
            for _ in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [1] * 20
        assert (loader.calls, figures(b)["hits"]) == (1, 1)

    def test_what_a_caller_does_to_a_value_nobody_else_sees(
        self, way: Any, log: Log, l2: MemoryL2
    ) -> None:
        a, b, loader = host(log, l2), host(log, l2), Loader({"roles": ["admin"]})
        way.load(a, KEY, loader)["roles"].append("x")
        way.load(b, KEY, loader)["roles"].append("y")
        assert b.get(KEY)[0] == {"roles": ["admin"]}
        assert way.load(host(log, l2), KEY, loader) == {"roles": ["admin"]}

    def test_refresh_asks_the_loader_and_replaces_what_is_shared(
        self, way: Any, log: Log, l2: MemoryL2
    ) -> None:
        a, b = host(log, l2), host(log, l2)
        way.load(a, KEY, Loader("old"))
        assert way.load(a, KEY, Loader("new"), refresh=True) == "new"
        assert way.load(b, KEY, Loader("unused")) == "new"
        assert figures(a)["skipped"] == {"refresh": 1}

    def test_an_exception_is_not_shared(self, way: Any, log: Log, l2: MemoryL2) -> None:
        def fail() -> Any:
            raise LookupError("nobody knows")

        for one in (host(log, l2), host(log, l2)):
            with pytest.raises(LookupError):
                way.load(one, KEY, fail)
        assert len(l2) == 0

    def test_caches_of_other_names_and_secrets_share_nothing(
        self, way: Any, log: Log, l2: MemoryL2
    ) -> None:
        loader = Loader(1)
        settings: list[dict[str, Any]] = [
            {},
            {"name": "other"},
            {"l2_signing_key": OTHER_SECRET},
            {"l2_encryption_key": OTHER_SECRET},
            {"l2_signing_key": OTHER_SECRET[::-1]},
        ]
        for number, one in enumerate(settings, start=1):
            way.load(host(log, l2, **one), KEY, loader)
            assert loader.calls == number
        way.load(host(log, l2, **settings[-1]), KEY, loader)
        assert loader.calls == len(settings)


async def gather(one: Host, loader: Any, count: int) -> list[Any]:
    found = await asyncio.gather(*(one.aget_or_load(KEY, loader) for _ in range(count)))
    await writes_are_over(one)
    return list(found)


class TestRevocation:
    def test_a_value_from_before_is_not_believed(self, way: Any, log: Log, l2: MemoryL2) -> None:
        a, b = host(log, l2), host(log, l2)
        way.load(a, KEY, Loader("old"), tags=["user:42"])
        b.revoke("user:42")
        assert way.load(b, KEY, Loader("new"), tags=["user:42"]) == "new"
        assert figures(b)["refused"] == {"position": 1}

    def test_and_the_new_one_takes_its_place(self, way: Any, log: Log, l2: MemoryL2) -> None:
        a, b = host(log, l2), host(log, l2)
        way.load(a, KEY, Loader("old"), tags=["t"])
        b.revoke("t")
        way.load(b, KEY, Loader("new"), tags=["t"])
        a.catch_up()
        loader = Loader("unused")
        assert way.load(a, KEY, loader, tags=["t"]) == "new"
        assert loader.calls == 0

    def test_nor_by_who_asks_without_the_tag(self, way: Any, log: Log, l2: MemoryL2) -> None:
        a, b = host(log, l2), host(log, l2)
        way.load(a, KEY, Loader("old"), tags=["t"])
        b.revoke("t")
        assert way.load(b, KEY, Loader("new")) == "new"

    def test_what_comes_from_another_host_is_invalidated_by_its_tags(
        self, way: Any, log: Log, l2: MemoryL2
    ) -> None:
        a, b = host(log, l2), host(log, l2)
        way.load(a, KEY, Loader("old"), tags=["theirs"])
        assert way.load(b, KEY, Loader("unused"), tags=["ours"]) == "old"
        for tag in ("theirs", "ours"):
            c = host(log, MemoryL2())
            assert c.get(KEY) == (None, False)
            b_again = host(log, l2)
            assert way.load(b_again, KEY, Loader("unused"), tags=["ours"]) == "old"
            assert b_again.invalidate_by_tags([tag]) == 1
            assert b_again.get(KEY) == (None, False)

    def test_a_value_newer_than_what_this_host_knows_is_not_believed(
        self, way: Any, log: Log, l2: MemoryL2
    ) -> None:
        a, b = host(log, l2), host(log, l2)
        a.revoke("something else")
        way.load(a, KEY, Loader("of a"))
        assert way.load(b, KEY, Loader("of b")) == "of b"
        assert figures(b)["refused"] == {"position": 1}

    def test_nor_one_of_another_life_of_the_log(self, way: Any, log: Log, l2: MemoryL2) -> None:
        a = host(log, l2)
        way.load(a, KEY, Loader("old"))
        log.generation = "second"
        assert way.load(host(log, l2), KEY, Loader("new")) == "new"

    def test_a_host_that_does_not_know_where_it_stands_neither_reads_nor_writes(
        self, way: Any, log: Log, l2: MemoryL2
    ) -> None:
        a, b = host(log, l2), host(log, l2)
        way.load(a, KEY, Loader("shared"))
        b.reads = False
        assert way.load(b, KEY, Loader("own")) == "own"
        assert way.load(b, KEY + "x", Loader("own")) == "own"
        assert figures(b)["skipped"] == {"no_position": 2}
        assert len(l2) == 1

    def test_what_is_invalidated_while_it_is_loaded_is_not_shared(
        self, way: Any, log: Log, l2: MemoryL2
    ) -> None:
        a = host(log, l2)

        def overtaken() -> str:
            a.revoke("t")
            return "old"

        assert way.load(a, KEY, overtaken, tags=["t"]) == "old"
        assert figures(a)["not_shared"] == {"stale": 1}
        assert len(l2) == 0

    def test_the_position_is_that_of_before_the_load(
        self, way: Any, log: Log, l2: MemoryL2
    ) -> None:
        """A revocation elsewhere, which this host hears of after it has stored the value."""
        a, b = host(log, l2), host(log, l2)

        def overtaken() -> str:
            log.entries.append("t")
            return "old"

        assert way.load(a, KEY, overtaken, tags=["t"]) == "old"
        assert len(l2) == 1
        b.catch_up()
        assert way.load(b, KEY, Loader("new"), tags=["t"]) == "new"

    def test_even_if_this_host_hears_of_it_just_before_it_writes(
        self, way: Any, log: Log, l2: MemoryL2, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        a, b = host(log, l2), host(log, l2)
        position = Host._position

        def overtaken() -> str:
            log.entries.append("t")
            # Whoever asks for a position from here on is told one that the value is not worth.
            monkeypatch.setattr(Host, "_position", lambda one: one.catch_up() or position(one))
            return "old"

        assert way.load(a, KEY, overtaken, tags=["t"]) == "old"
        monkeypatch.undo()
        b.catch_up()
        assert way.load(b, KEY, Loader("new"), tags=["t"]) == "new"

    def test_what_is_invalidated_while_it_is_read_from_there_is_not_kept(
        self, way: Any, log: Log
    ) -> None:
        class Slow(MemoryL2):
            def get(self, key: str, /) -> bytes | None:
                found = super().get(key)
                if found and overtake:
                    b.revoke("t")
                return found

        overtake = False
        l2 = Slow()
        a, b = host(log, l2), host(log, l2)
        way.load(a, KEY, Loader("old"), tags=["t"])
        overtake = True
        assert way.load(b, KEY, Loader("new"), tags=["t"]) == "new"

    def test_nor_what_is_invalidated_after_it_was_admitted(
        self, way: Any, log: Log, l2: MemoryL2, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        a, b = host(log, l2), host(log, l2)
        way.load(a, KEY, Loader("old"), tags=["t"])
        admits = Host._admits

        def overtaken(self: Host, *arguments: Any) -> bool:
            admitted = admits(self, *arguments)
            self.revoke("t")
            return admitted

        monkeypatch.setattr(Host, "_admits", overtaken)
        # Whoever asked before the revocation may have it; it is not kept.
        assert way.load(b, KEY, Loader("new"), tags=["t"]) == "old"
        assert b.get(KEY) == (None, False)

    def test_a_value_set_by_hand_while_the_second_level_is_asked_stays(
        self, way: Any, log: Log
    ) -> None:
        class Slow(MemoryL2):
            def get(self, key: str, /) -> bytes | None:
                found = super().get(key)
                if found:
                    b.set(KEY, "by hand")
                return found

        l2 = Slow()
        a, b = host(log, l2), host(log, l2)
        for tags in (["t"], []):
            way.load(a, KEY, Loader("old"), tags=["t"], refresh=True)
            b.delete(KEY)
            way.load(b, KEY, Loader("new"), tags=tags)
            assert b.get(KEY) == ("by hand", True)


class TestSilence:
    """No news from the log: what allows something is not taken from there, what denies may be."""

    @pytest.mark.parametrize(
        ("written", "read", "believed"),
        [
            (True, True, False),
            (False, False, True),
            # What either of them takes for an allow is one.
            (True, False, False),
            (False, True, False),
            (lambda _: True, lambda _: True, False),
            (lambda _: False, lambda _: False, True),
            (lambda _: False, lambda _: True, False),
        ],
    )
    def test_only_denies_are_believed(
        self, way: Any, log: Log, l2: MemoryL2, written: Any, read: Any, believed: bool
    ) -> None:
        a, b = host(log, l2), host(log, l2)
        way.load(a, KEY, Loader("shared"), permissive=written)
        b.hears = False
        found = way.load(b, KEY, Loader("own"), permissive=read)
        assert found == ("shared" if believed else "own")

    def test_a_value_that_cannot_be_judged_is_not_believed(
        self, way: Any, log: Log, l2: MemoryL2
    ) -> None:
        """Somebody else has put another type under this key; that fails no request."""
        a, b = host(log, l2), host(log, l2)
        way.load(a, KEY, Loader("a text"))
        own = {"granted": False}
        assert way.load(b, KEY, Loader(own), permissive=lambda value: value["granted"]) == own
        assert figures(b)["refused"] == {"unfit": 1}


class TestLife:
    def test_time_in_the_second_level_counts(
        self, way: Any, log: Log, l2: MemoryL2, wall: Wall
    ) -> None:
        a = host(log, l2, wall=wall)
        way.load(a, KEY, Loader("old"), ttl=100)
        clock = ManualClock()
        b = host(log, l2, clock=clock, wall=wall)
        wall.seconds += 90
        assert way.load(b, KEY, Loader("new"), ttl=100) == "old"
        clock.advance(9)
        assert b.get(KEY) == ("old", True)
        clock.advance(2)
        assert b.get(KEY) == (None, False)

    def test_a_value_past_its_end_is_not_believed_however_long_it_was_kept(
        self, way: Any, log: Log, l2: MemoryL2, wall: Wall
    ) -> None:
        a, b = host(log, l2, wall=wall), host(log, l2, wall=wall)
        way.load(a, KEY, Loader("old"), ttl=100)
        wall.seconds += 100
        assert way.load(b, KEY, Loader("new"), ttl=100) == "new"
        assert figures(b)["refused"] == {"expired": 1}

    def test_it_lives_no_longer_than_a_value_loaded_here_would(
        self, way: Any, log: Log, l2: MemoryL2
    ) -> None:
        way.load(host(log, l2), KEY, Loader("old"), ttl=100)
        clock = ManualClock()
        for ttl in (10, lambda _: 10):
            b = host(log, l2, clock=clock)
            assert way.load(b, KEY, Loader("new"), ttl=ttl) == "old"
            clock.advance(11)
            assert b.get(KEY) == (None, False)

    def test_it_is_kept_there_no_longer_than_here(self, way: Any, log: Log) -> None:
        lives: list[float] = []

        class Noting(MemoryL2):
            def set(self, key: str, value: bytes, ttl_seconds: float, /) -> None:
                lives.append(ttl_seconds)

        a = host(log, Noting(), default_ttl_seconds=60, max_ttl_seconds=600)
        for number, ttl in enumerate([None, 10, 1000, lambda _: 20, lambda _: None]):
            way.load(a, KEY + str(number), Loader(1), ttl=ttl)
        assert lives == [60, 10, 600, 20, 60]

    @pytest.mark.parametrize("ttl", [0, -1])
    def test_what_must_not_be_kept_is_not_shared(
        self, way: Any, log: Log, l2: MemoryL2, ttl: float
    ) -> None:
        way.load(host(log, l2), KEY, Loader(1), ttl=lambda _: ttl)
        assert len(l2) == 0

    def test_what_must_not_be_kept_here_is_not_taken_from_there(
        self, way: Any, log: Log, l2: MemoryL2
    ) -> None:
        way.load(host(log, l2), KEY, Loader(1))
        loader = Loader(2)
        assert way.load(host(log, l2), KEY, loader, ttl=lambda _: 0) == 2

    def test_a_life_that_cannot_be_told_of_a_shared_value_means_to_load(
        self, way: Any, log: Log, l2: MemoryL2
    ) -> None:
        """Somebody else has put another type under this key."""
        way.load(host(log, l2), KEY, Loader("a text"))
        b = host(log, l2)
        assert way.load(b, KEY, Loader({"life": 5}), ttl=lambda value: value["life"]) == {"life": 5}
        assert figures(b)["refused"] == {"unfit": 1}


class TestWhatIsNotShared:
    def test_values_of_other_types_stay_here(self, way: Any, log: Log, l2: MemoryL2) -> None:
        a = host(log, l2)
        for number, value in enumerate([1j, [object], {"a": range(3)}]):
            loader = Loader(value)
            assert way.load(a, KEY + str(number), loader) == value
            assert way.load(a, KEY + str(number), loader) == value
            assert loader.calls == 1
        assert figures(a)["not_shared"] == {"type": 3}
        assert len(l2) == 0

    def test_so_do_large_ones(self, way: Any, log: Log, l2: MemoryL2) -> None:
        a = host(log, l2)
        assert way.load(a, KEY, Loader(b"x" * (2 << 20))) == b"x" * (2 << 20)
        assert figures(a)["not_shared"] == {"size": 1}


class TestDecisions:
    """Decisions about generations, loaded by two hosts under a key of the caller's own.

    `CachedGenerationAccess` does not share its own: see `tests/unit/test_l2_shared_calls.py`.
    """

    def grant(self, **fields: Any) -> GenerationPermissions:
        return GenerationPermissions(
            "g1",
            "u1",
            granted=True,
            access_method=AuthorizationMethod.TEAM_MEMBERSHIP,
            can_view=True,
            audit_trail=({"step": "team", "roles": ("editor",)},),
            **fields,
        )

    def check(
        self, one: Host, decide: Callable[[], GenerationPermissions]
    ) -> GenerationPermissions:
        def seconds(decision: GenerationPermissions) -> float | None:
            return decision.seconds_left(datetime.now(UTC))

        def allows(decision: GenerationPermissions) -> bool:
            return decision.granted

        async def main() -> GenerationPermissions:
            key = "auth:gen:g1:user:u1:access:of a session"
            answer = await one.aget_or_load(key, decide, ttl=seconds, permissive=allows)
            await writes_are_over(one)
            return answer

        return asyncio.run(main())

    def test_a_grant_is_shared_with_all_it_holds(self, log: Log, l2: MemoryL2) -> None:
        a, b = host(log, l2), host(log, l2)
        end = datetime.now(UTC) + timedelta(hours=1)
        service = Loader(self.grant(expires_at=end))
        assert self.check(a, service) == self.check(b, service) == self.grant(expires_at=end)
        assert service.calls == 1

    def test_a_grant_that_has_ended_meanwhile_is_not_believed(self, log: Log, l2: MemoryL2) -> None:
        a, b = host(log, l2), host(log, l2)
        soon = datetime.now(UTC) + timedelta(seconds=0.3)
        service = Loader(self.grant(expires_at=soon))
        assert self.check(a, service).granted
        until(lambda: datetime.now(UTC) >= soon, "the grant has ended")
        self.check(b, service)
        assert (service.calls, figures(b)["hits"]) == (2, 0)

    def test_what_is_no_decision_is_not_believed(self, log: Log, l2: MemoryL2) -> None:
        a, b = host(log, l2), host(log, l2)
        self.check(a, Loader(self.grant()))
        (name,) = l2._entries
        assert a._l2 is not None and b._l2 is not None
        key = next(iter(a.keys()))
        codec = a._l2._levels.codec
        forged = codec.decode(key, l2.get(name) or b"")._replace(value={"granted": True})
        l2.set(name, codec.encode(key, forged), 60)
        deny = GenerationPermissions.denied("g1", "u1")
        assert not self.check(b, Loader(deny)).granted
        assert figures(b)["refused"] == {"unfit": 1}


class TestBadBackends:
    """Whatever a backend does, the request gets its answer."""

    def backends(self) -> dict[str, Any]:
        async def forever(*_: Any) -> Any:
            await asyncio.Event().wait()

        async def stubborn(*_: Any) -> Any:
            while True:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    if threading.main_thread().is_alive() and over.is_set():
                        raise

        async def cancels(*_: Any) -> Any:
            raise asyncio.CancelledError

        async def raises(*_: Any) -> Any:
            raise OSError("cut off")

        def returns(value: Any) -> Callable[..., Any]:
            return lambda *_: value

        def fails(error: BaseException) -> Callable[..., Any]:
            def method(*_: Any) -> Any:
                raise error

            return method

        over = threading.Event()
        self.over = over
        methods: dict[str, Callable[..., Any]] = {
            "raises": fails(OSError("cut off")),
            "exits": fails(SystemExit(1)),
            "interrupts": fails(KeyboardInterrupt()),
            "stops iterating": fails(StopIteration(b"x")),
            "hangs": lambda *_: over.wait(60),
            "asynchronously raises": raises,
            "asynchronously hangs": forever,
            "will not be cancelled": stubborn,
            "cancels itself": cancels,
            **{
                f"returns {value!r}": returns(value)
                for value in (b"", b"x", b"not an envelope", "text", 1, [], object(), bytearray(9))
            },
        }
        return {
            name: type(
                "Bad",
                (),
                {
                    "get": staticmethod(m),
                    "set": staticmethod(m),
                    "delete": staticmethod(m),
                },
            )()
            for name, m in methods.items()
        }

    NAMES = (
        "raises", "exits", "interrupts", "stops iterating", "hangs", "asynchronously raises",
        "asynchronously hangs", "will not be cancelled", "cancels itself", "returns b''",
        "returns b'x'", "returns b'not an envelope'", "returns 'text'", "returns 1",
        "returns []",
    )  # fmt: skip

    @pytest.mark.parametrize("name", NAMES)
    def test_the_request_gets_its_answer_in_time(self, way: Any, log: Log, name: str) -> None:
        one = host(log, self.backends()[name], l2_timeout_seconds=0.05)

        async def main() -> None:
            for number in range(10):
                assert await one.aget_or_load(f"{KEY}{number}", Loader(number)) == number
            self.over.set()

        if way.asynchronous:
            asyncio.run(main())
        else:
            for number in range(10):
                assert one.get_or_load(f"{KEY}{number}", Loader(number)) == number
        self.over.set()

    @pytest.mark.parametrize("name", ["raises", "hangs", "asynchronously hangs"])
    def test_after_a_few_failures_it_is_left_alone(self, log: Log, name: str) -> None:
        one = host(log, self.backends()[name], l2_timeout_seconds=0.05)

        async def ask(numbers: range) -> None:
            for number in numbers:
                assert await one.aget_or_load(f"{KEY}{number}", Loader(number)) == number

        async def main() -> None:
            # Three, and those for which a busy machine is excused: two seconds of them at the most.
            for number in range(100):
                await ask(range(number, number + 1))
                if figures(one)["reading"] == "open":
                    break
            await ask(range(100, 120))

        asyncio.run(main())
        self.over.set()
        found = figures(one)
        assert found["breaker_opened"] >= 1
        assert found["skipped"]["breaker"] > 0

    def test_a_loader_has_its_time_however_long_the_backend_takes(self, log: Log) -> None:
        one = host(log, self.backends()["asynchronously hangs"], l2_timeout_seconds=0.3)

        async def loader() -> int:
            await asyncio.sleep(0.15)
            return 1

        async def main() -> None:
            assert await one.aget_or_load(KEY, loader, load_timeout_seconds=0.2) == 1
            with pytest.raises(LoaderTimeoutError):
                await one.aget_or_load(KEY + "x", asyncio.Event().wait, load_timeout_seconds=0.2)

        asyncio.run(main())

    def test_nobody_waits_for_a_write(self, way: Any, log: Log) -> None:
        release = threading.Event()

        class SlowToWrite(MemoryL2):
            def set(self, key: str, value: bytes, ttl_seconds: float, /) -> None:
                release.wait(60)

            aset = None  # type: ignore[assignment]

        one = host(log, SlowToWrite(), l2_timeout_seconds=50)
        if way.asynchronous:

            async def main() -> None:
                assert await asyncio.wait_for(one.aget_or_load(KEY, Loader(1)), 20) == 1
                release.set()

            asyncio.run(main())
        else:
            assert one.get_or_load(KEY, Loader(1)) == 1
        release.set()

    def test_a_backend_without_plain_methods_is_left_out_without_a_loop(self, log: Log) -> None:
        class Asynchronous:
            kept: dict[str, bytes] = {}  # noqa: RUF012

            async def get(self, key: str, /) -> bytes | None:
                return self.kept.get(key)

            async def set(self, key: str, value: bytes, ttl_seconds: float, /) -> None:
                self.kept[key] = value

            async def delete(self, key: str, /) -> None:
                self.kept.pop(key, None)

        a, b, loader = host(log, Asynchronous()), host(log, Asynchronous()), Loader(1)
        OnALoop().load(a, KEY, loader)
        OnALoop().load(b, KEY, loader)
        assert (loader.calls, figures(b)["hits"]) == (1, 1)
        c = host(log, Asynchronous())
        assert c.get_or_load(KEY, loader) == 1
        assert (loader.calls, figures(c)["skipped"]) == (2, {"no_plain_methods": 1})


class TestSingleFlight:
    def test_of_many_hosts_one_loads(self, log: Log, l2: MemoryL2) -> None:
        hosts = [host(log, l2, l2_single_flight=True) for _ in range(5)]
        calls = 0

        async def loader() -> int:
            nonlocal calls
            calls += 1
            await asyncio.sleep(0.1)
            return 7

        async def main() -> None:
            found = await asyncio.gather(*(one.aget_or_load(KEY, loader) for one in hosts))
            assert found == [7] * 5

        asyncio.run(main())
        assert calls == 1
        assert sum(figures(one)["waits"] for one in hosts) == 4
        assert not l2._locks

    def test_threads_too(self, log: Log, l2: MemoryL2) -> None:
        hosts = [host(log, l2, l2_single_flight=True) for _ in range(5)]
        started, go, calls, found = threading.Event(), threading.Event(), [], []

        def loader() -> int:
            calls.append(1)
            started.set()
            go.wait(20)
            return 7

        threads = [
            threading.Thread(target=lambda one=one: found.append(one.get_or_load(KEY, loader)))
            for one in hosts
        ]
        for thread in threads:
            thread.start()
        started.wait(20)
        until(lambda: sum(figures(one)["waits"] for one in hosts) == 4, "the others wait")
        go.set()
        for thread in threads:
            thread.join()
        assert found == [7] * 5
        assert len(calls) == 1

    def test_a_holder_that_died_delays_the_others_for_a_while_alone(
        self, way: Any, log: Log, l2: MemoryL2
    ) -> None:
        one = host(log, l2, l2_single_flight=True)
        assert one._l2 is not None
        lock = one._l2._levels.names.lock(KEY)
        l2.try_lock(lock, "dead", 60.0)
        assert way.load(one, KEY, Loader(1), load_timeout_seconds=0.3) == 1
        assert figures(one)["waits_in_vain"] == 1

    def test_what_is_loaded_after_waiting_is_as_new_as_the_end_of_the_wait(
        self, way: Any, log: Log
    ) -> None:
        class Busy(MemoryL2):
            asked = 0

            def try_lock(self, key: str, owner: str, ttl_seconds: float, /) -> LockAnswer:
                self.asked += 1
                if self.asked == 1:
                    a.revoke("t")
                    return "taken"
                return super().try_lock(key, owner, ttl_seconds)

        l2 = Busy()
        a, b = (host(log, l2, l2_single_flight=True) for _ in range(2))
        # Overtaken itself, it is asked for anew.
        way.load(a, KEY, Loader("new"), tags=["other"])
        b.catch_up()
        assert way.load(b, KEY, Loader("not asked"), tags=["t"]) == "new"

    def test_a_value_that_is_not_shared_is_not_waited_for(self, log: Log, l2: MemoryL2) -> None:
        a, b = (host(log, l2, l2_single_flight=True) for _ in range(2))

        async def slowly() -> complex:
            await asyncio.sleep(0.1)
            return 1j

        async def main() -> None:
            found = await asyncio.gather(*(one.aget_or_load(KEY, slowly) for one in (a, b)))
            assert found == [1j, 1j]

        asyncio.run(main())
        assert figures(a)["waits_in_vain"] + figures(b)["waits_in_vain"] == 0

    @pytest.mark.parametrize("what", ["raises", "is not kept", "cannot be kept"])
    def test_whatever_comes_of_a_load_the_lock_is_given_back(
        self, way: Any, log: Log, l2: MemoryL2, what: str
    ) -> None:
        one = host(log, l2, l2_single_flight=True)
        options: dict[str, Any] = {}
        loader: Any = Loader(1)
        if what == "raises":

            def loader() -> Any:
                raise LookupError

        elif what == "is not kept":
            options["ttl"] = lambda _: 0
        else:
            loader = Loader(threading.Lock())
        try:
            way.load(one, KEY, loader, **options)
        except (LookupError, TypeError):
            assert what != "is not kept"
        until(lambda: all(not owner for owner, _ in l2._locks.values()), "it is given back")

    def test_it_needs_a_backend_with_locks(self, log: Log) -> None:
        class Plain:
            def get(self, key: str, /) -> bytes | None: ...
            def set(self, key: str, value: bytes, ttl_seconds: float, /) -> None: ...
            def delete(self, key: str, /) -> None: ...

        with pytest.raises(ConfigError, match="try_lock"):
            host(log, Plain(), l2_single_flight=True)


class TestSettings:
    def test_values_are_not_shared_without_a_log(self) -> None:
        with pytest.raises(ConfigError, match="invalidation_log"):
            OptimizedCacheManager(OptimizedCacheConfig(share_invalidations=False), l2=MemoryL2())

    def test_a_backend_must_have_its_methods(self, log: Log) -> None:
        for bad in (object(), {}, type("Half", (), {"get": lambda *_: None})()):
            with pytest.raises(ConfigError, match="lacks"):
                host(log, bad)

    def test_without_a_second_level_the_figures_say_so(self) -> None:
        assert OptimizedCacheManager().get_stats()["l2"] == {"enabled": False}

    def test_no_figure_shows_a_secret(self, log: Log, l2: MemoryL2) -> None:
        one = host(log, l2, l2_signing_key=OTHER_SECRET, redis_url="redis://:pass@x")
        assert OTHER_SECRET not in str(one.get_stats()) and "pass@" not in str(one.get_stats())


async def test_a_value_that_is_refused_leaves_no_life_to_the_next_one(log: Log) -> None:
    l2, clock = MemoryL2(), ManualClock()
    a, b = host(log, l2), host(log, l2, clock=clock)
    granted: dict[str, Any] = {"tags": ["user:ada"], "ttl": lambda value: value["left"]}
    await a.aget_or_load(KEY, lambda: {"left": 3000}, **granted)
    await writes_are_over(a)
    a.revoke("user:ada")
    b.catch_up()
    adaptive = Freshness(adaptive_ttl=True)
    loaded = await b.aget_or_load(KEY, lambda: {"left": 5}, freshness=adaptive, **granted)
    assert loaded == {"left": 5}
    clock.advance(6)
    assert b.get(KEY) == (None, False)
