"""Every error this package raises on purpose.

::

    VelroCacheError
    ├── ConfigError (ValueError)               a setting is out of range
    ├── InvalidKeyError (ValueError)           a key or an id that cannot name an entry
    ├── InvalidTagError (ValueError)           a tag, or a bare string where several tags belong
    ├── SerializationError (TypeError)         a value that cannot be kept apart from its setter
    ├── UncacheableArgumentError (TypeError)   a call argument that cannot be keyed safely
    ├── SharedTableError (OSError)             invalidations are not shared on this host
    ├── InvalidationNotAcknowledged (TimeoutError)   other hosts may not know yet
    ├── CacheStoppedError (RuntimeError)       used after stop()
    ├── LoaderTimeoutError (TimeoutError)      a load took longer than it may
    ├── LoaderRecursionError (RuntimeError)    loads that would wait for themselves, or without end
    ├── LoaderCancelledError (RuntimeError)    a loader was cancelled from within
    ├── AuthorizationUnavailable (RuntimeError)   nobody there to ask: neither allow nor deny
    ├── InvalidTokenError (ValueError)         a bearer token that is not, or not now, a valid one
    └── InvalidationLogError (ConnectionError)    the log by which hosts tell each other
        ├── InvalidationLogUnavailable            not reached, or no answer in time
        ├── InvalidationLogRefused                reached, and it does not do it
        └── NotAnInvalidationLog                  what answers there is something else

Each also derives from the built-in named beside it, so code that catches ``ValueError`` or
``TimeoutError`` keeps working. An exception of your own loader is never wrapped: it reaches the
caller as it was raised.

No message holds a value, a token or a raw key longer than a short, escaped excerpt.
"""

__all__ = [
    "AuthorizationUnavailable",
    "CacheStoppedError",
    "ConfigError",
    "InvalidKeyError",
    "InvalidTagError",
    "InvalidTokenError",
    "InvalidationLogError",
    "InvalidationLogRefused",
    "InvalidationLogUnavailable",
    "InvalidationNotAcknowledged",
    "LoaderCancelledError",
    "LoaderRecursionError",
    "LoaderTimeoutError",
    "NotAnInvalidationLog",
    "SerializationError",
    "SharedTableError",
    "UncacheableArgumentError",
    "VelroCacheError",
]


class VelroCacheError(Exception):
    """Base of all errors of this package."""


class ConfigError(VelroCacheError, ValueError):
    """A configuration value is missing, of the wrong type or out of range."""


class InvalidKeyError(VelroCacheError, ValueError):
    """A key or an id is empty, too long, or of a kind that cannot name an entry."""


class InvalidTagError(VelroCacheError, ValueError):
    """A tag is empty or too long, there are too many, or a bare string stands for a list."""


class SerializationError(VelroCacheError, TypeError):
    """A value cannot be copied, so the next caller could not be protected from this one.

    Store something copyable, or build the manager with ``isolation="shared"`` if every caller
    may see (and change) one and the same object.
    """


class UncacheableArgumentError(VelroCacheError, TypeError):
    """An argument of a cached function has no safe, stable key.

    Pass ``key=`` to the decorator, or hand the function ids instead of objects.
    """


class SharedTableError(VelroCacheError, OSError):
    """The table that all processes of this host share cannot be had, or cannot be trusted.

    The message says what was found where, and what to do. Raised by what makes a cache: none was
    made. Raised by an invalidation: the file of the table was taken away and no other one can be
    made. What was invalidated holds in this process and is sent to the log, if there is one; other
    processes of this host may not know.
    """


class InvalidationNotAcknowledged(VelroCacheError, TimeoutError):
    """An invalidation did not reach the log, or not every host, within the time it may take.

    It holds on this host, and is sent to the others as soon as the log can be reached, if this
    process still lives then. Raised at once, whatever is waited for, where this process could not
    start the threads that tell others; that is tried again with every invalidation.
    """


class CacheStoppedError(VelroCacheError, RuntimeError):
    """The manager was stopped; ``start()`` opens it again, empty."""


class LoaderTimeoutError(VelroCacheError, TimeoutError):
    """A load did not finish within its ``load_timeout_seconds``; nothing was cached."""


class LoaderRecursionError(VelroCacheError, RuntimeError):
    """A loader asked, itself or through others, for the very key it is loading, or without end."""


class LoaderCancelledError(VelroCacheError, RuntimeError):
    """A loader raised ``CancelledError`` though nobody cancelled the load; nothing was cached."""


class AuthorizationUnavailable(VelroCacheError, RuntimeError):
    """No authorization service could be asked. Neither an allow nor a deny; nothing was cached."""


class InvalidTokenError(VelroCacheError, ValueError):
    """A bearer token is malformed, forged, expired, revoked or not valid yet. Nothing was cached.

    Verifiers raise it, too. No message holds the token.
    """


class InvalidationLogError(VelroCacheError, ConnectionError):
    """The log by which hosts tell each other what to invalidate did not do what it was asked.

    No message holds its password.
    """


class InvalidationLogUnavailable(InvalidationLogError):
    """The log was not reached, or did not answer in time. May work later.

    What was to be appended may be there all the same.
    """


class InvalidationLogRefused(InvalidationLogError):
    """The log was reached, and refuses: its server would not let us in, or would not write.

    A wrong password, a read-only replica, no memory left, too few replicas, a missing table.
    """


class NotAnInvalidationLog(InvalidationLogError):
    """What answers at the address is no invalidation log, or its data is not of this package."""
