"""The configurations that can be named on the command line."""

from collections.abc import Callable, Mapping

from velro_cache.config import OptimizedCacheConfig

__all__ = ["PRESETS"]

PRESETS: Mapping[str, Callable[[], OptimizedCacheConfig]] = {
    "development": OptimizedCacheConfig.development,
    "production": OptimizedCacheConfig.production,
}
