"""A key in plain text, which is shown once and kept nowhere."""

from dataclasses import dataclass
from typing import NoReturn

from velro_cache.api_keys.models import ApiKey

__all__ = ["CreatedKey", "SecretKey"]


class SecretKey:
    """A key in plain text that does not get into logs by itself.

    Shows nothing of itself in ``repr``, ``str`` and formatted texts, and cannot be pickled or
    copied.

    Args:
        text: The key.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The key itself, to be handed to whoever asked for it."""
        return self._text

    def __repr__(self) -> str:
        return "SecretKey(...)"

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        raise TypeError("a key in plain text is not to be written down or copied")


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedKey:
    """A key that was just made.

    Attributes:
        key: What is known of it from now on.
        plain: The key itself, which nobody can tell later.
    """

    key: ApiKey
    plain: SecretKey
