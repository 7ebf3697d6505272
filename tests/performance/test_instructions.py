"""What a service asks most does not come to take more instructions unnoticed."""

from __future__ import annotations

import shutil

import counted
import pytest

MOST_PERCENT_ABOVE = 5
MOST_COUNTS = 5
"""Where a text lies in memory is chance, and now and then two of them get in each other's way in
the memo of texts; then it is counted again. More instructions in the code stay in every count."""


@pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind, which counts, is not here")
@pytest.mark.timeout(600)
def test_hot_calls_take_no_more_instructions_than_recorded() -> None:
    allowed = counted.recorded()
    if allowed is None:
        pytest.skip(f"nothing is recorded for {counted.platform_name()}")
    most = {name: count * (100 + MOST_PERCENT_ABOVE) // 100 for name, count in allowed.items()}
    counts = counted.count()
    assert counts.keys() == allowed.keys()
    for _ in range(MOST_COUNTS - 1):
        if all(counts[name] <= most[name] for name in most):
            break
        again = counted.count()
        counts = {name: min(count, again[name]) for name, count in counts.items()}
    for name, instructions in counts.items():
        # Far below is a mistake in the counting, or a reason to record anew.
        assert allowed[name] // 2 < instructions <= most[name], f"{name}: {counts}"
