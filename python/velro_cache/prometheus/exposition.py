"""The metrics of one cache as the text that a scrape reads."""

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from velro_cache.manager import OptimizedCacheManager
from velro_cache.prometheus.collector import CacheCollector

__all__ = ["exposition"]


def exposition(cache: OptimizedCacheManager, accept: str) -> tuple[bytes, str]:
    """Write the metrics of a cache, and nothing else this process may have registered.

    Args:
        cache: Which.
        accept: What the scraper understands, as its header ``Accept`` says.

    Returns:
        The text and its content type: OpenMetrics where that is asked for, else the older format.
    """
    registry = CollectorRegistry()
    registry.register(CacheCollector(cache))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type
