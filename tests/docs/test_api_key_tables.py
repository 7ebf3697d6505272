"""The tables about API keys say what the code does."""

from __future__ import annotations

import inspect

from pages import ROOT, table_with

from velro_cache.fastapi import API_KEY_RESPONSES, ApiKeyMiddleware

PAGE = ROOT / "docs" / "api-keys.md"


def test_every_option_of_the_middleware_is_explained_with_its_default() -> None:
    options = {
        name: parameter.default
        for name, parameter in inspect.signature(ApiKeyMiddleware).parameters.items()
        if name != "app"
    }
    rows = {row["Option"].strip("`"): row["Default"] for row in table_with(PAGE, "Option")}
    assert list(rows) == list(options)
    for name, default in options.items():
        if default is inspect.Parameter.empty:
            assert rows[name] == ""
        elif callable(default):
            assert rows[name].endswith(default.__name__)
        else:
            assert rows[name] == str(default)


def test_every_status_is_explained() -> None:
    told = {int(row["Status"]) for row in table_with(PAGE, "Status")}
    assert told == {int(status) for status in API_KEY_RESPONSES}
