"""What is kept in the cache of one API key, and under which name."""

from dataclasses import dataclass, field
from typing import Any, Final, final

from velro_cache.api_keys.models import ApiKey

__all__ = ["EVERY_KEY", "PREFIX", "Kept", "name_of", "tags_named", "tags_of"]

PREFIX: Final = "apikey:"

EVERY_KEY: Final = "api_keys"
"""A tag of all of them."""


@final
@dataclass(frozen=True, slots=True)
class Kept:
    """A key as it was read, and how long that may be believed.

    Attributes:
        digest: The one it is kept under; compared as a whole before it counts.
        key: What is known of the key.
        fresh_until: Answers without asking until then, in seconds since 1970.
        stale_until: Answers until then where the database cannot be asked.
        generation: Of the cache, when the database was asked.
    """

    digest: bytes = field(repr=False)
    key: ApiKey
    fresh_until: float
    stale_until: float
    generation: int

    def __copy__(self) -> "Kept":
        return self

    def __deepcopy__(self, _memo: dict[int, Any]) -> "Kept":
        return self


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
