"""How much of everything: a short run by default.

``VELRO_CHAOS=20`` runs everything, twenty times as long, and prints what was counted;
``VELRO_CHAOS=1`` only prints it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from workers import SCALE, Fleet

IS_TOLD = "VELRO_CHAOS" in os.environ


@pytest.fixture
def scale() -> int:
    """How many times as much as in the short run."""
    return SCALE


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out of a short run what takes long, and give a long run the time it takes."""
    if SCALE > 1:
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.timeout(60 * SCALE))
        return
    left_out = [item for item in items if item.get_closest_marker("long") is not None]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(autouse=True)
def _figures(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Say what happened: the figures are what a long run is for."""
    before = len(Fleet.tallies)
    yield
    if IS_TOLD:
        with capsys.disabled():
            for found in Fleet.tallies[before:]:
                sys.stdout.write(f"\n{request.node.name}: {found}\n")
