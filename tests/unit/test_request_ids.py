"""Ids of requests: which are taken, and where they are seen."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from velro_cache.config import OptimizedCacheConfig
from velro_cache.manager import OptimizedCacheManager
from velro_cache.request_ids import (
    RequestIdFilter,
    current_request_id,
    new_request_id,
    serving_request,
)

PLAIN = re.compile(r"[A-Za-z0-9._-]{1,64}")


@given(st.none() | st.text(max_size=80) | st.from_regex(PLAIN, fullmatch=True))
def test_an_id_is_always_plain(asked: str | None) -> None:
    taken = new_request_id(asked)
    assert PLAIN.fullmatch(taken) and taken.isascii()
    assert (taken == asked) == bool(asked and PLAIN.fullmatch(asked) and asked.isascii())


@pytest.mark.parametrize("asked", ["a\n", "a b", "x" * 65, "", "é", 'a"', "a\x00", "٣"])
def test_what_could_be_taken_for_more_is_not_taken(asked: str) -> None:
    assert new_request_id(asked) != asked


def test_ids_are_different() -> None:
    assert len({new_request_id() for _ in range(100)}) == 100


async def test_a_load_belongs_to_the_request_that_began_it() -> None:
    cache = OptimizedCacheManager(OptimizedCacheConfig(share_invalidations=False))

    async def loader() -> str | None:
        await asyncio.sleep(0)
        return await asyncio.to_thread(current_request_id)

    with serving_request("r1"):
        assert await cache.aget_or_load("k", loader) == "r1"
    assert current_request_id() is None


def test_records_have_one_unless_they_brought_one() -> None:
    def filtered(**given: Any) -> Any:
        record = logging.LogRecord("x", logging.INFO, "", 1, "", None, None)
        record.__dict__.update(given)
        assert RequestIdFilter().filter(record)
        return record.__dict__["request_id"]

    assert filtered() is None
    with serving_request("r1"):
        assert filtered() == "r1"
        assert filtered(request_id="own") == "own"
