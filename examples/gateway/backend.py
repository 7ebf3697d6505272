"""A service behind the gateway, that tells what it was sent.

uvicorn --app-dir examples gateway.backend:app
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

app = FastAPI()


@app.get("/stream")
async def stream() -> StreamingResponse:
    """Send lines, one after the other."""

    async def lines() -> AsyncIterator[bytes]:
        for number in range(5):
            yield b"line %d\n" % number
            await asyncio.sleep(0.05)

    return StreamingResponse(lines(), media_type="text/plain")


@app.api_route("/{path:path}", methods=["GET", "POST"])
async def echo(path: str, request: Request) -> dict[str, Any]:
    """Tell who answers, and what came."""
    return {
        "backend": os.environ.get("BACKEND_NAME", "backend"),
        "path": path,
        "organization": request.headers.get("x-organization"),
        "headers": sorted(request.headers),
        "bytes": len(await request.body()),
    }
