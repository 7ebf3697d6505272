"""For tests of services that use velro-cache: a clock that stands still, and stand-ins.

Installed with the package is a plugin of pytest with fixtures on top of these: see
:mod:`velro_cache.testing.plugin`.
"""

from velro_cache.testing.frozen_clock import FrozenClock
from velro_cache.testing.keys import assert_cached, assert_not_cached
from velro_cache.testing.stand_ins import AllowAll, DenyAll

__all__ = ["AllowAll", "DenyAll", "FrozenClock", "assert_cached", "assert_not_cached"]
