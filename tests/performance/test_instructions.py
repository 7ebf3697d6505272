"""What a service asks most does not come to take more instructions unnoticed."""

from __future__ import annotations

import shutil

import counted
import pytest

MOST_PERCENT_ABOVE = 5


@pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind, which counts, is not here")
def test_hot_calls_take_no_more_instructions_than_recorded() -> None:
    allowed = counted.recorded()
    if allowed is None:
        pytest.skip(f"nothing is recorded for {counted.platform_name()}")
    counts = counted.count()
    assert counts.keys() == allowed.keys()
    for name, instructions in counts.items():
        most = allowed[name] * (100 + MOST_PERCENT_ABOVE) // 100
        # Far below is a mistake in the counting, or a reason to record anew.
        assert allowed[name] // 2 < instructions <= most, f"{name}: {counts}"
