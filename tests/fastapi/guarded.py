"""A guarded application, tokens it knows, and a client that speaks ASGI to it directly."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import httpx
from fastapi import Depends, FastAPI, Request, WebSocket
from fastapi.routing import APIRoute
from serving import GrantTable

from velro_cache.authorization.identity import Identity
from velro_cache.authorization.models import (
    AuthorizationMethod,
    AuthorizationResult,
    GenerationPermissions,
    TeamRole,
)
from velro_cache.exceptions import InvalidTokenError
from velro_cache.fastapi import (
    AUTH_RESPONSES,
    IdentityDep,
    ProjectEditor,
    ReadableGeneration,
    RequireGenerationAccess,
    TeamAdmin,
    WritableGeneration,
)

ByUuid = Annotated[
    GenerationPermissions,
    Depends(RequireGenerationAccess("read", parameter="id", id_type=UUID)),
]


class Issuer:
    """Tells users from tokens ``token-of-<user>``, as long as it knows no better.

    Attributes:
        calls: How often it was asked.
        revoked: Tokens it no longer accepts.
        fields: Further fields of the identities.
        answers: What it says about a token instead, if it is in there; an exception is raised.
        before_answer: Awaited before an answer, if set.
    """

    def __init__(self) -> None:
        self.calls = 0
        self.revoked: set[str] = set()
        self.fields: dict[str, Any] = {}
        self.answers: dict[str, Any] = {}
        self.before_answer: Callable[[], Any] | None = None

    async def __call__(self, token: str) -> Identity | None:
        self.calls += 1
        is_revoked = token in self.revoked
        if self.before_answer is not None:
            await self.before_answer()
        if token in self.answers:
            answer = self.answers[token]
            if isinstance(answer, BaseException):
                raise answer
            return answer  # type: ignore[no-any-return]
        if not token.startswith("token-of-") or is_revoked:
            raise InvalidTokenError(f"never shown: {token}")
        return Identity(token.removeprefix("token-of-"), **self.fields)


class Service(GrantTable):
    """Decides about roles as well.

    Attributes:
        roles: Roles by place (``project:p``, ``team:t``) and user.
        answer: Given instead, if set.
    """

    def __init__(self) -> None:
        super().__init__()
        self.roles: dict[tuple[str, str], TeamRole] = {}
        self.answer: Any = None

    async def validate_generation_media_access(self, *asked: Any, **more: Any) -> Any:
        decision = await super().validate_generation_media_access(*asked, **more)
        return decision if self.answer is None else self.answer[0]

    async def _role(self, place: str, user_id: Any, role: TeamRole) -> Any:
        self.calls += 1
        if self.error is not None:
            raise self.error
        if self.answer is not None:
            return self.answer[0]
        own = self.roles.get((place, str(user_id)))
        if own is None or own < role:
            return AuthorizationResult(False)
        return AuthorizationResult(True, AuthorizationMethod.TEAM_MEMBERSHIP, own)

    async def validate_project_access(
        self, project_id: Any, user_id: Any, required_role: TeamRole = TeamRole.VIEWER
    ) -> Any:
        return await self._role(f"project:{project_id}", user_id, required_role)

    async def validate_team_access(
        self, team_id: Any, user_id: Any, required_role: TeamRole = TeamRole.VIEWER
    ) -> Any:
        return await self._role(f"team:{team_id}", user_id, required_role)


def guarded_app(route_class: type[APIRoute] = APIRoute, **options: Any) -> FastAPI:
    """Routes behind each kind of guard."""
    app = FastAPI(**options)
    app.router.route_class = route_class

    @app.get("/me", responses=AUTH_RESPONSES)
    async def me(identity: IdentityDep, request: Request) -> dict[str, Any]:
        assert request.state.identity is identity
        return {"user": str(identity.user_id)}

    @app.get("/generations/{generation_id}", responses=AUTH_RESPONSES)
    async def read(generation_id: str, permissions: ReadableGeneration) -> dict[str, Any]:
        return {"id": generation_id, "user": str(permissions.user_id)}

    @app.put("/generations/{generation_id}", responses=AUTH_RESPONSES)
    async def write(generation_id: str, permissions: WritableGeneration) -> dict[str, Any]:
        return {"id": generation_id, "may": permissions.can_edit}

    @app.get("/by-uuid/{id}", responses=AUTH_RESPONSES)
    async def by_uuid(id: UUID, permissions: ByUuid) -> dict[str, Any]:
        return {"id": str(id), "asked": type(permissions.generation_id).__name__}

    @app.get("/projects/{project_id}", responses=AUTH_RESPONSES)
    async def project(project_id: str, access: ProjectEditor) -> dict[str, Any]:
        return {"id": project_id, "role": access.role}

    @app.get("/teams/{team_id}", responses=AUTH_RESPONSES)
    async def team(team_id: str, access: TeamAdmin) -> dict[str, Any]:
        return {"id": team_id, "role": access.role}

    @app.websocket("/generations/{generation_id}/live")
    async def live(websocket: WebSocket, permissions: ReadableGeneration) -> None:
        await websocket.accept()
        await websocket.send_json({"user": str(permissions.user_id)})
        await websocket.close()

    return app


def bearer(user: str) -> dict[str, str]:
    """The header by which the issuer knows a user."""
    return {"authorization": f"Bearer token-of-{user}"}


async def ask(
    app: Any, path: str, headers: Any = None, *, method: str = "GET", state: Any = None
) -> httpx.Response:
    """One request, straight into the application, with the state a lifespan would give."""

    async def with_state(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "state": dict(state or {})}, receive, send)

    transport = httpx.ASGITransport(with_state, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.request(method, path, headers=headers)


async def raw_messages(app: Any, scope: dict[str, Any], *events: Any) -> list[Any]:
    """What an application sends for a scope that no client would make."""
    sent: list[Any] = []
    waiting = list(events)

    async def receive() -> Any:
        if waiting:
            return waiting.pop(0)
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


def scope_of(path: str, *headers: tuple[bytes, bytes], kind: str = "http") -> dict[str, Any]:
    """An ASGI scope."""
    return {
        "type": kind,
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http" if kind == "http" else "ws",
        "path": path,
        "raw_path": path.encode("utf-8", "replace"),
        "query_string": b"",
        "root_path": "",
        "headers": list(headers),
        "client": ("192.0.2.1", 4711),
        "server": ("test", 80),
        "subprotocols": [],
        "state": {},
    }


def at(*parts: int) -> datetime:
    """A moment in UTC."""
    from datetime import UTC

    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type,misc]
