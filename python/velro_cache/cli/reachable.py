"""Whether what the settings name can be used from here, within a time limit.

Nothing that a running service uses is changed: the table is tried under a name of its own, the log
and Redis are read only.
"""

import os
import queue
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from velro_cache._engine import InvalidationLog
from velro_cache.config import OptimizedCacheConfig
from velro_cache.exceptions import VelroCacheError
from velro_cache.manager import OptimizedCacheManager

__all__ = ["Finding", "check_log", "check_redis", "check_table"]


_SQLITE: Final = "sqlite:///"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check has found.

    Attributes:
        subject: What was looked at.
        is_good: Whether a service can work with it.
        explanation: Why, or why not; holds no password.
    """

    subject: str
    is_good: bool
    explanation: str

    def as_text(self) -> str:
        """One line."""
        return f"{'OK  ' if self.is_good else 'MISS'} {self.subject}: {self.explanation}"


def check_table(config: OptimizedCacheConfig, timeout_seconds: float) -> Finding:
    """Make a table where that of the service would be, under another name, and remove it again.

    Args:
        config: The settings.
        timeout_seconds: Longest wait.
    """
    if config.share_invalidations is False:
        return Finding("table", True, "of each process alone, as share_invalidations says")
    trial = config.replace(
        name=f"check-config-{os.getpid()}-{secrets.token_hex(4)}",
        invalidation_log=None,
        redis_url=None,
        max_size_mb=1,
    )

    def make() -> str:
        cache = OptimizedCacheManager(trial)
        sharing = cache.get_stats()["sharing"]
        cache.stop()
        path = sharing["path"]
        if path is not None:
            for file in (Path(path), Path(path).with_suffix(".lock")):
                file.unlink(missing_ok=True)
        if sharing["state"] != "shared":
            return f"of each process alone: {sharing['not_shared_because']}"
        return f"shared by the processes of this user, in {Path(path).parent}"

    return _within(timeout_seconds, "table", make)


def check_log(config: OptimizedCacheConfig, timeout_seconds: float) -> Finding:
    """Ask the log which hosts it knows, as one that does not belong to them.

    Args:
        config: The settings.
        timeout_seconds: Longest wait.
    """
    address = config.log_address
    if address is None:
        return Finding("log", True, "none is configured: one host")
    if address.startswith(_SQLITE) and not os.path.exists(address[len(_SQLITE) :]):
        # To ask it would make it, with the rights of whoever checks.
        folder = os.path.dirname(os.path.abspath(address[len(_SQLITE) :]))
        if os.access(folder, os.W_OK | os.X_OK):
            return Finding("log", True, "its file is not there yet; the service will make it")
        return Finding("log", False, "its file is not there, and cannot be made there")
    limit_seconds = min(timeout_seconds, config.log_timeout_seconds)

    def ask() -> str:
        hosts = InvalidationLog(address, config.name, limit_seconds).hosts()
        return f"reached; {len(hosts)} hosts have told it of themselves"

    return _within(timeout_seconds, "log", ask)


def check_redis(config: OptimizedCacheConfig, timeout_seconds: float) -> Finding:
    """Ask the Redis of shared values for one that is not there.

    Args:
        config: The settings.
        timeout_seconds: Longest wait.
    """
    address = config.redis_url
    if address is None:
        return Finding("redis", True, "none is configured: no values are shared")
    missing = [name for name in ("redis", "msgpack") if find_spec(name) is None]
    if config.l2_encryption_key is not None and find_spec("cryptography") is None:
        missing.append("cryptography")
    if missing:
        return Finding("redis", False, f"not installed: {', '.join(missing)}")

    def ask() -> str:
        from velro_cache.l2.redis import RedisL2

        place = RedisL2(address, timeout_seconds)
        try:
            place.get(f"velro:check-config:{secrets.token_hex(8)}")
        finally:
            place.close()
        return "reached"

    return _within(timeout_seconds, "redis", ask)


def _within(timeout_seconds: float, subject: str, check: Callable[[], str]) -> Finding:
    """Run a check in a thread, which is left alone if it takes too long: a name may not resolve."""
    answers: queue.SimpleQueue[Finding] = queue.SimpleQueue()

    def work() -> None:
        try:
            answers.put(Finding(subject, True, check()))
        except VelroCacheError as error:
            answers.put(Finding(subject, False, str(error)))
        except Exception as error:
            # What a client says may repeat the address; its kind is enough.
            answers.put(Finding(subject, False, f"cannot be used: {type(error).__name__}"))

    threading.Thread(target=work, daemon=True).start()
    try:
        # The clients have the same limit, and say more.
        return answers.get(timeout=timeout_seconds + 1)
    except queue.Empty:
        return Finding(subject, False, f"no answer within {timeout_seconds:g} s")
