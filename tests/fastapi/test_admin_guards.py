"""Nobody gets past a guard, on any route."""

from __future__ import annotations

import builtins
import sys
from typing import Any
from uuid import UUID

import pytest
from fastapi import Depends, FastAPI
from operated import (
    BODIES,
    OPERATOR,
    PREFIX,
    QUERIES,
    SCRAPER,
    client_of,
    operated,
    require_operator,
    require_scraper,
    routes,
)

from velro_cache.fastapi import create_admin_router
from velro_cache.fastapi.admin.actors import actor_text
from velro_cache.manager import OptimizedCacheManager


def body_of(path: str) -> dict[str, Any] | None:
    return BODIES.get(path.removeprefix(PREFIX))


@pytest.fixture
def app(cache: OptimizedCacheManager) -> FastAPI:
    return operated(cache, metrics_guard=require_scraper)


def test_routes_are_those_that_are_expected(app: FastAPI) -> None:
    assert {path.removeprefix(PREFIX) for _, path in routes(app)} == set(BODIES) | {
        *("/stats", "/targets", "/config", "/keys", "/invalidations", "/warming"),
        *("/history", "/top", "/keys/explain", "/recommendations"),
        *("/health/live", "/health/ready", "/metrics"),
    }


@pytest.mark.parametrize(
    "credential", [{}, {"authorization": "Bearer other"}, {"authorization": "Basic b3BlcmF0b3I="}]
)
def test_every_route_refuses_whoever_may_not(
    app: FastAPI, cache: OptimizedCacheManager, credential: dict[str, str]
) -> None:
    cache.set_user_profile("u", 1)
    for method, path in routes(app):
        answer = client_of(app, credential).request(method, path, json=body_of(path))
        assert answer.status_code in (401, 403), path
        assert answer.headers["cache-control"] == "no-store", path
        assert answer.json().keys() == {"detail"}, path
    assert len(cache) == 1
    assert client_of(app).get(PREFIX + "/invalidations").json()["invalidations"] == []


def test_every_route_lets_the_right_one_through(app: FastAPI) -> None:
    for method, path in routes(app):
        credential = SCRAPER if path.endswith("/metrics") else OPERATOR
        answer = client_of(app, credential).request(
            method, path, json=body_of(path), params=QUERIES.get(path.removeprefix(PREFIX))
        )
        assert answer.status_code == 200, (path, answer.text)
        assert answer.headers["cache-control"] == "no-store", path


def test_scraper_and_operator_each_have_their_own_door(app: FastAPI) -> None:
    for _, path in routes(app):
        if not path.endswith("/metrics"):
            assert client_of(app, SCRAPER).get(path).status_code in (403, 405), path
    assert client_of(app, OPERATOR).get(PREFIX + "/metrics").status_code == 401


def test_without_a_guard_of_its_own_metrics_and_health_have_the_common_one(
    cache: OptimizedCacheManager,
) -> None:
    app = operated(cache)
    for path in ("/metrics", "/health/live", "/health/ready"):
        assert client_of(app, {}).get(PREFIX + path).status_code == 401
        assert client_of(app).get(PREFIX + path).status_code == 200


def test_health_may_have_a_guard_of_its_own(cache: OptimizedCacheManager) -> None:
    async def anyone() -> None: ...

    app = operated(cache, health_guard=anyone)
    assert client_of(app, {}).get(PREFIX + "/health/ready").status_code == 200
    assert client_of(app, {}).get(PREFIX + "/stats").status_code == 401


def test_changing_may_need_more(cache: OptimizedCacheManager) -> None:
    async def chief() -> dict[str, str]:
        return {"sub": "the chief", "token": "SECRET"}

    app = operated(cache, changing_guard=chief)
    # It comes on top of the guard of all.
    assert client_of(app, {}).post(PREFIX + "/clear", json=BODIES["/clear"]).status_code == 401
    assert client_of(app).post(PREFIX + "/clear", json=BODIES["/clear"]).status_code == 200
    (entry,) = client_of(app).get(PREFIX + "/invalidations").json()["invalidations"]
    assert entry["actor"] == "the chief"
    app = operated(cache, changing_guard=require_scraper)
    assert client_of(app).post(PREFIX + "/clear", json=BODIES["/clear"]).status_code == 401


def test_a_guard_that_says_false_means_no(cache: OptimizedCacheManager) -> None:
    async def is_operator() -> bool:
        return False

    app = FastAPI()
    app.include_router(create_admin_router(is_operator, cache=cache))
    for method, path in routes(app):
        answer = client_of(app).request(method, path, json=body_of(path))
        assert answer.status_code == 403, path


def test_a_guard_that_fails_lets_nobody_through(cache: OptimizedCacheManager) -> None:
    async def broken() -> str:
        raise ConnectionError("the directory of users is away")

    app = FastAPI()
    app.include_router(create_admin_router(broken, cache=cache))
    cache.set_user_profile("u", 1)
    for method, path in routes(app):
        with pytest.raises(ConnectionError):
            client_of(app).request(method, path, json=body_of(path))
    assert len(cache) == 1


def test_read_only_leaves_out_what_changes_something(cache: OptimizedCacheManager) -> None:
    app = operated(cache, read_only=True)
    assert {method for method, _ in routes(app)} == {"GET"}
    for path, body in BODIES.items():
        assert client_of(app).post(PREFIX + path, json=body).status_code in (404, 405), path


def test_a_plain_function_and_depends_are_guards_too(cache: OptimizedCacheManager) -> None:
    def plain() -> str:
        return "plain"

    for guard in (plain, Depends(plain)):
        app = FastAPI()
        app.include_router(create_admin_router(guard, cache=cache))
        assert client_of(app).get(PREFIX + "/stats").status_code == 200


def test_no_router_without_a_guard() -> None:
    for guard in (None, Depends()):
        with pytest.raises(ValueError, match="guard is missing: give a dependency that raises"):
            create_admin_router(guard)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="must be a dependency"):
        create_admin_router("operator")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="metrics_guard"):
        create_admin_router(require_operator, metrics_guard="scraper")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [
        {"prefix": "admin"},
        {"prefix": "/admin/"},
        {"prefix": "/{cache}"},
        {"prefix": ""},
        {"trusted_origins": "https://ops.example"},
        {"trusted_origins": ["https://*.example"]},
        {"trusted_origins": ["ops.example"]},
        {"trusted_origins": ["https://ops.example/"]},
        {"invalidations_per_minute": 0},
        {"invalidations_per_minute": float("nan")},
        {"invalidation_burst": 0},
        {"audit_size": 0},
    ],
)
def test_wrong_options_are_refused_when_the_router_is_made(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        create_admin_router(require_operator, **wrong)


def test_metrics_without_the_package_are_refused_when_the_router_is_made(
    monkeypatch: pytest.MonkeyPatch, cache: OptimizedCacheManager
) -> None:
    for module in [name for name in sys.modules if name.startswith("velro_cache.prometheus")]:
        monkeypatch.delitem(sys.modules, module)
    import_as_before = builtins.__import__

    def without(name: str, *rest: Any, **options: Any) -> Any:
        if name.startswith("prometheus_client"):
            raise ImportError(name)
        return import_as_before(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install 'velro-cache\[prometheus\]'"):
        create_admin_router(require_operator)
    app = operated(cache, metrics=False)
    assert PREFIX + "/metrics" not in {path for _, path in routes(app)}


class _User:
    def __init__(self, **fields: Any) -> None:
        self.__dict__ |= fields


@pytest.mark.parametrize(
    ("answer", "actor"),
    [
        ("ada", "ada"),
        (7, "7"),
        (UUID(int=1), str(UUID(int=1))),
        ({"sub": "ada", "token": "SECRET"}, "ada"),
        (_User(id=3, password_hash="SECRET"), "3"),  # noqa: S106
        (_User(user_id=UUID(int=2)), str(UUID(int=2))),
        (_User(password_hash="SECRET"), "unknown"),  # noqa: S106
        ({"sub": ["SECRET"]}, "unknown"),
        ("", "unknown"),
        (None, "unknown"),
        (True, "unknown"),
        (10**40, "unknown"),
        ("a\nb\x1b[0m", "a\ufffdb\ufffd[0m"),
        ("x" * 1000, "x" * 200),
    ],
)
def test_who_it_was_is_a_short_text_without_secrets(answer: object, actor: str) -> None:
    assert actor_text(answer) == actor
