"""The middleware as the door of an application: no valid token, no way in."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
import starlette.exceptions
from fastapi import FastAPI, HTTPException, Request
from guarded import Issuer, Service, ask, bearer, raw_messages, scope_of

from velro_cache.config import OptimizedCacheConfig
from velro_cache.exceptions import AuthorizationUnavailable
from velro_cache.fastapi import AuthDep, OptimizedAuthMiddleware, VerifiedTokens
from velro_cache.manager import OptimizedCacheManager

TOKEN = (b"authorization", b"Bearer token-of-ada")


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def private() -> OptimizedCacheManager:
    return OptimizedCacheManager(OptimizedCacheConfig(share_invalidations=False))


def app_behind(**options: Any) -> FastAPI:
    app = FastAPI()
    app.add_middleware(OptimizedAuthMiddleware, **options)

    @app.get("/health")
    async def health() -> str:
        return "fine"

    @app.get("/{path:path}")
    async def read(path: str, request: Request, auth: AuthDep) -> dict[str, Any]:
        identity = getattr(request.state, "identity", None)
        assert request.state.auth_cache is auth
        return {"user": None if identity is None else identity.user_id}

    return app


async def test_only_requests_with_a_valid_token_get_in(issuer: Issuer, private: Any) -> None:
    app = app_behind(authenticate=issuer, cache_manager=private)
    for _ in range(2):
        answer = await ask(app, "/any", bearer("ada"))
        assert (answer.status_code, answer.json()) == (200, {"user": "ada"})
    assert issuer.calls == 1
    refused = await ask(app, "/any")
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == 'Bearer realm="api"'
    assert refused.headers["cache-control"] == "no-store"
    assert refused.json() == {"detail": "Not authenticated"}
    refused = await ask(app, "/any", {"authorization": "Bearer forged"})
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == 'Bearer realm="api", error="invalid_token"'
    assert "forged" not in refused.text


async def test_verified_tokens_may_be_given_ready_made(issuer: Issuer, private: Any) -> None:
    tokens = VerifiedTokens(issuer, max_token_bytes=12)
    app = app_behind(authenticate=tokens, cache_manager=private)
    assert (await ask(app, "/any", bearer("ada"))).status_code == 200
    assert (await ask(app, "/any", bearer("adam"))).status_code == 401
    assert all("token" in key for key in private.keys("*"))
    assert len(private.keys()) == 2


@pytest.mark.parametrize(
    ("path", "is_public"),
    [
        ("/health", True),
        ("/health/", False),
        ("/Health", False),
        ("//health", False),
        ("/health/../any", False),
        ("/health\0", False),
        ("/any", False),
    ],
)
async def test_public_paths_are_compared_as_they_are(
    issuer: Issuer, private: Any, path: str, is_public: bool
) -> None:
    reached: list[str] = []

    async def inner(scope: Any, _receive: Any, _send: Any) -> None:
        reached.append(scope["path"])
        assert "identity" not in scope["state"]

    door = OptimizedAuthMiddleware(
        inner, authenticate=issuer, cache_manager=private, public_paths=["/health"]
    )
    sent = await raw_messages(door, scope_of(path))
    assert reached == ([path] if is_public else [])
    assert bool(sent) is not is_public


async def test_without_enforcing_guards_decide(issuer: Issuer, private: Any) -> None:
    app = app_behind(authenticate=issuer, cache_manager=private, enforce=False)
    assert (await ask(app, "/any")).json() == {"user": None}
    assert issuer.calls == 0


async def test_what_else_is_required_is_asked_through_the_cache(
    issuer: Issuer, private: Any
) -> None:
    service = Service()
    service.grant("g", "ada", "token-of-ada")

    async def authorize(auth: Any, scope: Any, identity: Any, token: str) -> bool:
        decision = await auth.check_generation_access_cached(
            scope["path"].strip("/"), identity.user_id, token
        )
        return bool(decision.granted)

    app = app_behind(
        authenticate=issuer, authorize=authorize, authorization=service, cache_manager=private
    )
    for _ in range(2):
        assert (await ask(app, "/g", bearer("ada"))).status_code == 200
        refused = await ask(app, "/g", bearer("bob"))
        assert refused.status_code == 403
        assert refused.headers["www-authenticate"] == (
            'Bearer realm="api", error="insufficient_scope"'
        )
    assert service.calls == 2


@pytest.mark.parametrize("answer", [None, 1, "yes", object(), False], ids=str)
async def test_only_true_is_a_yes(issuer: Issuer, private: Any, answer: Any) -> None:
    async def authorize(*_asked: Any) -> Any:
        return answer

    app = app_behind(authenticate=issuer, authorize=authorize, cache_manager=private)
    assert (await ask(app, "/any", bearer("ada"))).status_code == 403


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (AuthorizationUnavailable("token-of-ada is a secret"), 503),
        (HTTPException(429, "slower", {"Retry-After": "9"}), 429),
        (starlette.exceptions.HTTPException(429, "slower", {"Retry-After": "9"}), 429),
        (ConnectionError("away"), 500),
    ],
    ids=str,
)
async def test_whoever_cannot_tell_lets_nobody_in(
    issuer: Issuer,
    private: Any,
    error: Exception,
    status: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def authorize(*_asked: Any) -> Any:
        raise error

    app = app_behind(authenticate=issuer, authorize=authorize, cache_manager=private)
    with caplog.at_level(logging.DEBUG, logger="velro_cache"):
        answer = await ask(app, "/any", bearer("ada"))
    assert answer.status_code == status
    if status != 500:
        assert "retry-after" in answer.headers
    assert "token-of-ada" not in caplog.text + answer.text
    assert ("AuthorizationUnavailable" in caplog.text) is (status == 503)


async def test_a_verifier_that_fails_lets_nobody_in(issuer: Issuer, private: Any) -> None:
    app = app_behind(authenticate=issuer, cache_manager=private)
    for answer in (ConnectionError("away"), {"sub": "ada"}, True):
        issuer.answers["token-of-ada"] = answer
        assert (await ask(app, "/any", bearer("ada"))).status_code == 500
    private.stop()
    assert (await ask(app, "/any", bearer("ada"))).status_code == 503


async def test_refusals_may_be_problem_documents(issuer: Issuer, private: Any) -> None:
    app = app_behind(authenticate=issuer, cache_manager=private, problem_details=True)
    answer = await ask(app, "/any", {"authorization": "Bearer forged"})
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": "about:blank",
        "title": "Unauthorized",
        "status": 401,
        "detail": "Invalid token",
        "error": "invalid_token",
    }


async def test_a_websocket_is_closed_or_answered(issuer: Issuer, private: Any) -> None:
    async def inner(*_call: Any) -> None:
        pytest.fail("must not be reached")

    door = OptimizedAuthMiddleware(inner, authenticate=issuer, cache_manager=private)
    scope = scope_of("/live", kind="websocket")
    assert await raw_messages(door, scope) == [
        {"type": "websocket.close", "code": 1008, "reason": "Not authenticated"}
    ]
    scope["extensions"] = {"websocket.http.response": {}}
    start, body = await raw_messages(door, scope)
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 401)
    assert (b"www-authenticate", b'Bearer realm="api"') in start["headers"]
    assert json.loads(body["body"]) == {"detail": "Not authenticated"}


async def test_an_error_of_the_application_is_its_own(issuer: Issuer, private: Any) -> None:
    async def inner(*_call: Any) -> None:
        raise AuthorizationUnavailable("from within")

    door = OptimizedAuthMiddleware(inner, authenticate=issuer, cache_manager=private)
    with pytest.raises(AuthorizationUnavailable, match="from within"):
        await raw_messages(door, scope_of("/", TOKEN))


async def test_the_lifespan_of_the_server_passes(issuer: Issuer) -> None:
    seen: list[Any] = []

    async def inner(scope: Any, _receive: Any, _send: Any) -> None:
        seen.append(scope)

    scope: dict[str, Any] = {"type": "lifespan", "state": {}}
    await OptimizedAuthMiddleware(inner, authenticate=issuer)(scope, None, None)  # type: ignore[arg-type]
    assert seen == [{"type": "lifespan", "state": {}}]


def test_mistakes_are_found_when_it_is_made(issuer: Issuer) -> None:
    with pytest.raises(TypeError, match="authenticate"):
        OptimizedAuthMiddleware(authorize=issuer)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="public_paths"):
        OptimizedAuthMiddleware(authenticate=issuer, public_paths="/health")
    with pytest.raises(TypeError, match="verify"):
        OptimizedAuthMiddleware(authenticate="ada")  # type: ignore[arg-type]
