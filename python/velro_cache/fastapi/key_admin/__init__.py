"""Routes for whoever hands out API keys: organizations, keys, refreshes, and a page for all that.

::

    app.include_router(
        create_key_admin_router(require_operator, administration=administration, store=keys)
    )

A key in plain text is in the answer that made it, and nowhere else. No answer holds a digest. Every
route has a guard; see :func:`create_key_admin_router`.
"""

from velro_cache.fastapi.key_admin.router import create_key_admin_router

__all__ = ["create_key_admin_router"]
