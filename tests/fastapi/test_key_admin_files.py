"""The page of API keys and its files, as they go to browsers."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from administered import PREFIX, Administered, administered
from fastapi.routing import APIRoute
from operated import require_operator
from test_dashboard_pages import SCRIPT_AND_STYLE_RULES

from velro_cache.fastapi import create_key_admin_router
from velro_cache.fastapi.admin.dashboard.files import files_in
from velro_cache.fastapi.key_admin.page import KEY_ASSETS, SHARED, read_key_page

FILES = read_key_page(read_only=False, has_usage=True, has_refresh=True)
FOLDER = f"/assets/{FILES.version}"


@pytest.fixture
async def kit(tmp_path: Path) -> AsyncIterator[Administered]:
    async with administered(f"sqlite:///{tmp_path}/keys.db") as kit:
        yield kit


async def test_every_answer_tells_browsers_what_the_page_may_do(kit: Administered) -> None:
    async with kit.client(page=True) as client:
        for name in ("/", *(f"{FOLDER}/{name}" for name in FILES.assets)):
            answer = await client.get(name)
            assert answer.status_code == 200, name
            rules = set(answer.headers["content-security-policy"].split("; "))
            assert rules == SCRIPT_AND_STYLE_RULES
            assert answer.headers["x-frame-options"] == "DENY"
            kept = "no-store" if name == "/" else "private, max-age=31536000, immutable"
            assert answer.headers["cache-control"] == kept
        answer = await client.get(f"http://service.example{PREFIX}")
        assert (answer.status_code, answer.headers["location"]) == (307, "keys/")
        for name in ("page.html", "usage.html", "main.js\x00", "..%2fpage.py", "charts.js"):
            answer = await client.get(f"{FOLDER}/{name.replace(chr(0), '%00')}")
            assert answer.status_code == 404, name


async def test_the_page_and_every_file_have_a_guard(kit: Administered) -> None:
    async def anyone() -> None: ...

    names = ["/", *(f"{FOLDER}/{name}" for name in FILES.assets)]
    async with kit.client(headers={}, page=True) as client:
        assert {(await client.get(name)).status_code for name in names} == {401}
    async with kit.client(headers={}, page=True, page_guard=anyone) as client:
        assert {(await client.get(name)).status_code for name in names} == {200}
        assert (await client.get("/keys")).status_code == 401
    async with kit.client(page=False) as client:
        assert {(await client.get(name)).status_code for name in names} == {404}


def test_no_route_of_the_router_is_without_a_guard(kit: Administered) -> None:
    router = create_key_admin_router(
        require_operator, administration=kit.administration, store=kit.store
    )
    pages = [route for route in router.routes if isinstance(route, APIRoute)]
    pages = [route for route in pages if not route.include_in_schema]
    assert len(pages) == 3
    assert all(len(route.dependencies) == 1 for route in pages)


@pytest.mark.parametrize(
    ("options", "gone"),
    [
        (
            {"read_only": True},
            ["new-key", "new-organization", "settings", "asking", "ending", "limiting", "refresh"],
        ),
        ({"has_usage": False}, ["chart-usage"]),
        ({"has_refresh": False}, ["refresh"]),
    ],
)
def test_what_there_is_no_route_for_is_not_on_the_page(
    options: dict[str, Any], gone: list[str]
) -> None:
    whole: dict[str, Any] = {"read_only": False, "has_usage": True, "has_refresh": True}
    page = read_key_page(**(whole | options)).page.decode()
    assert "{{" not in page
    for name in gone:
        assert f'id="{name}"' in FILES.page.decode()
        assert f'id="{name}"' not in page


def test_every_field_has_a_label_and_every_id_is_there_once() -> None:
    page = FILES.page.decode()
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    named = set(re.findall(r'<label [^>]*for="([^"]+)"', page))
    for kind, attributes in re.findall(r"<(input|select|textarea)\b([^>]*)>", page):
        if 'type="checkbox"' not in attributes:
            (name,) = re.findall(r'\bid="([^"]+)"', attributes)
            assert name in named, (kind, name)


def test_every_id_that_is_asked_for_is_somewhere_on_the_page() -> None:
    ids = set(re.findall(r'\bid="([^"]+)"', FILES.page.decode()))
    for path in KEY_ASSETS.glob("*.js"):
        for name in re.findall(r'byId\("([^"]+)"\)', path.read_text("utf-8")):
            assert name in ids, (path.name, name)


@pytest.mark.parametrize("name", files_in(KEY_ASSETS))
def test_files_keep_to_the_policy_and_to_themselves(name: str) -> None:
    text = (KEY_ASSETS / name).read_text("utf-8")
    assert len(text.splitlines()) < 400
    for what, forbidden in {
        "code or style within the page": r"<style|<script(?![^>]*\bsrc=)|\sstyle=|\son\w+=",
        "texts read as HTML": r"innerHTML|outerHTML|insertAdjacentHTML|document\.write",
        "code made of texts": r"\beval\(|new Function",
        "another host": r"https?://|[\"'(]//",
        "keys in the storage of a browser": r"(session|local)Storage|indexedDB|cookie",
    }.items():
        assert not re.search(forbidden, text), what


def test_every_file_is_used() -> None:
    page = FILES.page.decode()
    modules = " ".join(
        content.decode() for name, (content, _) in FILES.assets.items() if name.endswith(".js")
    )
    assert set(SHARED) < set(FILES.assets)
    for name in FILES.assets:
        file = name.rpartition("/")[2]
        assert file == "LICENSE" or f"/{name}" in page or f'"./{file}"' in modules, name
