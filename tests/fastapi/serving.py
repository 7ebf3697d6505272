"""A real server for applications under test, and a service whose answers tests decide."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import httpx
import uvicorn

from velro_cache.authorization.models import GenerationPermissions
from velro_cache.manager import Id

Serve = Callable[[Any], httpx.Client]


class GrantTable:
    """An authorization service that answers from a table of grants by generation, user, token.

    Attributes:
        grants: Fields of the permissions by generation, user and token; no row means a deny.
        calls: How often it was asked.
        error: Raised instead of an answer, if set.
        before_answer: Awaited after the table was read and before the answer, if set.
    """

    def __init__(self) -> None:
        self.grants: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.calls = 0
        self.error: Exception | None = None
        self.before_answer: Callable[[], Any] | None = None

    def grant(self, generation_id: Id, user_id: Id, token: str, **fields: Any) -> None:
        self.grants[str(generation_id), str(user_id), token] = {"can_view": True} | fields

    async def validate_generation_media_access(
        self,
        generation_id: Id,
        user_id: Id,
        auth_token: str,
        client_ip: str | None = None,
        expires_in: int = 3600,
    ) -> GenerationPermissions:
        self.calls += 1
        fields = self.grants.get((str(generation_id), str(user_id), auth_token))
        if self.before_answer is not None:
            await self.before_answer()
        if self.error is not None:
            raise self.error
        if fields is None:
            return GenerationPermissions.denied(generation_id, user_id)
        return GenerationPermissions(generation_id, user_id, True, **fields)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


@contextmanager
def serving(app: Any) -> Generator[int]:
    """Serve an application with uvicorn, in a thread, on a free port; stop it gracefully."""
    listener = socket.create_server(("127.0.0.1", 0))
    # Accepted connections inherit it; without it each answer waits for a delayed acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    config = uvicorn.Config(
        app,
        log_level="critical",
        access_log=False,
        lifespan="on",
        ws="websockets-sansio",
        timeout_graceful_shutdown=2,
    )
    server = _Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        assert server.ready.wait(timeout=20)
        assert server.started
        yield int(listener.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(timeout=20)
        listener.close()
        assert not thread.is_alive()
