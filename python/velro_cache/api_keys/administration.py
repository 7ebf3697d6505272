"""Changes of keys that hold when they return: committed, invalidated, told to the other hosts.

The store changes the database; this goes around it, so that what was taken away is not served any
more, on any worker of this host, when a method returns, and on other hosts within the bound of the
invalidation log. Whatever becomes of the transaction, what was named is invalidated: an exception
does not tell whether the commit came through.
"""

from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from typing import Any, Generic, Protocol, TypeVar

from velro_cache.api_keys.cache import ApiKeyCache
from velro_cache.api_keys.kept import tags_named
from velro_cache.api_keys.models import ApiKey, KeyLimits
from velro_cache.exceptions import InvalidationNotAcknowledged, SharedTableError
from velro_cache.typed_entries import Wait

__all__ = ["KeyAdministration", "KeyStore"]

Created = TypeVar("Created")
CreatedByStore = TypeVar("CreatedByStore", covariant=True)


class KeyStore(Protocol[CreatedByStore]):
    """What is asked of a store of keys; :class:`velro_cache.api_keys.sql.SqlApiKeys` is one."""

    async def create_key(
        self,
        organization_id: str,
        *,
        scopes: Iterable[str] = (),
        name: str = "",
        expires_at: float | None = None,
        environment: str | None = None,
        key_id: str | None = None,
        limits: KeyLimits | None = None,
    ) -> CreatedByStore:
        """Make a key."""
        ...

    async def rotate_key(self, key_id: str, *, overlap_seconds: float = 0.0) -> CreatedByStore:
        """Make a key in the place of another one, which ends a while later."""
        ...

    async def revoke_key(self, key_id: str) -> ApiKey:
        """End a key for good."""
        ...

    async def expire_key(self, key_id: str, at: float) -> ApiKey:
        """Say when a key ends."""
        ...

    async def set_active(
        self, is_active: bool, *, organization_id: str | None = None, key_id: str | None = None
    ) -> None:
        """Switch an organization or a key on or off."""
        ...

    async def set_plan(self, organization_id: str, plan: str) -> None:
        """Change what an organization has booked."""
        ...

    async def set_limits(
        self,
        limits: KeyLimits | None,
        *,
        organization_id: str | None = None,
        key_id: str | None = None,
    ) -> None:
        """Change how many requests an organization, or a key, may make."""
        ...


class KeyAdministration(Generic[Created]):
    """Changes keys in the database and in memory.

    Every method takes ``actor`` and ``reason`` for the list of recent invalidations, and ``wait``:
    what to wait for, ``"host"``, ``"bus"`` or ``"fleet"``; None: ``invalidation_wait`` of the
    configuration. Besides what is said there, each raises what the store raises, and
    ``InvalidationNotAcknowledged`` where the change is made and holds on this host, but the log or
    the other hosts did not answer in time.

    Args:
        cache: The keys in memory.
        store: The keys in the database.
    """

    def __init__(self, cache: ApiKeyCache, store: KeyStore[Created]) -> None:
        self._cache = cache
        self._store = store

    @property
    def cache(self) -> ApiKeyCache:
        """The keys in memory."""
        return self._cache

    async def create(
        self,
        organization_id: str,
        *,
        scopes: Iterable[str] = (),
        name: str = "",
        expires_at: float | None = None,
        environment: str | None = None,
        limits: KeyLimits | None = None,
    ) -> Created:
        """Make a key; it is good at once.

        Args:
            organization_id: Whose it is.
            scopes: What it is good for.
            name: What people call it.
            expires_at: From when on it is not good any more, in seconds since 1970. None: never.
            environment: Where it is for. None: as the format of the keys says.
            limits: Of this key. None: those of the organization alone.

        Returns:
            What the store made, which shows the key this once.
        """
        return await self._store.create_key(
            organization_id,
            scopes=scopes,
            name=name,
            expires_at=expires_at,
            environment=environment,
            limits=limits,
        )

    async def rotate(self, key_id: str, *, overlap_seconds: float = 0.0, **about: Any) -> Created:
        """Make a key in the place of another one.

        Args:
            key_id: Names the old one.
            overlap_seconds: How long both are good.
            **about: ``actor``, ``reason``, ``wait``.

        Returns:
            As :meth:`create`.

        Raises:
            InvalidationNotAcknowledged, SharedTableError: As for all; the key was made, and is in
                their ``result``.
        """
        made: list[Created] = []
        try:
            async with self._changing(key_id=key_id, **about):
                made.append(await self._store.rotate_key(key_id, overlap_seconds=overlap_seconds))
        except (InvalidationNotAcknowledged, SharedTableError) as error:
            # The key is made, and nobody could tell it later.
            error.result = next(iter(made), None)
            raise
        return made[0]

    async def revoke(self, key_id: str, **about: Any) -> ApiKey:
        """End a key for good.

        Args:
            key_id: Names it.
            **about: ``actor``, ``reason``, ``wait``.

        Returns:
            The key as it is now.

        Consistency: no check that begins after this has returned is answered by the key as it
            was, on any worker of this host.
        """
        async with self._changing(key_id=key_id, **about):
            return await self._store.revoke_key(key_id)

    async def expire(self, key_id: str, at: float, **about: Any) -> ApiKey:
        """Say when a key ends.

        Args:
            key_id: Names it.
            at: Seconds since 1970; may be past.
            **about: ``actor``, ``reason``, ``wait``.

        Returns:
            The key as it is now.
        """
        async with self._changing(key_id=key_id, **about):
            return await self._store.expire_key(key_id, at)

    async def set_active(
        self,
        is_active: bool,
        *,
        organization_id: str | None = None,
        key_id: str | None = None,
        **about: Any,
    ) -> None:
        """Switch an organization with all its keys, or one key, on or off.

        Args:
            is_active: Off, a key is not good; on, it is what it was.
            organization_id: Names the organization; this or ``key_id``.
            key_id: Names the key.
            **about: ``actor``, ``reason``, ``wait``.
        """
        async with self._changing(key_id=key_id, organization_id=organization_id, **about):
            await self._store.set_active(is_active, organization_id=organization_id, key_id=key_id)

    async def set_plan(self, organization_id: str, plan: str, **about: Any) -> None:
        """Change what an organization has booked; its next request sees it.

        Args:
            organization_id: Names it.
            plan: What it has booked.
            **about: ``actor``, ``reason``, ``wait``.
        """
        async with self._changing(organization_id=organization_id, **about):
            await self._store.set_plan(organization_id, plan)

    async def set_limits(
        self,
        limits: KeyLimits | None,
        *,
        organization_id: str | None = None,
        key_id: str | None = None,
        **about: Any,
    ) -> None:
        """Change how many requests may be made; the next request sees it.

        Args:
            limits: The new ones. None: no limits.
            organization_id: Names the organization; this or ``key_id``.
            key_id: Names the key.
            **about: ``actor``, ``reason``, ``wait``.
        """
        async with self._changing(key_id=key_id, organization_id=organization_id, **about):
            await self._store.set_limits(limits, organization_id=organization_id, key_id=key_id)

    @asynccontextmanager
    async def _changing(
        self,
        *,
        key_id: str | None = None,
        organization_id: str | None = None,
        actor: str | None = None,
        reason: str | None = None,
        wait: Wait | None = None,
    ) -> AsyncGenerator[None]:
        tags = tags_named(key_id, organization_id)
        manager = self._cache.manager
        try:
            async with manager.revoking(tags=tags, actor=actor, reason=reason, wait=wait):
                yield
        finally:
            self._cache.forget_refusals()
