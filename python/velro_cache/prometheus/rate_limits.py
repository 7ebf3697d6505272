"""What Prometheus asks for the figures of rate limiters."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Final

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from velro_cache.prometheus.family import (
    BREAKER_STATES,
    Family,
    Samples,
    Stats,
    count,
    each,
    level,
    metric_of,
    state,
)
from velro_cache.rate_limit.limiter import RateLimiter

__all__ = ["RATE_LIMIT_FAMILIES", "RateLimitCollector"]


def _decisions(stats: Stats) -> Samples:
    return [(outcome, stats[outcome]) for outcome in ("allowed", "refused")]


RATE_LIMIT_FAMILIES: Final = (
    Family("counter", "rate_limit_decisions", "Checks, by outcome.", _decisions, "outcome"),
    each("rate_limit_decided", "Checks, by who decided.", "decided_by", None, "by"),
    each(
        "rate_limit_refused",
        "Requests with API keys that were refused, by the limit.",
        "refused_by",
        None,
        "limit",
    ),
    count("rate_limit_redis_trips", "Calls of Redis that were answered.", "redis_trips"),
    count("rate_limit_redis_errors", "Calls of Redis that failed.", "redis_errors"),
    count("rate_limit_redis_timeouts", "Calls of Redis that took too long.", "redis_timeouts"),
    count("rate_limit_redis_skipped", "Checks made while Redis was left alone.", "redis_skipped"),
    state("rate_limit_breaker_state", "The circuit breaker of Redis.", "breaker", BREAKER_STATES),
    count("rate_limit_breaker_opened", "Times it opened.", "breaker_opened"),
    count("rate_limit_tokens_returned", "Tokens of leases not used.", "tokens_returned"),
    level("rate_limit_names", "Names held.", "names"),
    count("rate_limit_displaced", "Names that lost their place while in use.", "displaced"),
)


class RateLimitCollector(Collector):
    """Hands the statistics of rate limiters to Prometheus whenever it asks for them.

    Register one beside a :class:`CacheCollector`, or hand it to the metrics route::

        limits_seen = RateLimitCollector(limiter)
        REGISTRY.register(limits_seen)
        create_admin_router(guard, collectors=[limits_seen])

    The figures are those of this process. No metric and no label holds a name that is limited.

    Args:
        *limiters: Which. Their names must differ: they are the label ``limiter``.

    Raises:
        ValueError: Two of the limiters have the same name.
    """

    def __init__(self, *limiters: RateLimiter) -> None:
        self._limiters = {limiter.name: limiter for limiter in limiters}
        if len(self._limiters) < len(limiters):
            raise ValueError("limiters of one collector need names of their own: set name")

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics, with what they are now.

        Cost: that of ``stats()``, once for each limiter.
        """
        stats = {name: asdict(limiter.stats()) for name, limiter in self._limiters.items()}
        for family in RATE_LIMIT_FAMILIES:
            yield metric_of(family, "limiter", stats)

    def describe(self) -> Iterator[Metric]:
        """Yield all metrics without samples: what registering needs to know."""
        for family in RATE_LIMIT_FAMILIES:
            yield metric_of(family, "limiter", {})
