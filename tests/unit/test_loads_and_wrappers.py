"""Corners of loading and decorating that once let an old answer through, or a caller wait."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import pytest

from velro_cache import (
    ConfigError,
    LoaderCancelledError,
    OptimizedCacheConfig,
    OptimizedCacheManager,
    cached_authorization,
)


async def test_who_asks_after_a_set_does_not_join_an_older_load(
    cache: OptimizedCacheManager,
) -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    async def older() -> str:
        begun.set()
        await go.wait()
        return "allow"

    first = asyncio.create_task(cache.aget_or_load("k", older))
    await begun.wait()
    cache.set("k", "deny")
    second = asyncio.create_task(cache.aget_or_load("k", lambda: "deny"))
    assert await second == "deny"
    go.set()
    await first
    assert cache.get("k") == ("deny", True)


async def test_who_joins_a_load_that_was_overtaken_loads_anew() -> None:
    cache = OptimizedCacheManager(OptimizedCacheConfig(max_entries=1))
    begun, go = asyncio.Event(), asyncio.Event()

    async def older() -> str:
        begun.set()
        await go.wait()
        return "allow"

    first = asyncio.create_task(cache.aget_or_load("k", older))
    await begun.wait()
    cache.set("k", "deny")
    cache.set("pushes it out", 1)
    assert "k" not in cache
    second = asyncio.create_task(cache.aget_or_load("k", lambda: "deny"))
    await asyncio.sleep(0)
    go.set()
    assert await second == "deny"
    await first


async def test_a_load_cancelled_before_its_first_step_leaves_nobody_waiting(
    cache: OptimizedCacheManager,
) -> None:
    waiting = asyncio.create_task(cache.aget_or_load("k", lambda: "v", load_timeout_seconds=None))
    await asyncio.sleep(0)
    for task in asyncio.all_tasks():
        if task.get_name() == "velro-cache-load":
            task.cancel()
    with pytest.raises(LoaderCancelledError):
        await asyncio.wait_for(waiting, 20)
    assert await cache.aget_or_load("k", lambda: "v") == "v"


async def test_each_waiter_gets_an_exception_of_its_own(cache: OptimizedCacheManager) -> None:
    class CodeError(Exception):
        def __init__(self, code: int) -> None:
            super().__init__(f"code {code}")

    async def fails() -> None:
        await asyncio.sleep(0)
        error = CodeError(5)
        error.add_note("from the loader")
        raise error

    loads = [cache.aget_or_load("k", fails) for _ in range(5)]
    errors: list[Any] = await asyncio.gather(*loads, return_exceptions=True)
    assert len({id(error) for error in errors}) == 5
    assert {(type(error), str(error)) for error in errors} == {(CodeError, "code 5")}
    errors[0].add_note("mine alone")
    assert [error.__notes__ for error in errors[1:]] == [["from the loader"]] * 4


def test_a_wrapper_that_hides_an_id_is_refused(cache: OptimizedCacheManager) -> None:
    def check(db: str, user_id: str) -> bool:
        return True

    @functools.wraps(check)
    def with_db(*args: Any) -> bool:
        return check("db", *args)

    with pytest.raises(ConfigError, match="user_id"):
        cached_authorization(cache=cache)(with_db)


def test_an_id_among_more_keywords_is_a_tag(cache: OptimizedCacheManager) -> None:
    @cached_authorization(cache=cache)
    def check(**more: str) -> bool:
        return True

    check(user_id="u1")
    assert cache.invalidate_user_data("u1") == 1


def test_a_number_and_its_text_invalidate_the_same_call(cache: OptimizedCacheManager) -> None:
    @cached_authorization(cache=cache)
    def check(number: object) -> bool:
        return True

    check(7)
    assert check.invalidate("7") == 1


def test_a_sub_interpreter_is_refused_in_clear_words() -> None:
    interpreters = pytest.importorskip("_xxsubinterpreters", reason="renamed in later Pythons")
    program = "import velro_cache"
    interpreter = interpreters.create()
    try:
        # From 3.12 on the interpreter itself may be the first to refuse.
        refusal = "does not work in sub-interpreters|does not support loading in subinterpreters"
        with pytest.raises(interpreters.RunFailedError, match=refusal):
            interpreters.run_string(interpreter, program)
    finally:
        interpreters.destroy(interpreter)
