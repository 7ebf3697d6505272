"""What the workers of a server run: a cache of their own each, and its feed."""

from __future__ import annotations

import os

from fed import Fed

from velro_cache.config import OptimizedCacheConfig

fed = Fed(OptimizedCacheConfig(name=os.environ.get("FED_NAME", "fed-workers")))
app = fed.app
