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
    │   └── MissBudgetExceeded                    too many keys were asked for that nobody knows
    ├── InvalidTokenError (ValueError)         a bearer token that is not, or not now, a valid one
    ├── ApiKeyError (ValueError)               an API key that lets nobody in
    │   ├── KeyMalformed                          it cannot be one
    │   ├── KeyUnknown                            nobody made it
    │   ├── KeyRevoked                            it, or its organization, was switched off
    │   └── KeyExpired                            its time is over
    ├── KeyNotFound (LookupError)              there is no API key of this id to be managed
    ├── OrganizationNotFound (LookupError)     there is no organization of this id
    ├── KeyConflict (ValueError)               what is to be written contradicts what is there
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
    "ApiKeyError",
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
    "KeyConflict",
    "KeyExpired",
    "KeyMalformed",
    "KeyNotFound",
    "KeyRevoked",
    "KeyUnknown",
    "LoaderCancelledError",
    "LoaderRecursionError",
    "LoaderTimeoutError",
    "MissBudgetExceeded",
    "NotAnInvalidationLog",
    "OrganizationNotFound",
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

    Attributes:
        result: As of :class:`InvalidationNotAcknowledged`.
    """

    result: object = None


class InvalidationNotAcknowledged(VelroCacheError, TimeoutError):
    """An invalidation did not reach the log, or not every host, within the time it may take.

    It holds on this host, and is sent to the others as soon as the log can be reached, if this
    process still lives then. Raised at once, whatever is waited for, where this process could not
    start the threads that tell others; that is tried again with every invalidation.

    Attributes:
        result: What the change returned that was made before, such as a key that is shown once.
            None: nothing, or nobody kept it.
    """

    result: object = None


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


class MissBudgetExceeded(AuthorizationUnavailable):
    """So many keys nobody knows were asked for that the database is not asked about more for now.

    Attributes:
        retry_after_seconds: When to try again.
    """

    def __init__(
        self,
        message: str = "too many API keys that are not cached; try again later",
        retry_after_seconds: float = 1.0,
    ) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class ApiKeyError(VelroCacheError, ValueError):
    """An API key lets nobody in. No message holds the key or its digest."""


class KeyMalformed(ApiKeyError):
    """It cannot be a key: its shape or its checksum is wrong. Nobody was asked."""


class KeyUnknown(ApiKeyError):
    """There is no such key."""


class KeyRevoked(ApiKeyError):
    """The key was revoked or switched off, or its organization was."""


class KeyExpired(ApiKeyError):
    """The key was good until its time was over."""


class KeyNotFound(VelroCacheError, LookupError):
    """There is no API key of this id; nothing was changed."""


class OrganizationNotFound(VelroCacheError, LookupError):
    """There is no organization of this id; nothing was changed."""


class KeyConflict(VelroCacheError, ValueError):
    """What is to be written contradicts what is in the database; nothing was changed.

    An id or a digest that is there already, a key that was rotated, revoked or has expired.
    """


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
