"""Requests about one generation, checked by the middleware before the application sees them."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias, final

from velro_cache.authorization.identity import Identity
from velro_cache.authorization.models import AccessType, flag_for
from velro_cache.fastapi.ids import may_be_id
from velro_cache.manager import Id

if TYPE_CHECKING:
    from velro_cache.fastapi.middleware import OptimizedAuthMiddleware

__all__ = ["AuthorizeGeneration", "GenerationFinder"]

GenerationFinder: TypeAlias = Callable[[MutableMapping[str, Any]], Id | None]
"""Says which generation an ASGI scope is about; None: about none, so that the token is enough."""


@final
class AuthorizeGeneration:
    """What to give as ``authorize=`` where requests are about a generation: see whether they may.

    ::

        def generation_of(scope):
            head, _, rest = scope["path"].partition("/generations/")
            return rest.partition("/")[0] or None

        app.add_middleware(
            OptimizedAuthMiddleware,
            authenticate=verify,
            authorize=AuthorizeGeneration(generation_of),
        )

    The token and the decision are then found in one step. A function of your own can do the same
    with ``check_generation_access_cached``, only not as fast.

    Args:
        find: Says which generation a request is about, by its ASGI scope; a plain function. Take
            care that it knows every path of your routes: for what it answers with None, the token
            is all that is asked for. What guards would not take for an id is refused. It may be
            called twice for one request; what it raises, only who has a valid token gets to see.
        access: What requests do with the generation, or its name.

    Raises:
        TypeError: ``find`` is no function.
        ValueError: There is no such access.
    """

    __slots__ = ("_access", "find", "flag", "needed_scope")

    def __init__(self, find: GenerationFinder, access: AccessType | str = AccessType.READ) -> None:
        if not callable(find):
            raise TypeError(f"find must be a function, not {type(find).__name__}")
        self.find: Final = find
        self._access: Final = AccessType(access)
        self.flag: Final = flag_for(self._access)
        self.needed_scope: Final = f"generation:{self._access.value}"

    @property
    def access(self) -> AccessType:
        """What requests do with the generation. Cannot be set: make another object."""
        return self._access

    async def __call__(
        self,
        auth: OptimizedAuthMiddleware,
        scope: MutableMapping[str, Any],
        identity: Identity,
        token: str,
    ) -> bool:
        """Say whether a request may go on.

        Raises:
            AuthorizationUnavailable, LoaderTimeoutError, Exception: As for
                ``check_generation_access_cached``.
        """
        generation_id = self.find(scope)
        if generation_id is None:
            return True
        if not may_be_id(generation_id):
            return False
        decision = await auth.check_generation_access_cached(
            generation_id, identity.user_id, token, self._access
        )
        return decision.granted
