"""Types of the compiled half. Private: import from ``velro_cache``."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, Literal, Self, final
from uuid import UUID

from typing_extensions import disjoint_base

__all__ = [
    "CacheCore",
    "CachedCalls",
    "CachedFunction",
    "InvalidationLog",
    "LoadedValue",
    "LogBatch",
    "ManualClock",
    "PreparedEntry",
    "RevocationCore",
    "__version__",
    "after_fork",
    "before_fork",
    "call_directly",
    "escape_id",
    "event_body",
    "forget_loaders",
    "generate_auth_key",
    "key_kinds",
    "keyed_digest",
    "set_default_cache",
]

__version__: Final[str]

_Id = str | UUID | int
_Wait = Literal["host", "bus", "fleet"]

@disjoint_base
class CacheCore:
    """The compiled core of ``OptimizedCacheManager``; use that class."""

    def __new__(cls, settings: dict[str, Any], clock: ManualClock | None = None) -> Self: ...
    def get(self, key: str, default: Any = None) -> tuple[Any, bool]: ...
    def get_value(self, key: str, default: Any = None) -> Any: ...
    def set(
        self,
        key: str,
        value: Any,
        ttl: float | None = None,
        tags: Iterable[str] | None = None,
        priority: int = 1,
        *,
        stamp: int | None = None,
        permissive: bool = True,
    ) -> bool: ...
    def delete(
        self,
        key: str,
        *,
        wait: _Wait | None = None,
        reason: str | None = None,
        actor: str | None = None,
    ) -> bool: ...
    def clear(
        self, *, wait: _Wait | None = None, reason: str | None = None, actor: str | None = None
    ) -> None: ...
    def get_many(self, keys: Iterable[str]) -> dict[str, Any]: ...
    def set_many(
        self,
        mapping: Mapping[str, Any],
        ttl: float | None = None,
        tags: Iterable[str] | None = None,
        priority: int = 1,
        *,
        stamp: int | None = None,
        permissive: bool = True,
    ) -> int: ...
    def snapshot(self) -> int: ...
    def _depend_on(self, tags: Iterable[str], stamp: int) -> None: ...
    def invalidate_by_tags(
        self,
        tags: Iterable[str],
        *,
        wait: _Wait | None = None,
        reason: str | None = None,
        actor: str | None = None,
    ) -> int: ...
    def invalidate_by_pattern(
        self,
        pattern: str,
        *,
        wait: _Wait | None = None,
        reason: str | None = None,
        actor: str | None = None,
    ) -> int: ...
    def invalidate_user_data(
        self,
        user_id: _Id,
        *,
        wait: _Wait | None = None,
        reason: str | None = None,
        actor: str | None = None,
    ) -> int: ...
    def invalidate_generation_data(
        self,
        generation_id: _Id,
        *,
        wait: _Wait | None = None,
        reason: str | None = None,
        actor: str | None = None,
    ) -> int: ...
    def _invalidate(
        self,
        tags: Iterable[str],
        keys: Iterable[str],
        patterns: Iterable[str],
        users: Iterable[_Id],
        generations: Iterable[_Id],
        *,
        reason: str | None = None,
        actor: str | None = None,
    ) -> tuple[int, int]: ...
    @staticmethod
    def _check_names(
        tags: Iterable[str],
        keys: Iterable[str],
        patterns: Iterable[str],
        users: Iterable[_Id],
        generations: Iterable[_Id],
    ) -> bool: ...
    def _invalidate_call(self, call_tag: str, pattern: str, is_shared: bool) -> int: ...
    def _wait_published(self, ticket: int, wait: _Wait | None = None) -> None: ...
    def _position(self) -> tuple[str, int] | None: ...
    def _admits(
        self,
        key: str,
        tags: Iterable[str],
        generation: str,
        sequence: int,
        permissive: bool = True,
    ) -> bool: ...
    def _is_refilling(self) -> bool: ...
    def _drain(self) -> bool: ...
    def _on_leftovers(self, call: Callable[[], object] | None) -> None: ...
    def _after_fork(self) -> None: ...
    def _sharing(self) -> dict[str, Any]: ...
    def get_user_profile(self, user_id: _Id) -> tuple[Any, bool]: ...
    def get_user_permissions(self, user_id: _Id) -> tuple[Any, bool]: ...
    def get_generation_access(self, generation_id: _Id, user_id: _Id) -> tuple[Any, bool]: ...
    def get_project_access(self, project_id: _Id, user_id: _Id) -> tuple[Any, bool]: ...
    def get_team_role(self, team_id: _Id, user_id: _Id) -> tuple[Any, bool]: ...
    def get_uuid_validation(self, uuid_str: str | UUID, context: _Id) -> tuple[Any, bool]: ...
    def get_session_data(self, user_id: _Id) -> tuple[Any, bool]: ...
    def get_rate_limit(self, user_id: _Id, window: _Id) -> tuple[Any, bool]: ...
    def keys(self, pattern: str | None = None, limit: int = 1000) -> list[str]: ...
    def sweep(self) -> None: ...
    def __len__(self) -> int: ...
    def __contains__(self, key: str, /) -> bool: ...
    def _set_typed(
        self,
        kind: int,
        ids: tuple[_Id, ...],
        value: Any,
        ttl: float | None = None,
        stamp: int | None = None,
        permissive: bool = True,
    ) -> bool: ...
    def _prepare(
        self,
        key: str,
        ttl: float | None = None,
        tags: Iterable[str] | None = None,
        priority: int = 1,
        refresh: bool = False,
    ) -> PreparedEntry: ...
    def _top(self, of_tags: bool, limit: int) -> list[tuple[str, int, int, int]]: ...
    def _observe(self) -> None: ...
    def _history(self, seconds: int) -> tuple[float, list[dict[str, Any]]]: ...
    def _recent_invalidations(
        self, limit: int
    ) -> list[tuple[list[tuple[str, str]], int, int, bool, float, str | None, str | None]]: ...
    def _explain(self, key: str) -> dict[str, Any]: ...
    def _keys_by_prefix(
        self, prefix: str, limit: int, after: int
    ) -> tuple[list[str], int | None]: ...
    def _stats(self) -> dict[str, Any]: ...
    def _close(self) -> None: ...
    def _reopen(self) -> None: ...
    @property
    def _closed(self) -> bool: ...

@final
class ManualClock:
    """A clock that stands still until it is told to move."""

    def __new__(cls) -> Self: ...
    def advance(self, seconds: float) -> None: ...
    def suspend(self, seconds: float) -> None: ...
    def now(self) -> float: ...

@final
class InvalidationLog:
    """The log by which hosts tell each other what to invalidate."""

    def __new__(cls, url: str, name: str, timeout_seconds: float = 5.0) -> Self: ...
    def poll(
        self,
        after: int = 0,
        max_entries: int = 1000,
        host: str | None = None,
        generation: str = "",
        applied: int = 0,
        max_staleness_seconds: float = 1.0,
    ) -> LogBatch: ...
    def wait(self, after: int, seconds: float) -> None: ...
    def append(self, body: bytes) -> tuple[str, int]: ...
    def hosts(self) -> list[tuple[str, str, int]]: ...

@final
class LogBatch:
    """A log and its entries as seen at one moment."""

    @property
    def generation(self) -> str: ...
    @property
    def first(self) -> int: ...
    @property
    def last(self) -> int: ...
    @property
    def entries(self) -> list[tuple[int, bytes]]: ...

@final
class PreparedEntry:
    """An entry without its value."""

    def begin_loading(self) -> Any: ...
    def end_loading(self, token: Any) -> None: ...
    def hand_on(self, stamp: int) -> None: ...
    def store(
        self, value: Any, stamp: int, ttl: float | None = None, permissive: bool = True
    ) -> LoadedValue: ...
    def discard(self, everywhere: bool) -> None: ...
    def pass_on(self, value: Any, stamp: int) -> LoadedValue: ...

@final
class LoadedValue:
    """A loaded value, of which everybody who waited gets a copy of its own."""

    def copy(self) -> Any: ...
    @property
    def is_current(self) -> bool: ...
    @property
    def is_vouched_for(self) -> bool: ...
    @property
    def is_superseded(self) -> bool: ...
    @property
    def is_made_of_others(self) -> bool: ...
    @property
    def is_unfollowed(self) -> bool: ...

@disjoint_base
class RevocationCore:
    """The compiled half of ``Revocation``; use ``OptimizedCacheManager.revoking()``."""

    def __new__(
        cls, cache: CacheCore, reason: str | None = None, actor: str | None = None
    ) -> Self: ...
    def _name(
        self,
        tags: Iterable[str] | None,
        user_id: _Id | None,
        generation_id: _Id | None,
        keys: Iterable[str] | None,
        patterns: Iterable[str] | None,
    ) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, _kind: object, error: BaseException | None, _traceback: object, /
    ) -> None: ...
    def __aexit__(
        self, _kind: object, error: BaseException | None, _traceback: object, /
    ) -> Awaitable[None]: ...

@final
class CachedCalls:
    """Shape and counters of one decorated function."""

    def __new__(
        cls,
        name: str,
        parameters: list[tuple[str, int, bool, Any]],
        has_receiver: bool,
        key_function: Callable[..., Any] | None,
        cache: CacheCore | None,
        miss: object,
    ) -> Self: ...
    def probe(self, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> Any: ...
    def describe(
        self, args: tuple[Any, ...], kwargs: dict[str, Any] | None
    ) -> tuple[str, str] | None: ...
    @property
    def pattern(self) -> str: ...
    @property
    def family_pattern(self) -> str: ...
    @property
    def counts(self) -> tuple[int, int]: ...

def call_directly(cls: type[CachedFunction]) -> None: ...

@disjoint_base
class CachedFunction:
    """A decorated function that is not a coroutine function."""

    def __new__(
        cls, calls: CachedCalls, load: Callable[[tuple[Any, ...], dict[str, Any]], Any]
    ) -> Self: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...
    def __get__(self, instance: object, _owner: type | None = None, /) -> Any: ...

def set_default_cache(cache: CacheCore | None) -> None: ...
def forget_loaders() -> None: ...
def keyed_digest(data: bytes) -> bytes: ...
def generate_auth_key(key_type: str, **params: _Id) -> str: ...
def escape_id(id: _Id) -> str: ...
def event_body(
    tags: Iterable[str] | None = None,
    keys: Iterable[str] | None = None,
    patterns: Iterable[str] | None = None,
    user_id: _Id | None = None,
    generation_id: _Id | None = None,
    all: bool = False,
) -> bytes: ...
def key_kinds() -> list[tuple[str, str, list[str]]]: ...
def before_fork() -> None: ...
def after_fork(in_child: bool) -> None: ...
