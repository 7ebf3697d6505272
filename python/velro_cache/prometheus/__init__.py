"""Statistics of caches, API keys and rate limits: ``pip install 'velro-cache[prometheus]'``."""

try:
    import prometheus_client as _  # noqa: F401 - for a clear error if it is not there
except ImportError as error:
    raise ImportError(
        "velro_cache.prometheus needs prometheus-client: pip install 'velro-cache[prometheus]'"
    ) from error

from velro_cache.prometheus.api_keys import ApiKeyCollector
from velro_cache.prometheus.collector import CacheCollector
from velro_cache.prometheus.rate_limits import RateLimitCollector

__all__ = ["ApiKeyCollector", "CacheCollector", "RateLimitCollector"]
