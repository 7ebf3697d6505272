"""How often an organisation or a key may ask: token buckets per minute and per day.

In this process alone, counted in Redis for all processes, or by leases of tokens from there.
"""

from velro_cache._engine import Decision, RateLimit
from velro_cache.rate_limit.limiter import Mode, RateLimiter
from velro_cache.rate_limit.rules import OnError, OnErrorByBucket, OnErrors, Rule
from velro_cache.rate_limit.statistics import RateLimitStatistics

__all__ = [
    "Decision",
    "Mode",
    "OnError",
    "OnErrorByBucket",
    "OnErrors",
    "RateLimit",
    "RateLimitStatistics",
    "RateLimiter",
    "Rule",
]
