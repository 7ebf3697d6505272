"""The plugin of pytest, as a service's own tests would use it."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from guarded import Issuer, Service, guarded_app

from velro_cache.config import OptimizedCacheConfig
from velro_cache.decorators import cached_authorization
from velro_cache.fastapi import velro_lifespan
from velro_cache.manager import OptimizedCacheManager
from velro_cache.registry import get_cache_manager, stop_cache_manager, using_cache_manager
from velro_cache.testing import FrozenClock, assert_cached, assert_not_cached


def test_an_application_uses_the_cache_of_the_test(
    velro_cache_manager: OptimizedCacheManager,
    velro_clock: FrozenClock,
    assert_cached: Any,
    assert_not_cached: Any,
) -> None:
    service, issuer = Service(), Issuer()
    service.grant("g", "ada", "token-of-ada")
    config = OptimizedCacheConfig.production()
    app = guarded_app(lifespan=velro_lifespan(config, authorization=service, authenticate=issuer))
    decision = "auth:gen:g:user:ada:access*"
    assert_not_cached(decision)
    with TestClient(app, headers={"authorization": "Bearer token-of-ada"}) as client:
        assert client.get("/generations/g").status_code == 200
        assert_cached(decision)
        velro_clock.advance(velro_cache_manager.config.auth_ttl_seconds)
        assert_not_cached(decision)
        assert client.get("/generations/g").status_code == 200
    # The application has ended; the cache is still the test's.
    assert_cached(decision)
    assert service.calls == 2
    assert not velro_cache_manager.is_stopped


def test_each_test_has_a_fresh_one(velro_cache_manager: OptimizedCacheManager) -> None:
    assert len(velro_cache_manager) == 0
    assert velro_cache_manager.get_stats()["sharing"]["state"] == "private"
    assert get_cache_manager() is velro_cache_manager
    assert get_cache_manager(OptimizedCacheConfig(name="other")) is velro_cache_manager


async def test_decorated_functions_use_it(velro_cache_manager: OptimizedCacheManager) -> None:
    @cached_authorization()
    async def check(user_id: str) -> bool:
        return bool(user_id)

    await check("ada")
    assert len(velro_cache_manager) == 1
    await stop_cache_manager()
    await check("ada")
    assert len(velro_cache_manager) == 1
    assert not velro_cache_manager.is_stopped


def test_afterwards_all_is_as_before() -> None:
    before, other = get_cache_manager(), OptimizedCacheManager()
    with using_cache_manager(other):
        assert get_cache_manager() is other
    assert get_cache_manager() is before


def test_the_clock_moves_both() -> None:
    clock = FrozenClock()
    start = clock.now()
    clock.advance(1.5)
    assert (clock.now() - start).total_seconds() == 1.5
    assert clock.seconds() == clock.now().timestamp()
    assert clock.engine.now() == 1.5
    for naive in (FrozenClock, clock.set_wall_clock):
        with pytest.raises(ValueError, match="time zone"):
            naive(datetime(2030, 1, 1))


def test_assertions_say_what_is_there() -> None:
    cache = OptimizedCacheManager()
    cache.set("a:1", 1)
    assert_cached(cache, "a:1")
    assert_cached(cache, "a:*")
    with pytest.raises(AssertionError, match="a:1"):
        assert_cached(cache, "b:*")
    with pytest.raises(AssertionError, match="a:1"):
        assert_not_cached(cache, "a:?")
    before = cache.get_stats()["total_requests"]
    assert_not_cached(cache, "a:2")
    assert cache.get_stats()["total_requests"] == before


def test_in_a_project_of_its_own(tmp_path: Path) -> None:
    """Installed as a plugin: no import, no configuration; and no web framework is loaded."""
    (tmp_path / "test_service.py").write_text(
        "import sys\n"
        "def test_no_web_framework_is_loaded():\n"
        "    assert 'fastapi' not in sys.modules\n"
        "def test_fixtures(velro_cache_manager, velro_clock, assert_cached, assert_not_cached):\n"
        "    velro_cache_manager.set('key', 1, ttl=10)\n"
        "    assert_cached('key')\n"
        "    velro_clock.advance(10)\n"
        "    assert_not_cached('key')\n",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=100, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
