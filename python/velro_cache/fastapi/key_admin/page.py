"""The files of the page: its own, and what it shares with the dashboard of the cache."""

from pathlib import Path
from typing import Final

from velro_cache.fastapi.admin.dashboard.files import (
    ASSETS,
    PageFiles,
    files_in,
    put_together,
)

__all__ = ["KEY_ASSETS", "SHARED", "read_key_page"]

KEY_ASSETS: Final = Path(__file__).parent / "assets"

SHARED: Final = (
    "api.js",
    "chart.js",
    "dom.js",
    "format.js",
    "icon.svg",
    "session.js",
    "style/base.css",
    "style/charts.css",
    "style/forms.css",
    "style/parts.css",
    "vendor/uplot-1.6.32/LICENSE",
    "vendor/uplot-1.6.32/uPlot.iife.min.js",
    "vendor/uplot-1.6.32/uPlot.min.css",
)
"""Files of the dashboard, so that both look and work alike."""


def read_key_page(*, read_only: bool, has_usage: bool, has_refresh: bool) -> PageFiles:
    """Read the files of the page.

    Args:
        read_only: Whether the page is made without what changes something.
        has_usage: Whether there is a chart of requests.
        has_refresh: Whether keys can be read again.

    Raises:
        OSError: The package is not complete.
    """
    shown = {
        "usage": has_usage,
        "new_organization": not read_only,
        "new_key": not read_only,
        "settings": not read_only,
        "dialogs": not read_only,
        "refresh": has_refresh and not read_only,
    }
    parts = {
        name: (KEY_ASSETS / f"{name}.html").read_text("utf-8") if is_shown else ""
        for name, is_shown in shown.items()
    }
    # The same fields twice: of the organization, and of a key.
    fields = (KEY_ASSETS / "limits.html").read_text("utf-8")
    for name, of in (("organization_limits", ""), ("key_limits", "key-")):
        parts[name] = fields.replace("{{of}}", of)
    own = [name for name in files_in(KEY_ASSETS) if not name.endswith(".html")]
    return put_together(KEY_ASSETS / "page.html", {ASSETS: SHARED, KEY_ASSETS: own}, parts)
