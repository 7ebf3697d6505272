"""The statistics of caches, for Prometheus: ``pip install 'velro-cache[prometheus]'``."""

try:
    import prometheus_client as _  # noqa: F401 - for a clear error if it is not there
except ImportError as error:
    raise ImportError(
        "velro_cache.prometheus needs prometheus-client: pip install 'velro-cache[prometheus]'"
    ) from error

from velro_cache.prometheus.collector import CacheCollector

__all__ = ["CacheCollector"]
