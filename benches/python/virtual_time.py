"""An event loop whose time passes only while everybody waits: an hour of traffic in seconds.

The loop's clock stands still while something runs, and jumps to the next timer when nothing does.
So what is measured by it is waiting, and never how busy the machine is.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from typing import Any

__all__ = ["VirtualTimeLoop"]


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """See above.

    Args:
        passed: Told how many seconds have passed, at each jump; for other clocks.
    """

    def __init__(self, passed: Callable[[float], object]) -> None:
        self._now = 0.0
        self._passed = passed
        super().__init__(_NeverWaits(self))

    def time(self) -> float:
        """Seconds since this loop was made, as it sees them."""
        return self._now

    def jump(self, seconds: float) -> None:
        """Let time pass."""
        self._now += seconds
        self._passed(seconds)


class _NeverWaits(selectors.DefaultSelector):
    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout is not None and timeout > 0:
            self._loop.jump(timeout)
        return ready
