"""Fixtures: a real server, a service whose answers the test decides, and no leftovers."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from serving import GrantTable, Serve, serving

from velro_cache.fastapi import middleware
from velro_cache.fastapi.api_keys import gate
from velro_cache.registry import stop_cache_manager


@pytest.fixture
def serve() -> Generator[Serve]:
    """Serve applications for the length of a test; each call gives a client for one of them."""
    with ExitStack() as stack:

        def start(app: Any) -> httpx.Client:
            port = stack.enter_context(serving(app))
            return stack.enter_context(
                httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20)
            )

        yield start


@pytest.fixture
def table() -> GrantTable:
    """A service whose answers the test decides."""
    return GrantTable()


@pytest.fixture(autouse=True)
def fresh_process_manager() -> Generator[None]:
    """No test inherits the cache of the one before."""
    asyncio.run(stop_cache_manager())
    yield
    asyncio.run(stop_cache_manager())


@pytest.fixture(autouse=True)
def fresh_logs() -> None:
    """What a test logs is not left out because the one before has logged it."""
    gate.FAILURES._kinds.clear()
    middleware._FAILURES._kinds.clear()
