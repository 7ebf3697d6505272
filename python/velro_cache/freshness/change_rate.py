"""How often values of one context change, from what was seen when they were loaded again.

The estimator is that of Cho and Garcia-Molina, "Estimating frequency of change" (ACM Transactions
on Internet Technology 3(3), 2003): of `n` looks, `I` seconds apart, `x` found a change. More than
one change between two looks is seen as one, so that `x / n` is too low; with changes at random
moments, ``-log((n - x + 0.5) / (n + 0.5)) / I`` is right on average, and has no gap at `x = n`.

Where we depart from it: looks are at irregular intervals, whose mean stands for `I`; and each look
makes those before it count a little less, so that a change of habits is followed. With the factor
below, the last 64 looks carry two thirds of the weight.

Cost: `O(1)` in time and memory.
"""

import math
from typing import Final

__all__ = ["ChangeRate"]

_KEEP: Final = 1 - 1 / 64

_FEWEST_LOOKS: Final = 8
"""With fewer, a single change would decide."""


class ChangeRate:
    """Changes of the values of one context, and how often they are used."""

    __slots__ = ("_changes", "_hits", "_loads", "_looks", "_seconds", "looks")

    def __init__(self) -> None:
        self.looks = 0
        self._looks = self._changes = self._seconds = 0.0
        self._loads = self._hits = 0.0

    def looked(self, seconds: float, *, changed: bool) -> None:
        """Note that a value was loaded again.

        Args:
            seconds: Since it was loaded before; 0 or less says nothing and is left out.
            changed: Whether it is another one, or was invalidated meanwhile.
        """
        if not 0 < seconds < math.inf:
            return
        self.looks += 1
        self._looks = self._looks * _KEEP + 1
        self._changes = self._changes * _KEEP + changed
        self._seconds = self._seconds * _KEEP + seconds

    def used(self, loads: int, hits: int) -> None:
        """Note how many loads there were since the last note, and how many answers from memory."""
        keep = _KEEP ** min(loads, 1_000)
        self._loads = self._loads * keep + loads
        self._hits = self._hits * keep + max(0, hits)

    @property
    def changes_per_second(self) -> float | None:
        """The estimate; None: too few looks. 0: nothing has ever changed."""
        if self.looks < _FEWEST_LOOKS:
            return None
        unchanged = self._looks - self._changes
        rate = -math.log((unchanged + 0.5) / (self._looks + 0.5))
        return max(0.0, rate * self._looks / self._seconds)

    @property
    def uses_per_second(self) -> float:
        """How often one value is asked for; 0 where nothing is known."""
        # The hits and the one load of a life, by the time between two loads.
        if not (self._loads and self._seconds):
            return 0.0
        return (self._hits / self._loads + 1) * self._looks / self._seconds
