"""An application behind API keys, and a cache of keys whose rows tests decide."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from fastapi import APIRouter, FastAPI, Request, WebSocket

sys.path.insert(0, str(Path(__file__).parents[1] / "api_keys"))

from held_keys import FORMAT, PEPPERS, Clock, HeldKeys, Kit

from velro_cache.fastapi.api_keys import ApiKeyMiddleware

__all__ = [
    "FORMAT",
    "PEPPERS",
    "Clock",
    "HeldKeys",
    "Kit",
    "answer_of",
    "application",
    "behind_keys",
    "client_of",
    "scope_of",
]


def application() -> FastAPI:
    """Tells whose a request is, as the middleware has it."""
    app = FastAPI()
    router = APIRouter(prefix="/v1/{tenant}")

    @router.get("/items/{item_id}")
    async def item(item_id: str, request: Request) -> dict[str, Any]:
        return told(request.state)

    @app.get("/whose")
    async def whose(request: Request) -> dict[str, Any]:
        return told(request.state)

    @app.get("/health")
    async def health() -> str:
        return "well"

    @app.get("/static/{name}")
    async def static(name: str) -> str:
        return name

    @app.get("/fails")
    async def fails() -> None:
        raise RuntimeError("by design")

    @app.websocket("/listen")
    async def listen(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_json(told(socket.state))
        await socket.close()

    app.include_router(router)
    return app


def told(state: Any) -> dict[str, Any]:
    return {
        "id": state.api_key.id,
        "organization_id": state.organization_id,
        "plan": state.plan,
        "scopes": sorted(state.scopes),
        "per_minute": getattr(state.limits.organization, "requests_per_minute", None),
    }


def behind_keys(kit: Kit, app: Any = None, **options: Any) -> ApiKeyMiddleware:
    return ApiKeyMiddleware(app or application(), keys=kit.cache, **options)


@asynccontextmanager
async def client_of(app: Any, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, **options)
    async with httpx.AsyncClient(transport=transport, base_url="http://t") as client:
        yield client


def scope_of(*headers: tuple[bytes, bytes], **fields: Any) -> dict[str, Any]:
    """A request as a server hands it over, whatever stands in its headers."""
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/whose",
        "raw_path": b"/whose",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"t"), *headers],
        "client": ("192.0.2.1", 4711),
        "server": ("t", 80),
    } | fields


async def answer_of(app: Any, scope: dict[str, Any]) -> tuple[int, dict[bytes, bytes], bytes]:
    """What an application answers, without a client that checks headers first."""
    started: list[dict[str, Any]] = []
    body = b""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        nonlocal body
        if message["type"] == "http.response.start":
            started.append(message)
        else:
            body += message.get("body", b"")

    await app(scope, receive, send)
    (start,) = started
    return start["status"], dict(start["headers"]), body
