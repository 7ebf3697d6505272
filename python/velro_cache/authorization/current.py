"""Which authorization service this process uses where none is named.

``OptimizedAuthMiddleware()`` without arguments has to find its service somewhere: here. The
lifespan registers the one it was given and takes it back when it ends.
"""

from __future__ import annotations

from velro_cache.authorization.service import GenerationAccessService
from velro_cache.exceptions import AuthorizationUnavailable
from velro_cache.fork_safety import ForkSafeLock

__all__ = [
    "current_authorization_service",
    "register_authorization_service",
    "unregister_authorization_service",
]

_lock = ForkSafeLock()
_registered: list[GenerationAccessService] = []


def register_authorization_service(service: GenerationAccessService) -> None:
    """Offer a service to all checks of this process that name none.

    Args:
        service: The service. Registering it again counts: it stays until it has been taken
            back as often.

    Raises:
        TypeError: It has no ``validate_generation_media_access``.
    """
    if not isinstance(service, GenerationAccessService):
        raise TypeError(f"{type(service).__name__} has no validate_generation_media_access method")
    with _lock:
        _registered.append(service)


def unregister_authorization_service(service: GenerationAccessService) -> None:
    """Take a service back.

    Args:
        service: What was registered. Nothing happens if it is not.
    """
    with _lock:
        for place in range(len(_registered) - 1, -1, -1):
            if _registered[place] is service:
                del _registered[place]
                return


def current_authorization_service() -> GenerationAccessService:
    """The service of this process.

    Returns:
        The one registered.

    Raises:
        AuthorizationUnavailable: None is registered, or several are: with two applications in
            one process nobody can tell which of them is asking, and a guess could be answered
            by the wrong database.
    """
    with _lock:
        if not _registered:
            raise AuthorizationUnavailable(
                "no authorization service is configured; pass velro_lifespan(authorization=...),"
                " OptimizedAuthMiddleware(authorization=...) or call"
                " register_authorization_service(...)"
            )
        service = _registered[-1]
        if any(other is not service for other in _registered):
            raise AuthorizationUnavailable(
                "several authorization services are registered in this process; say which one:"
                " OptimizedAuthMiddleware(authorization=...)"
            )
        return service
