"""What the cache is compared with: no cache at all, and the cache everybody writes first."""

from __future__ import annotations

import time

from velro_cache.authorization.models import AccessType, GenerationPermissions
from velro_cache.authorization.service import GenerationAccessService
from velro_cache.manager import Id

__all__ = ["NoCache", "PlainTtlCache"]


class NoCache:
    """Asks the service every time."""

    def __init__(self, service: GenerationAccessService) -> None:
        self._service = service

    async def check_generation_access_cached(
        self,
        generation_id: Id,
        user_id: Id,
        auth_token: str,
        required_access: AccessType = AccessType.READ,
    ) -> GenerationPermissions:
        """Decide, with the signature of the cached check."""
        decision = await self._service.validate_generation_media_access(
            generation_id, user_id, auth_token
        )
        return decision.answering(required_access)


class PlainTtlCache:
    """A dict with a time to live. Nothing tells it that a permission was taken away."""

    def __init__(self, service: GenerationAccessService, ttl_seconds: float) -> None:
        self._service = service
        self._ttl_seconds = ttl_seconds
        self._entries: dict[tuple[str, str, str], tuple[float, GenerationPermissions]] = {}

    async def check_generation_access_cached(
        self,
        generation_id: Id,
        user_id: Id,
        auth_token: str,
        required_access: AccessType = AccessType.READ,
    ) -> GenerationPermissions:
        """Decide, with the signature of the cached check."""
        key = (str(generation_id), str(user_id), auth_token)
        deadline, decision = self._entries.get(key, (0.0, None))
        if decision is None or time.monotonic() >= deadline:
            decision = await self._service.validate_generation_media_access(
                generation_id, user_id, auth_token
            )
            self._entries[key] = (time.monotonic() + self._ttl_seconds, decision)
        return decision.answering(required_access)
