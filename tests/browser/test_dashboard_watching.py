"""What the page shows is what happens in the cache."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

pytest.importorskip("playwright", reason="make dev installs it")

from watched import PREFIX, tile, wait_for_tile, watch, watched

from velro_cache.config import OptimizedCacheConfig
from velro_cache.manager import OptimizedCacheManager

pytestmark = pytest.mark.timeout(400)


def test_figures_change_under_load(page: Any, serve: Any, cache: OptimizedCacheManager) -> None:
    watch(page, serve())
    page.get_by_text("No lookup was made in this worker yet").wait_for()
    assert (tile(page, "Loads spared"), tile(page, "Entries")) == ("0", "0")
    assert "%" not in tile(page, "Hit rate now")
    cache.set_user_profile("ada", 1)
    cache.get_user_profile("ben")
    for _ in range(19_999):
        cache.get_user_profile("ada")
    wait_for_tile(page, "Loads spared", "20K")
    wait_for_tile(page, "Entries", "1")
    wait_for_tile(page, "Hit rate now", "100.0 %")
    assert not page.get_by_text("No lookup was made").is_visible()
    page.locator("#misses", has_text="cold").wait_for()
    page.locator("#kinds", has_text="auth:user").wait_for()
    page.locator("#lives", has_text="up to 15 min").wait_for()
    page.locator("#hot-keys", has_text="auth:user:ada:profile").wait_for()
    page.locator("#hot-tags", has_text="user:ada").wait_for()
    # Charts say what they show to those who do not see them.
    lookups = page.locator("#chart-lookups canvas").get_attribute("aria-label")
    assert lookups.startswith("Lookups per second, and hit rate. Now: Misses ")
    assert page.locator(".u-over").count() == 4
    # Somebody else's screen: no ids.
    page.get_by_label("Hide ids").check()
    page.locator("#hot-keys", has_text="auth:user:#").wait_for()
    assert "ada" not in page.locator("#hot-keys").inner_text()


def test_invalidations_by_code_are_seen(
    page: Any, serve: Any, cache: OptimizedCacheManager
) -> None:
    watch(page, serve())
    cache.set("film", 1, tags=["cinema"])
    cache.invalidate_by_tags(["cinema"], actor="nightly job", reason="moved")
    row = page.locator("#recent tbody tr").first
    row.wait_for()
    said = row.inner_text().replace("\n", " ")
    for text in ("tags cinema", "nightly job", "moved", "by code", "1"):
        assert text in said


def test_names_are_shown_as_text_and_never_as_html(
    page: Any, serve: Any, cache: OptimizedCacheManager
) -> None:
    hostile = "<img src=x onerror=alert(1)>"
    cache.set(hostile, 1)
    cache.delete(hostile, actor=hostile, reason=hostile)
    cache.set(hostile, 1)
    watch(page, serve())
    page.get_by_label("Keys that begin with").fill("<")
    page.get_by_role("button", name="Find").click()
    page.locator("#found-list").get_by_role("button", name=hostile).click()
    page.locator("#explained", has_text="answers lookups").wait_for()
    page.locator("#recent", has_text=hostile).wait_for()
    assert page.locator("main img").count() == 0


def test_keys_are_found_and_explained(page: Any, serve: Any, cache: OptimizedCacheManager) -> None:
    cache.set_many({f"job:{number:02}": "Metropolis" for number in range(15)}, ttl=60)
    watch(page, serve())
    page.get_by_label("Keys that begin with").fill("job:")
    page.keyboard.press("Enter")
    page.get_by_text("12 keys, and more").wait_for()
    page.get_by_role("button", name="Next keys").click()
    page.get_by_text("3 keys, in worker").wait_for()
    page.get_by_role("button", name="job:14").click()
    explained = page.locator("#explained")
    explained.locator("h3", has_text="job:14").wait_for()
    assert "answers lookups" in explained.inner_text()
    assert "Metropolis" not in page.content()


@pytest.mark.parametrize("path", ["", "/"])
def test_below_any_prefix(
    page: Any, serve: Any, cache: OptimizedCacheManager, noticed: Any, path: str
) -> None:
    outer = FastAPI()
    outer.mount("/outer/api", watched(cache))
    address = serve(outer)
    page.goto(f"{address}/outer/api{PREFIX}{path}")
    page.locator("#live[data-state=live]").wait_for()
    assert page.url == f"{address}/outer/api{PREFIX}/"
    page.locator("#invalidate").wait_for()
    assert all(f"/outer/api{PREFIX}" in one for one in noticed.addresses)


def test_nobody_is_asked_while_nobody_looks(page: Any, serve: Any, noticed: Any) -> None:
    page.clock.install()
    watch(page, serve())
    page.evaluate("Object.defineProperty(document, 'hidden', {get: () => window.isHidden})")
    page.evaluate("window.isHidden = true; document.dispatchEvent(new Event('visibilitychange'))")
    # What was under way ends; it begins nothing new.
    page.wait_for_load_state("networkidle")
    asked = len(noticed.addresses)
    page.clock.run_for(30_000)
    assert len(noticed.addresses) == asked
    with page.expect_request("**/stats"):
        page.evaluate(
            "window.isHidden = false; document.dispatchEvent(new Event('visibilitychange'))"
        )


def test_a_lost_connection_is_told_and_found_again(page: Any, serve: Any, noticed: Any) -> None:
    noticed.expected.append("ERR_INTERNET_DISCONNECTED")
    watch(page, serve())
    page.context.set_offline(True)
    page.get_by_text("The service cannot be reached. Last seen at").wait_for()
    page.locator("#live[data-state=lost]").wait_for()
    page.context.set_offline(False)
    page.locator("#live[data-state=live]").wait_for()
    assert page.locator("#notices", has_text="cannot be reached").count() == 0


def test_a_stopped_cache_is_told(page: Any, serve: Any, cache: OptimizedCacheManager) -> None:
    watch(page, serve())
    cache.stop()
    page.get_by_text("This cache is stopped").wait_for()


def test_a_lost_table_is_told(page: Any, serve: Any, tmp_path: Path) -> None:
    folder = tmp_path / "memory"
    folder.mkdir()
    config = OptimizedCacheConfig(name="lost", shared_memory_directory=str(folder))
    with OptimizedCacheManager(config) as cache:
        watch(page, serve(watched(cache)))
        # Nobody can make another one: a file lies where its folder is to be.
        (tables,) = folder.iterdir()
        shutil.rmtree(tables)
        tables.touch()
        page.get_by_text("The table of this host is lost").wait_for()
        tables.unlink()


def test_a_lost_lease_is_told(page: Any, serve: Any, tmp_path: Path) -> None:
    config = OptimizedCacheConfig(
        name="silent",
        invalidation_log="redis://127.0.0.1:1/0",
        log_timeout_seconds=0.05,
        shared_memory_directory=str(tmp_path),
    )
    cache = OptimizedCacheManager(config)
    watch(page, serve(watched(cache)))
    page.get_by_text("The lease is lost").wait_for()
    assert "Lease\nlost" in page.locator("#sharing").inner_text()
