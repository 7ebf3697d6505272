"""Which calls of a decorated function share a result, and which arguments are refused."""

from __future__ import annotations

import datetime as dt
import enum
import gc
import math
import pathlib
import subprocess
import sys
import types
import uuid
from collections import namedtuple
from decimal import Decimal
from fractions import Fraction
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from velro_cache import OptimizedCacheManager, cached_authorization
from velro_cache.exceptions import UncacheableArgumentError

TEXT = "0f8fad5b-d9cb-469f-a165-70867728950e"


class Colour(enum.Enum):
    RED = 1
    CRIMSON = 1
    BLUE = 2


class OtherColour(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    ONE = 1


class Name(enum.StrEnum):
    ONE = "1"


class Access(enum.IntFlag):
    READ = 1
    WRITE = 2


class Strict(enum.Flag):
    A = 1
    B = 2


class Renamed(enum.Enum):
    """Members that claim to have the same name."""

    A = 1
    B = 2

    @property
    def name(self) -> str:
        return "same"


class Zone(dt.tzinfo):
    """A time zone that looks like any other of its kind."""

    def __init__(self, hours: int) -> None:
        self.hours = hours

    def utcoffset(self, moment: dt.datetime | None) -> dt.timedelta:
        return dt.timedelta(hours=self.hours)

    def dst(self, moment: dt.datetime | None) -> None:
        return None

    def tzname(self, moment: dt.datetime | None) -> None:
        return None

    def __repr__(self) -> str:
        return "Zone()"


NOON = dt.datetime(2030, 1, 1, 12)

# No two of these may share a result, in whatever position they stand.
DISTINCT: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    -1,
    1.0,
    0.0,
    -0.0,
    math.nan,
    math.inf,
    "",
    "1",
    "True",
    "None",
    "N",
    "T",
    b"",
    b"1",
    b"N",
    "\ud800",
    "\0",
    "1\0",
    "é",
    "e\u0301",
    2**63,
    -(2**63),
    2**64,
    10**100,
    uuid.UUID(TEXT),
    TEXT,
    TEXT.upper(),
    uuid.UUID(TEXT).bytes,
    uuid.UUID(TEXT).int,
    (),
    ((),),
    (1,),
    (1, 2),
    ((1, 2),),
    ((1,), 2),
    (1, (2,)),
    ("1",),
    (None,),
    frozenset(),
    frozenset({1}),
    frozenset({True}),
    frozenset({1.0}),
    frozenset({1, 2}),
    frozenset({(1, 2)}),
    frozenset({frozenset({1, 2})}),
    Colour.RED,
    Colour.BLUE,
    OtherColour.RED,
    Level.ONE,
    Name.ONE,
    Access.READ,
    Access.READ | Access.WRITE,
    Access(0),
    Access(8),
    Access(16),
    Access(24),
    Strict.A,
    Strict.A | Strict.B,
    Strict(0),
    Renamed.A,
    Renamed.B,
    NOON,
    NOON.replace(fold=1),
    NOON.replace(tzinfo=dt.UTC),
    NOON.replace(tzinfo=dt.timezone(dt.timedelta(hours=1))),
    NOON.replace(tzinfo=dt.timezone(dt.timedelta(hours=1), "CET")),
    NOON.replace(tzinfo=ZoneInfo("UTC")),
    NOON.date(),
    NOON.time(),
    NOON.time().replace(tzinfo=dt.UTC),
    dt.timedelta(1),
    dt.timedelta(seconds=1),
    Decimal(1),
    Decimal("1.0"),
    Decimal("1.00"),
    Decimal("NaN"),
    Fraction(1),
    Fraction(1, 2),
    IPv4Address("10.0.0.1"),
    IPv4Network("10.0.0.1/32"),
    IPv6Address("::1"),
    IPv6Address("fe80::1%eth0"),
    IPv6Address("fe80::1%eth1"),
    pathlib.PurePosixPath("a"),
    pathlib.PosixPath("a"),
    pathlib.PureWindowsPath("a"),
    range(3),
    range(0, 3, 2),
]


def remembers(cache: OptimizedCacheManager) -> Any:
    """A decorated function that returns another number at each real call."""
    calls: list[Any] = []

    @cached_authorization(cache=cache)
    def function(*args: Any, **kwargs: Any) -> int:
        calls.append((args, kwargs))
        return len(calls)

    return function


def one_argument(cache: OptimizedCacheManager) -> Any:
    calls: list[Any] = []

    @cached_authorization(cache=cache)
    def function(value: Any) -> int:
        calls.append(value)
        return len(calls)

    return function


class TestDifferentArgumentsNeverShare:
    def test_as_the_only_argument(self, cache: OptimizedCacheManager) -> None:
        function = one_argument(cache)
        for _ in range(2):
            numbers = [function(value) for value in DISTINCT]
            assert numbers == list(range(1, len(DISTINCT) + 1))

    def test_within_a_tuple(self, cache: OptimizedCacheManager) -> None:
        function = one_argument(cache)
        for _ in range(2):
            numbers = [function((0, value)) for value in DISTINCT]
            assert numbers == list(range(1, len(DISTINCT) + 1))

    def test_as_one_of_many(self, cache: OptimizedCacheManager) -> None:
        function = remembers(cache)
        calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
            ((), {}),
            ((1,), {}),
            ((1, 2), {}),
            ((2, 1), {}),
            (((1, 2),), {}),
            ((1, (2,)), {}),
            ((12,), {}),
            (("1", "2"), {}),
            (("12",), {}),
            (("", "12"), {}),
            ((), {"a": 1}),
            ((), {"b": 1}),
            ((), {"a": 1, "b": 2}),
            ((), {"a": 2, "b": 1}),
            ((), {"ab": 1}),
            ((1,), {"a": 2}),
            (("a", 1), {}),
            ((("a", 1),), {}),
            (("a",), {"a": 1}),
            ((), {"a": "b", "c": "d"}),
            ((), {"a": ("b", "c"), "d": None}),
            ((), {"a=": 1}),
            ((None,), {}),
            ((None, None), {}),
        ]
        for _ in range(2):
            assert [function(*args, **kwargs) for args, kwargs in calls] == list(
                range(1, len(calls) + 1)
            )

    def test_an_id_is_never_mixed_up_with_another_parameters(
        self, cache: OptimizedCacheManager
    ) -> None:
        calls: list[Any] = []

        @cached_authorization(cache=cache)
        def check(
            user_id: str | None = None, generation_id: str | None = None, *, team_id: str = ""
        ) -> int:
            calls.append((user_id, generation_id, team_id))
            return len(calls)

        for _ in range(2):
            assert check("a", "b") == 1
            assert check("b", "a") == 2
            assert check(user_id="a") == 3
            assert check(generation_id="a") == 4
            assert check(team_id="a") == 5
            assert check("a", team_id="b") == 6
            assert check(generation_id="b", user_id="a") == 1
            assert check("ab") == 7
            assert check("a", "") == 8
            assert check("", "a") == 9
            assert check() == 10
            assert check(None, None) == 10
        assert len(calls) == 10

    def test_more_positions_are_not_more_names(self, cache: OptimizedCacheManager) -> None:
        calls: list[Any] = []

        @cached_authorization(cache=cache)
        def check(a: Any, *more: Any, b: Any = 0, **named: Any) -> int:
            calls.append((a, more, b, named))
            return len(calls)

        ways: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
            ((1,), {}),
            ((1, 0), {}),
            ((1, 0), {"b": 0, "c": 0}),
            ((1,), {"c": 0}),
            ((1,), {"b": 1}),
            ((1, 1), {}),
            ((1,), {"b": 0, "c": 1}),
            ((1, 2, 3), {}),
            ((1, 3, 2), {}),
            ((1, (2, 3)), {}),
            ((1,), {"more": (2, 3)}),
            ((1,), {"named": "dict"}),
        ]
        for _ in range(2):
            numbers = [check(*args, **kwargs) for args, kwargs in ways]
            assert numbers == list(range(1, len(ways) + 1))
        assert check(1, b=0) == 1
        assert check(a=1) == 1


class TestTheSameArgumentsShare:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("".join(["a", "b"]), "ab"),
            (10**50, 10**50),
            (float("nan"), math.nan),
            (uuid.UUID(TEXT), uuid.UUID(TEXT.upper())),
            ((1, ("a",)), (1, tuple("a"))),
            (frozenset([1, 2, 3]), frozenset([3, 2, 1])),
            (frozenset(range(1000)), frozenset(reversed(range(1000)))),
            (Colour.RED, Colour.CRIMSON),
            (Access.READ | Access.WRITE, Access(3)),
            (NOON, dt.datetime(2030, 1, 1, 12)),
            (ZoneInfo("UTC"), ZoneInfo.no_cache("UTC")),
            (Decimal("1.0"), Decimal("1.0")),
        ],
        ids=repr,
    )
    def test_though_they_are_other_objects(
        self, cache: OptimizedCacheManager, one: Any, other: Any
    ) -> None:
        function = one_argument(cache)
        assert function(one) == function(other) == 1

    def test_names_in_any_order(self, cache: OptimizedCacheManager) -> None:
        function = remembers(cache)
        assert function(a=1, b=2, c=3) == function(c=3, b=2, a=1) == 1


class Plain:
    pass


class Words(str):
    __slots__ = ()


class Number(int):
    pass


Point = namedtuple("Point", "x y")


def generator() -> Any:
    yield 1


class TestRefused:
    @pytest.mark.parametrize(
        "value",
        [
            [1],
            {"a": 1},
            {1, 2},
            bytearray(b"x"),
            memoryview(b"x"),
            object(),
            Plain(),
            Plain,
            len,
            lambda: 1,
            types,
            Words("a"),
            Number(1),
            Point(1, 2),
            (1, [2]),
            (1, (2, ({},))),
            frozenset({Plain()}),
            generator(),
            iter(()),
            ...,
            NOON.replace(tzinfo=Zone(1)),
            NOON.time().replace(tzinfo=Zone(1)),
            Zone(1),
            Exception("x"),
            type("Moment", (dt.datetime,), {})(2030, 1, 1),
        ],
        ids=lambda value: type(value).__name__,
    )
    async def test_what_has_no_safe_key_is_refused_before_the_function_runs(
        self, cache: OptimizedCacheManager, value: Any
    ) -> None:
        @cached_authorization(cache=cache)
        def check(a: Any, *more: Any, named: Any = None, **others: Any) -> None:
            raise AssertionError("called")

        @cached_authorization(cache=cache)
        async def check_later(a: Any) -> None:
            raise AssertionError("called")

        for call in (
            lambda: check(value),
            lambda: check(1, value),
            lambda: check(1, named=value),
            lambda: check(1, other=value),
            lambda: check.invalidate(value),
        ):
            with pytest.raises(UncacheableArgumentError):
                call()
        with pytest.raises(UncacheableArgumentError, match="key="):
            await check_later(value)
        assert len(cache) == 0

    def test_a_default_that_has_no_safe_key_is_refused_too(
        self, cache: OptimizedCacheManager
    ) -> None:
        @cached_authorization(cache=cache)
        def check(a: int, seen: list[int] = []) -> int:  # noqa: B006 - the mistake in question
            raise AssertionError("called")

        with pytest.raises(UncacheableArgumentError, match="list"):
            check(1)

    def test_a_tuple_that_goes_on_for_ever_is_refused(self, cache: OptimizedCacheManager) -> None:
        deep: tuple[Any, ...] = ()
        for _ in range(100_000):
            deep = (deep,)
        function = one_argument(cache)
        with pytest.raises(UncacheableArgumentError, match="deep"):
            function(deep)
        # Taken apart by hand: letting go of it all at once is Python's problem.
        while deep:
            (deep,) = deep

    def test_the_message_names_the_type_and_never_the_value(
        self, cache: OptimizedCacheManager
    ) -> None:
        class Token:
            def __repr__(self) -> str:
                return "s3cret"

        function = one_argument(cache)
        with pytest.raises(UncacheableArgumentError, match="Token") as caught:
            function(Token())
        assert "s3cret" not in str(caught.value)

    def test_time_zones_that_look_alike_are_not_mixed_up(
        self, cache: OptimizedCacheManager
    ) -> None:
        @cached_authorization(cache=cache)
        def offset(moment: dt.datetime) -> dt.timedelta | None:
            return moment.utcoffset()

        for hours in (1, 2):
            with pytest.raises(UncacheableArgumentError):
                offset(NOON.replace(tzinfo=Zone(hours)))


def test_members_of_a_class_at_the_address_of_one_that_is_gone_are_not_mixed_up(
    cache: OptimizedCacheManager,
) -> None:
    @cached_authorization(cache=cache)
    def check(role: enum.Enum) -> Any:
        return role.value

    addresses: set[int] = set()
    again = 0
    for number in range(100):
        members: Any = enum.Enum("members", {"USER": number})
        again += id(members) in addresses
        addresses.add(id(members))
        assert check(members.USER) == number
        del members
        gc.collect(0)
    if not again and not getattr(sys, "_is_gil_enabled", lambda: True)():
        pytest.skip("without a GIL, addresses are not used again so soon")
    assert again > 0, "no address was used twice; the test shows nothing"


class TestKeyFunction:
    def test_decides_what_is_told_apart(self, cache: OptimizedCacheManager) -> None:
        calls: list[Any] = []

        @cached_authorization(cache=cache, key=lambda request: request["user"])
        def check(request: dict[str, str]) -> int:
            calls.append(request)
            return len(calls)

        assert check({"user": "u1", "trace": "1"}) == check({"user": "u1", "trace": "2"}) == 1
        assert check({"user": "u2"}) == 2
        assert check(request={"user": "u1"}) == 1

    async def test_of_a_coroutine_function(self, cache: OptimizedCacheManager) -> None:
        calls: list[Any] = []

        @cached_authorization(cache=cache, key=lambda request: (request["user"], 1))
        async def check(request: dict[str, str]) -> int:
            calls.append(request)
            return len(calls)

        assert await check({"user": "u1"}) == await check({"user": "u1", "x": "y"}) == 1

    def test_what_it_returns_must_have_a_safe_key_itself(
        self, cache: OptimizedCacheManager
    ) -> None:
        @cached_authorization(cache=cache, key=lambda *args: list(args))
        def check(a: int) -> int:
            raise AssertionError("called")

        with pytest.raises(UncacheableArgumentError):
            check(1)

    def test_its_error_reaches_the_caller_before_the_function_runs(
        self, cache: OptimizedCacheManager
    ) -> None:
        @cached_authorization(cache=cache, key=lambda request: request["user"])
        def check(request: dict[str, str]) -> int:
            raise AssertionError("called")

        with pytest.raises(KeyError, match="user"):
            check({})
        assert len(cache) == 0

    def test_its_types_are_told_apart_too(self, cache: OptimizedCacheManager) -> None:
        calls: list[Any] = []

        @cached_authorization(cache=cache, key=lambda value: value)
        def check(value: Any) -> int:
            calls.append(value)
            return len(calls)

        assert [check(value) for value in (1, 1.0, True, "1", None)] == [1, 2, 3, 4, 5]


class TestUuidSpellings:
    def test_a_uuid_and_its_text_have_results_of_their_own(
        self, cache: OptimizedCacheManager
    ) -> None:
        @cached_authorization(cache=cache)
        def kind(user_id: Any) -> str:
            return type(user_id).__name__

        for _ in range(2):
            assert kind(uuid.UUID(TEXT)) == "UUID"
            assert kind(TEXT) == "str"

    @pytest.mark.parametrize(
        "spelling",
        [
            uuid.UUID(TEXT),
            TEXT,
            TEXT.upper(),
            TEXT.replace("-", ""),
            f"{{{TEXT}}}",
            f"urn:uuid:{TEXT}",
        ],
        ids=str,
    )
    @pytest.mark.parametrize("nested", [False, True])
    def test_to_invalidate_one_spelling_is_to_invalidate_all(
        self, cache: OptimizedCacheManager, spelling: Any, nested: bool
    ) -> None:
        @cached_authorization(cache=cache)
        def check(user: Any, depth: int = 1) -> int:
            return 1

        def asked(id_: Any) -> Any:
            return (1, id_) if nested else id_

        check(asked(uuid.UUID(TEXT)))
        check(asked(TEXT))
        check(asked(TEXT.upper()))
        check(asked(uuid.UUID(int=5)))
        check(asked(TEXT), 2)
        assert check.invalidate(asked(spelling)) == 3
        assert check.cache_info().currsize == 2


class TestSecrets:
    SECRET = "eyJhbGciOiJIUzI1NiJ9.s3cret-token"  # noqa: S105 - it is one, and must not be seen

    async def test_an_argument_is_never_readable_from_the_cache(
        self, cache: OptimizedCacheManager
    ) -> None:
        @cached_authorization(cache=cache)
        def check(token: str, *more: str, **named: str) -> bool:
            return True

        @cached_authorization(cache=cache)
        async def check_later(token: str) -> bool:
            return True

        @cached_authorization(cache=cache, key=lambda token: token)
        def check_by_key(token: str) -> bool:
            return True

        check(self.SECRET, self.SECRET, named=self.SECRET)
        await check_later(self.SECRET)
        check_by_key(self.SECRET)
        assert len(cache) == 3
        shown = repr(cache.keys()) + repr(cache.get_stats()) + repr(cache) + repr(check)
        for part in (self.SECRET, self.SECRET[-5:], self.SECRET.encode().hex()):
            assert part not in shown

    def test_a_key_differs_from_process_to_process(self, cache: OptimizedCacheManager) -> None:
        program = (
            "from velro_cache import *\n"
            "check = cached_authorization()(len)\n"
            "check('token')\n"
            "print(get_cache_manager().keys()[0])\n"
        )
        keys = {
            subprocess.run(
                [sys.executable, "-c", program], capture_output=True, text=True, check=True
            ).stdout
            for _ in range(2)
        }
        assert len(keys) == 2

    def test_no_error_shows_an_argument(self, cache: OptimizedCacheManager) -> None:
        @cached_authorization(cache=cache)
        def check(token: str) -> bool:
            return check(token)

        with pytest.raises(RuntimeError) as caught:
            check(self.SECRET)
        assert "s3cret" not in str(caught.value)


def test_a_key_of_any_number_of_arguments_has_one_length(cache: OptimizedCacheManager) -> None:
    function = remembers(cache)
    function()
    function("x" * 400_000, *range(1000), a=b"y" * 400_000)
    one, other = cache.keys()
    assert len(one) == len(other)


def test_the_last_argument_counts_against_the_bound_too(cache: OptimizedCacheManager) -> None:
    with pytest.raises(UncacheableArgumentError, match="1048576 bytes in all"):
        remembers(cache)("x" * 5_000_000)
