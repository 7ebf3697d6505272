"""Under which names and tags an API key is kept in the cache."""

from typing import Final

from velro_cache.api_keys.models import ApiKey

__all__ = ["EVERY_KEY", "PREFIX", "name_of", "tags_named", "tags_of"]

PREFIX: Final = "apikey:"

EVERY_KEY: Final = "api_keys"
"""A tag of all of them."""


def name_of(digest: bytes) -> str:
    """The name in the cache of a key with this digest."""
    return PREFIX + digest.hex()


def tags_of(key: ApiKey) -> tuple[str, ...]:
    """What invalidates a key: itself, its organization, all keys."""
    return (f"api_key:{key.id}", f"organization:{key.organization_id}", EVERY_KEY)


def tags_named(key_id: str | None, organization_id: str | None) -> list[str]:
    """The tags of a key and of an organization.

    Raises:
        ValueError: Neither is named.
    """
    named = (("api_key", key_id), ("organization", organization_id))
    tags = [f"{kind}:{name}" for kind, name in named if name is not None]
    if not tags:
        raise ValueError("name a key or an organization")
    return tags
