"""Keys for people and for programs. Never a digest."""

from datetime import UTC, datetime
from typing import Any

from velro_cache.api_keys.models import ApiKey
from velro_cache.cli.admin.client import printable

__all__ = ["as_fields", "as_line", "as_moment", "state_of"]


def as_fields(key: ApiKey, now: float) -> dict[str, Any]:
    """What is known of a key, for JSON; moments in seconds since 1970.

    Args:
        key: The key.
        now: In seconds since 1970.
    """
    return {
        "id": key.id,
        "organization_id": key.organization_id,
        "shown": key.shown,
        "name": key.name,
        "plan": key.plan,
        "scopes": sorted(key.scopes),
        "state": state_of(key, now),
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "last_used_at": key.last_used_at,
    }


def as_line(key: ApiKey, now: float) -> str:
    """A key on one line.

    Args:
        key: The key.
        now: In seconds since 1970.
    """
    parts = [
        key.id,
        key.shown or "-",
        state_of(key, now),
        f"organization={key.organization_id}",
        f"scopes={','.join(sorted(key.scopes)) or '-'}",
        f"expires={as_moment(key.expires_at)}",
        f"used={as_moment(key.last_used_at)}",
    ]
    if key.name:
        parts.append(key.name)
    return printable("  ".join(parts))


def as_moment(seconds: float | None) -> str:
    """A moment for people.

    Args:
        seconds: Since 1970; None: never.
    """
    if seconds is None:
        return "never"
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, OSError, ValueError):
        return "?"


def state_of(key: ApiKey, now: float) -> str:
    """Whether a key is good, and if not, why.

    Args:
        key: The key.
        now: In seconds since 1970.
    """
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is not None and key.expires_at <= now:
        return "expired"
    return "live" if key.is_active else "off"
