"""Keys and tags with their ids hidden, for pages and logs that others see."""

from typing import Final

from velro_cache._engine import keyed_digest

__all__ = ["hidden_key", "hidden_name", "hidden_tag", "kind_of_key"]

_FAMILIES: Final = (
    "auth:user:",
    "auth:gen:",
    "auth:project:",
    "auth:team:",
    "auth:call:",
    "auth:",
    "uuid:validation:",
    "session:",
    "rate_limit:",
)
"""What the documented kinds of keys begin with; the first that fits is shown."""

_KINDS_OF_TAGS: Final = ("user:", "generation:", "project:", "team:", "context:")

_PLAIN_TAGS: Final = frozenset(
    {
        "auth",
        "user_profile",
        "user_permissions",
        "generation_access",
        "project_access",
        "team_role",
        "uuid_validation",
        "session_data",
        "rate_limit",
    }
)
"""Tags of the documented kinds that hold no id."""


def hidden_key(key: str) -> str:
    """Show the kind of a key, and a digest of it in the place of all the rest.

    Args:
        key: A key, or a wildcard over keys.

    Returns:
        Such as ``auth:user:#5f0c1e9a77b2d401``: the same for the same key, in this process alone.
    """
    return _shown_beginning(key, _FAMILIES) + _digest(key)


def kind_of_key(key: str) -> str:
    """Name the kind of a key, and nothing of its ids.

    Args:
        key: A key.

    Returns:
        Such as ``auth:gen``, the name that statistics have for it; ``other`` for keys of the
        application's own.
    """
    return _shown_beginning(key, _FAMILIES).rstrip(":") or "other"


def hidden_tag(tag: str) -> str:
    """Show the kind of a tag, and a digest of it in the place of its id.

    Args:
        tag: A tag.

    Returns:
        Such as ``user:#5f0c1e9a77b2d401``; a tag of the documented kinds that holds no id is shown
        as it is, all other ones are hidden altogether.
    """
    if tag in _PLAIN_TAGS:
        return tag
    return _shown_beginning(tag, _KINDS_OF_TAGS) + _digest(tag)


def hidden_name(kind: str, name: str) -> str:
    """Hide what an invalidation names.

    Args:
        kind: What it is: tag, user, generation, key, pattern or everything.
        name: The name.

    Returns:
        As :func:`hidden_tag` and :func:`hidden_key`; a bare digest for an id.
    """
    if kind == "everything":
        return name
    if kind == "tag":
        return hidden_tag(name)
    return hidden_key(name) if kind in {"key", "pattern"} else _digest(name)


def _shown_beginning(text: str, beginnings: tuple[str, ...]) -> str:
    return next((known for known in beginnings if text.startswith(known)), "")


def _digest(text: str) -> str:
    return f"#{keyed_digest(text.encode('utf-8', 'surrogatepass'))[:8].hex()}"
