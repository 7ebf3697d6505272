"""Many checks with one question: what is cached, what is not, and what nobody can tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from velro_cache.authorization.batched_checks import BatchedChecks
from velro_cache.authorization.models import AccessType, GenerationPermissions
from velro_cache.config import OptimizedCacheConfig
from velro_cache.exceptions import AuthorizationUnavailable, InvalidKeyError
from velro_cache.manager import Id, OptimizedCacheManager

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


class Source:
    def __init__(self) -> None:
        self.granted: set[tuple[Id, Id]] = set()
        self.instead: Any = None
        self.asked: list[tuple[Id, ...]] = []
        self.meanwhile: Any = lambda: None

    async def __call__(
        self, user_id: Id, generation_ids: Sequence[Id], access: AccessType
    ) -> Mapping[Id, bool | Exception]:
        self.asked.append(tuple(generation_ids))
        answers: dict[Id, Any] = {one: (user_id, one) in self.granted for one in generation_ids}
        self.meanwhile()
        if isinstance(self.instead, Exception):
            raise self.instead
        if isinstance(self.instead, dict):
            return {**answers, **self.instead}
        return answers if self.instead is None else self.instead


def made() -> tuple[OptimizedCacheManager, Source, BatchedChecks]:
    cache = OptimizedCacheManager(OptimizedCacheConfig(share_invalidations=False))
    source = Source()
    return cache, source, BatchedChecks(cache, source)


async def test_grants_are_asked_for_once_and_denials_every_time() -> None:
    _, source, checks = made()
    source.granted = {("ada", "a"), ("ada", "b")}
    for _ in range(2):
        answers = await checks.check_many("ada", ["a", "b", "c", "a"])
        assert answers == {"a": True, "b": True, "c": False}
    assert source.asked == [("a", "b", "c"), ("c",)]


async def test_everything_cached_asks_nobody() -> None:
    _, source, checks = made()
    source.granted = {("ada", UUID(int=1))}
    assert await checks.check_many("ada", [UUID(int=1)]) == {UUID(int=1): True}
    assert await checks.check_many("ada", [UUID(int=1)]) == {UUID(int=1): True}
    assert await checks.check_many("ada", []) == {}
    assert len(source.asked) == 1


async def test_a_grant_answers_neither_another_user_nor_another_access() -> None:
    _, source, checks = made()
    source.granted = {("ada", "a")}
    assert (await checks.check_many("ada", ["a"], "read"))["a"] is True
    source.granted = set()
    assert (await checks.check_many("bob", ["a"], "read"))["a"] is False
    assert (await checks.check_many("ada", ["a"], "write"))["a"] is False


@pytest.mark.parametrize("revoke", ["user", "generation", "pattern"])
async def test_what_is_revoked_is_asked_for_again(revoke: str) -> None:
    cache, source, checks = made()
    source.granted = {("ada", "a")}
    await checks.check_many("ada", ["a"])
    source.granted = set()
    if revoke == "user":
        cache.invalidate_user_data("ada")
    elif revoke == "generation":
        cache.invalidate_generation_data("a")
    else:
        cache.invalidate_by_pattern("auth:gen:a:user:ada:access:*")
    assert await checks.check_many("ada", ["a"]) == {"a": False}


async def test_a_grant_that_was_revoked_while_the_source_answered_is_not_kept() -> None:
    cache, source, checks = made()
    source.granted = {("ada", "a")}
    source.meanwhile = lambda: cache.invalidate_user_data("ada")
    await checks.check_many("ada", ["a"])
    source.granted, source.meanwhile = set(), lambda: None
    assert await checks.check_many("ada", ["a"]) == {"a": False}


@pytest.mark.parametrize("nonsense", ["yes", 1, None, object(), [True]])
async def test_what_is_neither_yes_nor_no_is_an_error_of_that_one_alone(nonsense: Any) -> None:
    cache, source, checks = made()
    source.granted = {("ada", "a"), ("ada", "b")}
    source.instead = {"b": nonsense}
    answers = await checks.check_many("ada", ["a", "b"])
    assert answers["a"] is True
    assert isinstance(answers.errors["b"], AuthorizationUnavailable)
    with pytest.raises(AuthorizationUnavailable):
        answers["b"]
    assert len(cache) == 1


async def test_one_that_fails_leaves_the_others_alone() -> None:
    _, source, checks = made()
    source.granted = {("ada", "a")}
    source.instead = {"b": OSError("down"), "c": KeyError("c")}
    answers = await checks.check_many("ada", ["a", "b", "c"])
    assert answers["a"] is True
    assert (set(answers), len(answers)) == ({"a", "b", "c"}, 3)
    assert "b" in answers and "d" not in answers
    assert answers.get("d") is None
    with pytest.raises(OSError, match="down"):
        answers.get("b")
    with pytest.raises(AuthorizationUnavailable):
        answers.get("c")
    with pytest.raises(OSError, match="down"):
        list(answers.values())
    assert "ada" not in repr(answers) and "down" not in repr(answers)


async def test_a_source_that_fails_answers_nothing_and_leaves_nothing() -> None:
    cache, source, checks = made()
    source.instead = OSError("down")
    with pytest.raises(OSError, match="down"):
        await checks.check_many("ada", ["a"])
    source.instead = "not a mapping"
    with pytest.raises(AuthorizationUnavailable):
        await checks.check_many("ada", ["a"])
    assert len(cache) == 0


async def test_bad_input_asks_nobody() -> None:
    _, source, checks = made()
    with pytest.raises(ValueError, match="at most 1000"):
        await checks.check_many("ada", map(str, range(1001)))
    with pytest.raises(ValueError, match="own"):
        await checks.check_many("ada", ["a"], "own")
    with pytest.raises(InvalidKeyError):
        await checks.check_many("ada", ["x" * 100_000])
    assert not source.asked


async def test_a_result_made_of_a_batch_ends_with_it() -> None:
    cache, source, checks = made()
    source.granted = {("ada", "a")}

    async def page() -> list[Id]:
        return [one for one, may in (await checks.check_many("ada", ["a"])).items() if may is True]

    assert await cache.aget_or_load("page", page) == ["a"]
    source.granted = set()
    cache.invalidate_by_tags(["generation:a"])
    assert await cache.aget_or_load("page", page) == []


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["grant", "revoke", "ask"]),
            st.sampled_from(["ada", "bob"]),
            st.lists(st.sampled_from("abcd"), max_size=4),
        ),
        max_size=30,
    )
)
async def test_it_answers_like_the_source(steps: list[tuple[str, str, list[str]]]) -> None:
    cache, source, checks = made()
    for what, user, ids in steps:
        if what == "grant":
            source.granted |= {(user, one) for one in ids}
        elif what == "revoke":
            source.granted -= {(user, one) for one in ids}
            cache.invalidate_user_data(user)
        else:
            expected = {one: (user, one) in source.granted for one in ids}
            assert await checks.check_many(user, ids) == expected


async def test_grants_of_one_source_are_no_answers_of_another_one() -> None:
    cache, source, checks = made()
    source.granted = {("ada", "a")}
    assert (await checks.check_many("ada", ["a"]))["a"] is True
    stricter = BatchedChecks(cache, Source())
    assert (await stricter.check_many("ada", ["a"]))["a"] is False
    named = [BatchedChecks(cache, one, namespace="same") for one in (source, Source())]
    assert (await named[0].check_many("ada", ["a"]))["a"] is True
    assert (await named[1].check_many("ada", ["a"]))["a"] is True


@pytest.mark.parametrize("tag", ["team:t1", "project:p1", "generation:a", "user:ada"])
async def test_a_decision_ends_with_whatever_it_came_through(tag: str) -> None:
    cache, source, checks = made()
    grant = permissions("a", can_view=True, team_context="t1", project_context="p1")
    source.instead = {"a": grant}
    assert (await checks.check_many("ada", ["a"]))["a"] is True
    source.instead = {"a": False}
    assert (await checks.check_many("ada", ["a"]))["a"] is True
    assert cache.invalidate_by_tags([tag]) == 1
    assert (await checks.check_many("ada", ["a"]))["a"] is False


async def test_a_decision_covers_what_it_grants_until_its_own_end() -> None:
    cache, source, _ = made()
    now = [NOON.timestamp() - 5]
    checks = BatchedChecks(cache, source, now=lambda: now[0])
    source.instead = {"a": permissions("a", can_view=True, expires_at=NOON)}
    assert (await checks.check_many("ada", ["a"]))["a"] is True
    (key,) = cache.keys_by_prefix("auth:gen:")["keys"]
    assert 4 < cache.explain(key)["seconds_left"] <= 5
    assert (await checks.check_many("ada", ["a"], "write"))["a"] is False
    cache.clear()
    now[0] += 5
    assert (await checks.check_many("ada", ["a"]))["a"] is False
    assert len(cache) == 0


def permissions(generation_id: str, **fields: Any) -> GenerationPermissions:
    return GenerationPermissions(generation_id, "ada", granted=True, **fields)
