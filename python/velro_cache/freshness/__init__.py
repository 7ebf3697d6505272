"""How fresh an answer must be: old values while new ones are loaded, limits of waiting, lives.

:class:`Freshness` says it for one caller; :mod:`velro_cache.freshness.answers` keeps to it. What
allows something is never answered from past its end, whatever is asked for: the engine keeps no
such value.
"""

from velro_cache.freshness.policy import FailMode, Freshness

__all__ = ["FailMode", "Freshness"]
