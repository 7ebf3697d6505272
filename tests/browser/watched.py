"""Services whose cache is watched in a browser, and what a browser noticed on its way."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from fastapi import FastAPI
from playwright.sync_api import ConsoleMessage, Page, Request

from velro_cache.fastapi import create_admin_router
from velro_cache.manager import OptimizedCacheManager

PREFIX = "/admin/cache"

# Machines are shared: what takes long is no finding.
PATIENCE_MS = 60_000


async def anyone() -> str:
    return "ada"


def watched(cache: OptimizedCacheManager, guard: Any = anyone, **options: Any) -> FastAPI:
    """An application whose cache can be watched."""
    app = FastAPI()
    app.include_router(create_admin_router(guard, cache=cache, metrics=False, **options))
    return app


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """Serve an application with uvicorn, in a thread, on a free port; give its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="critical", access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        # Connections wait at the listener until it has begun.
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        server.force_exit = True
        thread.join(timeout=60)
        listener.close()


@dataclass
class Noticed:
    """What happened in a browser.

    Attributes:
        complaints: Errors and warnings of the console, uncaught exceptions, violated policies.
        addresses: Of all requests.
        expected: Texts; a complaint that has one of them in it belongs to the test.
    """

    complaints: list[str] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)

    def listen(self, page: Page) -> None:
        """Note what a page does from now on."""
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(f"uncaught: {error}"))
        page.on("request", self._request)
        # Violations are in the console, too; this tells which rule it was.
        page.add_init_script(
            "addEventListener('securitypolicyviolation', (event) => console.error("
            "'violated ' + event.violatedDirective + ' ' + event.blockedURI))"
        )

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")

    def _request(self, request: Request) -> None:
        self.addresses.append(request.url)

    @property
    def unexpected(self) -> list[str]:
        """Complaints that belong to no test."""
        return [
            complaint
            for complaint in self.complaints
            if not any(text in complaint for text in self.expected)
        ]


def tile(page: Page, label: str) -> str:
    """The figure that stands in a tile."""
    return page.locator(".tile", has_text=label).locator(".value").inner_text()


def wait_for_tile(page: Page, label: str, text: str) -> None:
    """Wait until a tile shows a figure."""
    page.locator(".tile", has_text=label).locator(".value", has_text=text).wait_for()


def watch(page: Page, address: str) -> None:
    """Open the page, and wait for the first figures."""
    page.goto(f"{address}{PREFIX}/")
    page.locator("#live[data-state=live]").wait_for()
