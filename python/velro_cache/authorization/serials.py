"""Numbers for services and verifiers: what one found is never taken for another's."""

from __future__ import annotations

import itertools
import weakref
from collections import OrderedDict
from typing import Final

from velro_cache.fork_safety import ForkSafeLock

__all__ = ["serial_of"]

_serials = itertools.count(1)
_known: dict[int, tuple[weakref.ref[object], int]] = {}
_pinned: OrderedDict[int, tuple[object, int]] = OrderedDict()
_known_lock = ForkSafeLock()

_MOST_PINNED: Final = 64
"""Services of the kind that has to be kept alive to be known again; a process has one or two."""


def serial_of(service: object) -> int:
    """A number for each object, never used again for another one.

    Its ``id()`` will not do: the next object may get the same one.

    Args:
        service: Any object.

    Returns:
        The same number for the same object, for as long as it lives.
    """
    place = id(service)
    with _known_lock:
        known = _known.get(place)
        if known is not None and known[0]() is service:
            return known[1]
        pinned = _pinned.get(place)
        if pinned is not None:
            return pinned[1]
        serial = next(_serials)
        try:
            # The callback takes the note away together with the object.
            _known[place] = (weakref.ref(service, lambda _: _forget(place, serial)), serial)
        except TypeError:
            # No weak references to this one: it has slots. While it is held, its id is its own.
            _pinned[place] = (service, serial)
            if len(_pinned) > _MOST_PINNED:
                _pinned.popitem(last=False)
        return serial


def _forget(place: int, serial: int) -> None:
    # Runs whenever the collector likes, maybe within the lock above: dict operations only.
    known = _known.get(place)
    if known is not None and known[1] == serial:
        _known.pop(place, None)
