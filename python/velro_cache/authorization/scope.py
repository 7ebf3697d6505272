"""Whose decisions are whose: what binds a cached decision to the service that made it.

A decision of one service must never answer for another one, even if it is about the same user.
The name of a service therefore takes part in every key, as part of a keyed digest.
"""

from __future__ import annotations

from velro_cache._engine import keyed_digest
from velro_cache.authorization.serials import serial_of

__all__ = ["as_bytes", "digest_of", "scope_of"]


def scope_of(service: object, namespace: str | None) -> bytes:
    """The name of a service within this process.

    Args:
        service: Who decides.
        namespace: Name shared by all services that would give the same answers. None: this very
            object alone.

    Returns:
        Bytes that no other name begins with.
    """
    scope = f"#{serial_of(service)}" if namespace is None else f"={namespace}"
    return as_bytes(f"{len(scope)},{scope}")


def digest_of(secret: bytes) -> str:
    """What stands in a key for something that must not.

    Args:
        secret: What is not to be shown.

    Returns:
        32 hexadecimal digits that mean nothing in another process.
    """
    return keyed_digest(secret).hex()


def as_bytes(text: str) -> bytes:
    """The bytes of a text, whatever its class makes of ``encode``, lone surrogates included."""
    try:
        return str.encode(text)
    except UnicodeEncodeError:
        return str.encode(text, "utf-8", "surrogatepass")
