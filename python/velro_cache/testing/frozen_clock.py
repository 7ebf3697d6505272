"""A clock that stands still until the test moves it: both clocks that decide about a grant."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from velro_cache._engine import ManualClock

__all__ = ["FrozenClock"]

_START: Final = datetime(2030, 1, 1, 12, tzinfo=UTC)


class FrozenClock:
    """Lives of entries are counted by one clock, ends of grants by another; this moves both.

    Args:
        start: What the wall clock shows at first, with a time zone.

    Attributes:
        engine: For ``OptimizedCacheManager(clock=...)``.

    Raises:
        ValueError: ``start`` has no time zone.
    """

    __slots__ = ("_wall", "engine")

    def __init__(self, start: datetime = _START) -> None:
        if start.utcoffset() is None:
            raise ValueError("start must carry a time zone, such as datetime.now(UTC)")
        self.engine: Final = ManualClock()
        self._wall = start

    def now(self) -> datetime:
        """The wall clock, for ``now=`` of ``OptimizedAuthMiddleware``."""
        return self._wall

    def seconds(self) -> float:
        """The wall clock in seconds since 1970, for ``now=`` of ``VerifiedTokens``."""
        return self._wall.timestamp()

    def advance(self, seconds: float) -> None:
        """Let time pass.

        Args:
            seconds: How much, 0 or more.
        """
        self.engine.advance(seconds)
        self._wall += timedelta(seconds=seconds)

    def set_wall_clock(self, moment: datetime) -> None:
        """Set the wall clock, as an operator or a time server might; lives go on as they were.

        Args:
            moment: What it is to show, with a time zone.

        Raises:
            ValueError: ``moment`` has no time zone.
        """
        if moment.utcoffset() is None:
            raise ValueError("moment must carry a time zone, such as datetime.now(UTC)")
        self._wall = moment
