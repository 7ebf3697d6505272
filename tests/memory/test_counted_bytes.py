"""The bytes a cache counts are those its process grows by."""

from __future__ import annotations

import pytest
from residence import needs_linux, output_of

LEAST, MOST = 0.8, 1.25

KINDS = (
    "text",
    "other characters",
    "long text",
    "bytes",
    "bytearray",
    "number",
    "truth",
    "uuid",
    "tuple",
    "nested tuple",
    "list",
    "set",
    "dict",
    "nested dict",
    "parsed json",
    "dataclass",
    "dataclass with slots",
    "object",
)


def counted_to_real(kind: str, isolation: str) -> float:
    # Large enough that what does not grow with the entries, some 1.5 MiB of statistics, weighs
    # little: that is not counted.
    return float(
        output_of(
            f"""
            make = VALUES[{kind!r}]
            warm_up(make)
            before = resident()
            cache = cache_of(32, isolation={isolation!r})
            fill(cache, make)
            print(cache.get_stats()["total_size_mb"] * MIB / (resident() - before))
            """
        )
    )


@needs_linux
@pytest.mark.parametrize("kind", KINDS)
def test_a_cache_takes_the_memory_it_counts_for_values_of_kind(kind: str) -> None:
    assert LEAST < counted_to_real(kind, "copy") < MOST


@needs_linux
@pytest.mark.parametrize("kind", ["dict", "list", "object"])
def test_a_cache_takes_the_memory_it_counts_for_shared_values_of_kind(kind: str) -> None:
    assert LEAST < counted_to_real(kind, "shared") < MOST


def test_one_object_in_many_places_of_a_value_counts_once() -> None:
    counted = output_of(
        """
        cache, text = cache_of(8), os.urandom(50_000).hex()
        cache.set("k", [text] * 50)
        print(cache.get_stats()["total_size_mb"])
        """
    )
    assert 0.08 < float(counted) < 0.13


def test_a_value_that_others_hold_must_still_fit_by_itself() -> None:
    assert (
        output_of(
            """
            cache, blob = cache_of(1), bytes(2 * MIB)
            holders = [[blob] for _ in range(100)]
            print(cache.set("k", blob), len(cache))
            """
        )
        == "False 0"
    )
