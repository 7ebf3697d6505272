"""What a warm-up did."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["Progress", "WarmReport", "tell"]

log = logging.getLogger("velro_cache")


@dataclass(slots=True)
class WarmReport:
    """Counts of one warm-up, under way or done.

    Attributes:
        kind: What was warmed.
        loaded: Values that are cached now, or grants.
        denied: Answers that were denials.
        skipped: Values that were not stored: invalidated while they were loaded, not hot, or too
            large.
        failed: Loads that raised an exception or took too long; nothing was cached for them.
        errors: The same by class of the exception.
        total: How many there are to load. None: not known.
        seconds: How long it has taken.
        is_running: Whether it is under way.
    """

    kind: str
    loaded: int = 0
    denied: int = 0
    skipped: int = 0
    failed: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    total: int | None = None
    seconds: float = 0.0
    is_running: bool = False

    @property
    def done(self) -> int:
        """How many have been looked at."""
        return self.loaded + self.denied + self.skipped + self.failed

    def fail(self, error: BaseException) -> None:
        """Count a load that failed.

        Args:
            error: Why. Its class is kept, its message is not: nobody knows what is in it.
        """
        self.failed += 1
        self.errors[type(error).__name__] += 1


Progress = Callable[[WarmReport], None]
"""Is told how far a warm-up is; called often, so it should be quick."""


def tell(progress: Progress | None, report: WarmReport) -> Progress | None:
    """Tell whoever wants to know how far it is.

    Args:
        progress: Who is told. None: nobody.
        report: How far it is.

    Returns:
        Who is to be told the next time: None after an exception, which is logged. A broken display
        does not end the work it shows.
    """
    if progress is None:
        return None
    try:
        progress(report)
    except Exception:
        log.exception("the progress of a warm-up cannot be shown; it goes on")
        return None
    return progress
