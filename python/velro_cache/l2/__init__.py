"""Values shared between hosts: a second level of the cache, in a Redis or in a place of your own.

The page ``docs/l2.md`` says what is stored, how it is checked and what happens when the place is
down. Everything of use to a program is here.
"""

from velro_cache.l2.contract import L2Backend, L2Locks, LockAnswer, TwoSidedL2Backend
from velro_cache.l2.memory import MemoryL2
from velro_cache.l2.redis import RedisL2
from velro_cache.l2.values import ValueNotSharedError, register_type

__all__ = [
    "L2Backend",
    "L2Locks",
    "LockAnswer",
    "MemoryL2",
    "RedisL2",
    "TwoSidedL2Backend",
    "ValueNotSharedError",
    "register_type",
]
