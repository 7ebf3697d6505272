"""The page and its files, as they go to browsers; what they do there is tested in a browser."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from operated import OPERATOR, PREFIX, client_of, operated, require_operator

from velro_cache.fastapi import create_admin_router
from velro_cache.fastapi.admin.dashboard import files
from velro_cache.fastapi.admin.dashboard.files import read_files
from velro_cache.manager import OptimizedCacheManager

ASSETS = files.ASSETS
FILES = read_files(read_only=False)

SCRIPT_AND_STYLE_RULES = {
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "connect-src 'self'",
    "img-src 'self'",
    "frame-ancestors 'none'",
    "base-uri 'none'",
    "form-action 'none'",
}


def addresses() -> list[str]:
    """Every address of the page and its files."""
    folder = f"{PREFIX}/assets/{FILES.version}"
    return [PREFIX, PREFIX + "/", *(f"{folder}/{name}" for name in FILES.assets)]


@pytest.fixture
def app(cache: OptimizedCacheManager) -> FastAPI:
    return operated(cache)


def test_every_answer_tells_browsers_what_the_page_may_do(app: FastAPI) -> None:
    client = client_of(app)
    for address in addresses():
        answer = client.get(address, follow_redirects=False)
        assert answer.status_code == (307 if address == PREFIX else 200), address
        rules = set(answer.headers["content-security-policy"].split("; "))
        assert rules == SCRIPT_AND_STYLE_RULES
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-frame-options"] == "DENY"


def test_the_way_to_the_page_is_relative(app: FastAPI) -> None:
    answer = client_of(app).get(PREFIX, follow_redirects=False)
    assert answer.headers["location"] == "cache/"
    assert client_of(app).get(PREFIX).status_code == 200


def test_only_files_whose_address_changes_with_them_are_kept(app: FastAPI) -> None:
    client = client_of(app)
    page, *assets = (client.get(address) for address in addresses()[1:])
    assert page.headers["cache-control"] == "no-store"
    assert {asset.headers["cache-control"] for asset in assets} == {
        "private, max-age=31536000, immutable"
    }
    assert FILES.version in page.text
    for wrong in ("0" * 16, FILES.version + "/..", "%2e%2e"):
        answer = client.get(f"{PREFIX}/assets/{wrong}/main.js")
        assert answer.status_code == 404
        assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "name",
    ["page.html", "../files.py", "..%2ffiles.py", "/etc/passwd", "vendor", "", "main.js\x00"],
)
def test_nothing_else_is_a_file_of_the_page(app: FastAPI, name: str) -> None:
    answer = client_of(app).get(f"{PREFIX}/assets/{FILES.version}/{name.replace(chr(0), '%00')}")
    assert answer.status_code == 404


def test_the_page_and_every_file_have_the_guard(app: FastAPI) -> None:
    for address in addresses():
        answer = client_of(app, {}).get(address, follow_redirects=False)
        assert answer.status_code == 401, address
        assert answer.headers["cache-control"] == "no-store"
        assert "content-security-policy" in answer.headers


def test_no_route_of_the_router_is_without_a_guard(cache: OptimizedCacheManager) -> None:
    router = create_admin_router(require_operator, cache=cache)
    pages = [route for route in router.routes if isinstance(route, APIRoute)]
    pages = [route for route in pages if not route.include_in_schema]
    assert len(pages) == 3
    assert all(len(route.dependencies) == 1 for route in pages)


def test_the_page_may_have_a_guard_of_its_own(cache: OptimizedCacheManager) -> None:
    async def anyone() -> None: ...

    app = operated(cache, dashboard_guard=anyone)
    for address in addresses():
        assert client_of(app, {}).get(address).status_code == 200, address
    assert client_of(app, {}).get(PREFIX + "/stats").status_code == 401
    with pytest.raises(TypeError, match="dashboard_guard"):
        create_admin_router(require_operator, dashboard_guard="anyone")  # type: ignore[arg-type]


def test_the_page_can_be_left_out(cache: OptimizedCacheManager) -> None:
    app = operated(cache, dashboard=False)
    for address in addresses():
        assert client_of(app).get(address).status_code == 404, address
    assert client_of(app).get(PREFIX + "/stats").status_code == 200


def test_the_page_is_not_part_of_the_interface(app: FastAPI) -> None:
    described = set(app.openapi()["paths"])
    assert not described & {PREFIX, PREFIX + "/"}
    assert not [path for path in described if "assets" in path]


def test_the_page_holds_no_data(app: FastAPI, cache: OptimizedCacheManager) -> None:
    before = client_of(app).get(PREFIX + "/").text
    cache.set_user_profile("zoe", "value")
    assert client_of(app).get(PREFIX + "/").text == before
    assert cache.config.name not in before


def test_a_read_only_page_has_no_form_that_changes(cache: OptimizedCacheManager) -> None:
    text = client_of(operated(cache, read_only=True), OPERATOR).get(PREFIX + "/").text
    assert 'id="invalidate"' not in text
    assert 'id="find"' in text
    assert "{{" not in text


def test_what_is_not_ours_is_what_was_published() -> None:
    vendor = ASSETS / "vendor"
    listed = dict(
        reversed(line.split("  ")) for line in (vendor / "SHA256SUMS").read_text().splitlines()
    )
    found = {
        path.relative_to(vendor).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in vendor.rglob("*")
        if path.is_file() and path.name != "SHA256SUMS"
    }
    assert found == listed
    assert "MIT License" in (vendor / "uplot-1.6.32" / "LICENSE").read_text()


def own_files() -> list[Path]:
    """What was written for this page."""
    return [path for path in ASSETS.rglob("*") if path.is_file() and "vendor" not in path.parts]


@pytest.mark.parametrize("path", own_files(), ids=lambda path: path.name)
def test_files_keep_to_the_policy_and_to_themselves(path: Path) -> None:
    text = path.read_text("utf-8")
    assert len(text.splitlines()) < 400
    for name, forbidden in {
        "code or style within the page": r"<style|<script(?![^>]*\bsrc=)|\sstyle=|\son\w+=",
        "texts read as HTML": r"innerHTML|outerHTML|insertAdjacentHTML|document\.write",
        "code made of texts": r"\beval\(|new Function",
        "another host": r"https?://(?!www\.w3\.org/2000/svg)|[\"'(]//",
    }.items():
        assert not re.search(forbidden, text), name


def test_every_file_is_used() -> None:
    page = FILES.page.decode()
    modules = " ".join(path.read_text("utf-8") for path in ASSETS.glob("*.js"))
    for name in FILES.assets:
        file = name.rpartition("/")[2]
        assert file == "LICENSE" or f"/{name}" in page or f'"./{file}"' in modules, name


def test_versions_follow_the_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fragments = ("changing.html", "head.html", "signing_in.html")
    texts = {"page.html": "{{assets}}", "main.js": "1"} | dict.fromkeys(fragments, "")
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(files, "ASSETS", tmp_path)
    one = files.read_files(read_only=True)
    (tmp_path / "main.js").write_text("2")
    other = files.read_files(read_only=True)
    assert one.version != other.version
    assert other.page.decode() == f"assets/{other.version}"
