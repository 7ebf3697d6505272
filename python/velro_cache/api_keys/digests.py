"""From a key to what is stored of it: a digest under a pepper.

A key of 190 random bits cannot be found from its SHA-256 by trying. The pepper, a secret that is
not in the database, is for keys that were imported and may be shorter, and for whoever steals the
database alone: without the pepper a digest says nothing, not even whether a guess is right.

Peppers have names, so that they can be changed: new keys are digested under the current one, older
keys are found under the others until they are rotated.
"""

import hashlib
import hmac
from collections.abc import Iterator, Mapping
from typing import Final

from velro_cache.exceptions import ConfigError

__all__ = ["PLAIN_SHA256", "Peppers"]

PLAIN_SHA256: Final = "sha256"
"""Stands for a pepper: the digest is a plain SHA-256, as that of an imported key may be."""

_SHORTEST_PEPPER_BYTES: Final = 16
_LONGEST_NAME: Final = 32


class Peppers:
    """The secrets under which keys are digested. Shows none of them.

    Args:
        current: Name of the one for new keys.
        secrets: By name, the secrets, each of 16 bytes or more.
        accept_plain_sha256: Whether keys are found, too, whose stored digest is a plain SHA-256.

    Raises:
        ConfigError: A secret is too short, a name is no name, or the current one is not there.
    """

    __slots__ = ("_secrets", "accept_plain_sha256", "current")

    def __init__(
        self,
        current: str,
        secrets: Mapping[str, bytes],
        *,
        accept_plain_sha256: bool = False,
    ) -> None:
        for name, secret in secrets.items():
            if not name or len(name) > _LONGEST_NAME or not name.isalnum() or name == PLAIN_SHA256:
                raise ConfigError(
                    f"the name of a pepper is 1 to {_LONGEST_NAME} letters and digits,"
                    f" and not {PLAIN_SHA256!r}"
                )
            if not isinstance(secret, bytes) or len(secret) < _SHORTEST_PEPPER_BYTES:
                raise ConfigError(
                    f"the pepper {name!r} must be {_SHORTEST_PEPPER_BYTES} bytes or more;"
                    " make one with: python -c 'import secrets; print(secrets.token_hex(32))'"
                )
        if current not in secrets:
            raise ConfigError(f"there is no pepper {current!r:.40}")
        self.current: Final = current
        self.accept_plain_sha256: Final = accept_plain_sha256
        # The current one first: most keys are found under it.
        self._secrets = {current: secrets[current], **secrets}

    @classmethod
    def one(cls, secret: bytes) -> "Peppers":
        """A single pepper, of the name ``1``.

        Args:
            secret: 16 bytes or more.
        """
        return cls("1", {"1": secret})

    def digest(self, key: str) -> tuple[str, bytes]:
        """Digest a new key.

        Args:
            key: The key.

        Returns:
            The name of the pepper, and 32 bytes.
        """
        return self.current, _keyed(self._secrets[self.current], key)

    def digest_under(self, pepper_id: str, key: str) -> bytes | None:
        """Digest a key as one of the peppers has it.

        Args:
            pepper_id: Its name, or :data:`PLAIN_SHA256`.
            key: The key.

        Returns:
            32 bytes. None: there is no such pepper (any more).
        """
        if pepper_id == PLAIN_SHA256:
            return hashlib.sha256(key.encode()).digest() if self.accept_plain_sha256 else None
        secret = self._secrets.get(pepper_id)
        return None if secret is None else _keyed(secret, key)

    def candidates(self, key: str) -> Iterator[tuple[str, bytes]]:
        """All digests under which a key may be stored, the likeliest first.

        Args:
            key: The key.

        Yields:
            Names of peppers, and digests.
        """
        for name, secret in self._secrets.items():
            yield name, _keyed(secret, key)
        if self.accept_plain_sha256:
            yield PLAIN_SHA256, hashlib.sha256(key.encode()).digest()

    def secrets(self) -> list[bytes | None]:
        """What digests are made with, in the order of :meth:`candidates`; None: plain SHA-256."""
        plain: list[bytes | None] = [None] if self.accept_plain_sha256 else []
        return [*self._secrets.values(), *plain]

    def __repr__(self) -> str:
        return f"Peppers(current={self.current!r}, names={sorted(self._secrets)})"


def _keyed(secret: bytes, key: str) -> bytes:
    return hmac.digest(secret, key.encode(), "sha256")
