"""Whether the server wants to end.

uvicorn ends the lifespan of an application only after all connections are gone, so that a stream
that waits for the lifespan waits for ever. But it hears of the signal: whoever handles that is the
server, and says what it is about to do.
"""

from __future__ import annotations

import signal

__all__ = ["is_server_stopping"]


def is_server_stopping() -> bool:
    """Whether uvicorn, or gunicorn with workers of uvicorn, was asked to end.

    False for servers that handle signals in another way, and for those in a thread.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        server = getattr(signal.getsignal(number), "__self__", None)
        if getattr(server, "should_exit", False) is True:
            return True
    return False
