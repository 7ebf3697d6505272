"""Tags of decorated functions: those implied by parameters, and templates."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from velro_cache import OptimizedCacheManager, cached_authorization
from velro_cache.exceptions import InvalidTagError

TEXT = "0f8fad5b-d9cb-469f-a165-70867728950e"


class TestImplied:
    @pytest.mark.parametrize(
        ("parameter", "tag"),
        [
            ("user_id", "user"),
            ("generation_id", "generation"),
            ("project_id", "project"),
            ("team_id", "team"),
        ],
    )
    @pytest.mark.parametrize("id_", ["x1", 5, UUID(TEXT), TEXT, "a:b*", "ä"], ids=str)
    def test_a_parameter_of_a_known_name_tags_the_result(
        self, cache: OptimizedCacheManager, parameter: str, tag: str, id_: Any
    ) -> None:
        namespace: dict[str, Any] = {}
        exec(f"def check({parameter}): return 1", namespace)  # noqa: S102 - its name is the test
        check = cached_authorization(cache=cache)(namespace["check"])
        check(id_)
        check("other")
        assert cache.invalidate_by_tags([f"{tag}:unknown"]) == 0
        assert cache.invalidate_by_tags([f"{tag}:{id_}"]) == 1
        assert check.cache_info().currsize == 1

    async def test_so_that_a_users_results_can_be_dropped_without_a_thought_of_tags(
        self, cache: OptimizedCacheManager
    ) -> None:
        @cached_authorization(cache=cache)
        def check(generation_id: str, user_id: Any = "u1") -> int:
            return 1

        @cached_authorization(cache=cache)
        async def check_later(*, user_id: Any, generation_id: str) -> int:
            return 1

        check("g1")
        check("g1", "u2")
        check("g2", UUID(TEXT))
        await check_later(user_id="u1", generation_id="g1")
        assert cache.invalidate_user_data("u1") == 2
        assert cache.invalidate_user_data(TEXT.upper()) == 1
        assert cache.invalidate_generation_data("g1") == 1
        assert len(cache) == 0

    def test_a_method_is_tagged_by_its_parameters_too(self, cache: OptimizedCacheManager) -> None:
        class Checks:
            @cached_authorization(cache=cache)
            def check(self, user_id: str) -> int:
                return 1

        service = Checks()
        service.check("u1")
        assert cache.invalidate_user_data("u1") == 1

    @pytest.mark.parametrize("no_id", [None, True, 1.5, (), b"u1", ""])
    def test_what_is_no_id_makes_no_tag(self, cache: OptimizedCacheManager, no_id: Any) -> None:
        @cached_authorization(cache=cache)
        def check(user_id: Any) -> int:
            return 1

        assert check(no_id) == 1
        assert len(cache) == 1

    def test_with_a_key_the_tags_still_come_from_the_arguments(
        self, cache: OptimizedCacheManager
    ) -> None:
        @cached_authorization(cache=cache, key=lambda request, user_id: user_id)
        def check(request: object, user_id: str) -> int:
            return 1

        check(object(), "u1")
        assert cache.invalidate_user_data("u1") == 1

    def test_every_result_is_tagged_auth(self, cache: OptimizedCacheManager) -> None:
        @cached_authorization(cache=cache)
        def check(a: int) -> int:
            return a

        check(1)
        check(2)
        assert cache.invalidate_by_tags(["auth"]) == 2

    def test_results_count_as_permission_checks(self, cache: OptimizedCacheManager) -> None:
        @cached_authorization(cache=cache)
        def check(a: int) -> int:
            return a

        check(1)
        check(1)
        assert cache.get_stats()["permission_check_hits"] == 1


class TestTemplates:
    def test_are_filled_from_the_arguments_and_their_defaults(
        self, cache: OptimizedCacheManager
    ) -> None:
        @cached_authorization(tags=("org:{org}", "plain", "{kind}:{org}"), cache=cache)
        def check(org: str, kind: str = "basic") -> int:
            return 1

        for tag in ("org:acme", "plain", "basic:acme"):
            check("acme")
            check("other", "special")
            assert cache.invalidate_by_tags([tag]) == (2 if tag == "plain" else 1), tag
        assert cache.invalidate_by_tags(["special:other"]) == 1

    async def test_of_a_coroutine_function(self, cache: OptimizedCacheManager) -> None:
        @cached_authorization(tags=["org:{org}"], cache=cache)
        async def check(org: str) -> int:
            return 1

        await check("acme")
        assert cache.invalidate_by_tags(["org:acme"]) == 1

    def test_may_reach_into_an_argument(self, cache: OptimizedCacheManager) -> None:
        @cached_authorization(
            tags=("org:{user.org.id}", "role:{roles[0]}"),
            key=lambda user, roles: user.id,
            cache=cache,
        )
        def check(user: Any, roles: list[str]) -> int:
            return 1

        user = SimpleNamespace(id="u1", org=SimpleNamespace(id="acme"))
        check(user, ["admin"])
        assert cache.invalidate_by_tags(["org:acme"]) == 1
        check(user, ["admin"])
        assert cache.invalidate_by_tags(["role:admin"]) == 1

    def test_merge_the_spellings_of_a_uuid(self, cache: OptimizedCacheManager) -> None:
        @cached_authorization(tags=["owner:{owner}"], cache=cache)
        def check(owner: Any) -> int:
            return 1

        check(UUID(TEXT))
        check(TEXT.upper())
        assert cache.invalidate_by_tags([f"owner:{TEXT}"]) == 2

    def test_may_hold_braces_as_text(self, cache: OptimizedCacheManager) -> None:
        @cached_authorization(tags=["set:{{{a}}}"], cache=cache)
        def check(a: int) -> int:
            return 1

        check(1)
        assert cache.invalidate_by_tags(["set:{1}"]) == 1

    @pytest.mark.parametrize(
        "template",
        [
            "user:{usr_id}",
            "user:{}",
            "user:{0}",
            "user:{user_id",
            "user:user_id}",
            "user:{user_id:{width}}",
            "user:{user_id!z}",
            "user:{self.id}",
            "",
        ],
    )
    def test_a_bad_one_is_found_when_the_function_is_decorated(self, template: str) -> None:
        with pytest.raises(InvalidTagError):

            @cached_authorization(tags=("fine:{user_id}", template))
            def check(user_id: str) -> int:
                return 1

    def test_the_message_lists_the_parameters_there_are(self) -> None:
        with pytest.raises(InvalidTagError, match=r"usr_id.*user_id, depth"):

            @cached_authorization(tags=["user:{usr_id}"])
            def check(user_id: str, depth: int) -> int:
                return 1

    @pytest.mark.parametrize("wrong", ["user:{user_id}", "auth", ""])
    def test_a_bare_text_is_refused(self, wrong: str) -> None:
        with pytest.raises(InvalidTagError, match="list, tuple or set"):
            cached_authorization(tags=wrong)

    @pytest.mark.parametrize("wrong", [[None], [5], [b"x"], [["a"]]])
    def test_what_is_no_text_is_refused(self, wrong: Any) -> None:
        with pytest.raises(InvalidTagError, match="must be a str"):
            cached_authorization(tags=wrong)(lambda: 1)

    @pytest.mark.parametrize("kind", [list, tuple, set, frozenset, iter])
    def test_any_iterable_of_them_will_do(self, cache: OptimizedCacheManager, kind: Any) -> None:
        decorate = cached_authorization(tags=kind(["a", "b:{a}"]), cache=cache)
        one, other = decorate(lambda a: 1), decorate(lambda a: 2)
        one(1)
        other(1)
        assert cache.invalidate_by_tags(["b:1"]) == 2

    def test_an_argument_without_the_attribute_is_an_error_before_the_function_runs(
        self, cache: OptimizedCacheManager
    ) -> None:
        @cached_authorization(tags=["org:{user.org}"], cache=cache)
        def check(user: str) -> int:
            raise AssertionError("called")

        with pytest.raises(AttributeError, match="org"):
            check("u1")
        assert len(cache) == 0

    def test_a_tag_that_becomes_too_long_is_an_error_before_the_function_runs(
        self, cache: OptimizedCacheManager
    ) -> None:
        @cached_authorization(tags=["org:{org}"], cache=cache)
        def check(org: str) -> int:
            raise AssertionError("called")

        with pytest.raises(InvalidTagError, match="1 to 2048"):
            check("x" * 4000)
        assert len(cache) == 0

    def test_a_value_with_braces_is_not_filled_in_again(self, cache: OptimizedCacheManager) -> None:
        @cached_authorization(tags=["org:{org}"], cache=cache)
        def check(org: str, token: str) -> int:
            return 1

        check("{token}", "s3cret")
        assert cache.invalidate_by_tags(["org:s3cret"]) == 0
        assert cache.invalidate_by_tags(["org:{token}"]) == 1
