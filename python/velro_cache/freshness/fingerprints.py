"""What a value was, as a number that tells nothing about it.

To see whether a value changed, the one before is not kept: it may be a secret, or large. 64 bits of
a keyed digest do; two different values have the same one by a chance of one in 2**64. A value that
cannot be written down without running code of its own has none, and neither has a large one.
"""

from typing import Any, Final

from velro_cache._engine import keyed_digest
from velro_cache.l2.values import ValueNotSharedError, flatten

__all__ = ["fingerprint"]

_MOST_BYTES: Final = 1 << 16


def fingerprint(value: Any) -> int | None:
    """Return a number for a value; equal values of equal types have the same one.

    Args:
        value: Any value. Dicts and sets that are equal but were filled in another order may count
            as different.

    Returns:
        64 bits, meaningful in this process only; None: it has none.

    Cost: `O(size)`, up to 64 KiB.
    """
    try:
        # All of them of built-in types, exactly: their repr runs no code of the value's.
        written = repr(flatten(value, _MOST_BYTES))
    except (ValueNotSharedError, ValueError):
        # ValueError: an integer of thousands of digits.
        return None
    digest = keyed_digest(written.encode("utf-8", "surrogatepass"))
    return int.from_bytes(digest[:8], "little")
