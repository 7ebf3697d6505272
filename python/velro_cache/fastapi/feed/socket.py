"""The same over a WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from fastapi import WebSocket

from velro_cache.fastapi.feed.messages import Message, Reason
from velro_cache.fastapi.feed.session import Session
from velro_cache.fastapi.feed.stream import either_ends

__all__ = ["TRY_AGAIN_LATER", "talk"]

TRY_AGAIN_LATER: Final = 1013
_POLICY_VIOLATION: Final = 1008
_SERVICE_RESTART: Final = 1012

_CODES: Final[dict[Reason, int]] = {
    "refused": _POLICY_VIOLATION,
    "expired": _POLICY_VIOLATION,
    "lifetime": _SERVICE_RESTART,
    "shutdown": _SERVICE_RESTART,
    "slow": TRY_AGAIN_LATER,
    "unavailable": TRY_AGAIN_LATER,
}

_CLOSING_SECONDS: Final = 1.0


async def talk(websocket: WebSocket, session: Session) -> None:
    """Send messages until the client is gone or the session ends.

    A client has nothing to say: whatever it sends ends the connection.

    Args:
        websocket: One that was accepted.
        session: The connection.
    """
    code = _POLICY_VIOLATION
    reason = "this feed is not to be written to"

    async def emit(message: Message | None) -> None:
        # The server sends pings of its own, and other clients need a sign they can read.
        await websocket.send_text('{"event":"heartbeat"}' if message is None else message.as_text())

    async def tell() -> None:
        nonlocal code, reason
        reason = await session.run(emit)
        code = _CODES[reason]

    async def listen() -> None:
        nonlocal reason
        if (await websocket.receive())["type"] == "websocket.disconnect":
            reason = ""

    await either_ends(tell(), listen())
    if reason:
        # It may be gone, or take nothing any more.
        with contextlib.suppress(RuntimeError, TimeoutError):
            async with asyncio.timeout(_CLOSING_SECONDS):
                await websocket.close(code, reason)
