"""Where API keys are kept: what the cache needs of a database, and nothing more."""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol, runtime_checkable

from velro_cache.api_keys.models import ApiKey

__all__ = ["ApiKeyRepository"]


@runtime_checkable
class ApiKeyRepository(Protocol):
    """A source of keys. What it returns is what the database says now, from its primary.

    An implementation raises whatever its driver raises when it cannot tell; it never returns None
    for that.
    """

    async def get(self, digest: bytes) -> ApiKey | None:
        """Find one key, live or not, by its stored digest.

        Args:
            digest: 32 bytes; see :meth:`velro_cache.api_keys.Peppers.candidates`.

        Returns:
            The key. None: there is none.
        """
        ...

    def fetch_live(
        self, *, changed_since: float | None = None, page_size: int = 1000
    ) -> AsyncIterator[Sequence[ApiKey]]:
        """Stream all keys that are active, not revoked, and not expired, in pages.

        Args:
            changed_since: Only those that changed at or after this, in seconds since 1970, and
                then those too that are live no more. None: all live ones.
            page_size: Keys of one page, at the most.

        Yields:
            Pages, none of them empty.
        """
        ...

    async def touch(self, uses: dict[str, float]) -> None:
        """Take note of when keys were used last.

        Args:
            uses: By id of the key, seconds since 1970. Never moves a moment back.
        """
        ...
