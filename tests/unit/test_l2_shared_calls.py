"""Decorated functions and the second level: nothing without a name, everything with one.

Each test runs with and without an event loop. The log of invalidations lies in the memory of the
test, so that each host hears of an invalidation when the test says so.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import enum
import functools
import inspect
import itertools
import json
import zoneinfo
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from fleet import Host, Log, host
from services.redis import until
from velro_cache import (
    ConfigError,
    GenerationPermissions,
    OptimizedCacheConfig,
    OptimizedCacheManager,
    UncacheableArgumentError,
    cached_authorization,
)
from velro_cache.authorization.cached_check import CachedGenerationAccess
from velro_cache.l2 import MemoryL2

SECRET = {"l2_signing_key": "one text of 32 characters or more"}
OTHER_SECRET = {"l2_signing_key": "another text of 32 characters or so"}


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Watched(MemoryL2):
    """Notes everything it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.told: dict[str, bytes] = {}

    def get(self, key: str, /) -> bytes | None:
        self.asked.append(key)
        return super().get(key)

    def set(self, key: str, value: bytes, ttl_seconds: float, /) -> None:
        self.told[key] = value
        super().set(key, value, ttl_seconds)


numbers = itertools.count(1)


@pytest.fixture
def name() -> str:
    """A name that no other test has."""
    return f"tests.call{next(numbers)}.v1"


class Calls:
    """Calls decorated functions in one of two ways."""

    def __init__(self, *, asynchronous: bool) -> None:
        self.asynchronous = asynchronous

    def decorate(self, cache: OptimizedCacheManager, function: Any, **options: Any) -> Any:
        """A decorated function that is called as any other, and its result written when it returns.

        Every one comes from here, as if several hosts had loaded one module.
        """
        if not self.asynchronous:
            decorated = cached_authorization(cache=cache, **options)(function)

            def call(*args: Any, **kwargs: Any) -> Any:
                found = decorated(*args, **kwargs)
                until(lambda: written(cache), "it is written")
                return found

        else:

            @functools.wraps(function)
            async def later(*args: Any, **kwargs: Any) -> Any:
                return function(*args, **kwargs)

            later.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
            decorated = cached_authorization(cache=cache, **options)(later)

            def call(*args: Any, **kwargs: Any) -> Any:
                async def main() -> Any:
                    found = await decorated(*args, **kwargs)
                    while not written(cache):  # noqa: ASYNC110 - nobody is told
                        await asyncio.sleep(0)
                    return found

                return asyncio.run(main())

        for attribute in ("invalidate", "cache_clear", "cache_info"):
            setattr(call, attribute, getattr(decorated, attribute))
        return call


def written(cache: OptimizedCacheManager) -> bool:
    if cache._l2 is None:
        return True
    workers = cache._l2._calls._workers
    return not (cache._l2._tasks or workers._queue or workers._idle < workers._threads)


@pytest.fixture(params=[False, True], ids=["plain", "on a loop"])
def calls(request: pytest.FixtureRequest) -> Calls:
    return Calls(asynchronous=request.param)


@pytest.fixture
def place() -> Watched:
    return Watched()


@pytest.fixture
def two(place: Watched) -> tuple[Host, Host]:
    log = Log()
    return host(log, place, **SECRET), host(log, place, **SECRET)


def figures(one: Host) -> dict[str, Any]:
    found: dict[str, Any] = one.get_stats()["l2"]
    return found


class Counting:
    """Functions that say how often they were called."""

    def __init__(self) -> None:
        self.calls = 0

    def role(self) -> Callable[..., str]:
        def role(user_id: Any, scope: Any = "all") -> str:
            self.calls += 1
            return f"{user_id!r} may do {scope!r}"

        return role

    def anything(self) -> Callable[..., int]:
        def anything(*args: Any, **kwargs: Any) -> int:
            self.calls += 1
            return self.calls

        return anything


class TestWithoutAName:
    def test_l2_is_neither_asked_nor_told(
        self, calls: Calls, two: tuple[Host, Host], place: Watched
    ) -> None:
        a, _ = two
        counting = Counting()
        role = calls.decorate(a, counting.role(), tags=["role"])
        for _ in range(3):
            role("ada")
        role.invalidate("ada")
        role("ada")
        assert (counting.calls, place.asked, place.told) == (2, [], {})
        assert figures(a)["skipped"] == {"process_key": 2}
        assert (figures(a)["misses"], figures(a)["writes"]) == (0, 0)

    def test_it_takes_no_key_of_l2(self, calls: Calls, place: Watched) -> None:
        one = host(Log(), place)
        assert calls.decorate(one, Counting().role())("ada") == "'ada' may do 'all'"

    async def test_nor_for_checks_of_generations(
        self, two: tuple[Host, Host], place: Watched
    ) -> None:
        class Service:
            async def validate_generation_media_access(self, **about: Any) -> Any:
                ids = about["generation_id"], about["user_id"]
                return GenerationPermissions(*ids, granted=True, can_view=True)

        checks = CachedGenerationAccess(Service(), two[0], namespace="one")  # type: ignore[arg-type]
        assert (await checks.check("g1", "u1", "token")).granted
        assert (await checks.check("g1", "u1", "token")).granted
        assert (place.asked, place.told) == ([], {})
        assert figures(two[0])["skipped"] == {"process_key": 1}


class TestWithAName:
    def test_what_one_host_has_called_another_need_not_call(
        self, calls: Calls, two: tuple[Host, Host], name: str
    ) -> None:
        counting = Counting()
        a, b = (calls.decorate(one, counting.role(), l2_name=name) for one in two)
        assert a("ada") == b("ada") == a(user_id="ada") == b("ada", scope="all")
        assert (counting.calls, figures(two[1])["hits"]) == (1, 1)
        # From memory from now on.
        assert b.cache_info().hits == 1

    def test_what_was_defined_before_makes_no_difference(
        self, calls: Calls, two: tuple[Host, Host], name: str
    ) -> None:
        counting = Counting()
        a = calls.decorate(two[0], counting.role(), l2_name=name)
        for _ in range(3):
            calls.decorate(two[1], counting.role())
        b = calls.decorate(two[1], counting.role(), l2_name=name)
        a("ada")
        b("ada")
        assert counting.calls == 1

    def test_other_arguments_are_other_calls(
        self, calls: Calls, two: tuple[Host, Host], name: str
    ) -> None:
        counting = Counting()
        a, b = (calls.decorate(one, counting.role(), l2_name=name) for one in two)
        different: list[Any] = [1, 1.0, True, "1", b"1", None, "", ("1",), ("1", ""), (("1",), "")]
        for argument in different:
            a(argument)
        assert counting.calls == len(different)
        for argument in different:
            assert b(argument) == f"{argument!r} may do 'all'"
            assert b("all", argument) == f"'all' may do {argument!r}"
        assert counting.calls == 2 * len(different)

    def test_functions_of_other_names_share_nothing(
        self, calls: Calls, two: tuple[Host, Host], name: str
    ) -> None:
        counting = Counting()
        a = calls.decorate(two[0], counting.role(), l2_name=name)
        b = calls.decorate(two[1], counting.role(), l2_name=f"{name}.1")
        a("ada")
        b("ada")
        assert counting.calls == 2

    @pytest.mark.parametrize("other", [OTHER_SECRET, {"name": "other", **SECRET}])
    def test_nor_do_hosts_with_another_secret_or_name(
        self, calls: Calls, place: Watched, name: str, other: dict[str, Any]
    ) -> None:
        log, counting = Log(), Counting()
        hosts = host(log, place, **SECRET), host(log, place, **other)
        a, b = (calls.decorate(one, counting.role(), l2_name=name) for one in hosts)
        a("ada")
        b("ada")
        assert counting.calls == 2
        assert not {*place.told} - {*place.asked}
        # Even if somebody puts the envelope where the other one looks.
        mine, theirs = place.told
        place.told[theirs] = place.told[mine]
        MemoryL2.set(place, theirs, place.told[mine], 60)
        hosts[1].clear()
        b("ada")
        assert (counting.calls, figures(hosts[1])["hits"]) == (3, 0)
        assert sum(figures(hosts[1])["refused"].values()) == 1

    def test_nothing_of_the_arguments_can_be_read_or_guessed_there(
        self, calls: Calls, two: tuple[Host, Host], place: Watched, name: str
    ) -> None:
        """These are signed, not encrypted: the result lies there as it is, its arguments do not."""
        secretive = calls.decorate(two[0], Counting().anything(), l2_name=name)
        secretive("a token of somebody", pin=1234)
        secretive.invalidate("a token of somebody", pin=1234)
        (key,) = place.told
        assert b"token" not in place.told[key] and b"1234" not in place.told[key]
        assert b"call:" not in place.told[key]
        assert name not in key and "token" not in key

    def test_tags_go_along(self, calls: Calls, two: tuple[Host, Host], name: str) -> None:
        counting = Counting()
        tags = ["scope:{scope}"]
        a = calls.decorate(two[0], counting.role(), l2_name=name, tags=tags)
        # This one has forgotten them.
        b = calls.decorate(two[1], counting.role(), l2_name=name)
        a("ada", "docs")
        b("ada", "docs")
        for tag in ("user:ada", "scope:docs", "auth"):
            calls_before = counting.calls
            assert two[1].invalidate_by_tags([tag]) == 1
            b("ada", "docs")
            assert counting.calls == calls_before  # The log of this test was not told.

    @pytest.mark.parametrize("tag", ["user:ada", "scope:docs"])
    def test_what_was_revoked_is_not_believed(
        self, calls: Calls, two: tuple[Host, Host], name: str, tag: str
    ) -> None:
        counting = Counting()
        tags = ["scope:{scope}"]
        a, b = (calls.decorate(one, counting.role(), l2_name=name, tags=tags) for one in two)
        a("ada", "docs")
        two[1].revoke(tag)
        b("ada", "docs")
        assert (counting.calls, figures(two[1])["refused"]) == (2, {"position": 1})
        two[0].catch_up()
        a("ada", "docs")
        assert (counting.calls, figures(two[0])["hits"]) == (2, 1)

    def test_an_allow_is_not_believed_without_news(
        self, calls: Calls, two: tuple[Host, Host], name: str
    ) -> None:
        counting = Counting()
        permissive = {"permissive": lambda answer: "docs" in answer}
        a, b = (calls.decorate(one, counting.role(), l2_name=name, **permissive) for one in two)
        for scope in ("docs", "none"):
            a("ada", scope)
        two[1].hears = False
        for scope in ("docs", "none"):
            b("ada", scope)
        assert (counting.calls, figures(two[1])["refused"]) == (3, {"position": 1})

    def test_results_made_of_others_stay(
        self, calls: Calls, two: tuple[Host, Host], place: Watched, name: str
    ) -> None:
        def outer(user_id: str) -> Any:
            return two[0].get_or_load("k", lambda: user_id)

        calls.decorate(two[0], outer, l2_name=name)("ada")
        assert figures(two[0])["not_shared"] == {"made_of_others": 1}

    def test_without_l2_the_name_changes_nothing(self, calls: Calls, name: str) -> None:
        counting = Counting()
        cache = OptimizedCacheManager(OptimizedCacheConfig(share_invalidations=False))
        role = calls.decorate(cache, counting.role(), l2_name=name)
        assert role("ada") == role("ada")
        assert (counting.calls, role.invalidate("ada"), role.cache_info().currsize) == (1, 1, 0)


class TestArguments:
    @pytest.mark.parametrize(
        "argument",
        [
            Colour.RED,
            dt.date(2030, 1, 1),
            dt.datetime(2030, 1, 1, tzinfo=dt.UTC),
            dt.datetime(2030, 7, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),
            dt.timedelta(1),
            Decimal("1.50"),
            UUID(int=7),
            range(3),
            Path("/srv"),
            frozenset({"a", "b", 1}),
            (1, ("a", frozenset({None}))),
            2**70,
            float("nan"),
        ],
        ids=repr,
    )
    def test_those_that_mean_the_same_everywhere_are_shared(
        self, calls: Calls, two: tuple[Host, Host], name: str, argument: Any
    ) -> None:
        counting = Counting()
        a, b = (calls.decorate(one, counting.role(), l2_name=name) for one in two)
        assert a(argument) == b(argument)
        assert counting.calls == 1

    def test_others_stay_in_their_process(
        self, calls: Calls, two: tuple[Host, Host], place: Watched, name: str
    ) -> None:
        class Local(enum.Enum):
            RED = 1

        class OfMyOwn(UUID):
            pass

        berlin = zoneinfo.ZoneInfo("Europe/Berlin")
        with Path("/usr/share/zoneinfo/Asia/Tokyo").open("rb") as file:
            of_a_file = zoneinfo.ZoneInfo.from_file(file, key=berlin.key)
        counting = Counting()
        role = calls.decorate(two[0], counting.role(), l2_name=name)
        private = [
            Local.RED,
            (1, (Local.RED,)),
            frozenset({Local.RED}),
            Access.READ | Access.WRITE,
            OfMyOwn(int=7),
            dt.datetime(2030, 1, 1, tzinfo=of_a_file),
        ]
        for argument in private:
            role(argument)
            role(argument)
            role("all", scope=argument)
        assert counting.calls == 2 * len(private)
        assert (place.asked, place.told) == ([], {})
        assert figures(two[0])["skipped"] == {"process_key": 2 * len(private)}

    def test_those_that_have_no_key_are_refused_as_ever(
        self, calls: Calls, two: tuple[Host, Host], name: str
    ) -> None:
        with pytest.raises(UncacheableArgumentError):
            calls.decorate(two[0], Counting().role(), l2_name=name)({"id": "ada"})

    def test_a_key_function_says_what_is_shared(
        self, calls: Calls, two: tuple[Host, Host], name: str
    ) -> None:
        counting = Counting()
        options: dict[str, Any] = {
            "l2_name": name,
            "key": lambda user_id, scope="all": (user_id["id"], scope),
        }
        a, b = (calls.decorate(one, counting.role(), **options) for one in two)
        a({"id": "ada", "age": 1})
        assert b({"id": "ada", "age": 2}) == "{'id': 'ada', 'age': 1} may do 'all'"
        b({"id": "eve", "age": 2})
        assert counting.calls == 2

    def test_more_arguments_by_position_and_by_name(
        self, calls: Calls, two: tuple[Host, Host], name: str
    ) -> None:
        counting = Counting()
        a, b = (calls.decorate(one, counting.anything(), l2_name=name) for one in two)
        first = a(1, 2, x=1, y=2)
        assert b(1, 2, y=2, x=1) == first
        others = [b(1, 2), b(1, 2, x=1), b(1, 2, x=2, y=1), b((1, 2)), b(1, 2, ("x", 1), ("y", 2))]
        assert first not in others and counting.calls == 6


class TestInvalidating:
    @pytest.mark.parametrize("way", ["invalidate", "cache_clear"])
    def test_a_call_of_a_shared_function_names_what_all_hosts_know(
        self, calls: Calls, two: tuple[Host, Host], name: str, way: str
    ) -> None:
        """What it says to the log is a pattern of keys; all hosts have keys that fit it."""
        counting = Counting()
        a, b = (calls.decorate(one, counting.role(), l2_name=name) for one in two)
        a("ada")
        b("ada")
        (mine,), (theirs,) = two[0].keys("auth:call:*"), two[1].keys("auth:call:*")
        assert mine.startswith(f"auth:call:{name}:") and theirs.startswith(f"auth:call:{name}:")
        assert getattr(a, way)(*(["ada"] if way == "invalidate" else [])) == 1


class TestDecorating:
    @pytest.mark.parametrize(
        "wrong", ["", "a:b", "a*", "a b", "a#1", "é", ".a", "-a", "a\n", "a" * 101, 5, b"a", "a/b"]
    )
    def test_a_name_is_one_part_of_a_key(self, wrong: Any) -> None:
        with pytest.raises(ConfigError, match="l2_name must be"):
            cached_authorization(l2_name=wrong)(Counting().role())

    def test_a_second_function_of_the_name_is_refused(self, name: str) -> None:
        cached_authorization(l2_name=name)(Counting().role())
        cached_authorization(l2_name=name)(Counting().role())
        with pytest.raises(ConfigError, match="already"):
            cached_authorization(l2_name=name)(Counting().anything())

    def test_a_method_needs_a_key_function(
        self, calls: Calls, two: tuple[Host, Host], name: str
    ) -> None:
        with pytest.raises(ConfigError, match="key="):

            class Refused:
                @cached_authorization(l2_name=name)
                def role(self, user_id: str) -> str:
                    return "editor"

        def key(service: Any, user_id: str) -> Any:
            return (service.tenant, user_id)

        def service_of(one: Host) -> Any:
            class Service:
                calls = 0

                def __init__(self, tenant: str) -> None:
                    self.tenant = tenant

                @cached_authorization(l2_name=name, key=key, cache=one)
                def role(self, user_id: str) -> str:
                    type(self).calls += 1
                    return f"{user_id} at {self.tenant}"

            return Service

        one, other = (service_of(host) for host in two)
        assert one("acme").role("ada") == "ada at acme"
        until(lambda: written(two[0]), "it is written")
        assert other("acme").role("ada") == "ada at acme"
        assert other("evil").role("ada") == "ada at evil"
        assert (one.calls, other.calls) == (1, 1)

    def test_so_does_whatever_carries_something_of_its_own(self, name: str) -> None:
        class Object:
            tenant = "acme"

            def __call__(self, user_id: str) -> str:
                return self.tenant

            def method(self, user_id: str) -> str:
                return self.tenant

        refused: list[Callable[..., Any]] = [
            Object(),
            Object().method,
            functools.partial(Counting().role(), "ada"),
            json.JSONDecoder().decode,
        ]
        for function in refused:
            with pytest.raises(ConfigError, match="key="):
                cached_authorization(l2_name=name)(function)
        cached_authorization(l2_name=name, key=lambda user_id: ("acme", user_id))(refused[0])

    def test_without_a_key_of_l2_it_is_refused_at_once_if_the_cache_is_known(
        self, place: Watched, name: str
    ) -> None:
        one = host(Log(), place)
        with pytest.raises(ConfigError, match="l2_encryption_key or l2_signing_key"):
            cached_authorization(l2_name=name, cache=one)(Counting().role())

    def test_and_otherwise_when_it_is_called(
        self, monkeypatch: pytest.MonkeyPatch, place: Watched, name: str
    ) -> None:
        one, counting = host(Log(), place), Counting()
        monkeypatch.setattr("velro_cache.decorators.get_cache_manager", lambda: one)
        role = cached_authorization(l2_name=name)(counting.role())
        for _ in range(2):
            with pytest.raises(ConfigError, match="l2_encryption_key or l2_signing_key"):
                role("ada")
        assert (counting.calls, place.asked, place.told) == (0, [], {})
