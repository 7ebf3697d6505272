"""A real browser, and services for it to look at."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, NoReturn
from urllib.parse import urlsplit

import pytest

from velro_cache.config import OptimizedCacheConfig
from velro_cache.manager import OptimizedCacheManager

Serve = Callable[..., str]
Open = Callable[..., Any]


def _without(what: str) -> NoReturn:
    why = f"no {what}, so nobody looks at the dashboard; make test-tools and make dev install it"
    # Where all is to be tested, what was not is a failure.
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, without a window. It ends with the module: its event loop is in others' way."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _without("playwright")
    chromium = shutil.which("chromium") or _without("Chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium,
            # Root has no sandbox.
            chromium_sandbox=False,
            timeout=120_000,
            args=[
                *("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
                *("--disable-background-networking", "--disable-component-update"),
                # A name that is not this machine's, for what browsers do with others only.
                "--host-resolver-rules=MAP service.example 127.0.0.1",
            ],
        )
        yield browser
        browser.close()


@pytest.fixture
def cache() -> Iterator[OptimizedCacheManager]:
    """A cache on the clock of the system, as browsers are."""
    with OptimizedCacheManager(OptimizedCacheConfig(name="watched")) as cache:
        yield cache


@pytest.fixture
def serve(cache: OptimizedCacheManager) -> Iterator[Serve]:
    """Serve an application, or the routes of the cache with options; gives the address."""
    from watched import serving, watched

    with ExitStack() as stack:

        def start(app: Any = None, **options: Any) -> str:
            return stack.enter_context(serving(app or watched(cache, **options)))

        yield start


@pytest.fixture
def noticed() -> Any:
    """What happens in the browser of the test."""
    from watched import Noticed

    return Noticed()


@pytest.fixture
def open_page(browser: Any, noticed: Any, serve: Serve) -> Iterator[Open]:
    """Open a page with options of the browser's context; it closes before the service does."""
    from watched import PATIENCE_MS

    contexts: list[Any] = []

    def make(**options: Any) -> Any:
        options.setdefault("viewport", {"width": 1280, "height": 900})
        context = browser.new_context(**options)
        contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        noticed.listen(page)
        return page

    yield make
    for context in contexts:
        context.close()
    assert noticed.unexpected == []
    # No request leaves the host.
    assert {urlsplit(address).hostname for address in noticed.addresses} <= {
        "127.0.0.1",
        "service.example",
    }
    assert not any("token" in address.lower() for address in noticed.addresses)


@pytest.fixture
def page(open_page: Open) -> Any:
    """A page as wide as that of a laptop."""
    return open_page()
