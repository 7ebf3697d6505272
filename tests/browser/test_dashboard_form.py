"""The form that invalidates: checked first, confirmed where it is wide, and by keyboard alone."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import HTTPException

pytest.importorskip("playwright", reason="make dev installs it")

from watched import watch

from velro_cache.manager import OptimizedCacheManager

pytestmark = pytest.mark.timeout(400)


def fill(cache: OptimizedCacheManager) -> None:
    for user in ("ada", "ben"):
        cache.set_user_profile(user, 1)
        cache.set_generation_access("g", user, 1)


def test_checked_first_then_done(page: Any, serve: Any, cache: OptimizedCacheManager) -> None:
    fill(cache)
    watch(page, serve())
    do_it = page.get_by_role("button", name="Invalidate")
    assert do_it.is_disabled()
    page.get_by_label("What", exact=True).select_option("pattern")
    page.get_by_label("Pattern", exact=True).fill("auth:gen:*")
    page.get_by_label("Reason", exact=True).fill("storage moved")
    page.get_by_role("button", name="Check first").click()
    page.get_by_text("This would drop 2 entries of worker").wait_for()
    assert len(cache) == 4
    # Another pattern is another question.
    page.get_by_label("Pattern", exact=True).fill("auth:gen:g*")
    assert do_it.is_disabled()
    page.get_by_role("button", name="Check first").click()
    page.get_by_text("This would drop 2 entries").wait_for()
    do_it.click()
    page.get_by_text("Done. 2 entries of this worker dropped. It holds on this host").wait_for()
    assert len(cache) == 2
    assert do_it.is_disabled()
    row = page.locator("#recent tbody tr", has_text="auth:gen:g*")
    row.wait_for()
    assert "storage moved" in row.inner_text()
    assert "over HTTP" in row.inner_text()


@pytest.mark.parametrize(
    ("kind", "label", "text", "left"),
    [
        ("user", "Id of the user", "ada", 2),
        ("generation", "Id of the generation", "g", 2),
        ("tags", "Tags, one a line", "user:ada\nuser:ben", 0),
        ("key", "Key", "auth:user:ada:profile", 3),
    ],
)
def test_what_is_named_goes(
    page: Any, serve: Any, cache: OptimizedCacheManager, kind: str, label: str, text: str, left: int
) -> None:
    fill(cache)
    watch(page, serve())
    page.get_by_label("What", exact=True).select_option(kind)
    page.get_by_label(label, exact=True).fill(text)
    page.get_by_role("button", name="Check first").click()
    page.get_by_text("Nothing was changed").wait_for()
    assert len(cache) == 4
    page.get_by_role("button", name="Invalidate").click()
    page.get_by_text("Done.").wait_for()
    assert len(cache) == left


def test_a_wide_pattern_needs_the_name_of_the_cache(
    page: Any, serve: Any, cache: OptimizedCacheManager, noticed: Any
) -> None:
    noticed.expected.append("409")
    fill(cache)
    watch(page, serve())
    page.get_by_label("What", exact=True).select_option("pattern")
    page.get_by_label("Pattern", exact=True).fill("*")
    page.keyboard.press("Enter")
    page.get_by_text("This would drop 4 entries").wait_for()
    page.get_by_role("button", name="Invalidate").click()
    confirm = page.get_by_label("Name of the cache, to confirm")
    confirm.wait_for()
    assert len(cache) == 4
    confirm.fill("other")
    with page.expect_response("**/invalidate/pattern"):
        page.get_by_role("button", name="Invalidate").click()
    # What is pressed while an answer is waited for counts for nothing.
    page.locator("#invalidate[aria-busy=false]").wait_for()
    page.locator("#invalidated[data-level=warning]").wait_for()
    assert len(cache) == 4
    confirm.fill("watched")
    page.get_by_role("button", name="Invalidate").click()
    page.get_by_text("Done. 4 entries").wait_for()
    assert len(cache) == 0


def test_what_cannot_be_understood_is_told(
    page: Any, serve: Any, cache: OptimizedCacheManager, noticed: Any
) -> None:
    noticed.expected.append("422")
    fill(cache)
    watch(page, serve())
    page.get_by_label("Id of the user").fill("../ada")
    page.get_by_role("button", name="Check first").click()
    page.get_by_text("looks like a path, not like an id").wait_for()
    assert page.get_by_role("button", name="Invalidate").is_disabled()
    assert len(cache) == 4


def test_whoever_may_look_and_not_change_is_told(
    page: Any, serve: Any, cache: OptimizedCacheManager, noticed: Any
) -> None:
    async def nobody() -> None:
        raise HTTPException(403, "Operators of the night shift only")

    noticed.expected.append("403")
    fill(cache)
    watch(page, serve(changing_guard=nobody))
    page.get_by_label("Id of the user").fill("ada")
    page.get_by_role("button", name="Check first").click()
    page.get_by_text("Operators of the night shift only").wait_for()
    assert page.locator("#tiles").is_visible()
    assert len(cache) == 4


def test_a_read_only_page_has_no_form(page: Any, serve: Any) -> None:
    watch(page, serve(read_only=True))
    page.locator("#recent", has_text="Nothing was invalidated").wait_for()
    assert page.locator("#invalidate").count() == 0
    assert page.get_by_role("button", name="Find").is_visible()


def test_by_keyboard_alone(page: Any, serve: Any, cache: OptimizedCacheManager) -> None:
    fill(cache)
    watch(page, serve())

    def focused() -> str:
        return str(page.evaluate("document.activeElement.id || document.activeElement.textContent"))

    def tab_to(wanted: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            # Whoever uses a keyboard sees where they are.
            outline = "getComputedStyle(document.activeElement).outlineStyle"
            assert page.evaluate(outline) != "none", focused()
            if focused() == wanted:
                return
        raise AssertionError(f"nobody gets to {wanted} by keyboard")

    tab_to("Skip to content")
    page.keyboard.press("Enter")
    tab_to("kind")
    page.keyboard.press("ArrowDown")
    page.get_by_text("Id of the generation").wait_for()
    tab_to("named")
    page.keyboard.type("g")
    page.keyboard.press("Enter")
    page.get_by_text("Nothing was changed").wait_for()
    tab_to("do-it")
    page.keyboard.press("Enter")
    page.get_by_text("Done. 2 entries").wait_for()
    assert len(cache) == 2
