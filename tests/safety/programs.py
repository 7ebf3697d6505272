"""Programs that try to break the cache, each in a process of its own.

They run with Python's debugging allocator, so that memory used after it was freed shows as a
crash at once, and what crashes or hangs is one failed test.
"""

from __future__ import annotations

import textwrap

from processes import PRELUDE, output_of

__all__ = ["check"]

SAFETY_PRELUDE = (
    PRELUDE
    + """
import copy, ctypes, dataclasses, gc, itertools, pickle, random, tracemalloc, weakref

unraisable = []
sys.unraisablehook = lambda info: unraisable.append(type(info.exc_value).__name__)


class Value:
    '''A value that may not be copied, so that it is the very object that dies.'''

    # Lists, because counting up is no single step.
    made, died = [], []

    def __init__(self, dying=None):
        Value.made.append(1)
        self.dying = dying

    def __deepcopy__(self, memo):
        return self

    def __del__(self):
        Value.died.append(1)
        if self.dying is not None:
            self.dying()


def assert_sound(cache, values_left=0):
    '''The cache does all it should, and holds no value that nobody can see.'''
    # Again and again, because values that die may set others.
    while len(cache):
        cache.clear()
    # A lookup of anything else: the last answer is kept for a moment.
    assert cache.get("nothing") == (None, False)
    for _ in range(3):
        gc.collect()
    left = len(Value.made) - len(Value.died)
    assert left == values_left, (left, len(Value.made))
    assert cache.set("k", [1], tags=["sound"]) is True
    assert cache.get("k") == ([1], True)
    assert cache.get_or_load("l", lambda: {"loaded": 1}) == {"loaded": 1}
    assert len(cache) == 2
    assert cache.invalidate_by_tags(["sound"]) == 1
    assert cache.get("k") == (None, False)
    assert cache.delete("l") is True
    assert len(cache) == 0, cache.keys()
    assert cache.get_stats()["total_entries"] == 0
"""
)


def check(program: str, answer: str = "ok") -> None:
    """Run a program, which must end well, leave nothing on stderr, and print the answer."""
    assert output_of(textwrap.dedent(program), SAFETY_PRELUDE) == answer
