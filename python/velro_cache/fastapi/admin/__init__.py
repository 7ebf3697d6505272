"""Routes for whoever operates a cache: statistics, keys, invalidation, metrics, health.

::

    app.include_router(create_admin_router(guard=require_operator, metrics_guard=require_scraper))

No answer holds a cached value, a token, an address of a server or a key of the settings. Every
route has a guard; see :func:`create_admin_router`.
"""

from velro_cache.fastapi.admin.router import create_admin_router

__all__ = ["create_admin_router"]
