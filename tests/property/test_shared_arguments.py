"""Arguments as hosts write them down: alike exactly if they mean the same, in every process."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import pathlib
import subprocess
import sys
import zoneinfo
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_call_keys import TEXT, Access, Colour, meaning

from velro_cache import OptimizedCacheManager, cached_authorization
from velro_cache.exceptions import UncacheableArgumentError
from velro_cache.l2.arguments import ArgumentNotSharedError, encode_arguments

BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
# Few and much alike, and some that look like parts of what is written.
atoms = st.one_of(
    st.sampled_from([None, True, False, 0, 1, -1, 2**64, 1.0, 0.0, -0.0, "", "1", b"", b"1", TEXT]),
    st.sampled_from(["N", "s\0\0\0\0\0\0\0\0", b"N", b"t\0\0\0\0\0\0\0\1", "\0", "\ud800", "=a"]),
    st.sampled_from([Colour.RED, Colour.BLUE, Access.READ]),
    st.uuids(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=3),
    st.binary(max_size=3),
    st.decimals(allow_nan=False),
    st.fractions(),
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.datetimes(timezones=st.sampled_from([None, dt.UTC, BERLIN, dt.timezone(dt.timedelta(0))])),
    st.ip_addresses(),
    st.sampled_from([pathlib.PurePosixPath("a"), pathlib.Path("a"), range(0), range(0, 3, 2)]),
    st.sampled_from([pathlib.PureWindowsPath("a"), ipaddress.ip_network("::/0"), BERLIN, dt.UTC]),
)
arguments = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.tuples(), st.tuples(inner), st.tuples(inner, inner), st.frozensets(inner, max_size=2)
    ),
    max_leaves=4,
)
calls = st.lists(
    st.tuples(st.sampled_from(["a", "b", "ab", ""]), arguments),
    max_size=3,
    unique_by=lambda argument: argument[0],
)


def meant(made: list[tuple[str, Any]]) -> Any:
    return frozenset((name, meaning(value)) for name, value in made)


@given(st.lists(calls, min_size=2, max_size=12))
def test_two_calls_are_written_alike_exactly_if_they_mean_the_same(made: list[Any]) -> None:
    seen: dict[bytes, Any] = {}
    for call in made:
        assert seen.setdefault(encode_arguments(call), meant(call)) == meant(call)
        assert encode_arguments(list(reversed(call))) == encode_arguments(call)
    assert len(seen) == len({meant(call) for call in made})


@given(arguments, arguments)
def test_what_memory_keeps_apart_hosts_keep_apart(one: Any, two: Any) -> None:
    """And what memory takes for the same is the same between hosts."""
    ran = []
    check = cached_authorization(cache=OptimizedCacheManager())(lambda value: ran.append(value))
    try:
        check(one)
        check(two)
    except UncacheableArgumentError:
        return
    alike = encode_arguments([("value", one)]) == encode_arguments([("value", two)])
    assert alike == (len(ran) == 1)


class OfAText(str):
    """Equal to a text, and may say anything of itself."""

    __slots__ = ()


@pytest.mark.parametrize(
    "value",
    [OfAText("a"), [], {}, set(), object(), Colour, len, bytearray(b"a"), Access(0), Access(8)],
    ids=repr,
)
def test_nothing_else_is_written(value: Any) -> None:
    for nested in (value, (value,), (1, ("a", value))):
        with pytest.raises(ArgumentNotSharedError):
            encode_arguments([("value", nested)])


def test_nothing_is_written_that_is_too_deep() -> None:
    value: Any = ()
    for _ in range(100):
        value = (value,)
    with pytest.raises(ArgumentNotSharedError):
        encode_arguments([("value", value)])


PROGRAM = """
import datetime, decimal, enum, hashlib, http, pathlib, uuid, zoneinfo
from velro_cache.l2.arguments import encode_arguments
berlin = zoneinfo.ZoneInfo("Europe/Berlin")
print(hashlib.sha256(encode_arguments([
    ("roles", frozenset({"editor", "reader", "owner", 1, 2.5, None, ("a", b"b")})),
    ("user_id", uuid.UUID(int=7)),
    ("method", http.HTTPMethod.GET),
    ("status", http.HTTPStatus.OK),
    ("at", datetime.datetime(2020, 7, 1, tzinfo=berlin)),
    ("more", (decimal.Decimal("1.50"), pathlib.PurePosixPath("/srv"), range(3), 2**70, -1)),
])).hexdigest())
"""


def test_every_process_writes_the_same() -> None:
    """Also tomorrow: another digest here means that hosts of two versions share nothing."""
    digests = set()
    for seed in ("1", "2", "random"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, check=True
        )
        digests.add(done.stdout.decode().strip())
    assert digests == {"a7ab47abede7f6b53d2e48a77ab48ff7904ecd8b0667544af07155b3ec12986c"}


def test_the_types_are_those_that_can_be_keyed() -> None:
    """Decimals and fractions that are equal are different arguments."""
    assert encode_arguments([("a", Decimal("1.0"))]) != encode_arguments([("a", Decimal("1.00"))])
    assert encode_arguments([("a", Decimal(1))]) != encode_arguments([("a", Fraction(1))])
