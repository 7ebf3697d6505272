"""Which request is being served, for log records.

The id is in a context variable: tasks and threads that a request starts (``asyncio.to_thread``, the
thread pool of the framework) inherit it, and so do the loads that it begins.
"""

from __future__ import annotations

import contextvars
import logging
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["RequestIdFilter", "current_request_id", "new_request_id", "serving_request"]

_current: contextvars.ContextVar[str | None] = contextvars.ContextVar(
    "velro_cache_request_id", default=None
)

_WELL_FORMED: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""No spaces, quotes or line ends: what a client sends stands in logs as it is."""


def current_request_id() -> str | None:
    """The id of the request that is being served here; None: none, or it has no id."""
    return _current.get()


def new_request_id(asked: str | None = None) -> str:
    """Take the id that came with a request, or make one.

    Args:
        asked: What came with it; None: nothing.

    Returns:
        ``asked`` if it has 1 to 64 letters, digits, dots, underscores and dashes of ASCII;
        otherwise a new one of 32 hexadecimal digits.
    """
    if asked is not None and _WELL_FORMED.fullmatch(asked):
        return asked
    return uuid.uuid4().hex


@contextmanager
def serving_request(request_id: str) -> Iterator[None]:
    """Have what runs inside belong to a request.

    Args:
        request_id: What :func:`new_request_id` returned.
    """
    token = _current.set(request_id)
    try:
        yield
    finally:
        _current.reset(token)


class RequestIdFilter(logging.Filter):
    """Gives each log record a ``request_id``: None outside of requests.

    Put it on a handler, so that the records of all libraries get one::

        handler.addFilter(RequestIdFilter())
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Let the record through, with an id, unless somebody gave it one."""
        if not hasattr(record, "request_id"):
            record.request_id = _current.get()
        return True
