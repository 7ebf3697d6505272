"""Every error this package raises on purpose.

::

    VelroCacheError
    ├── ConfigError (ValueError)               a setting is out of range
    ├── InvalidKeyError (ValueError)           a key or an id that cannot name an entry
    ├── InvalidTagError (ValueError)           a tag, or a bare string where several tags belong
    ├── SerializationError (TypeError)         a value that cannot be kept apart from its setter
    ├── UncacheableArgumentError (TypeError)   a call argument that cannot be keyed safely
    ├── CacheStoppedError (RuntimeError)       used after stop()
    ├── LoaderTimeoutError (TimeoutError)      a load took longer than it may
    ├── LoaderRecursionError (RuntimeError)    loads that would wait for themselves, or without end
    ├── LoaderCancelledError (RuntimeError)    a loader was cancelled from within
    └── AuthorizationUnavailable (RuntimeError)   nobody there to ask: neither allow nor deny

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
    "LoaderCancelledError",
    "LoaderRecursionError",
    "LoaderTimeoutError",
    "SerializationError",
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
