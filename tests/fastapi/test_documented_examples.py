"""The integration examples of the Velro documentation run as they are printed there."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import httpx
from fastapi import Depends, FastAPI, HTTPException, Request
from serving import GrantTable, Serve

from velro_cache.authorization.current import (
    register_authorization_service,
    unregister_authorization_service,
)
from velro_cache.decorators import cached_authorization
from velro_cache.fastapi import (
    OptimizedAuthMiddleware,
    get_optimized_auth_middleware,
    velro_lifespan,
)
from velro_cache.registry import get_cache_manager

EXAMPLES = re.findall(
    r"```python\n(.*?)```",
    (Path(__file__).parent / "documented_examples.md").read_text(encoding="utf-8"),
    re.DOTALL,
)
GENERATION, USER = uuid4(), uuid4()


def run_example(number: int, **names: Any) -> dict[str, Any]:
    """Run one example in a namespace that holds what it takes for granted."""
    lines = EXAMPLES[number].splitlines(keepends=True)
    code = "".join(line for line in lines if not line.startswith("from utils."))
    assert code.count("\n") >= len(lines) - 2
    namespace: dict[str, Any] = {
        "UUID": UUID,
        "Depends": Depends,
        "HTTPException": HTTPException,
        "Request": Request,
        "User": SimpleNamespace,
        "auth_token": "good",
        "current_user": SimpleNamespace(id=USER),
        "cached_authorization": cached_authorization,
        "get_cache_manager": get_cache_manager,
        "get_optimized_auth_middleware": get_optimized_auth_middleware,
        "OptimizedAuthMiddleware": OptimizedAuthMiddleware,
        **names,
    }
    # The flags of this module (annotations as texts, perhaps) are not those of the example.
    exec(compile(code, f"example {number}", "exec", dont_inherit=True), namespace)  # noqa: S102
    return namespace


def test_there_are_four_examples() -> None:
    assert len(EXAMPLES) == 4
    assert all("\n" in example for example in EXAMPLES)


def test_guarding_an_endpoint(serve: Serve, table: GrantTable) -> None:
    async def get_current_user() -> SimpleNamespace:
        return SimpleNamespace(id=USER)

    app = FastAPI(lifespan=velro_lifespan(authorization=table))
    names = run_example(0, app=app, get_current_user=get_current_user)
    assert names["cache_manager"] is get_cache_manager()
    table.grant(GENERATION, USER, "good", media_urls=("https://media.example/1",))
    client = serve(app)
    for _ in range(3):
        answer = client.get(f"/generations/{GENERATION}/media")
        assert answer.status_code == 200
        assert answer.json() == {"media_urls": ["https://media.example/1"]}
    assert table.calls == 1
    refused = client.get(f"/generations/{uuid4()}/media")
    assert refused.status_code == 403
    assert refused.json() == {"detail": "Access denied"}


def test_a_router(serve: Serve, table: GrantTable) -> None:
    app = FastAPI(lifespan=velro_lifespan(authorization=table))
    app.include_router(run_example(1)["router"])
    table.grant(GENERATION, USER, "good", audit_trail=({"method": "sql"},))
    client = serve(app)
    for _ in range(3):
        permissions = client.get(f"/generations/{GENERATION}").json()["permissions"]
        assert permissions["granted"] is True
        assert permissions["can_view"] is True
        assert permissions["can_delete"] is False
        assert permissions["user_id"] == str(USER)
        assert permissions["audit_trail"] == [{"method": "sql"}]
    assert table.calls == 1


def test_a_middleware(serve: Serve, table: GrantTable) -> None:
    app: FastAPI = run_example(2)["app"]

    @app.get("/{generation_id}")
    async def read(generation_id: UUID, request: Request) -> dict[str, Any]:
        cache = request.state.auth_cache
        permissions = await cache.check_generation_access_cached(generation_id, USER, "good")
        stats = cache.get_performance_stats()
        return {"granted": permissions.granted, "checks": stats["middleware_stats"]}

    table.grant(GENERATION, USER, "good")
    client = serve(app)
    # The example has no lifespan: the service is named in the other documented way.
    register_authorization_service(table)
    try:
        answers = [client.get(f"/{GENERATION}").json() for _ in range(3)]
    finally:
        unregister_authorization_service(table)
    assert [answer["granted"] for answer in answers] == [True, True, True]
    assert table.calls == 1
    # Each request made an object of its own, and yet nothing that was counted is lost.
    assert [answer["checks"]["total_requests"] for answer in answers] == [1, 2, 3]
    assert [answer["checks"]["cache_hits"] for answer in answers] == [0, 1, 2]


async def test_a_decorated_function() -> None:
    class Service:
        calls = 0

        async def check_permissions(self, user_id: UUID, resource_id: UUID) -> dict[str, str]:
            self.calls += 1
            return {"user": str(user_id), "resource": str(resource_id)}

    service = Service()
    check = run_example(3, authorization_service=service)["check_user_permissions"]
    resource = uuid4()
    expected = {"user": str(USER), "resource": str(resource)}
    assert await check(USER, resource) == expected
    assert await check(USER, resource_id=resource) == expected
    assert service.calls == 1
    assert await check(resource, USER) == {"user": str(resource), "resource": str(USER)}
    assert service.calls == 2


def test_the_client_is_a_real_one(serve: Serve, table: GrantTable) -> None:
    """What the tests above rely on: a request really goes through a server and comes back."""
    app = FastAPI(lifespan=velro_lifespan(authorization=table))
    client = serve(app)
    assert isinstance(client, httpx.Client)
    assert client.get("/openapi.json").headers["server"] == "uvicorn"
