"""Wildcards that would reach everything, or nearly so."""

import re
from typing import Final

__all__ = ["is_wide"]

_LEAST_LITERAL_CHARACTERS: Final = 3
"""So many characters name something; fewer may stand in any key."""

# A closing bracket right after the opening one, or after its "!", is a character of the set.
_WILDCARD: Final = re.compile(r"\*|\?|\[!?\][^\]]*\]|\[[^\]]+\]")
_LITERAL_IN_A_SET: Final = re.compile(r"\[[*?\[]\]")


def is_wide(pattern: str) -> bool:
    """Whether a pattern names so little that somebody should say it twice.

    It looks at the pattern alone, not at the keys, so the same request gets the same answer in
    every worker and at every time.

    Args:
        pattern: As for ``invalidate_by_pattern``.

    Returns:
        True with fewer than three characters besides the wildcards.
    """
    plain = _LITERAL_IN_A_SET.sub("x", pattern)
    letters = re.sub(r"[:_.\-]", "", _WILDCARD.sub("", plain))
    return len(letters) < _LEAST_LITERAL_CHARACTERS
