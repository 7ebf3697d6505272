"""What is made of other entries stays on its host: its tags alone do not say what it rests on."""

from __future__ import annotations

from typing import Any

import pytest
from test_l2_protocol import figures, log, way  # noqa: F401 - fixtures

from fleet import Log, host
from velro_cache.l2 import MemoryL2

INNER, OUTER = "auth:user:42:profile", "auth:user:42:permissions"


@pytest.fixture
def l2() -> MemoryL2:
    return MemoryL2()


def test_it_is_not_shared(way: Any, log: Log, l2: MemoryL2) -> None:  # noqa: F811
    a, b = host(log, l2), host(log, l2)
    calls = []

    def load(cache: Any) -> Any:
        def outer() -> str:
            calls.append("outer")
            return "made of " + cache.get_or_load(INNER, inner, tags=["inner"])

        def inner() -> str:
            calls.append("inner")
            return "inner"

        return way.load(cache, OUTER, outer)

    assert load(a) == load(b) == "made of inner"
    # The inner value is shared, the outer one is not.
    assert calls == ["outer", "inner", "outer"]
    assert figures(a)["not_shared"] == {"made_of_others": 1}


@pytest.mark.parametrize("permissive", [True, False])
def test_what_the_second_level_holds_says_whether_it_allows(
    way: Any,  # noqa: F811
    log: Log,  # noqa: F811
    l2: MemoryL2,
    permissive: bool,
) -> None:
    a = host(log, l2)
    way.load(a, INNER, lambda: "value", permissive=permissive)
    assert a._l2 is not None
    levels = a._l2._levels
    kept = l2.get(levels.names.value(INNER))
    assert kept is not None
    assert levels.codec.decode(INNER, kept).permissive is permissive
