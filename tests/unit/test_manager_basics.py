"""Setting, getting, removing; one key and many."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import pytest

from velro_cache import OptimizedCacheManager
from velro_cache.exceptions import (
    InvalidKeyError,
    InvalidTagError,
    SerializationError,
    SharedTableError,
)


class TestGet:
    def test_a_miss_gives_none_and_false(self, cache: OptimizedCacheManager) -> None:
        assert cache.get("k") == (None, False)

    def test_a_miss_gives_the_very_default(self, cache: OptimizedCacheManager) -> None:
        default = object()
        value, hit = cache.get("k", default)
        assert value is default
        assert hit is False
        assert cache.get("k", default=default)[0] is default
        assert cache.get(key="k", default=default)[0] is default

    def test_a_hit_gives_the_value_and_true_whatever_the_default(
        self, cache: OptimizedCacheManager
    ) -> None:
        cache.set("k", "v")
        assert cache.get("k", "other") == ("v", True)
        assert cache.get("k")[1] is True

    @pytest.mark.parametrize("falsy", [None, False, 0, "", [], {}, ()])
    def test_a_falsy_value_is_a_hit(self, cache: OptimizedCacheManager, falsy: Any) -> None:
        cache.set("k", falsy)
        assert cache.get("k", "default") == (falsy, True)
        assert cache.get_value("k", "default") == falsy

    def test_get_value_is_get_without_the_flag(self, cache: OptimizedCacheManager) -> None:
        default = object()
        assert cache.get_value("k") is None
        assert cache.get_value("k", default) is default
        assert cache.get_value("k", default=default) is default
        cache.set("k", 5)
        assert cache.get_value("k", default) == 5

    @pytest.mark.parametrize("method", ["get", "get_value"])
    def test_wrong_arguments_are_type_errors(
        self, cache: OptimizedCacheManager, method: str
    ) -> None:
        call = getattr(cache, method)
        wrong: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
            ((), {}),
            (("k", 1, 2), {}),
            (("k",), {"other": 1}),
            (("k",), {"key": "k"}),
            ((), {"default": 1}),
        ]
        for args, kwargs in wrong:
            with pytest.raises(TypeError, match=method):
                call(*args, **kwargs)

    @pytest.mark.parametrize(
        ("method", "parameters"),
        [
            ("get", ["self", "key", "default"]),
            ("get_value", ["self", "key", "default"]),
            ("get_generation_access", ["self", "generation_id", "user_id"]),
            ("get_uuid_validation", ["self", "uuid_str", "context"]),
            ("set", ["self", "key", "value", "ttl", "tags", "priority", "stamp", "permissive"]),
        ],
    )
    def test_help_shows_the_parameters(self, method: str, parameters: list[str]) -> None:
        function = getattr(OptimizedCacheManager, method)
        assert list(inspect.signature(function).parameters) == parameters
        assert function.__doc__


class TestSet:
    def test_what_is_set_is_found(self, cache: OptimizedCacheManager) -> None:
        assert cache.set("k", {"a": [1]}) is True
        assert cache.get("k") == ({"a": [1]}, True)

    def test_setting_again_replaces_everything_about_the_entry(
        self, cache: OptimizedCacheManager, clock: Any
    ) -> None:
        cache.set("k", "old", ttl=5, tags=["old"])
        cache.set("k", "new", ttl=50, tags=["new"])
        assert len(cache) == 1
        assert cache.invalidate_by_tags(["old"]) == 0
        clock.advance(10)
        assert cache.get("k") == ("new", True)
        assert cache.invalidate_by_tags(["new"]) == 1

    def test_arguments_can_be_given_by_name_and_in_the_documented_order(
        self, cache: OptimizedCacheManager
    ) -> None:
        assert cache.set("a", 1, 60, ["t"], 3)
        assert cache.set(key="b", value=2, ttl=60, tags=["t"], priority=3)
        assert cache.invalidate_by_tags(["t"]) == 2

    @pytest.mark.parametrize("wrong", [0, -1, 11, 256, 1000, 2**63])
    def test_a_priority_out_of_range_is_refused(
        self, cache: OptimizedCacheManager, wrong: int
    ) -> None:
        with pytest.raises((ValueError, OverflowError)):
            cache.set("k", 1, priority=wrong)
        assert "k" not in cache

    @pytest.mark.parametrize("wrong", [1.5, "1", None])
    def test_a_priority_that_is_no_integer_is_refused(
        self, cache: OptimizedCacheManager, wrong: Any
    ) -> None:
        with pytest.raises(TypeError):
            cache.set("k", 1, priority=wrong)

    @pytest.mark.parametrize("priority", range(1, 11))
    def test_priorities_from_one_to_ten_are_taken(
        self, cache: OptimizedCacheManager, priority: int
    ) -> None:
        assert cache.set("k", 1, priority=priority)

    @pytest.mark.parametrize(
        "refused",
        [
            {"ttl": 0},
            {"ttl": float("nan")},
            {"tags": "user:1"},
            {"tags": [""]},
            {"priority": 0},
            {"stamp": 2**61},
        ],
    )
    def test_a_refused_set_leaves_the_older_value_alone(
        self, cache: OptimizedCacheManager, refused: dict[str, Any]
    ) -> None:
        cache.set("k", "old", tags=["t"])
        with pytest.raises(ValueError):
            cache.set("k", "new", **refused)
        assert cache.get("k") == ("old", True)
        assert cache.invalidate_by_tags(["t"]) == 1

    def test_there_is_no_item_assignment_that_would_skip_the_arguments(
        self, cache: OptimizedCacheManager
    ) -> None:
        with pytest.raises(TypeError):
            cache["k"] = 1  # type: ignore[index]
        with pytest.raises(TypeError):
            cache["k"]  # type: ignore[index]


class TestDelete:
    def test_tells_whether_there_was_something(self, cache: OptimizedCacheManager) -> None:
        cache.set("k", 1)
        assert cache.delete("k") is True
        assert cache.get("k") == (None, False)
        assert cache.delete("k") is False

    def test_touches_no_other_key(self, cache: OptimizedCacheManager) -> None:
        for key in ("a", "a:b", "a:b:c"):
            cache.set(key, key)
        assert cache.delete("a:b")
        assert sorted(cache.keys()) == ["a", "a:b:c"]
        assert cache.get("a:b:c") == ("a:b:c", True)

    def test_what_has_expired_was_not_there(self, cache: OptimizedCacheManager, clock: Any) -> None:
        cache.set("k", 1, ttl=5)
        clock.advance(5)
        assert cache.delete("k") is False


class TestClearAndLen:
    def test_clear_removes_everything(self, cache: OptimizedCacheManager) -> None:
        for number in range(100):
            cache.set(f"auth:user:{number}:profile", number)
        assert len(cache) == 100
        cache.clear()
        assert len(cache) == 0
        assert cache.keys() == []
        assert cache.get("auth:user:5:profile") == (None, False)
        assert cache.get_stats()["total_size_mb"] == 0

    def test_a_cleared_cache_works_on(self, cache: OptimizedCacheManager) -> None:
        cache.set("k", "old")
        cache.clear()
        cache.clear()
        assert cache.set("k", "new")
        assert cache.get("k") == ("new", True)

    def test_len_counts_entries_not_sets(self, cache: OptimizedCacheManager) -> None:
        for _ in range(3):
            cache.set("k", 1)
        cache.set("l", 1)
        assert len(cache) == 2

    def test_an_empty_cache_can_be_told_from_no_cache(self, cache: OptimizedCacheManager) -> None:
        # `if cache:` asks for entries, as with any container; `is not None` asks for a cache.
        assert not cache
        cache.set("k", 1)
        assert cache


class TestIn:
    def test_tells_whether_a_get_would_hit(self, cache: OptimizedCacheManager, clock: Any) -> None:
        assert "k" not in cache
        cache.set("k", None, ttl=5, tags=["t"])
        assert "k" in cache
        clock.advance(5)
        assert "k" not in cache

    def test_does_not_count_as_a_request(self, cache: OptimizedCacheManager) -> None:
        cache.set("k", 1)
        assert "k" in cache
        assert "l" not in cache
        assert cache.get_stats()["total_requests"] == 0


class TestGetMany:
    def test_gives_what_is_there_in_the_order_asked_for(self, cache: OptimizedCacheManager) -> None:
        cache.set_many({"a": 1, "b": [2], "c": None})
        found = cache.get_many(["c", "x", "b", "a"])
        assert list(found.items()) == [("c", None), ("b", [2]), ("a", 1)]

    def test_takes_any_iterable(self, cache: OptimizedCacheManager) -> None:
        cache.set("a", 1)
        assert cache.get_many(key for key in "ab") == {"a": 1}
        assert (
            cache.get_many({"a"}) == cache.get_many({"a": 0}) == cache.get_many(("a",)) == {"a": 1}
        )
        assert cache.get_many([]) == {}
        assert cache.get_many(["a", "a"]) == {"a": 1}

    @pytest.mark.parametrize("wrong", ["abc", "", b"abc", 5, None])
    def test_refuses_what_holds_no_keys(self, cache: OptimizedCacheManager, wrong: Any) -> None:
        with pytest.raises(TypeError):
            cache.get_many(wrong)

    def test_an_error_of_the_iterable_reaches_the_caller(
        self, cache: OptimizedCacheManager
    ) -> None:
        def keys() -> Iterator[str]:
            yield "a"
            raise RuntimeError("rows ended early")

        with pytest.raises(RuntimeError, match="rows ended early"):
            cache.get_many(keys())

    def test_gives_values_of_the_callers_own(self, cache: OptimizedCacheManager) -> None:
        cache.set("a", [1])
        cache.get_many(["a"])["a"].append(2)
        assert cache.get("a") == ([1], True)


class TestSetMany:
    @pytest.mark.parametrize("kind", [dict, OrderedDict, MappingProxyType])
    def test_stores_every_pair_of_any_mapping(
        self, cache: OptimizedCacheManager, kind: Any
    ) -> None:
        values: Mapping[str, Any] = kind({"a": 1, "b": {"x": [1]}})
        assert cache.set_many(values) == 2
        assert cache.get_many(["a", "b"]) == {"a": 1, "b": {"x": [1]}}

    def test_life_tags_and_priority_go_for_all(
        self, cache: OptimizedCacheManager, clock: Any
    ) -> None:
        assert cache.set_many({"a": 1, "b": 2}, 10, ["t"], 3) == 2
        assert cache.set_many({"c": 3}, ttl=100, tags=["t"], priority=2) == 1
        clock.advance(10)
        assert cache.keys() == ["c"]
        assert cache.invalidate_by_tags(["t"]) == 1

    def test_nothing_to_store_is_fine(self, cache: OptimizedCacheManager) -> None:
        assert cache.set_many({}) == 0

    @pytest.mark.parametrize("wrong", [[("a", 1)], "ab", 5, None, {"a"}])
    def test_what_is_no_mapping_is_refused(self, cache: OptimizedCacheManager, wrong: Any) -> None:
        with pytest.raises(TypeError):
            cache.set_many(wrong)

    @pytest.mark.parametrize(
        ("wrong", "error"),
        [
            ({"a": 1, "": 2}, InvalidKeyError),
            ({"a": 1, "x" * 9000: 2}, InvalidKeyError),
            ({"a": 1, 5: 2}, TypeError),
        ],
    )
    def test_a_bad_key_is_found_before_anything_is_stored(
        self, cache: OptimizedCacheManager, wrong: Any, error: type[Exception]
    ) -> None:
        with pytest.raises(error):
            cache.set_many(wrong)
        assert len(cache) == 0

    def test_bad_tags_are_found_before_anything_is_stored(
        self, cache: OptimizedCacheManager
    ) -> None:
        with pytest.raises(InvalidTagError):
            cache.set_many({"a": 1}, tags="t")
        assert len(cache) == 0

    def test_a_value_that_cannot_be_copied_stops_the_rest(
        self, cache: OptimizedCacheManager
    ) -> None:
        with pytest.raises(SerializationError):
            cache.set_many({"a": 1, "b": (x for x in "generator"), "c": 3})
        assert cache.keys() == ["a"]

    def test_counts_only_what_was_stored(self, make_cache: Any) -> None:
        cache = make_cache(max_size_mb=1, compression_enabled=False)
        assert cache.set_many({"a": 1, "big": "x" * 2_000_000, "b": 2}) == 2
        assert sorted(cache.keys()) == ["a", "b"]

    def test_a_stamp_is_heeded_for_every_pair(self, cache: OptimizedCacheManager) -> None:
        stamp = cache.snapshot()
        cache.invalidate_user_data("u1")
        pairs = {"auth:user:u1:profile": 1, "auth:user:u2:profile": 2}
        assert cache.set_many(pairs, stamp=stamp) == 1
        assert cache.keys() == ["auth:user:u2:profile"]


class TestKeys:
    def test_lists_live_keys_only(self, cache: OptimizedCacheManager, clock: Any) -> None:
        cache.set("a", 1, ttl=5)
        cache.set("b", 1, ttl=50)
        clock.advance(5)
        assert cache.keys() == ["b"]

    def test_takes_a_pattern(self, cache: OptimizedCacheManager) -> None:
        for key in ("auth:user:1:profile", "auth:user:2:profile", "session:1:data"):
            cache.set(key, 1)
        assert sorted(cache.keys("auth:*")) == ["auth:user:1:profile", "auth:user:2:profile"]
        assert cache.keys(pattern="*:1:d*") == ["session:1:data"]
        assert cache.keys("nothing") == []

    def test_stops_at_the_limit(self, cache: OptimizedCacheManager) -> None:
        for number in range(1500):
            cache.set(f"k{number}", 1)
        assert len(cache.keys()) == 1000
        assert len(set(cache.keys(limit=2000))) == 1500
        assert len(cache.keys(limit=7)) == len(cache.keys("k*", 7)) == 7
        assert cache.keys(limit=0) == []

    @pytest.mark.parametrize("wrong", [-1, -(2**70), 2**70])
    def test_a_limit_out_of_range_is_refused(
        self, cache: OptimizedCacheManager, wrong: int
    ) -> None:
        with pytest.raises((ValueError, OverflowError)):
            cache.keys(limit=wrong)

    def test_does_not_count_as_requests(self, cache: OptimizedCacheManager) -> None:
        cache.set("k", 1)
        cache.keys()
        assert cache.get_stats()["total_requests"] == 0


def test_a_folder_for_tables_that_depends_on_where_one_is_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Two workers would each have a table of their own, and say that they share one.
    monkeypatch.setenv("VELRO_CACHE_SHARED_MEMORY_DIRECTORY", ".")
    with pytest.raises(SharedTableError, match="name it from the root on"):
        OptimizedCacheManager()
