"""The metrics of one cache, and of what goes with it, as the text that a scrape reads."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from velro_cache.manager import OptimizedCacheManager
from velro_cache.prometheus.collector import CacheCollector

__all__ = ["check_collectors", "exposition"]


def exposition(
    cache: OptimizedCacheManager, accept: str, collectors: Iterable[Collector] = ()
) -> tuple[bytes, str]:
    """Write the metrics of a cache, and nothing else this process may have registered.

    Args:
        cache: Which.
        accept: What the scraper understands, as its header ``Accept`` says.
        collectors: What else is shown, such as an :class:`ApiKeyCollector` and a
            :class:`RateLimitCollector`.

    Returns:
        The text and its content type: OpenMetrics where that is asked for, else the older format.

    Raises:
        ValueError: Two collectors have a metric of the same name.
    """
    registry = _registry(CacheCollector(cache), *collectors)
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


def check_collectors(collectors: Iterable[Collector]) -> None:
    """Refuse collectors that could not be shown together with a cache.

    Args:
        collectors: What :func:`exposition` is to be given.

    Raises:
        TypeError: One of them is none.
        ValueError: Two of them, or one and the cache, have a metric of the same name.
    """
    collectors = tuple(collectors)
    for collector in collectors:
        if not hasattr(collector, "collect"):
            raise TypeError(f"{type(collector).__name__} is no collector: it has no collect")
    _registry(CacheCollector(), *collectors)


def _registry(*collectors: Collector) -> CollectorRegistry:
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    return registry
