"""The benchmark's opponent has to be right, or beating it says nothing."""

from __future__ import annotations

import asyncio
import importlib
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID

import pytest

BENCH = Path(__file__).resolve().parents[2] / "benches" / "python"


class Time:
    """A clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        """Begin somewhere."""
        self.now = 1_000.0

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self.now


@pytest.fixture
def time() -> Time:
    """Return the clock that the manager uses."""
    return Time()


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch, time: Time) -> ModuleType:
    """Return the manager's module on a clock of ours."""
    monkeypatch.syspath_prepend(str(BENCH))
    module = importlib.import_module("pure_python_manager")
    monkeypatch.setattr(module, "monotonic", time)
    return module


@pytest.fixture(params=["PurePythonCacheManager", "TightPurePythonCacheManager"])
def manager(request: pytest.FixtureRequest, module: ModuleType) -> Any:
    """Return a manager of three entries, in both forms."""
    return getattr(module, request.param)(max_entries=3)


def test_a_stored_value_is_found_and_a_missing_one_is_not(manager: Any) -> None:
    assert manager.set("k", "v")
    assert manager.get("k") == ("v", True)
    assert manager.get("other") == (None, False)
    assert manager.get("other", "default") == ("default", False)


def test_an_entry_is_gone_at_its_deadline(manager: Any, time: Time) -> None:
    manager.set("k", "v", 10.0)
    time.now += 9.9
    assert manager.get("k") == ("v", True)
    time.now += 0.1
    assert manager.get("k") == (None, False)
    assert manager.get_stats()["expirations"] == 1
    assert len(manager) == 0


def test_the_least_recently_used_entry_is_dropped(manager: Any) -> None:
    for key in ("a", "b", "c"):
        manager.set(key, key)
    manager.get("a")
    manager.set("d", "d")
    assert [manager.get(key)[1] for key in ("a", "b", "c", "d")] == [True, False, True, True]
    assert manager.get_stats()["evictions"] == 1


def test_a_tag_takes_its_entries_and_no_others(manager: Any) -> None:
    manager.set("a", 1, None, ("user:1", "auth"))
    manager.set("b", 2, None, ("user:2", "auth"))
    assert manager.invalidate_by_tags(["user:1", "user:3"]) == 1
    assert manager.get("a") == (None, False)
    assert manager.get("b") == (2, True)
    manager.set("b", 3, None, ("user:3",))
    assert manager.invalidate_by_tags({"auth", "user:2"}) == 0
    assert manager.get("b") == (3, True)


def test_a_value_larger_than_the_cache_is_refused(module: ModuleType) -> None:
    small = module.PurePythonCacheManager(max_size_mb=1)
    small.set("k", "v")
    assert not small.set("large", "x" * (2 * 1024 * 1024))
    assert small.get("k") == ("v", True)


def test_two_ids_name_one_entry_as_text_and_as_uuid(manager: Any) -> None:
    generation, user = UUID(int=1), UUID(int=2)
    manager.set_generation_access(generation, user, "yes")
    assert manager.get_generation_access(str(generation), str(user)) == ("yes", True)
    assert manager.get_generation_access(generation, user) == ("yes", True)
    assert manager.get_generation_access(user, generation) == (None, False)
    stats = manager.get_stats()
    assert (stats["auth_requests"], stats["auth_cache_hits"]) == (3, 2)
    assert (stats["total_requests"], stats["hit_rate_percent"]) == (3, pytest.approx(66.7, abs=0.1))


def test_the_id_lookup_expires_too(manager: Any, time: Time) -> None:
    manager.set_generation_access("g", "u", "yes", 5.0)
    time.now += 5.0
    assert manager.get_generation_access("g", "u") == (None, False)


def test_decorated_functions_run_once_per_argument(module: ModuleType, manager: Any) -> None:
    calls = []

    @module.cached_authorization(manager)  # type: ignore[untyped-decorator]
    def plain(number: int) -> int:
        calls.append(number)
        return number + 1

    @module.cached_authorization(manager)  # type: ignore[untyped-decorator]
    async def awaited(number: int) -> int:
        calls.append(-number)
        return number - 1

    async def twice() -> list[int]:
        return [await awaited(1), await awaited(1)]

    assert [plain(1), plain(1), plain(2)] == [2, 2, 3]
    assert asyncio.run(twice()) == [0, 0]
    assert calls == [1, 2, -1]
