"""How hosts know that a shared value is theirs, and that it is the one that was asked for.

Every envelope is bound to the name of the cache and the key it was made for: copied under another
key it is refused. Without a key of one's own a checksum is all there is, which any program that may
write to the backend can make; with ``l2_signing_key`` it takes that key (HMAC-SHA-256), with
``l2_encryption_key`` nobody without it can read the value either (AES-256-GCM). With both, both are
needed.

All keys are derived from the configured texts, one for each purpose, so that none of them helps
against another. For AES-GCM each envelope has a key of its own, derived from a random salt: with
one key for all, random nonces would run out after some billions of values.
"""

import hashlib
import hmac
import os
from typing import Any, Final, Protocol

from velro_cache.config import OptimizedCacheConfig
from velro_cache.exceptions import ConfigError
from velro_cache.l2.refused import RefusedValueError

__all__ = ["CallDigests", "Seal", "StorageKeys", "seal_for"]

_LONGEST_PLAIN_KEY: Final = 200


class Seal(Protocol):
    """One way of sealing."""

    mode: int
    """The number by which envelopes say how they are sealed."""

    def close(self, context: bytes, body: bytes) -> bytes:
        """Seal some bytes for a context; they cannot be opened for another one."""
        ...

    def open(self, context: bytes, sealed: bytes) -> bytes:
        """Undo :meth:`close`.

        Raises:
            RefusedValueError: They were not sealed in this way, for this context, with this key.
        """
        ...


class _Checksum:
    mode = 0
    _SIZE = 16

    def close(self, context: bytes, body: bytes) -> bytes:
        return self._digest(context, body) + body

    def open(self, context: bytes, sealed: bytes) -> bytes:
        body = sealed[self._SIZE :]
        if not hmac.compare_digest(sealed[: self._SIZE], self._digest(context, body)):
            raise RefusedValueError("damaged")
        return body

    def _digest(self, context: bytes, body: bytes) -> bytes:
        digest = hashlib.blake2b(_framed(context), digest_size=self._SIZE)
        digest.update(body)
        return digest.digest()


class _Signed:
    mode = 1
    _SIZE = 32

    def __init__(self, secret: bytes) -> None:
        self._key = _derive(secret, b"signing")

    def close(self, context: bytes, body: bytes) -> bytes:
        return self._digest(context, body) + body

    def open(self, context: bytes, sealed: bytes) -> bytes:
        body = sealed[self._SIZE :]
        if not hmac.compare_digest(sealed[: self._SIZE], self._digest(context, body)):
            raise RefusedValueError("forged")
        return body

    def _digest(self, context: bytes, body: bytes) -> bytes:
        return hmac.digest(self._key, _framed(context) + body, "sha256")


class _Encrypted:
    mode = 2
    _SALT = 16
    _NONCE = 12

    def __init__(self, secret: bytes) -> None:
        try:
            from cryptography.exceptions import InvalidTag
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ImportError as error:
            raise ConfigError(
                "l2_encryption_key needs the package cryptography:"
                " pip install 'velro-cache[encryption]'"
            ) from error
        self._invalid: type[Exception] = InvalidTag
        self._cipher: Any = AESGCM
        self._key = _derive(secret, b"encryption")

    def close(self, context: bytes, body: bytes) -> bytes:
        start = os.urandom(self._SALT + self._NONCE)
        nonce = start[self._SALT :]
        return start + bytes(self._keyed(start).encrypt(nonce, body, _framed(context)))

    def open(self, context: bytes, sealed: bytes) -> bytes:
        start, body = sealed[: self._SALT + self._NONCE], sealed[self._SALT + self._NONCE :]
        try:
            opened: bytes = self._keyed(start).decrypt(start[self._SALT :], body, _framed(context))
        except (self._invalid, ValueError):
            raise RefusedValueError("forged") from None
        return opened

    def _keyed(self, start: bytes) -> Any:
        return self._cipher(hmac.digest(self._key, start[: self._SALT], "sha256"))


def seal_for(config: OptimizedCacheConfig) -> Seal:
    """The seal that settings ask for.

    Args:
        config: The settings.

    Returns:
        The seal.

    Raises:
        ConfigError: It takes a package that is not installed.
    """
    secret = _secret(config)
    if secret is None:
        return _Checksum()
    return _Signed(secret) if config.l2_encryption_key is None else _Encrypted(secret)


class StorageKeys:
    """Under which texts the backend keeps the entries of one cache.

    With a secret these are keyed digests: whoever can list them learns no id. Without one the keys
    stand there as they are, unless they are very long.

    Args:
        config: The settings.
    """

    __slots__ = ("_key", "_prefix")

    def __init__(self, config: OptimizedCacheConfig) -> None:
        secret = _secret(config)
        self._key = None if secret is None else _derive(secret, b"names")
        # With the version of the envelopes: during an upgrade, two versions live side by side.
        self._prefix = f"velro:{config.name}:l2:1:"

    def value(self, key: str) -> str:
        """Where the value of a cache key is kept."""
        return self._prefix + self._name(key)

    def lock(self, key: str) -> str:
        """Where the lock of a cache key is kept. No value is ever kept there."""
        return self._prefix[:-2] + "lock:" + self._name(key)

    def _name(self, key: str) -> str:
        data = key.encode("utf-8", "surrogatepass")
        if self._key is not None:
            return hmac.digest(self._key, data, "sha256").hex()
        if len(data) <= _LONGEST_PLAIN_KEY and key.isprintable():
            return "=" + key
        return hashlib.blake2b(data, digest_size=32).hexdigest()


class CallDigests:
    """Digests of the arguments of calls that are the same on all hosts.

    They have a secret of their own, so a digest says nothing about arguments to whoever lacks it,
    and is of no use for anything else.

    Args:
        config: The settings.
    """

    __slots__ = ("_context", "_key")

    def __init__(self, config: OptimizedCacheConfig) -> None:
        secret = _secret(config)
        self._key = None if secret is None else _derive(secret, b"calls")
        self._context = _framed(config.name.encode())

    @property
    def has_secret(self) -> bool:
        """Whether there is a key from which theirs is derived; without, there are no digests."""
        return self._key is not None

    def digest(self, function: str, arguments: bytes) -> str:
        """The digest of one call, in hexadecimal.

        Args:
            function: The name of the function.
            arguments: Its arguments, written in the same way on all hosts.
        """
        assert self._key is not None  # noqa: S101 - whoever calls this has asked
        data = self._context + _framed(function.encode()) + arguments
        return hmac.digest(self._key, data, "sha256").hex()


def _secret(config: OptimizedCacheConfig) -> bytes | None:
    given = (config.l2_signing_key, config.l2_encryption_key)
    if given == (None, None):
        return None
    return b"".join(_framed((text or "").encode("utf-8", "surrogatepass")) for text in given)


def _derive(secret: bytes, purpose: bytes) -> bytes:
    # HKDF-SHA-256 (RFC 5869): extract, and the one block of output that is needed.
    extracted = hmac.digest(b"velro-cache l2", secret, "sha256")
    return hmac.digest(extracted, purpose + b"\x01", "sha256")


def _framed(data: bytes) -> bytes:
    """With its length before it: what follows cannot be taken for a part of it."""
    return len(data).to_bytes(8, "big") + data
