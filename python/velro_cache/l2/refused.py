"""Why a shared value was not believed."""

from velro_cache.exceptions import VelroCacheError

__all__ = ["RefusedValueError"]


class RefusedValueError(VelroCacheError):
    """What a backend returned is not to be believed, or not understood.

    Args:
        reason: One word, by which it is counted.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"a shared value was refused: {reason}")
        self.reason = reason
