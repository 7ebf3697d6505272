"""Who may see the page, who may see what it shows, and where a token goes."""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import urlsplit

import pytest
from fastapi import Cookie, Header, HTTPException

pytest.importorskip("playwright", reason="make dev installs it")

from watched import PREFIX, anyone, watch

from velro_cache.manager import OptimizedCacheManager

pytestmark = pytest.mark.timeout(400)

OPERATOR = "for-operators"
BASIC = "Basic " + base64.b64encode(b"ada:open sesame").decode()


async def bearer(authorization: str = Header("")) -> str:
    if authorization != f"Bearer {OPERATOR}":
        raise HTTPException(401, "Not authenticated", {"WWW-Authenticate": "Bearer"})
    return "ada"


async def basic(authorization: str = Header("")) -> str:
    if authorization != BASIC:
        raise HTTPException(401, "Who is there?", {"WWW-Authenticate": 'Basic realm="cache"'})
    return "ada"


async def session(session: str = Cookie("")) -> str:
    if session != "of-ada":
        raise HTTPException(403, "Signed out")
    return "ada"


def sign_in(page: Any, token: str, *, keep: bool = False) -> None:
    page.get_by_label("Bearer token").fill(token)
    page.get_by_label("Keep it until this tab is closed").set_checked(keep)
    page.get_by_role("button", name="Sign in").click()


def test_a_token_is_typed_in_and_goes_nowhere_else(
    page: Any, serve: Any, noticed: Any, cache: OptimizedCacheManager
) -> None:
    noticed.expected.append("401")
    address = serve(guard=bearer, dashboard_guard=anyone)
    page.goto(f"{address}{PREFIX}/")
    page.get_by_text("Not authenticated").wait_for()
    assert not page.locator("#tiles").is_visible()
    sign_in(page, "wrong")
    page.get_by_text("Not authenticated").wait_for()
    sign_in(page, OPERATOR)
    page.locator("#live[data-state=live]").wait_for()
    page.locator("#tiles").wait_for()
    assert page.evaluate("sessionStorage.length + localStorage.length") == 0
    assert page.context.cookies() == []
    assert OPERATOR not in page.content()
    assert not any(OPERATOR in one for one in noticed.addresses)
    cache.set_user_profile("ada", 1)
    page.get_by_label("Id of the user").fill("ada")
    page.get_by_role("button", name="Check first").click()
    page.get_by_text("Nothing was changed").wait_for()
    # It was in this page alone.
    page.reload()
    page.get_by_text("Not authenticated").wait_for()


def test_a_token_that_is_kept_lives_until_signing_out(page: Any, serve: Any, noticed: Any) -> None:
    noticed.expected.append("401")
    address = serve(guard=bearer, dashboard_guard=anyone)
    page.goto(f"{address}{PREFIX}/")
    sign_in(page, OPERATOR, keep=True)
    page.locator("#live[data-state=live]").wait_for()
    page.reload()
    page.locator("#live[data-state=live]").wait_for()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("Bearer token").wait_for()
    assert not page.locator("#tiles").is_visible()
    assert page.evaluate("sessionStorage.length") == 0


def test_a_session_that_ends_hides_what_was_seen(page: Any, serve: Any, noticed: Any) -> None:
    noticed.expected.append("403")
    address = serve(guard=session)
    cookie = {"name": "session", "value": "of-ada", "domain": "127.0.0.1", "path": "/"}
    page.context.add_cookies([cookie])
    watch(page, address)
    page.context.clear_cookies()
    page.locator("#sign-in-why", has_text="Signed out").wait_for()
    assert not page.locator("#tiles").is_visible()


def test_with_http_basic_the_page_opens_and_changes(
    open_page: Any, serve: Any, cache: OptimizedCacheManager
) -> None:
    page = open_page(http_credentials={"username": "ada", "password": "open sesame"})
    watch(page, serve(guard=basic))
    cache.set_user_profile("ada", 1)
    page.get_by_label("Id of the user").fill("ada")
    page.get_by_role("button", name="Check first").click()
    page.get_by_text("Nothing was changed").wait_for()
    page.get_by_role("button", name="Invalidate").click()
    page.get_by_text("Done. 1 entry").wait_for()


def test_changes_from_a_page_without_encryption_are_no_other_site(
    page: Any, serve: Any, cache: OptimizedCacheManager
) -> None:
    # Browsers tell less of where a request comes from, there.
    port = urlsplit(serve()).port
    watch(page, f"http://service.example:{port}")
    cache.set_user_profile("ada", 1)
    page.get_by_label("Id of the user").fill("ada")
    page.get_by_role("button", name="Check first").click()
    page.get_by_text("Nothing was changed").wait_for()
