"""Takes the pictures of docs/dashboard.md and docs/api-keys-admin.md, in a real browser.

Of a service under load, and of one whose API keys are administered. Fifteen minutes of traffic are
played on a clock that is moved by hand, so the charts are full at once. Needs the test packages and
Chromium; `make screenshots` runs it.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from playwright.sync_api import Browser, sync_playwright

from velro_cache import OptimizedCacheConfig, OptimizedCacheManager
from velro_cache._engine import ManualClock
from velro_cache.fastapi import create_admin_router

DOCS = Path(__file__).parents[1] / "docs" / "pictures"
TESTS = Path(__file__).parents[1] / "tests"
PORT = 8765
SECONDS = 900
USERS = 2_500


async def require_operator() -> str:
    """Stand for the guard of a service."""
    return "ada"


class Traffic:
    """Users who look at generations, a few of them far more often than the rest.

    Args:
        cache: What is asked.
        clock: What is moved on, a second at a time.
    """

    def __init__(self, cache: OptimizedCacheManager, clock: ManualClock) -> None:
        self._cache = cache
        self._clock = clock
        self._random = random.Random(7)  # noqa: S311 - traffic, not secrets
        self._second = 0

    def second(self) -> None:
        """Let a second go by."""
        self._second += 1
        wave = 1 + 0.35 * ((self._second // 60) % 5) / 4
        burst = 1.8 if 520 <= self._second % SECONDS <= 560 else 1.0
        for _ in range(int(self._random.gauss(420, 25) * wave * burst)):
            self._look(min(int(self._random.paretovariate(0.55)), USERS))
        if self._second % 75 == 0:
            user = self._random.randrange(1, 40)
            self._cache.invalidate_user_data(f"user-{user}", reason="role changed", actor="billing")
        if self._second % 410 == 0:
            self._cache.invalidate_by_tags(["team:design"], reason="team closed", actor="ada")
        self._clock.advance(1)
        self._cache.get_history(1)

    def _look(self, number: int) -> None:
        user = f"user-{number}"
        generation = f"gen-{(number * 7919) % 600}"
        if self._random.random() < 0.6:
            if not self._cache.get_generation_access(generation, user)[1]:
                self._cache.set_generation_access(generation, user, {"granted": True})
        elif not self._cache.get_user_profile(user)[1]:
            tags = ["team:design"] if number % 9 == 0 else None
            key = self._cache.generate_auth_key("user_profile", user_id=user)
            self._cache.set(key, {"name": user}, tags=tags, ttl=240)


def application() -> tuple[FastAPI, Traffic]:
    """Make a service that has been busy for a while."""
    clock = ManualClock()
    config = OptimizedCacheConfig(name="velro", max_entries=3_000, max_size_mb=8)
    cache = OptimizedCacheManager(config, clock=clock)
    traffic = Traffic(cache, clock)
    for _ in range(SECONDS):
        traffic.second()
    app = FastAPI()
    app.include_router(create_admin_router(require_operator, cache=cache, metrics=False))
    return app, traffic


def serve(app: FastAPI, traffic: Traffic, is_over: threading.Event) -> threading.Thread:
    """Serve it, and let its users go on, until it is over."""
    server = uvicorn.Server(uvicorn.Config(app, port=PORT, log_level="warning", access_log=False))

    def users() -> None:
        while not is_over.wait(1):
            traffic.second()
        server.should_exit = True

    threading.Thread(target=users, daemon=True).start()
    thread = threading.Thread(target=server.run)
    thread.start()
    return thread


def take(browser: Browser, name: str, folder: Path, **options: Any) -> None:
    """Take a picture of what is seen first.

    Args:
        browser: Takes it.
        name: Of the file.
        folder: Where it goes.
        **options: Of the browser's context.
    """
    page = browser.new_context(**options).new_page()
    page.goto(f"http://127.0.0.1:{PORT}/admin/cache/")
    page.locator("#hot-keys table").wait_for()
    page.evaluate("scrollTo(0, 0)")
    page.wait_for_timeout(1500)
    page.screenshot(path=folder / f"{name}.png")
    page.context.close()


def take_form(browser: Browser, folder: Path, **options: Any) -> None:
    """Take a picture of a key that was found, and of an invalidation that was checked."""
    page = browser.new_context(**options).new_page()
    page.goto(f"http://127.0.0.1:{PORT}/admin/cache/")
    page.get_by_label("Keys that begin with").fill("auth:user:user-1")
    page.get_by_role("button", name="Find").click()
    page.locator("#found-list button").first.click()
    page.locator("#explained dl").wait_for()
    page.get_by_label("What", exact=True).select_option("pattern")
    page.get_by_label("Pattern", exact=True).fill("auth:gen:*")
    page.get_by_label("Reason", exact=True).fill("storage moved")
    page.get_by_role("button", name="Check first").click()
    page.get_by_text("This would drop").wait_for()
    page.locator(".halves").last.screenshot(path=folder / "dashboard-form.png")
    page.context.close()


def take_dashboard(
    browser: Browser, folder: Path, wide: dict[str, Any], phone: dict[str, Any]
) -> None:
    """Take the pictures of the dashboard, of a service that is busy meanwhile."""
    is_over = threading.Event()
    thread = serve(*application(), is_over)
    try:
        take(browser, "dashboard-light", folder, color_scheme="light", **wide)
        take(browser, "dashboard-dark", folder, color_scheme="dark", **wide)
        take(browser, "dashboard-phone", folder, color_scheme="light", **phone)
        take_form(browser, folder, color_scheme="light", **wide)
    finally:
        is_over.set()
        thread.join()


def take_keys(browser: Browser, folder: Path, name: str, **options: Any) -> None:
    """Take a picture of the page of API keys, with a key that was just made."""
    # The service that the tests of that page look at.
    sys.path[:0] = [str(TESTS), str(TESTS / "browser")]
    from administered_keys import KEYS, keys_app
    from watched import serving

    config = OptimizedCacheConfig(name="velro", share_invalidations=False)
    with (
        tempfile.TemporaryDirectory() as scratch,
        OptimizedCacheManager(config) as cache,
        serving(keys_app(cache, Path(scratch) / "keys.db")) as address,
    ):
        page = browser.new_context(**options).new_page()
        page.goto(f"{address}{KEYS}/")
        page.get_by_role("button", name="Acme Photos").click()
        page.get_by_label("Name of the key").fill("night import")
        page.get_by_label("Scopes, with spaces between").fill("read")
        page.get_by_label("Reason for the key").fill("new job")
        page.get_by_role("button", name="Create key").click()
        page.locator("#changes table").wait_for()
        is_wide = page.viewport_size["width"] > 1000
        top = "0" if is_wide else "document.getElementById('chosen').offsetTop - 12"
        page.evaluate(f"scrollTo(0, {top})")
        page.wait_for_timeout(1500)
        page.screenshot(path=folder / f"{name}.png", full_page=is_wide)
        page.context.close()


def main() -> None:
    """Take all of them."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--folder", type=Path, default=DOCS)
    options.add_argument("--chromium", default="/usr/bin/chromium")
    options.add_argument("--only", choices=["dashboard", "keys"], help="one of the two pages")
    arguments = options.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=arguments.chromium,
            chromium_sandbox=False,
            args=["--disable-gpu", "--disable-background-networking", "--disable-sync"],
        )
        wide: dict[str, Any] = {"viewport": {"width": 1280, "height": 860}}
        phone: dict[str, Any] = {"viewport": {"width": 360, "height": 780}}
        if arguments.only != "keys":
            take_dashboard(browser, arguments.folder, wide, phone)
        if arguments.only != "dashboard":
            for scheme in ("light", "dark"):
                name = f"api-keys-{scheme}"
                take_keys(browser, arguments.folder, name, color_scheme=scheme, **wide)
            take_keys(browser, arguments.folder, "api-keys-phone", color_scheme="light", **phone)
        browser.close()


if __name__ == "__main__":
    main()
