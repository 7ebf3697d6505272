"""``permissive=``: what allows is not served without news from the log, what denies may be.

The log of these caches cannot be reached, so that nothing permissive is ever served from memory:
whether an entry was stored as permissive can be seen by asking for it.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from callers import Gate, InThread, Joins
from velro_cache import (
    ConfigError,
    GenerationPermissions,
    OptimizedCacheConfig,
    OptimizedCacheManager,
    cached_authorization,
)
from velro_cache.authorization.cached_check import CachedGenerationAccess
from velro_cache.load_request import requested

Load = Callable[..., Any]


@pytest.fixture
def silent() -> Iterator[OptimizedCacheManager]:
    """A cache that never hears from its log."""
    config = OptimizedCacheConfig(
        invalidation_log="redis://127.0.0.1:1",
        share_invalidations=False,
        log_timeout_seconds=0.05,
    )
    cache = OptimizedCacheManager(config)
    yield cache
    cache.stop()


def synchronous(cache: OptimizedCacheManager, value: Any, **about: Any) -> Any:
    return cache.get_or_load("key", lambda: value, **about)


def asynchronous(cache: OptimizedCacheManager, value: Any, **about: Any) -> Any:
    async def load() -> Any:
        return value

    return asyncio.run(cache.aget_or_load("key", load, **about))


def missing(cache: OptimizedCacheManager, value: Any, **about: Any) -> Any:
    return cache.load_missing("key", lambda: value, **about)


def amissing(cache: OptimizedCacheManager, value: Any, **about: Any) -> Any:
    return asyncio.run(cache.aload_missing("key", lambda: value, **about))


LOADS: list[Load] = [synchronous, asynchronous, missing, amissing]


@pytest.mark.parametrize("load", LOADS)
class TestLoads:
    def test_what_is_not_said_is_permissive(
        self, silent: OptimizedCacheManager, load: Load
    ) -> None:
        assert load(silent, "value") == "value"
        assert silent.get("key") == (None, False)
        assert silent.get_stats()["fail_closed"] == 1

    @pytest.mark.parametrize("permissive", [True, False])
    def test_a_flag(self, silent: OptimizedCacheManager, load: Load, permissive: bool) -> None:
        assert load(silent, "value", permissive=permissive) == "value"
        assert silent.get_value("key") == (None if permissive else "value")

    @pytest.mark.parametrize("value", [True, False])
    def test_a_function_of_the_value(
        self, silent: OptimizedCacheManager, load: Load, value: bool
    ) -> None:
        seen: list[Any] = []

        def allows(loaded: dict[str, bool]) -> bool:
            seen.append(loaded)
            return loaded["granted"]

        assert load(silent, {"granted": value}, permissive=allows) == {"granted": value}
        assert seen == [{"granted": value}]
        assert silent.get_value("key") == (None if value else {"granted": False})

    @pytest.mark.parametrize("answer", [None, 0, 1, "", "yes", [], 1.0])
    def test_anything_but_a_bool_is_an_error(
        self, cache: OptimizedCacheManager, load: Load, answer: Any
    ) -> None:
        with pytest.raises(
            TypeError, match="must return True or False, not " + type(answer).__name__
        ):
            load(cache, "value", permissive=lambda _: answer)
        assert "key" not in cache

    def test_a_coroutine_function_is_one_too(
        self, cache: OptimizedCacheManager, load: Load
    ) -> None:
        made = []

        async def later(_: Any) -> bool:
            return True

        def allows(value: Any) -> Any:
            made.append(later(value))
            return made[0]

        with pytest.raises(TypeError, match="not coroutine"):
            load(cache, "value", permissive=allows)
        made[0].close()

    def test_what_it_raises_reaches_the_caller_and_nothing_is_kept(
        self, cache: OptimizedCacheManager, load: Load
    ) -> None:
        def allows(value: Any) -> bool:
            raise KeyError("granted")

        with pytest.raises(KeyError, match="granted"):
            load(cache, {}, permissive=allows)
        assert "key" not in cache
        # The next one is asked anew.
        assert load(cache, {"granted": False}, permissive=lambda v: v["granted"]) is not None

    @pytest.mark.parametrize("wrong", [None, 1, 0, "yes", object()])
    def test_wrong_arguments_are_found_before_the_load(
        self, cache: OptimizedCacheManager, load: Load, wrong: Any
    ) -> None:
        with pytest.raises(TypeError, match="permissive must be True, False or a function"):
            load(cache, "value", permissive=wrong)
        assert "key" not in cache

    def test_it_is_asked_also_of_what_is_not_kept(
        self, cache: OptimizedCacheManager, load: Load
    ) -> None:
        with pytest.raises(TypeError):
            load(cache, "value", ttl=lambda _: 0, permissive=lambda _: None)


def test_whoever_waits_gets_the_error_too(cache: OptimizedCacheManager) -> None:
    joins, gate = Joins(cache), Gate()

    def load() -> str:
        gate.wait_inside()
        return "value"

    def allows(_: Any) -> bool:
        raise KeyError("mine")

    def ask() -> Any:
        return cache.get_or_load("key", load, permissive=allows)

    first = InThread(ask)
    gate.until_reached()
    others = [InThread(ask) for _ in range(3)]
    joins.until(4)
    gate.open()
    for thread in (first, *others):
        with pytest.raises(KeyError, match="mine"):
            thread.outcome()


def test_it_is_asked_once_for_all_who_wait(cache: OptimizedCacheManager) -> None:
    joins, gate, asked = Joins(cache), Gate(), []

    def load() -> str:
        gate.wait_inside()
        return "value"

    def allows(value: Any) -> bool:
        asked.append(value)
        return False

    threads = [InThread(lambda: cache.get_or_load("key", load, permissive=allows))]
    gate.until_reached()
    threads += [InThread(lambda: cache.get_or_load("key", load, permissive=allows)) for _ in "abc"]
    joins.until(4)
    gate.open()
    assert [thread.outcome() for thread in threads] == ["value"] * 4
    assert asked == ["value"]


def test_what_it_looks_up_the_result_rests_on(cache: OptimizedCacheManager) -> None:
    cache.set("policy", False, tags=["policy"])
    cache.get_or_load("key", lambda: 1, permissive=lambda _: cache.get_value("policy"))
    assert "key" in cache
    cache.invalidate_by_tags(["policy"])
    assert "key" not in cache


class TestDecorator:
    @pytest.mark.parametrize("value", [True, False])
    def test_sync_and_async(self, silent: OptimizedCacheManager, value: bool) -> None:
        calls = []

        @cached_authorization(cache=silent, permissive=bool)
        def check(user_id: str) -> bool:
            calls.append(user_id)
            return value

        @cached_authorization(cache=silent, permissive=bool)
        async def acheck(user_id: str) -> bool:
            calls.append(user_id)
            return value

        for _ in range(3):
            assert check("u1") is value
            assert asyncio.run(acheck("u2")) is value
        assert len(calls) == (6 if value else 2)

    def test_a_flag(self, silent: OptimizedCacheManager) -> None:
        calls = []

        @cached_authorization(cache=silent, permissive=False)
        def name(user_id: str) -> str:
            calls.append(user_id)
            return "Ada"

        assert name("u1") == name("u1") == "Ada"
        assert len(calls) == 1

    def test_what_is_not_said_is_permissive(self, silent: OptimizedCacheManager) -> None:
        calls = []

        @cached_authorization(cache=silent)
        def check(user_id: str) -> bool:
            calls.append(user_id)
            return False

        check("u1")
        check("u1")
        assert len(calls) == 2

    @pytest.mark.parametrize("wrong", [None, 1, "yes"])
    def test_wrong_arguments_are_found_when_decorating(self, wrong: Any) -> None:
        with pytest.raises(ConfigError, match="permissive must be True, False or a function"):
            cached_authorization(permissive=wrong)

    def test_a_wrong_answer_is_an_error_of_the_call(self, cache: OptimizedCacheManager) -> None:
        @cached_authorization(cache=cache, permissive=lambda found: found.get("granted"))
        def check(user_id: str) -> dict[str, bool]:
            return {}

        with pytest.raises(TypeError, match="must return True or False, not NoneType"):
            check("u1")
        assert check.cache_info().currsize == 0


class _Service:
    """Grants what it is told to grant, and counts who asked."""

    def __init__(self, granted: bool) -> None:
        self.granted = granted
        self.calls = 0

    async def validate_generation_media_access(
        self, generation_id: str, user_id: str, **_: Any
    ) -> GenerationPermissions:
        self.calls += 1
        if not self.granted:
            return GenerationPermissions.denied(generation_id, user_id)
        return GenerationPermissions(generation_id, user_id, granted=True, can_view=True)


@pytest.mark.parametrize("granted", [True, False])
async def test_checks_of_generations_say_it_of_their_decisions(
    silent: OptimizedCacheManager, granted: bool
) -> None:
    service = _Service(granted)
    checks = CachedGenerationAccess(service, silent)  # type: ignore[arg-type]
    for _ in range(3):
        assert (await checks.check("g1", "u1", "token")).granted is granted
    assert service.calls == (3 if granted else 1)


def test_every_way_to_load_takes_it() -> None:
    ways = [OptimizedCacheManager.get_or_load, OptimizedCacheManager.aget_or_load, requested]
    for way in ways:
        parameter = inspect.signature(way).parameters["permissive"]
        assert parameter.default is True
        assert parameter.kind is parameter.KEYWORD_ONLY


@pytest.mark.parametrize("load", LOADS)
def test_what_is_not_to_be_kept_ends_what_may_not_be_served_now(
    silent: OptimizedCacheManager, load: Load
) -> None:
    load(silent, "allow")
    assert len(silent) == 1, "it is there, and would be served with the next news"
    load(silent, "deny", ttl=lambda _: 0, permissive=False)
    assert len(silent) == 0
