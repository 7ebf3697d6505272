"""Whether loading ahead pays, by what becomes of it; and how much of it there may be.

*Precision* is the part of what was loaded ahead that was asked for while it was there. It begins
with a trial: a few loads, judged before there are more. Once on, it stays on while enough of the
last ones were used; then it is off for a while, and the next trial follows. So on accesses that
cannot be foretold it costs one small trial in each pause.

Whatever the precision, there is a second bound. Each load that somebody had to wait for earns a
part of one ahead, and one that was used gives back what it cost, since nobody had to wait for it.
Therefore what is loaded ahead in vain is never more than that part of what was waited for; and per
second, only so many are begun.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

__all__ = ["Payoff", "PreloadBudget"]


class Payoff:
    """Switches loading ahead on and off.

    Args:
        least_precision: Below this it does not pay, above 0 and at most 1.
        window: Of how many of the last ones that is judged; 1 or more.
        trial: How many make a trial; 1 or more.
        pause_seconds: For how long it is off after it did not pay.
        seconds: A clock that only goes forward.
    """

    __slots__ = (
        "_begun",
        "_in_trial",
        "_least_precision",
        "_off_until",
        "_outcomes",
        "_pause_seconds",
        "_round",
        "_seconds",
        "_trial",
        "_window",
        "times_off",
    )

    def __init__(
        self,
        least_precision: float,
        window: int,
        trial: int,
        pause_seconds: float,
        seconds: Callable[[], float],
    ) -> None:
        self._least_precision = least_precision
        self._window = window
        self._trial = trial
        self._pause_seconds = pause_seconds
        self._seconds = seconds
        self._outcomes: deque[bool] = deque(maxlen=window)
        self._off_until: float | None = None
        self._in_trial = True
        self._begun = 0
        self._round = 0
        self.times_off = 0

    @property
    def is_off(self) -> bool:
        """Whether it did not pay, and pauses."""
        return self._off_until is not None and self._seconds() < self._off_until

    @property
    def is_in_trial(self) -> bool:
        """Whether so far only a few may be loaded."""
        return self._in_trial

    @property
    def precision(self) -> float | None:
        """The part of the last ones that was used. None: nothing is known yet."""
        return sum(self._outcomes) / len(self._outcomes) if self._outcomes else None

    def allows_one(self) -> bool:
        """Whether one more may be loaded ahead."""
        if self._off_until is not None:
            if self._seconds() < self._off_until:
                return False
            self._off_until = None
            self._in_trial = True
            self._begun = 0
            self._round += 1
            self._outcomes.clear()
        return not self._in_trial or self._begun < self._trial

    def begin(self) -> int:
        """Count one that is loaded ahead.

        Returns:
            To be handed to :meth:`judge` when it is known what became of it.
        """
        self._begun += 1
        return self._round

    def judge(self, round: int, used: bool) -> None:
        """Count what became of one.

        Args:
            round: What :meth:`begin` returned. One from before a pause says nothing of today.
            used: Whether it was asked for while it was there.
        """
        if round != self._round or self._off_until is not None:
            return
        self._outcomes.append(used)
        # As soon as it is certain, not when the last one is known: those are slow that nobody uses.
        of = min(self._trial, self._window) if self._in_trial else self._window
        needed = math.ceil(self._least_precision * of)
        if len(self._outcomes) - sum(self._outcomes) > of - needed:
            self._off_until = self._seconds() + self._pause_seconds
            self.times_off += 1
        elif self._in_trial and sum(self._outcomes) >= needed:
            self._in_trial = False


class PreloadBudget:
    """How many may be loaded ahead, by what was waited for and by the second.

    Args:
        per_miss: How many one load earns that somebody waited for.
        per_second: How many may be begun per second in the long run, and at once.
        most_saved: How many may be saved up.
        seconds: A clock that only goes forward.
    """

    __slots__ = (
        "_as_of",
        "_earned",
        "_most_saved",
        "_per_miss",
        "_per_second",
        "_seconds",
        "_tokens",
    )

    def __init__(
        self,
        per_miss: float,
        per_second: float,
        most_saved: float,
        seconds: Callable[[], float],
    ) -> None:
        self._per_miss = per_miss
        self._per_second = per_second
        self._most_saved = most_saved
        self._seconds = seconds
        self._earned = 0.0
        self._tokens = max(1.0, per_second)
        self._as_of = seconds()

    def missed(self) -> None:
        """Somebody had to wait for a load."""
        self._earned = min(self._most_saved, self._earned + self._per_miss)

    def used(self) -> None:
        """Somebody would have had to, and did not."""
        self._earned = min(self._most_saved, self._earned + 1)

    def take(self) -> bool:
        """Take what one costs.

        Returns:
            Whether it was there; if not, nothing was taken.
        """
        now = self._seconds()
        gained = max(0.0, now - self._as_of) * self._per_second
        self._as_of = now
        self._tokens = min(max(1.0, self._per_second), self._tokens + gained)
        if self._earned < 1 or self._tokens < 1:
            return False
        self._earned -= 1
        self._tokens -= 1
        return True
