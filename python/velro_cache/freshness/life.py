"""The life that costs least, by how often values change and are used.

A longer life saves loads and gives more answers that are out of date. Let a value change `c` times
a second and be used `u` times a second, both at random moments, and let one answer out of date cost
as much as `k` loads. A life of `T` seconds then costs each answer
``(1 + k * c * u * T**2 / 2) / (1 + u * T)`` loads, as long as ``c * T`` is small: one load for the
``1 + u * T`` answers of a life, of which the part ``c * T / 2`` is out of date. That is least at
``T = (sqrt(1 + 2 * u / (k * c)) - 1) / u``, and for what is hardly ever used at ``1 / (k * c)``.

It is the square-root rule of stock keeping (Harris, "How many parts to make at once", 1913): what
is used four times as often has half the life, and still twice as many hits in it.
"""

import math
from typing import Final

__all__ = ["STALE_COST", "best_life_seconds"]

STALE_COST: Final = 10.0
"""One answer that is out of date is as bad as so many loads. Invalidations are seen at once however
long a life is; this is about changes nobody told the cache of."""


def best_life_seconds(
    changes_per_second: float, uses_per_second: float, stale_cost: float = STALE_COST
) -> float:
    """Return the life that costs least.

    Args:
        changes_per_second: How often the value changes; 0: never.
        uses_per_second: How often it is asked for; 0: hardly ever.
        stale_cost: Loads that one answer out of date is worth.

    Returns:
        Seconds; infinite for what never changes.
    """
    weight = stale_cost * changes_per_second
    if weight <= 0:
        return math.inf
    # As above, without the difference of two numbers that are nearly the same.
    return 2 / (weight * (math.sqrt(1 + 2 * uses_per_second / weight) + 1))
