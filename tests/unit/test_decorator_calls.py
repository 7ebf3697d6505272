"""``@cached_authorization`` on functions, coroutine functions and methods: calls and results."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import sys
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from callers import Gate, InThread
from velro_cache import (
    CacheInfo,
    OptimizedCacheManager,
    cached_authorization,
    get_cache_manager,
)
from velro_cache._engine import ManualClock
from velro_cache.exceptions import (
    CacheStoppedError,
    ConfigError,
    LoaderRecursionError,
    SerializationError,
    UncacheableArgumentError,
)


class Counted:
    """What a decorated function does: counts its calls and returns the number of the call."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self._lock = threading.Lock()

    def __call__(self, *arguments: Any) -> int:
        with self._lock:
            self.calls.append(arguments)
            return len(self.calls)


@pytest.fixture
def counted() -> Counted:
    return Counted()


class TestFunctions:
    def test_the_second_call_is_answered_from_memory(
        self, cache: OptimizedCacheManager, counted: Counted
    ) -> None:
        @cached_authorization(cache=cache)
        def check(user_id: str) -> int:
            return counted(user_id)

        assert check("u1") == check("u1") == 1
        assert check("u2") == 2
        assert counted.calls == [("u1",), ("u2",)]
        assert len(cache) == 2

    async def test_so_is_the_second_await(
        self, cache: OptimizedCacheManager, counted: Counted
    ) -> None:
        @cached_authorization(cache=cache)
        async def check(user_id: str) -> int:
            await asyncio.sleep(0)
            return counted(user_id)

        assert await check("u1") == await check("u1") == 1
        assert await check("u2") == 2
        assert len(cache) == 2

    @pytest.mark.parametrize("result", [None, False, 0, "", [], {}])
    async def test_a_falsy_result_is_kept_like_any_other(
        self, cache: OptimizedCacheManager, counted: Counted, result: Any
    ) -> None:
        @cached_authorization(cache=cache)
        def check() -> Any:
            counted()
            return result

        @cached_authorization(cache=cache)
        async def check_later() -> Any:
            counted()
            return result

        assert check() == check() == result
        assert await check_later() == await check_later() == result
        assert len(counted.calls) == 2

    def test_arguments_may_be_passed_in_any_way_that_means_the_same(
        self, cache: OptimizedCacheManager, counted: Counted
    ) -> None:
        @cached_authorization(cache=cache)
        def check(a: int, b: int = 2, *, c: int = 3) -> int:
            return counted(a, b, c)

        ways = [
            check(1),
            check(1, 2),
            check(a=1),
            check(b=2, a=1),
            check(1, c=3),
            check(c=3, b=2, a=1),
            check(1, **{"b": 2}),
        ]
        assert ways == [1] * 7
        assert counted.calls == [(1, 2, 3)]

    def test_a_result_changed_by_its_caller_is_unchanged_for_the_next(
        self, cache: OptimizedCacheManager
    ) -> None:
        @cached_authorization(cache=cache)
        def roles(user_id: str) -> dict[str, list[str]]:
            return {"roles": ["viewer"]}

        roles("u")["roles"].append("admin")
        roles("u")["more"] = []
        assert roles("u") == {"roles": ["viewer"]}

    async def test_an_error_is_raised_and_never_kept(
        self, cache: OptimizedCacheManager, counted: Counted
    ) -> None:
        @cached_authorization(cache=cache)
        def check(user_id: str) -> int:
            if counted() == 1:
                raise PermissionError("no database")
            return 5

        @cached_authorization(cache=cache)
        async def check_later(user_id: str) -> int:
            return check.__wrapped__(user_id)  # type: ignore[no-any-return]

        with pytest.raises(PermissionError, match="no database"):
            check("u")
        assert len(cache) == 0
        assert check("u") == 5
        counted.calls.clear()
        with pytest.raises(PermissionError, match="no database"):
            await check_later("u")
        assert await check_later("u") == 5

    def test_a_result_that_cannot_be_copied_is_an_error_and_not_kept(
        self, cache: OptimizedCacheManager
    ) -> None:
        @cached_authorization(cache=cache)
        def rows() -> Any:
            yield 1

        with pytest.raises(SerializationError):
            rows()
        assert len(cache) == 0

    def test_a_hundred_threads_call_it_once(
        self, cache: OptimizedCacheManager, counted: Counted
    ) -> None:
        gate = Gate()

        @cached_authorization(cache=cache)
        def check(user_id: str) -> int:
            gate.wait_inside()
            return counted()

        threads = [InThread(lambda: check("u")) for _ in range(100)]
        gate.until_reached()
        gate.open()
        assert [thread.outcome() for thread in threads] == [1] * 100
        assert len(counted.calls) == 1

    async def test_a_hundred_tasks_call_it_once(
        self, cache: OptimizedCacheManager, counted: Counted
    ) -> None:
        gate = Gate()

        @cached_authorization(cache=cache)
        async def check(user_id: str) -> int:
            await gate.await_inside()
            return counted()

        tasks = [asyncio.create_task(check("u")) for _ in range(100)]
        await gate.auntil_reached()
        gate.open()
        assert await asyncio.gather(*tasks) == [1] * 100

    def test_a_function_may_call_itself_with_other_arguments(
        self, cache: OptimizedCacheManager, counted: Counted
    ) -> None:
        @cached_authorization(cache=cache)
        def fib(n: int) -> int:
            counted()
            return n if n < 2 else fib(n - 1) + fib(n - 2)

        assert fib(20) == 6765
        assert len(counted.calls) == 21

    def test_a_function_that_calls_itself_with_the_same_is_told(
        self, cache: OptimizedCacheManager
    ) -> None:
        @cached_authorization(cache=cache)
        def endless(n: int) -> int:
            return endless(n)

        with pytest.raises(LoaderRecursionError):
            endless(1)

    def test_results_live_as_long_as_it_says(
        self, cache: OptimizedCacheManager, clock: ManualClock, counted: Counted
    ) -> None:
        @cached_authorization(ttl_seconds=5, cache=cache)
        def short() -> int:
            return counted()

        @cached_authorization(ttl_seconds=10**9, cache=cache)
        def long() -> int:
            return counted()

        @cached_authorization(cache=cache)
        def usual() -> int:
            return counted()

        assert (short(), long(), usual()) == (1, 2, 3)
        clock.advance(5)
        assert (short(), long(), usual()) == (4, 2, 3)
        clock.advance(595)
        assert (long(), usual()) == (2, 5)
        clock.advance(3000)
        assert long() == 6, "cut to the longest life there is"

    def test_a_stopped_cache_says_so(self, cache: OptimizedCacheManager) -> None:
        @cached_authorization(cache=cache)
        def check() -> int:
            return 1

        check()
        cache.stop()
        with pytest.raises(CacheStoppedError):
            check()


class TestLooksLikeTheFunction:
    def test_a_function(self, cache: OptimizedCacheManager) -> None:
        def check(user_id: str, *, deep: bool = False) -> int:
            """Check a user."""
            return 1

        check.marked = True  # type: ignore[attr-defined]
        decorated: Any = cached_authorization(cache=cache)(check)
        assert decorated.__wrapped__ is check
        assert decorated.__doc__ == inspect.getdoc(decorated) == "Check a user."
        assert decorated.__name__ == "check"
        assert decorated.__qualname__ == check.__qualname__
        assert decorated.__module__ == __name__
        assert decorated.marked is True
        assert inspect.signature(decorated) == inspect.signature(check)
        assert callable(decorated)
        assert not inspect.iscoroutinefunction(decorated)
        assert "check" in repr(decorated) or "Cached" in repr(decorated)

    def test_a_coroutine_function(self, cache: OptimizedCacheManager) -> None:
        async def check(user_id: str) -> int:
            """Check a user."""
            return 1

        decorated = cached_authorization(cache=cache)(check)
        assert decorated.__wrapped__ is check
        assert decorated.__doc__ == "Check a user."
        assert inspect.signature(decorated) == inspect.signature(check)
        assert inspect.iscoroutinefunction(decorated)
        assert asyncio.iscoroutinefunction(decorated)

    def test_new_attributes_can_be_set_on_it(self, cache: OptimizedCacheManager) -> None:
        @cached_authorization(cache=cache)
        def check() -> int:
            return 1

        check.note = "mine"  # type: ignore[attr-defined]
        assert check.note == "mine"  # type: ignore[attr-defined]

    def test_it_can_be_collected(self, cache: OptimizedCacheManager) -> None:
        def make() -> weakref.ref[Any]:
            @cached_authorization(cache=cache)
            def check() -> int:
                return 1

            check()
            return weakref.ref(check)

        gone = make()
        gc.collect()
        assert gone() is None


class TestWrongArguments:
    @pytest.mark.parametrize(
        ("args", "kwargs"),
        [
            ((), {}),
            ((1, 2, 3), {}),
            ((1,), {"a": 1}),
            ((1,), {"z": 1}),
            ((), {"b": 1}),
            ((1, 2), {"b": 2}),
        ],
    )
    async def test_are_the_type_error_the_function_would_raise(
        self, cache: OptimizedCacheManager, args: Any, kwargs: Any
    ) -> None:
        @cached_authorization(cache=cache)
        def check(a: int, b: int = 0) -> int:
            raise AssertionError("called")

        @cached_authorization(cache=cache)
        async def check_later(a: int, b: int = 0) -> int:
            raise AssertionError("called")

        with pytest.raises(TypeError, match="argument"):
            check(*args, **kwargs)
        with pytest.raises(TypeError, match="argument"):
            await check_later(*args, **kwargs)
        with pytest.raises(TypeError, match="argument"):
            check.invalidate(*args, **kwargs)

    def test_of_position_only_parameters(self, cache: OptimizedCacheManager) -> None:
        @cached_authorization(cache=cache)
        def check(a: int, /, b: int) -> int:
            return a * 10 + b

        assert check(1, b=2) == check(1, 2) == 12
        with pytest.raises(TypeError):
            check(a=1, b=2)  # type: ignore[call-arg]

    def test_a_name_taken_by_position_may_come_again_as_one_more(
        self, cache: OptimizedCacheManager, counted: Counted
    ) -> None:
        @cached_authorization(cache=cache)
        def check(a: int, /, **more: int) -> int:
            return counted(a, more)

        assert check(1, a=2) == 1
        assert check(2, a=1) == 2
        assert check(1) == 3
        assert check(1, a=2) == 1


class TestWrongDecoration:
    @pytest.mark.parametrize("wrong", [0, -1, float("nan"), "600", None, True, [600]])
    def test_a_life_that_is_none_is_refused(self, wrong: Any) -> None:
        with pytest.raises(ConfigError, match="ttl_seconds"):
            cached_authorization(ttl_seconds=wrong)

    @pytest.mark.parametrize("endless", [float("inf"), 10**400], ids=["inf", "10**400"])
    def test_a_life_beyond_all_bounds_is_cut(
        self, cache: OptimizedCacheManager, endless: float
    ) -> None:
        @cached_authorization(ttl_seconds=endless, cache=cache)
        def check() -> int:
            return 1

        assert check() == 1
        assert len(cache) == 1

    def test_forgotten_parentheses_are_noticed(self) -> None:
        with pytest.raises(ConfigError, match="parentheses"):

            @cached_authorization  # type: ignore[arg-type]
            def check() -> int:
                return 1

    @pytest.mark.parametrize("kind", [staticmethod, classmethod])
    def test_the_wrong_order_of_decorators_is_noticed(self, kind: Any) -> None:
        def check(a: int) -> int:
            return a

        with pytest.raises(ConfigError, match=f"@{kind.__name__} above"):
            cached_authorization()(kind(check))

    @pytest.mark.parametrize("wrong", [None, 5, "check", b"x", object()])
    def test_what_cannot_be_called_is_a_type_error(self, wrong: Any) -> None:
        with pytest.raises(TypeError):
            cached_authorization()(wrong)

    def test_what_is_no_cache_is_a_type_error(self) -> None:
        with pytest.raises(TypeError):
            cached_authorization(cache="default")(lambda: 1)  # type: ignore[arg-type]


class TestOtherCallables:
    def test_a_partial_function_can_be_decorated(
        self, cache: OptimizedCacheManager, counted: Counted
    ) -> None:
        def check(tenant: str, user_id: str) -> int:
            return counted(tenant, user_id)

        one = cached_authorization(cache=cache)(functools.partial(check, "t1"))
        other = cached_authorization(cache=cache)(functools.partial(check, "t2"))
        assert one("u") == one("u") == 1
        assert other("u") == 2
        assert one("u") == 1

    async def test_a_partial_coroutine_function_can_be_decorated(
        self, cache: OptimizedCacheManager, counted: Counted
    ) -> None:
        async def check(tenant: str, user_id: str) -> int:
            return counted(tenant, user_id)

        one = cached_authorization(cache=cache)(functools.partial(check, "t1"))
        assert await one("u") == await one("u") == 1

    def test_an_object_that_can_be_called_can_be_decorated(
        self, cache: OptimizedCacheManager, counted: Counted
    ) -> None:
        class Check:
            def __call__(self, user_id: str) -> int:
                return counted(user_id)

        one = cached_authorization(cache=cache)(Check())
        other = cached_authorization(cache=cache)(Check())
        assert one("u") == one("u") == 1
        assert other("u") == 2

    def test_a_lambda_can_be_decorated(self, cache: OptimizedCacheManager) -> None:
        one = cached_authorization(cache=cache)(lambda a: a + 1)
        other = cached_authorization(cache=cache)(lambda a: a + 2)
        assert (one(1), other(1), one(1), other(1)) == (2, 3, 2, 3)

    def test_a_built_in_function_can_be_decorated(self, cache: OptimizedCacheManager) -> None:
        length = cached_authorization(cache=cache)(len)
        assert length("abc") == length("abc") == 3
        assert len(cache) == 1


class TestFunctionsAreKeptApart:
    def test_two_functions_never_share(self, cache: OptimizedCacheManager) -> None:
        @cached_authorization(cache=cache)
        def one(user_id: str) -> str:
            return "one"

        @cached_authorization(cache=cache)
        def other(user_id: str) -> str:
            return "other"

        assert (one("u"), other("u"), one("u"), other("u")) == ("one", "other", "one", "other")

    def test_closures_of_one_factory_never_share(self, cache: OptimizedCacheManager) -> None:
        def make(tenant: str) -> Any:
            @cached_authorization(cache=cache)
            def check(user_id: str) -> str:
                return f"{tenant}/{user_id}"

            return check

        checks = [make(f"t{number}") for number in range(20)]
        for _ in range(2):
            assert [check("u") for check in checks] == [f"t{n}/u" for n in range(20)]
        assert len(cache) == 20

    async def test_coroutine_closures_of_one_factory_never_share(
        self, cache: OptimizedCacheManager
    ) -> None:
        def make(tenant: str) -> Any:
            @cached_authorization(cache=cache)
            async def check(user_id: str) -> str:
                return f"{tenant}/{user_id}"

            return check

        one, other = make("t1"), make("t2")
        for _ in range(2):
            assert (await one("u"), await other("u")) == ("t1/u", "t2/u")

    def test_one_function_decorated_twice_never_shares(
        self, cache: OptimizedCacheManager, counted: Counted
    ) -> None:
        def check(user_id: str) -> int:
            return counted()

        one = cached_authorization(cache=cache)(check)
        other = cached_authorization(ttl_seconds=5, cache=cache)(check)
        assert (one("u"), other("u"), one("u"), other("u")) == (1, 2, 1, 2)

    def test_a_name_made_to_look_like_anothers_second_does_not_share(
        self, cache: OptimizedCacheManager
    ) -> None:
        def make(name: str, answer: str) -> Any:
            def check(user_id: str) -> str:
                return answer

            check.__qualname__ = name
            return cached_authorization(cache=cache)(check)

        made = [make("x", "1"), make("x", "2"), make("x#2", "3"), make("x#2", "4"), make("x", "5")]
        for _ in range(2):
            assert [check("u") for check in made] == ["1", "2", "3", "4", "5"]

    def test_two_caches_never_share(self, make_cache: Any, counted: Counted) -> None:
        one, other = make_cache(), make_cache()

        def check(user_id: str) -> int:
            return counted()

        in_one = cached_authorization(cache=one)(check)
        in_other = cached_authorization(cache=other)(check)
        assert (in_one("u"), in_other("u"), in_one("u"), in_other("u")) == (1, 2, 1, 2)
        assert len(one) == len(other) == 1

    def test_a_cache_of_ones_own_is_used_though_it_is_empty(
        self, cache: OptimizedCacheManager
    ) -> None:
        @cached_authorization(cache=cache)
        def check(user_id: str) -> int:
            return 1

        check("u")
        assert len(cache) == 1
        assert len(get_cache_manager()) == 0

    def test_without_one_the_manager_of_the_process_is_used(self) -> None:
        @cached_authorization()
        def check(user_id: str) -> int:
            return 1

        check("u")
        assert len(get_cache_manager()) == 1


class Service:
    """A service as users write them."""

    def __init__(self, name: str, counted: Counted) -> None:
        self.name = name
        self.counted = counted


class TestMethods:
    def make(self, cache: OptimizedCacheManager) -> Any:
        class Checks(Service):
            @cached_authorization(cache=cache)
            def check(self, user_id: str) -> str:
                """Check."""
                self.counted(user_id)
                return f"{self.name}/{user_id}"

            @cached_authorization(cache=cache)
            async def check_later(self, user_id: str) -> str:
                self.counted(user_id)
                return f"{self.name}/{user_id}"

            @staticmethod
            @cached_authorization(cache=cache)
            def static(user_id: str) -> str:
                return f"static/{user_id}"

            @classmethod
            @cached_authorization(cache=cache)
            def of_class(cls, user_id: str) -> str:
                return f"{cls.__name__}/{user_id}"

            @staticmethod
            @cached_authorization(cache=cache)
            async def static_later(user_id: str) -> str:
                return f"static/{user_id}"

            @classmethod
            @cached_authorization(cache=cache)
            async def of_class_later(cls, user_id: str) -> str:
                return f"{cls.__name__}/{user_id}"

        return Checks

    async def test_each_instance_has_results_of_its_own(
        self, cache: OptimizedCacheManager, counted: Counted
    ) -> None:
        checks = self.make(cache)
        one, other = checks("one", counted), checks("other", counted)
        for _ in range(2):
            assert (one.check("u"), other.check("u")) == ("one/u", "other/u")
            assert await one.check_later("u") == "one/u"
            assert await other.check_later("u") == "other/u"
        assert len(counted.calls) == 4

    def test_called_on_the_class_it_is_the_same(
        self, cache: OptimizedCacheManager, counted: Counted
    ) -> None:
        checks = self.make(cache)
        one = checks("one", counted)
        assert one.check("u") == checks.check(one, "u") == checks.check(one, user_id="u")
        assert len(counted.calls) == 1
        assert one.check.__self__ is one
        assert one.check.__doc__ == "Check."

    async def test_static_and_class_methods(
        self, cache: OptimizedCacheManager, counted: Counted
    ) -> None:
        checks = self.make(cache)

        class Special(checks):  # type: ignore[misc, valid-type]
            pass

        one = Special("one", counted)
        for _ in range(2):
            assert checks.static("u") == one.static("u") == "static/u"
            assert await checks.static_later("u") == await one.static_later("u") == "static/u"
            assert checks.of_class("u") == "Checks/u"
            assert one.of_class("u") == Special.of_class("u") == "Special/u"
            assert await checks.of_class_later("u") == "Checks/u"
            assert await one.of_class_later("u") == "Special/u"

    def test_another_instance_at_the_address_of_one_that_is_gone_gets_no_result_of_it(
        self, cache: OptimizedCacheManager, counted: Counted
    ) -> None:
        checks = self.make(cache)
        addresses = set()
        again = 0
        for number in range(200):
            service = checks(str(number), counted)
            again += id(service) in addresses
            addresses.add(id(service))
            assert service.check("u") == f"{number}/u"
            del service
        if not again and not getattr(sys, "_is_gil_enabled", lambda: True)():
            pytest.skip("without a GIL, addresses are not used again so soon")
        assert again > 0, "no address was used twice; the test shows nothing"

    def test_many_instances_at_once_are_told_apart(
        self, cache: OptimizedCacheManager, counted: Counted
    ) -> None:
        checks = self.make(cache)
        services = [checks(str(number), counted) for number in range(500)]
        for _ in range(2):
            assert [s.check("u") for s in services] == [f"{n}/u" for n in range(500)]
        assert len(counted.calls) == 500

    def test_instances_that_equal_each_other_are_told_apart(
        self, cache: OptimizedCacheManager
    ) -> None:
        @dataclass
        class Checks:
            name: str

            def __eq__(self, other: object) -> bool:
                return True

            def __hash__(self) -> int:
                return 1

            @cached_authorization(cache=cache)
            def check(self, user_id: str) -> str:
                return self.name

        one, other = Checks("one"), Checks("other")
        assert (one.check("u"), other.check("u"), one.check("u")) == ("one", "other", "one")

    def test_an_instance_that_cannot_be_hashed_will_do(
        self, cache: OptimizedCacheManager, counted: Counted
    ) -> None:
        @dataclass
        class Checks:
            names: list[str]

            @cached_authorization(cache=cache)
            def check(self, user_id: str) -> int:
                return counted()

        service = Checks(["a"])
        with pytest.raises(TypeError):
            hash(service)
        assert service.check("u") == service.check("u") == 1

    def test_slots_without_weak_references_are_refused_before_anything_runs(
        self, cache: OptimizedCacheManager
    ) -> None:
        class Checks:
            __slots__ = ("name",)

            @cached_authorization(cache=cache)
            def check(self, user_id: str) -> str:
                raise AssertionError("called")

        with pytest.raises(UncacheableArgumentError, match="__weakref__"):
            Checks().check("u")

    def test_slots_with_weak_references_will_do(self, cache: OptimizedCacheManager) -> None:
        class Checks:
            __slots__ = ("__weakref__", "name")

            def __init__(self, name: str) -> None:
                self.name = name

            @cached_authorization(cache=cache)
            def check(self, user_id: str) -> str:
                return self.name

        one, other = Checks("one"), Checks("other")
        assert (one.check("u"), other.check("u")) == ("one", "other")

    def test_slots_will_do_with_a_key(self, cache: OptimizedCacheManager, counted: Counted) -> None:
        class Checks:
            __slots__ = ("tenant",)

            def __init__(self, tenant: str) -> None:
                self.tenant = tenant

            @cached_authorization(cache=cache, key=lambda self, user_id: (self.tenant, user_id))
            def check(self, user_id: str) -> int:
                return counted()

        assert Checks("t1").check("u") == Checks("t1").check("u") == 1
        assert Checks("t2").check("u") == 2

    def test_an_instance_is_not_kept_alive_by_its_results(
        self, cache: OptimizedCacheManager, counted: Counted
    ) -> None:
        service = self.make(cache)("one", counted)
        service.check("u")
        gone = weakref.ref(service)
        del service
        gc.collect()
        assert gone() is None

    def test_a_method_of_a_base_class_is_shared_by_nobody(
        self, cache: OptimizedCacheManager, counted: Counted
    ) -> None:
        checks = self.make(cache)

        class Strict(checks):  # type: ignore[misc, valid-type]
            @cached_authorization(cache=cache)
            def check(self, user_id: str) -> str:
                return f"strict {super().check(user_id)}"

        strict = Strict("one", counted)
        assert strict.check("u") == strict.check("u") == "strict one/u"
        assert checks.check(strict, "u") == "one/u"
        assert len(counted.calls) == 1

    def test_a_nested_function_with_a_parameter_called_self_is_no_method(
        self, cache: OptimizedCacheManager
    ) -> None:
        @cached_authorization(cache=cache)
        def check(self: str) -> str:
            return f"it is {self}"

        assert check("a") == "it is a"
        assert check("b") == "it is b"


class TestInvalidate:
    def test_drops_the_result_of_these_arguments_alone(
        self, cache: OptimizedCacheManager, counted: Counted
    ) -> None:
        @cached_authorization(cache=cache)
        def check(user_id: str, depth: int = 1) -> int:
            return counted()

        assert [check("u1"), check("u1", 2), check("u2")] == [1, 2, 3]
        assert check.invalidate("u1") == 1
        assert check.invalidate("u1") == 0
        assert [check("u1"), check("u1", 2), check("u2")] == [4, 2, 3]
        assert check.invalidate(depth=2, user_id="u1") == 1
        assert check.invalidate("unknown") == 0

    async def test_of_a_coroutine_function(
        self, cache: OptimizedCacheManager, counted: Counted
    ) -> None:
        @cached_authorization(cache=cache)
        async def check(user_id: str) -> int:
            return counted()

        assert await check("u") == 1
        assert check.invalidate("u") == 1
        assert await check("u") == 2

    async def test_of_a_method_takes_the_instance_first(
        self, cache: OptimizedCacheManager, counted: Counted
    ) -> None:
        class Checks:
            @cached_authorization(cache=cache)
            def check(self, user_id: str) -> int:
                return counted()

            @cached_authorization(cache=cache)
            async def check_later(self, user_id: str) -> int:
                return counted()

        one, other = Checks(), Checks()
        assert [one.check("u"), other.check("u")] == [1, 2]
        assert [await one.check_later("u"), await other.check_later("u")] == [3, 4]
        # Of all instances: in another process, nobody can tell which of them it is.
        assert one.check.invalidate(one, "u") == 2
        assert Checks.check_later.invalidate(one, "u") == 2
        assert [one.check("u"), other.check("u")] == [5, 6]
        assert [await one.check_later("u"), await other.check_later("u")] == [7, 8]
        for forgotten in (one.check, one.check_later):
            with pytest.raises(TypeError):
                forgotten.invalidate("u")

    def test_with_a_key_goes_by_the_key(
        self, cache: OptimizedCacheManager, counted: Counted
    ) -> None:
        @cached_authorization(cache=cache, key=lambda request, user_id: user_id)
        def check(request: object, user_id: str) -> int:
            return counted()

        assert check(object(), "u1") == check(object(), "u1") == 1
        assert check(object(), "u2") == 2
        assert check.invalidate(None, "u1") == 1
        assert [check(None, "u1"), check(None, "u2")] == [3, 2]

    def test_of_one_function_leaves_others_alone(self, cache: OptimizedCacheManager) -> None:
        @cached_authorization(cache=cache)
        def one(user_id: str) -> int:
            return 1

        @cached_authorization(cache=cache)
        def other(user_id: str) -> int:
            return 2

        one("u")
        other("u")
        assert one.invalidate("u") == 1
        assert other.cache_info().currsize == 1

    def test_reaches_processes_that_defined_functions_in_another_order(
        self, make_cache: Any, counted: Counted
    ) -> None:
        def make(cache: OptimizedCacheManager) -> Any:
            @cached_authorization(cache=cache)
            def check(user_id: str) -> int:
                return counted()

            return check

        # Two workers have one table.
        here, there = make_cache(), make_cache()
        _, in_the_way, elsewhere = make(here), make(there), make(there)
        assert elsewhere("u") == 1
        assert make(here).invalidate("u") == 0
        assert elsewhere("u") == 2
        make(here).cache_clear()
        assert elsewhere("u") == 3
        assert in_the_way("u") == 4

    def test_reaches_results_of_objects_that_other_processes_made_in_another_order(
        self, make_cache: Any, counted: Counted
    ) -> None:
        def make(cache: OptimizedCacheManager) -> Any:
            class Service:
                @cached_authorization(cache=cache)
                def check(self, user_id: str) -> int:
                    return counted()

            return Service

        here, there = make_cache(), make_cache()
        ours, theirs = make(here), make(there)
        served = [theirs(), theirs()]
        assert [one.check("u") for one in served] == [1, 2]
        service = ours()
        service.check.invalidate(service, "u")
        assert [one.check("u") for one in served] == [3, 4]

    def test_a_result_invalidated_while_the_function_runs_is_not_kept(
        self, cache: OptimizedCacheManager, counted: Counted
    ) -> None:
        ways: list[Callable[[], Any]] = [
            lambda: check.invalidate("u"),
            lambda: check.cache_clear(),
            lambda: cache.invalidate_user_data("u"),
            lambda: cache.invalidate_by_tags(["auth"]),
            lambda: cache.clear(),
        ]

        @cached_authorization(cache=cache)
        def check(user_id: str) -> int:
            number = counted()
            if number <= len(ways):
                ways[number - 1]()
            return number

        for number in range(1, len(ways) + 1):
            assert check("u") == number
            assert len(cache) == 0
        assert check("u") == check("u") == len(ways) + 1

    async def test_a_result_invalidated_while_the_coroutine_runs_is_not_kept(
        self, cache: OptimizedCacheManager, counted: Counted
    ) -> None:
        gate = Gate()

        @cached_authorization(cache=cache)
        async def check(user_id: str) -> int:
            number = counted()
            if number == 1:
                await gate.await_inside()
            return number

        before = asyncio.create_task(check("u"))
        await gate.auntil_reached()
        check.invalidate("u")
        after = asyncio.create_task(check("u"))
        gate.open()
        assert await before == 1
        assert await after == 2
        assert await check("u") == 2


class TestClearAndInfo:
    def test_clear_drops_all_results_of_one_function(
        self, cache: OptimizedCacheManager, counted: Counted
    ) -> None:
        @cached_authorization(cache=cache)
        def one(user_id: str) -> int:
            return counted()

        @cached_authorization(cache=cache)
        def one_more(user_id: str) -> int:
            return counted()

        for user in ("u1", "u2", "u3"):
            one(user)
            one_more(user)
        cache.set("other", 1)
        assert one.cache_clear() == 3
        assert one.cache_clear() == 0
        assert len(cache) == 4
        assert one("u1") == 7
        assert one_more("u1") == 2

    def test_clear_of_one_closure_clears_all_of_that_name(
        self, cache: OptimizedCacheManager
    ) -> None:
        def make() -> Any:
            @cached_authorization(cache=cache)
            def check(user_id: str) -> int:
                return 1

            return check

        checks = [make() for _ in range(12)]
        for check in checks:
            check("u")
        # Which of them it is in another process, nobody can tell.
        assert checks[0].cache_clear() == 12
        assert [check.cache_info().currsize for check in checks] == [0] * 12

    async def test_info_counts_hits_misses_and_what_is_there(
        self, make_cache: Any, clock: ManualClock
    ) -> None:
        cache = make_cache(max_entries=77)

        @cached_authorization(cache=cache, ttl_seconds=10)
        def check(user_id: str) -> int:
            return 1

        @cached_authorization(cache=cache)
        async def check_later(user_id: str) -> int:
            return 1

        assert check.cache_info() == CacheInfo(hits=0, misses=0, maxsize=77, currsize=0)
        for user in ("u1", "u2", "u1", "u1"):
            check(user)
            await check_later(user)
        cache.set("other", 1)
        assert check.cache_info() == (2, 2, 77, 2)
        assert check_later.cache_info() == CacheInfo(2, 2, 77, 2)
        clock.advance(10)
        assert check.cache_info().currsize == 0

    def test_info_counts_the_results_of_a_large_cache(self, cache: OptimizedCacheManager) -> None:
        @cached_authorization(cache=cache)
        def check(number: int) -> int:
            return number

        for number in range(2500):
            check(number)
        assert check.cache_info().currsize == 2500
        assert check.cache_clear() == 2500


def test_concurrent_calls_of_a_method_on_a_new_instance_call_it_once(
    cache: OptimizedCacheManager, counted: Counted
) -> None:
    class Checks:
        @cached_authorization(cache=cache)
        def check(self, user_id: str) -> int:
            return counted()

    for _ in range(20):
        counted.calls.clear()
        service, together = Checks(), threading.Barrier(8)

        def ask(service: Any = service, together: threading.Barrier = together) -> int:
            together.wait()
            return service.check("u")  # type: ignore[no-any-return]

        threads = [InThread(ask) for _ in range(8)]
        assert [thread.outcome() for thread in threads] == [1] * 8
