"""Server-sent events: a response that goes on until something ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from fastapi import Response
from starlette.types import Receive, Scope, Send

from velro_cache.fastapi.feed.messages import HEARTBEAT, Message
from velro_cache.fastapi.feed.session import Session

__all__ = ["EventStream", "either_ends"]

_RETRY_MS: Final = 3000


class EventStream(Response):
    """The response to a client that listens.

    Args:
        join: Makes the session, as late as possible: a response that is never sent joins nothing.
    """

    media_type = "text/event-stream"

    def __init__(self, join: Callable[[], Session]) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(None, headers=headers)
        # It has no length: it ends when it ends.
        del self.headers["content-length"]
        self._join = join

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until the client is gone or the session ends.

        Raises:
            Exception: See :meth:`Session.admit`. Nothing was sent then.
        """
        is_first = True

        async def emit(message: Message | None) -> None:
            nonlocal is_first
            retry_ms, is_first = _RETRY_MS if is_first else None, False
            body = HEARTBEAT if message is None else message.as_event(retry_ms)
            await send({"type": "http.response.body", "body": body, "more_body": True})

        async def talk() -> None:
            # Before anything is sent: a refusal is an answer of its own.
            await session.admit()
            await send(
                {
                    "type": "http.response.start",
                    "status": self.status_code,
                    "headers": self.raw_headers,
                }
            )
            if await session.run(emit) != "slow":
                await send({"type": "http.response.body", "body": b"", "more_body": False})

        async def listen() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        session = self._join()
        try:
            await either_ends(talk(), listen())
        finally:
            session.end()


async def either_ends(*works: Awaitable[Any]) -> None:
    """Do several things at once until one of them ends; the others are cancelled.

    Args:
        *works: What to do.

    Raises:
        Exception: What one of them raised.
    """
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
