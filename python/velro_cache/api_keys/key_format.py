"""What an API key looks like, so that most of what is no key is refused by looking at it.

A key is ``{prefix}_{environment}_{secret}{checksum}``, such as ``vk_live_`` and 38 more letters and
digits: 32 of a cryptographic generator (190 bits) and 6 of a checksum over all before, CRC-32 (the
one of ISO 3309 and zip) in base 62. The shape is the one that secret scanners look for: a prefix
of its own says whose it is and in which environment, the checksum tells a key from a text that
happens to look like one (GitHub, "Behind GitHub's new authentication token formats", 2021).

The checksum is no secret and no protection: whoever knows this page can make keys that pass.
"""

import re
import secrets
import string
import zlib
from dataclasses import dataclass
from typing import Final

from velro_cache.exceptions import ConfigError

__all__ = ["SECRET_CHARACTERS", "KeyFormat", "holds_key", "with_checksum"]

SECRET_CHARACTERS: Final = 32
"""Of a generator; each holds 5.95 bits."""

_CHECKSUM_CHARACTERS: Final = 6
"""So many hold 32 bits in base 62."""

_ALPHABET: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_PREFIX: Final = re.compile(r"[a-z][a-z0-9]{0,15}")
_ENVIRONMENT: Final = re.compile(r"[a-z][a-z0-9]{0,15}")
_SHOWN_CHARACTERS: Final = 4
_ANY_KEY: Final = re.compile(
    rf"(?<![0-9A-Za-z])(?=({_PREFIX.pattern}_{_ENVIRONMENT.pattern}_"
    rf"[0-9A-Za-z]{{{SECRET_CHARACTERS + _CHECKSUM_CHARACTERS}}})(?![0-9A-Za-z]))"
)


@dataclass(frozen=True, slots=True)
class KeyFormat:
    """The keys of one service and environment.

    Attributes:
        prefix: Whose keys they are: 1 to 16 lower-case letters and digits, a letter first.
        environment: Where they are for, such as ``live`` or ``test``; likewise.

    Raises:
        ConfigError: One of them is something else.
    """

    prefix: str = "vk"
    environment: str = "live"

    def __post_init__(self) -> None:
        """Check both."""
        for name, text, shape in (
            ("prefix", self.prefix, _PREFIX),
            ("environment", self.environment, _ENVIRONMENT),
        ):
            if not isinstance(text, str) or not shape.fullmatch(text):
                raise ConfigError(
                    f"{name} must be 1 to 16 lower-case letters and digits, a letter first"
                )

    @property
    def start(self) -> str:
        """What every key begins with."""
        return f"{self.prefix}_{self.environment}_"

    @property
    def pattern(self) -> str:
        """A regular expression for secret scanners: finds these keys in any text."""
        length = SECRET_CHARACTERS + _CHECKSUM_CHARACTERS
        return rf"\b{self.start}[0-9A-Za-z]{{{length}}}\b"

    @property
    def length(self) -> int:
        """Characters of a key."""
        return len(self.start) + SECRET_CHARACTERS + _CHECKSUM_CHARACTERS

    def generate(self) -> str:
        """Make a key that nobody can guess."""
        secret = "".join(secrets.choice(_ALPHABET) for _ in range(SECRET_CHARACTERS))
        body = self.start + secret
        return body + _checksum(body)

    def matches(self, text: str) -> bool:
        """Whether a text may be a key of this format: its shape and its checksum fit.

        Args:
            text: Anything a client sent.
        """
        if len(text) != self.length or not text.startswith(self.start) or not text.isascii():
            return False
        body, checksum = text[:-_CHECKSUM_CHARACTERS], text[-_CHECKSUM_CHARACTERS:]
        # The checksum is no secret: who sent the text can compute it.
        return body[len(self.start) :].isalnum() and _checksum(body) == checksum

    def shown(self, key: str) -> str:
        """What may be shown of a key, so that people can tell theirs apart.

        Args:
            key: A key of this format.

        Returns:
            Its beginning with the first four characters of the secret: 24 of 190 bits.
        """
        return key[: len(self.start) + _SHOWN_CHARACTERS]


def holds_key(text: str) -> bool:
    """Whether there is an API key in a text, of whatever service: it is not to be written down.

    Args:
        text: Such as a reason that somebody gives, or an id in whose place a key was put.
    """
    found = (match[1] for match in _ANY_KEY.finditer(text))
    return any(
        _checksum(key[:-_CHECKSUM_CHARACTERS]) == key[-_CHECKSUM_CHARACTERS:] for key in found
    )


def with_checksum(body: str) -> str:
    """The key of which a text is all but the checksum, which anybody can compute.

    Args:
        body: ASCII.
    """
    return body + _checksum(body)


def _checksum(body: str) -> str:
    number = zlib.crc32(body.encode("ascii"))
    digits = []
    for _ in range(_CHECKSUM_CHARACTERS):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
