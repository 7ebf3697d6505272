"""On a phone, in the dark, and for whoever listens to a page: labels, contrast, no motion."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

pytest.importorskip("playwright", reason="make dev installs it")

from watched import watch

from velro_cache.manager import OptimizedCacheManager

pytestmark = pytest.mark.timeout(400)

# WCAG 2.2, 1.4.3: what contrast is, and how much text needs.
LOW_CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    const [red, green, blue, alpha] = canvas.getImageData(0, 0, 1, 1).data;
    return [red, green, blue, alpha / 255];
  };
  const over = (top, bottom) =>
    [0, 1, 2].map((at) => top[at] * top[3] + bottom[at] * (1 - top[3])).concat(1);
  const ground = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) {
      layers.push(rgba(getComputedStyle(at).backgroundColor));
    }
    return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255, 1]);
  };
  const light = ([red, green, blue]) => {
    const [r, g, b] = [red, green, blue].map((part) => {
      const share = part / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let looked = 0;
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
    if (element.closest(":disabled") || element.tagName === "OPTION") continue;
    const style = getComputedStyle(element);
    const below = ground(element);
    const [one, other] = [light(over(rgba(style.color), below)), light(below)];
    const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    looked += 1;
    if (contrast < 4.5) found.push([walker.currentNode.data.trim(), contrast.toFixed(2)]);
  }
  return [looked, found];
}"""

WITHOUT_A_NAME = """() =>
  [...document.querySelectorAll("input, select, textarea, button, canvas, progress, [role=region]")]
    .filter((one) => one.checkVisibility())
    .filter((one) => !(one.getAttribute("aria-label") || one.labels?.length ||
      (one.tagName === "BUTTON" && one.textContent.trim())))
    .map((one) => one.outerHTML.slice(0, 200))"""


def fill(cache: OptimizedCacheManager) -> None:
    long = "0f8fad5b-d9cb-469f-a165-70867728950e"
    cache.set_generation_access(long, long, 1)
    for _ in range(20_000):
        cache.get_generation_access(long, long)
    cache.invalidate_user_data(long, reason="a reason " * 20, actor="x" * 200)


def full_page(page: Any, address: str) -> None:
    watch(page, address)
    page.locator("#hot-keys table").wait_for()
    page.locator("#recent table").wait_for()
    page.get_by_label("Id of the user").fill("ada")
    page.get_by_role("button", name="Check first").click()
    page.get_by_text("Nothing was changed").wait_for()


@pytest.mark.parametrize("width", [360, 768])
def test_nothing_is_wider_than_the_screen(
    open_page: Any, serve: Any, cache: OptimizedCacheManager, width: int
) -> None:
    page = open_page(viewport={"width": width, "height": 780}, has_touch=True)
    fill(cache)
    full_page(page, serve())
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.locator("#chart-lookups canvas").bounding_box()["width"] <= width
    page.get_by_role("button", name="Invalidate").tap()
    page.get_by_text("Done.").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_can_be_read(
    open_page: Any, serve: Any, cache: OptimizedCacheManager, scheme: str
) -> None:
    # No colour is to be on its way from one to another.
    page = open_page(color_scheme=scheme, reduced_motion="reduce")
    fill(cache)
    full_page(page, serve())
    looked, found = page.evaluate(LOW_CONTRAST)
    assert looked > 100
    assert found == []
    # The charts have the colours of the scheme, and take the others when it changes.
    # While a chart is made anew it has none.
    marker = "document.querySelector('#chart-lookups .u-marker')"
    color = f"({marker} && getComputedStyle({marker}).borderColor)"
    page.locator("#chart-lookups .u-marker").first.wait_for(state="attached")
    before = page.evaluate(color)
    page.emulate_media(color_scheme={"light": "dark", "dark": "light"}[scheme])
    for _ in range(600):
        if page.evaluate(color) not in (None, before):
            break
        page.wait_for_timeout(50)
    else:
        pytest.fail("the charts kept their colours")
    assert page.evaluate(LOW_CONTRAST)[1] == []


def test_everything_has_a_name(page: Any, serve: Any, cache: OptimizedCacheManager) -> None:
    fill(cache)
    full_page(page, serve())
    assert page.evaluate(WITHOUT_A_NAME) == []
    assert page.evaluate("document.documentElement.lang") == "en"
    assert page.locator("h1").count() == 1
    # Headings go down one step at a time.
    levels = page.evaluate(
        "[...document.querySelectorAll('h1, h2, h3')].filter((one) => one.checkVisibility())"
        ".map((one) => Number(one.tagName[1]))"
    )
    assert all(lower - upper <= 1 for upper, lower in itertools.pairwise(levels))
    # What changes by itself is read out.
    for place in ("notices", "invalidated", "found", "explained"):
        assert page.locator(f"#{place}").get_attribute("role") == "status"


def test_nothing_moves_for_whoever_wants_no_motion(open_page: Any, serve: Any) -> None:
    page = open_page(reduced_motion="reduce")
    watch(page, serve())
    durations = page.evaluate(
        "[...document.querySelectorAll('*')].map((one) => getComputedStyle(one))"
        ".filter((one) => parseFloat(one.transitionDuration) || parseFloat(one.animationDuration))"
        ".length"
    )
    assert durations == 0
