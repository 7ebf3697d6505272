"""A function whose results hosts share: it has a name that its user vouches for on all of them.

The key of a decorated function means something in its own process only: it holds a number of the
definition, and a digest under a secret of the process. With a name given by the user, the results
have a second key, for L2 alone: that name, and a digest of the arguments under a secret that is
derived from the keys of L2, which all hosts have. Whoever lists or reads the Redis learns nothing
of the arguments, not even by guessing.

What belongs to one process is refused: an object that a method is called on, arguments frozen into
a partial function.
"""

import inspect
import re
from collections.abc import Callable, Iterable
from typing import Any, Final

from velro_cache.exceptions import ConfigError
from velro_cache.fork_safety import ForkSafeLock
from velro_cache.l2.arguments import ArgumentNotSharedError, encode_arguments
from velro_cache.l2.two_levels import TwoLevels

__all__ = ["SharedFunction"]

# No colon and no wildcard, so it is one part of a key whatever it says; no "#" either, which the
# names of functions that are not shared end in.
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", re.ASCII)

_lock = ForkSafeLock()
_definitions: dict[str, str] = {}


class SharedFunction:
    """One function with a name that is the same everywhere.

    Args:
        name: That name.
        function: What is decorated.
        described: Its module and place, by which a second function of the name is noticed.
        has_receiver: Whether it is a method.
        has_key: Whether a function of the user's says what is keyed.

    Raises:
        ConfigError: The name is none, or that of another function of this process; or results
            would depend on an object of this process.
    """

    __slots__ = ("name",)

    def __init__(
        self,
        name: str,
        function: Callable[..., Any],
        described: str,
        *,
        has_receiver: bool,
        has_key: bool,
    ) -> None:
        if type(name) is not str or not _NAME.fullmatch(name):
            raise ConfigError(
                "l2_name must be 1 to 100 letters, digits, '.', '_' and '-', beginning with a"
                f" letter, a digit or '_', such as 'permissions.can_read.v1'; not {name!r:.120}"
            )
        if not has_key and (has_receiver or not inspect.isfunction(function)):
            raise ConfigError(
                f"l2_name={name!r}: results of {described}() depend on an object of this process,"
                " which no other host has. Give key=, a function of the arguments that names"
                " everything of it that the results depend on"
            )
        with _lock:
            known = _definitions.setdefault(name, described)
        if known != described:
            raise ConfigError(
                f"l2_name={name!r} is that of {known}() already: {described}() would be given its"
                " results. Every function needs a name of its own"
            )
        self.name = name

    def key_in(self, l2: TwoLevels, arguments: Iterable[tuple[str, Any]]) -> str | None:
        """Name a call for all hosts.

        Args:
            l2: The second level.
            arguments: Names and values of the arguments, or of what is keyed in their place.

        Returns:
            The key for the second level; None: the call stays in this process.

        Raises:
            ConfigError: The second level has no key of its own.
        """
        self.check(l2)
        try:
            encoded = encode_arguments(arguments)
        except ArgumentNotSharedError:
            return None
        return f"auth:call:{self.name}:{l2.digest_of_call(self.name, encoded)}"

    def check(self, l2: TwoLevels) -> None:
        """Find out whether results can be shared there.

        Raises:
            ConfigError: The second level has no key of its own.
        """
        if not l2.has_secret:
            raise ConfigError(
                f"l2_name={self.name!r} needs l2_encryption_key or l2_signing_key, the same on all"
                " hosts: without a secret, whoever reads the Redis could guess the arguments of"
                " calls, and write results"
            )
