"""Tells clients that something they may see has changed: server-sent events, and WebSockets.

* ``router``: the routes put together;
* ``stream`` and ``socket``: the two ways to a client; ``messages``: what goes over them;
* ``session``: one connection, from the first message to the last; ``listener``: whose it is;
* ``hub``: all connections of a process, and who has to be told what;
* ``watching``: the names that may be watched; ``stopping``: whether the server wants to end.
"""

from velro_cache.fastapi.feed.router import InvalidationFeedRouter, create_invalidation_feed_router

__all__ = ["InvalidationFeedRouter", "create_invalidation_feed_router"]
