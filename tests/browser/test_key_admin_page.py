"""The page of API keys, in a real browser: a key is seen once, and ends when it is revoked."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import Header, HTTPException

pytest.importorskip("playwright", reason="make dev installs it")

from administered_keys import KEYS, keys_app

from velro_cache.manager import OptimizedCacheManager

pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def app(cache: OptimizedCacheManager, tmp_path: Path) -> Any:
    return lambda **options: keys_app(cache, tmp_path / "keys.db", **options)


def look(page: Any, address: str) -> None:
    page.goto(f"{address}{KEYS}/")
    page.locator("#live[data-state=live]").wait_for()


def choose(page: Any, name: str) -> None:
    page.get_by_role("button", name=name).click()
    page.locator("#chosen-title", has_text=name).wait_for()
    page.locator("#live[data-state=live]").wait_for()


def create(page: Any, name: str) -> str:
    page.get_by_label("Name of the key").fill(name)
    page.get_by_label("Scopes, with spaces between").fill("read  write")
    page.get_by_label("Reason for the key").fill("asked for by phone")
    page.get_by_role("button", name="Create key").click()
    page.locator("#made").wait_for()
    page.locator("#keys tbody tr", has_text=name).wait_for()
    return str(page.locator("#made-key").input_value())


def tried(address: str, plain: str) -> tuple[int, str]:
    answer = httpx.get(f"{address}/try", headers={"x-api-key": plain})
    return answer.status_code, answer.text


def test_a_key_is_shown_once_and_never_again(page: Any, serve: Any, app: Any) -> None:
    address = serve(app())
    look(page, address)
    choose(page, "Acme Photos")
    plain = create(page, "night import")
    assert re.fullmatch(r"vk_live_[0-9A-Za-z]{38}", plain)
    assert page.get_by_text("It is shown this once").is_visible()
    assert tried(address, plain) == (200, '"acme"')
    row = page.locator("#keys tbody tr", has_text="night import")
    assert "read write" in row.inner_text()
    assert "live" in row.inner_text()
    assert plain not in page.content()
    page.reload()
    page.locator("#live[data-state=live]").wait_for()
    choose(page, "Acme Photos")
    page.locator("#keys tbody tr", has_text="night import").wait_for()
    everything = (
        "document.documentElement.outerHTML + [...document.querySelectorAll('input')]"
        ".map((field) => field.value).join() + JSON.stringify({...sessionStorage})"
        " + JSON.stringify({...localStorage})"
    )
    assert plain not in page.evaluate(everything)
    assert not page.locator("#made").is_visible()


def test_a_key_is_put_away_and_copied(page: Any, serve: Any, app: Any) -> None:
    address = serve(app())
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=address)
    look(page, address)
    choose(page, "Acme Photos")
    plain = create(page, "copied")
    page.get_by_role("button", name="Copy", exact=True).click()
    page.get_by_text("Copied. Store it").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == plain
    page.get_by_role("button", name="I have stored it").click()
    assert not page.locator("#made").is_visible()
    assert page.locator("#made-key").input_value() == ""
    # Nor is one of another organization left lying about.
    create(page, "another")
    choose(page, "Birch & Sons")
    assert page.locator("#made-key").input_value() == ""
    assert not page.locator("#made").is_visible()


def test_a_revoked_key_is_refused(page: Any, serve: Any, app: Any) -> None:
    address = serve(app())
    look(page, address)
    choose(page, "Acme Photos")
    plain = create(page, "leaky")
    assert tried(address, plain)[0] == 200
    button = page.get_by_role("button", name="Revoke leaky")
    button.click()
    page.get_by_role("button", name="Cancel").click()
    assert tried(address, plain)[0] == 200
    button.click()
    page.keyboard.press("Escape")
    assert tried(address, plain)[0] == 200
    button.click()
    page.get_by_label("Why", exact=True).fill("was in a log")
    page.get_by_role("button", name="Revoke for good").click()
    page.get_by_text("leaky is revoked.").wait_for()
    assert tried(address, plain) == (401, '{"detail":"KeyRevoked"}')
    assert "revoked" in page.locator("#keys tbody tr", has_text="leaky").inner_text()
    change = page.locator("#changes tbody tr", has_text="key revoked")
    assert "was in a log" in change.inner_text()
    assert "ada" in change.inner_text()


def test_a_rotated_key_and_the_one_in_its_place(page: Any, serve: Any, app: Any) -> None:
    address = serve(app())
    look(page, address)
    choose(page, "Acme Photos")
    old = create(page, "turning")
    page.get_by_role("button", name="Rotate turning").click()
    page.get_by_label("The old key stays good for").select_option("0")
    page.get_by_role("button", name="Rotate", exact=True).click()
    page.locator("#keys tbody tr", has_text="expired").wait_for()
    new = page.locator("#made-key").input_value()
    assert new != old
    assert tried(address, new) == (200, '"acme"')
    assert tried(address, old) == (401, '{"detail":"KeyExpired"}')


def key_row(page: Any, name: str) -> Any:
    return page.locator("#keys tbody tr", has_text=name)


def known(address: str, name: str) -> dict[str, Any]:
    """What the service says of a key."""
    answer = httpx.get(f"{address}{KEYS}/keys", params={"organization_id": "acme"})
    (found,) = [key for key in answer.json()["keys"] if key["name"] == name]
    return dict(found)


def test_the_end_of_a_key_is_set(open_page: Any, serve: Any, app: Any) -> None:
    address = serve(app())
    # A zone with an offset: what is typed is by the clock of whoever looks.
    page = open_page(timezone_id="Asia/Kolkata", locale="en-GB")
    look(page, address)
    choose(page, "Acme Photos")
    page.get_by_role("button", name="Expire website").click()
    dialog = page.get_by_role("dialog", name="When does website end?")
    dialog.get_by_text("by the clock of Asia/").wait_for()
    assert dialog.get_by_label("Ends, by the clock").input_value() == ""
    dialog.get_by_label("Ends, by the clock").fill("2040-01-02T03:04")
    dialog.get_by_label("Why it ends then").fill("the contract ends")
    dialog.get_by_role("button", name="Set the end").click()
    page.get_by_text("website ends 2 Jan 2040, 03:04.").wait_for()
    at = datetime(2040, 1, 2, 3, 4, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    assert known(address, "website")["expires_at"] == at.timestamp()
    assert "2 Jan 2040" in key_row(page, "website").inner_text()
    change = page.locator("#changes tbody tr", has_text="end of a key changed")
    assert "the contract ends" in change.inner_text()
    # Where it was, to be changed by a little.
    page.get_by_role("button", name="Expire website").click()
    assert dialog.get_by_label("Ends, by the clock").input_value() == "2040-01-02T03:04"


def test_an_end_that_is_none_changes_nothing(page: Any, serve: Any, app: Any) -> None:
    address = serve(app())
    look(page, address)
    choose(page, "Acme Photos")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.get_by_role("button", name="Expire website").click()
    dialog, field = page.locator("#ending"), page.get_by_label("Ends, by the clock")
    for typed, complaint in (
        ("", "Say on which day it ends, and at what time."),
        ("2001-02-03T04:05", "That is past. To end the key now, revoke it."),
        ("12040-01-02T03:04", "The year has four digits."),
    ):
        field.fill(typed)
        dialog.get_by_role("button", name="Set the end").click()
        dialog.get_by_role("alert").get_by_text(complaint).wait_for()
        assert field.get_attribute("aria-invalid") == "true"
        assert field.get_attribute("aria-describedby") == "end-wrong"
        assert page.evaluate("document.activeElement.id") == "end-at"
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert asked == []
    assert known(address, "website")["expires_at"] is None
    # Nothing of it is left when it is asked for again, nor of what was typed.
    page.get_by_role("button", name="Expire website").click()
    assert not dialog.get_by_role("alert").is_visible()
    assert field.get_attribute("aria-invalid") is None
    assert field.input_value() == ""
    field.fill("2040-01-02T03:04")
    dialog.get_by_role("button", name="Cancel").click()
    assert known(address, "website")["expires_at"] is None
    assert asked == []


def test_a_key_that_has_ended_meanwhile_is_told(
    page: Any, serve: Any, app: Any, noticed: Any
) -> None:
    noticed.expected.append("409")
    address = serve(app())
    look(page, address)
    choose(page, "Acme Photos")
    body = {"key_id": known(address, "website")["id"]}
    assert httpx.post(f"{address}{KEYS}/keys/revoke", json=body).status_code == 200
    page.get_by_role("button", name="Expire website").click()
    page.get_by_label("Ends, by the clock").fill("2040-01-02T03:04")
    page.get_by_role("button", name="Set the end").click()
    page.locator("#said[data-level=critical]", has_text="has ended already").wait_for()
    page.get_by_role("button", name="Reload").click()
    key_row(page, "website").get_by_text("revoked").wait_for()
    # Nothing can be done with it any more.
    assert key_row(page, "website").get_by_role("button").count() == 0


def test_a_single_key_is_limited(page: Any, serve: Any, app: Any) -> None:
    address = serve(app())
    look(page, address)
    choose(page, "Acme Photos")
    page.get_by_role("button", name="Limit website").click()
    dialog = page.get_by_role("dialog", name="Limits of website")
    assert not dialog.get_by_label("Per minute").is_visible()
    dialog.get_by_label("Limit the requests of this key").check()
    dialog.get_by_label("Per minute").fill("30")
    dialog.get_by_label("Burst").fill("5")
    dialog.get_by_label("Why it has these limits").fill("too many pictures")
    dialog.get_by_role("button", name="Set the limits").click()
    page.get_by_text("website has 30 a minute. The next request sees it.").wait_for()
    limits = {"requests_per_minute": 30, "requests_per_day": None, "burst_size": 5}
    assert known(address, "website")["limits"] == limits
    assert known(address, "mobile app")["limits"] is None
    assert "30 a minute" in key_row(page, "website").inner_text()
    change = page.locator("#changes tbody tr", has_text="limits of a key changed")
    assert "too many pictures" in change.inner_text()
    # What is there is shown, and can be taken away; that of another key is not.
    page.get_by_role("button", name="Limit mobile app").click()
    other = page.get_by_role("dialog", name="Limits of mobile app")
    assert not other.get_by_label("Limit the requests of this key").is_checked()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Limit website").click()
    assert dialog.get_by_label("Per minute").input_value() == "30"
    assert dialog.get_by_label("Burst").input_value() == "5"
    dialog.get_by_label("Limit the requests of this key").uncheck()
    dialog.get_by_role("button", name="Set the limits").click()
    page.get_by_text("website has no limits of its own.").wait_for()
    assert known(address, "website")["limits"] is None


def test_limits_that_are_none_change_nothing(page: Any, serve: Any, app: Any) -> None:
    address = serve(app())
    look(page, address)
    choose(page, "Acme Photos")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.get_by_role("button", name="Limit website").click()
    dialog = page.locator("#limiting")
    dialog.get_by_label("Limit the requests of this key").check()
    minute, day, burst = (
        dialog.get_by_label(label) for label in ("Per minute", "Per day", "Burst")
    )

    def refused(field: Any, complaint: str) -> None:
        dialog.get_by_role("button", name="Set the limits").click()
        dialog.get_by_role("alert").get_by_text(complaint).wait_for()
        assert field.get_attribute("aria-invalid") == "true"
        assert dialog.locator("[aria-invalid]").count() == 1
        assert field.evaluate("field => field === document.activeElement")

    refused(minute, "Say how many per minute, or per day.")
    for typed in ("0", "-5", "1.5", "99999999999"):
        minute.fill(typed)
        refused(minute, "Per minute: a whole number from 1 to 2,147,483,647, or nothing.")
    # What is no number at all is not taken for nothing.
    minute.fill("60")
    day.press_sequentially("1e")
    refused(day, "Per day: a whole number")
    day.fill("")
    burst.fill("-1")
    refused(burst, "Burst: a whole number from 0")
    dialog.get_by_role("button", name="Cancel").click()
    assert known(address, "website")["limits"] is None
    assert asked == []


def test_an_organization_is_made_limited_and_switched(page: Any, serve: Any, app: Any) -> None:
    address = serve(app())
    look(page, address)
    page.get_by_text("New organization", exact=True).click()
    page.get_by_label("Name", exact=True).fill("Zoo <b>& Co</b>")
    page.get_by_role("button", name="Create organization").click()
    page.locator("#chosen-title", has_text="Zoo <b>& Co</b>").wait_for()
    plain = create(page, "gate")
    page.get_by_label("Plan of the organization").fill("team")
    page.get_by_label("Limit the requests of all its keys").check()
    page.locator("#settings").get_by_label("Per minute").fill("120")
    page.get_by_role("button", name="Save").click()
    page.get_by_text("Saved.").wait_for()
    row = page.locator("#organizations tbody tr", has_text="Zoo")
    assert "120 a minute" in row.inner_text()
    assert "team" in row.inner_text()
    page.get_by_role("button", name="Switch off…").click()
    page.get_by_role("button", name="Switch off", exact=True).click()
    page.get_by_text("Switched off.").wait_for()
    assert tried(address, plain) == (401, '{"detail":"KeyRevoked"}')
    page.get_by_role("button", name="Switch on").click()
    page.get_by_text("Switched on.").wait_for()
    assert tried(address, plain)[0] == 200


def test_usage_and_refreshes(page: Any, serve: Any, app: Any) -> None:
    look(page, serve(app()))
    canvas = page.locator("#chart-usage canvas")
    canvas.wait_for()
    assert "Requests" in canvas.get_attribute("aria-label")
    choose(page, "Birch & Sons")
    page.get_by_text("of Birch & Sons").wait_for()
    with page.expect_response("**/usage?seconds=604800&organization_id=birch"):
        page.get_by_label("Time shown").select_option("604800")
    page.get_by_role("button", name="Refresh keys in memory").click()
    page.get_by_text("2 live keys read").wait_for()


def test_without_usage_refreshes_and_changes_there_is_nothing_of_them(
    page: Any, serve: Any, app: Any
) -> None:
    look(page, serve(app(usage=None, refresh=None, read_only=True)))
    choose(page, "Acme Photos")
    page.locator("#keys tbody tr", has_text="website").wait_for()
    for gone in ("#chart-usage", "#refresh", "#new-key", "#new-organization", "#settings"):
        assert page.locator(gone).count() == 0
    assert page.get_by_role("button", name="Revoke").count() == 0


def test_what_is_refused_is_told(page: Any, serve: Any, app: Any, noticed: Any) -> None:
    noticed.expected.append("409")
    look(page, serve(app()))
    page.get_by_text("New organization", exact=True).click()
    page.get_by_label("Name", exact=True).fill("Acme again")
    page.get_by_label("Id, if it has one").fill("acme")
    page.get_by_role("button", name="Create organization").click()
    page.get_by_text("there is an organization 'acme' already").wait_for()


def test_whoever_may_look_and_not_change_is_told(
    page: Any, serve: Any, app: Any, noticed: Any
) -> None:
    async def nobody() -> None:
        raise HTTPException(403, "Operators of the night shift only")

    noticed.expected.append("403")
    look(page, serve(app(changing_guard=nobody)))
    choose(page, "Acme Photos")
    page.get_by_label("Name of the key").fill("refused")
    page.get_by_role("button", name="Create key").click()
    page.get_by_text("Operators of the night shift only").wait_for()
    assert page.locator("#keys").is_visible()
    assert not page.locator("#made").is_visible()


def test_a_key_is_not_lost_where_other_hosts_do_not_answer(
    page: Any, serve: Any, app: Any, noticed: Any
) -> None:
    def not_acknowledged(route: Any) -> None:
        answer = route.fetch()
        body = {"detail": "The change is made, and holds on this host.", "holds": "host"}
        route.fulfill(status=503, json=body | {"wanted": "fleet", "created": answer.json()})

    noticed.expected.append("503")
    address = serve(app())
    look(page, address)
    choose(page, "Acme Photos")
    page.route("**/keys/rotate", not_acknowledged)
    page.get_by_role("button", name="Rotate website").click()
    page.get_by_role("button", name="Rotate", exact=True).click()
    page.locator("#made").wait_for()
    page.locator("#made-more", has_text="holds on this host").wait_for()
    assert tried(address, page.locator("#made-key").input_value()) == (200, '"acme"')
    page.locator("#said[data-level=warning]").wait_for()


def test_signing_in(page: Any, serve: Any, app: Any, noticed: Any) -> None:
    async def with_token(authorization: str = Header("")) -> str:
        if authorization != "Bearer of-ada":
            raise HTTPException(401, "Not authenticated")
        return "ada"

    async def anyone() -> None: ...

    noticed.expected.append("401")
    address = serve(app(guard=with_token, page_guard=anyone))
    page.goto(f"{address}{KEYS}/")
    page.get_by_label("Bearer token").fill("of-ada")
    page.get_by_role("button", name="Sign in").click()
    page.locator("#live[data-state=live]").wait_for()
    choose(page, "Acme Photos")
    create(page, "mine")
    page.get_by_role("button", name="Sign out").click()
    page.get_by_text("Not authenticated").wait_for()
    assert not page.locator("#content").is_visible()
    assert page.locator("#made-key").input_value() == ""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_nothing_is_cut_off_and_all_can_be_read(
    open_page: Any, serve: Any, app: Any, scheme: str
) -> None:
    page = open_page(viewport={"width": 360, "height": 780}, color_scheme=scheme)
    look(page, serve(app()))
    choose(page, "Acme Photos")
    create(page, "on the way")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    # A dialog is no wider than the screen.
    page.get_by_role("button", name="Limit on the way").click()
    page.get_by_label("Limit the requests of this key").check()
    box = page.locator("#limiting").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 360
    page.keyboard.press("Escape")
    # Every field has a label, every button a name.
    unnamed = page.evaluate(
        "[...document.querySelectorAll('input, select, textarea')].filter((field) =>"
        " !field.labels.length).map((field) => field.id)"
    )
    assert unnamed == []
    assert page.evaluate(
        "[...document.querySelectorAll('button')].every((button) =>"
        " button.textContent.trim() || button.id === 'asking-yes')"
    )


def test_by_keyboard_alone(page: Any, serve: Any, app: Any) -> None:
    address = serve(app())
    look(page, address)

    def focused() -> str:
        return str(
            page.evaluate(
                "document.activeElement.ariaLabel || document.activeElement.id"
                " || document.activeElement.textContent"
            )
        )

    def tab_to(wanted: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            outline = "getComputedStyle(document.activeElement).outlineStyle"
            assert page.evaluate(outline) != "none", focused()
            if focused() == wanted:
                return
        raise AssertionError(f"nobody gets to {wanted} by keyboard")

    tab_to("Acme Photos")
    page.keyboard.press("Enter")
    page.locator("#keys tbody tr", has_text="website").wait_for()
    tab_to("Limit website")
    page.keyboard.press("Enter")
    assert focused() == "key-has-limits"
    page.keyboard.press("Space")
    tab_to("key-per-day")
    page.keyboard.type("500")
    page.keyboard.press("Enter")
    page.get_by_text("website has 500 a day.").wait_for()
    # One goes on where one was.
    assert focused() == "Limit website"
    tab_to("Expire website")
    page.keyboard.press("Enter")
    assert focused() == "end-at"
    page.keyboard.press("Enter")
    page.get_by_text("Say on which day it ends").wait_for()
    page.keyboard.press("Escape")
    assert focused() == "Expire website"
    tab_to("Revoke website")
    page.keyboard.press("Enter")
    page.keyboard.type("by keyboard")
    tab_to("asking-yes")
    page.keyboard.press("Enter")
    page.get_by_text("website is revoked.").wait_for()
    tab_to("key-name")
    page.keyboard.type("typed")
    page.keyboard.press("Enter")
    page.locator("#made").wait_for()
    assert focused() == "made"
