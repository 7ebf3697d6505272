"""Only where threads run at once."""

from __future__ import annotations

import sys

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if getattr(sys, "_is_gil_enabled", lambda: True)():
        skip = pytest.mark.skip(reason="this interpreter has a GIL")
        for item in items:
            if item.path.is_relative_to(__file__.rpartition("/")[0]):
                item.add_marker(skip)
