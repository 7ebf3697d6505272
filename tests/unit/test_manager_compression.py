"""Large values as fewer bytes: smaller, and the same value type for type."""

from __future__ import annotations

import enum
import math
import os
from typing import Any
from uuid import UUID

import pytest

from velro_cache import OptimizedCacheManager


class Colour(enum.Enum):
    RED = 1


def same(one: Any, other: Any) -> bool:
    """Equal in every part, type for type; NaN is the same as NaN, 0.0 is not -0.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return math.copysign(1, one) == math.copysign(1, other) and (
            one == other or (math.isnan(one) and math.isnan(other))
        )
    if isinstance(one, dict):
        return len(one) == len(other) and all(
            same(a, b) and same(one[a], other[b]) for a, b in zip(one, other, strict=True)
        )
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, (set, frozenset)):
        return one == other and sorted(map(repr, map(type, one))) == sorted(
            map(repr, map(type, other))
        )
    return bool(one == other)


def bytes_in(cache: OptimizedCacheManager) -> float:
    size: float = cache.get_stats()["total_size_mb"] * (1 << 20)
    return size


PADDING = "padding that shrinks well " * 400

VALUES: dict[str, Any] = {
    "text": PADDING,
    "bytes": PADDING.encode(),
    "surrogates": {"s": "\ud800\udfff" * 10, "p": PADDING},
    "nul": ["\0" * 5000, b"\0" * 5000],
    "floats": [math.nan, -math.nan, math.inf, -math.inf, -0.0, 0.0, 5e-324, 1e308] * 200,
    "complex": [complex(-0.0, math.inf)] * 500,
    "integers": [0, -1, 2**31, -(2**31), 2**63, -(2**63), 2**64, 10**300, -(10**300)] * 100,
    "bools are not integers": [True, 1, 1.0, False, 0, 0.0] * 300,
    "none": [None] * 3000,
    "text or bytes": ["a", b"a", "", b""] * 500,
    "nested": {"a": [{"b": ({"c": {1, 2}}, [frozenset({"x"})])}] * 200},
    "order": {str(number): number for number in range(2000, 0, -1)},
    "keys of all kinds": {1: PADDING, 1.5: 2, "1": 3, b"1": 4, (1, "a"): 5, None: 6, False: 7},
    "empty": [[], {}, (), set(), frozenset(), "", b""] * 400,
    "a record": {"roles": ["admin", "editor"] * 300, "granted": True, "expires": 1.5},
}
FOREIGN: dict[str, Any] = {
    "uuid": [UUID(int=5), PADDING],
    "enum": {"c": Colour.RED, "p": PADDING},
    "bytearray": [bytearray(PADDING.encode())],
}


@pytest.mark.parametrize("name", [*VALUES, *FOREIGN])
@pytest.mark.parametrize("threshold", [64, 1024])
def test_a_value_comes_back_type_for_type(make_cache: Any, name: str, threshold: int) -> None:
    value = {**VALUES, **FOREIGN}[name]
    cache = make_cache(compression_enabled=True, compression_threshold_bytes=threshold)
    assert cache.set("k", value)
    for _ in range(2):
        found, hit = cache.get("k")
        assert hit
        assert same(found, value)


@pytest.mark.parametrize("name", VALUES)
def test_plain_data_takes_fewer_bytes_compressed(make_cache: Any, name: str) -> None:
    packed = make_cache(compression_enabled=True, compression_threshold_bytes=64)
    plain = make_cache(compression_enabled=False)
    packed.set("k", VALUES[name])
    plain.set("k", VALUES[name])
    assert bytes_in(packed) < 0.75 * bytes_in(plain)


def test_a_value_below_the_threshold_is_left_as_it_is(make_cache: Any) -> None:
    packed = make_cache(compression_enabled=True, compression_threshold_bytes=100_000)
    plain = make_cache(compression_enabled=False)
    for cache in (packed, plain):
        cache.set("k", PADDING)
    assert bytes_in(packed) == bytes_in(plain)
    assert packed.get_value("k") is packed.get_value("k")


def test_noise_is_stored_as_it_is(make_cache: Any) -> None:
    noise = os.urandom(50_000)
    packed = make_cache(compression_enabled=True, compression_threshold_bytes=64)
    plain = make_cache(compression_enabled=False)
    for cache in (packed, plain):
        cache.set("k", noise)
        assert cache.get("k") == (noise, True)
    assert bytes_in(packed) == bytes_in(plain)


def test_a_value_that_would_fit_only_compressed_is_refused(make_cache: Any) -> None:
    # Nothing that large is copied and packed to find out.
    cache = make_cache(max_size_mb=1, compression_enabled=True)
    value = "a" * 5_000_000
    stored = cache.set("k", value)
    assert stored is False
    assert cache.get("k") == (None, False)


def test_a_compressed_value_is_no_longer_the_setters(make_cache: Any) -> None:
    cache = make_cache(compression_enabled=True, compression_threshold_bytes=64)
    value = {"roles": ["viewer"] * 1000}
    cache.set("k", value)
    value["roles"].append("admin")
    first = cache.get_value("k")
    first["roles"].append("admin")
    assert cache.get("k") == ({"roles": ["viewer"] * 1000}, True)


def test_in_shared_mode_nothing_is_compressed(make_cache: Any) -> None:
    cache = make_cache(isolation="shared", compression_enabled=True)
    cache.set("k", PADDING)
    assert cache.get_value("k") is PADDING
