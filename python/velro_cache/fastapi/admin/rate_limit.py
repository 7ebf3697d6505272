"""How often somebody may do something: a token bucket."""

from collections.abc import Callable

from velro_cache.fork_safety import ForkSafeLock

__all__ = ["TokenBucket"]


class TokenBucket:
    """So many at once, and so many per minute in the long run. Each worker process has its own.

    Args:
        per_minute: How many in the long run, in tokens per minute; more than 0.
        burst: How many at once; 1 or more.
        clock: Seconds that never go back; tests move it by hand.
        names: What the first two are called where somebody sets them.

    Raises:
        ValueError: A number is out of range.
    """

    def __init__(
        self,
        per_minute: float,
        burst: int,
        clock: Callable[[], float],
        *,
        names: tuple[str, str] = ("invalidations_per_minute", "invalidation_burst"),
    ) -> None:
        # Written so that NaN fails it.
        if not per_minute > 0:
            raise ValueError(f"{names[0]} must be more than 0")
        if burst < 1:
            raise ValueError(f"{names[1]} must be 1 or more")
        self._tokens_per_second = per_minute / 60
        self._burst = float(burst)
        self._clock = clock
        self._lock = ForkSafeLock()
        self._tokens = self._burst
        self._as_of_seconds = clock()

    def take(self) -> float | None:
        """Take one token.

        Returns:
            None if there was one; otherwise in how many seconds there will be.
        """
        with self._lock:
            now = self._clock()
            gained = max(0.0, now - self._as_of_seconds) * self._tokens_per_second
            self._as_of_seconds = now
            self._tokens = min(self._burst, self._tokens + gained)
            if self._tokens >= 1:
                self._tokens -= 1
                return None
            return (1 - self._tokens) / self._tokens_per_second
