"""``@cached_authorization``: the result of a function, kept by its arguments."""

import functools
import inspect
import string
from collections.abc import Awaitable, Callable, Iterable, Mapping
from enum import Enum
from typing import (
    Any,
    Concatenate,
    Generic,
    NamedTuple,
    ParamSpec,
    Protocol,
    Self,
    TypeVar,
    cast,
    overload,
)
from uuid import UUID

from velro_cache._engine import CachedCalls, CachedFunction, call_directly
from velro_cache.exceptions import ConfigError, InvalidTagError
from velro_cache.fork_safety import ForkSafeLock
from velro_cache.freshness.policy import Freshness
from velro_cache.l2.shared_call import SharedFunction
from velro_cache.manager import OptimizedCacheManager
from velro_cache.registry import get_cache_manager

__all__ = ["CacheInfo", "Cached", "cached_authorization"]

P = ParamSpec("P")
Q = ParamSpec("Q")
S = TypeVar("S")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

_MISS = object()
_LONGEST_SECONDS = 1e12

_IMPLIED_TAGS: Mapping[str, str] = {
    "user_id": "user",
    "generation_id": "generation",
    "project_id": "project",
    "team_id": "team",
}
"""Parameters of these names tag the result by themselves, so that ``invalidate_user_data`` and
its like reach it even where ``tags=`` was forgotten."""


class CacheInfo(NamedTuple):
    """What happened to one decorated function, as ``functools.lru_cache`` reports it."""

    hits: int
    misses: int
    maxsize: int
    """Bound on entries of the whole cache, which the function shares with others."""
    currsize: int
    """Results of this function held now."""


class Cached(Protocol, Generic[P, R_co]):
    """A decorated function: called like the function itself, and more."""

    __wrapped__: Callable[..., Any]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Return the cached result, or call the function once for all who ask meanwhile."""
        ...

    @overload
    def __get__(self, instance: None, owner: type | None = None, /) -> Self: ...
    @overload
    def __get__(
        self: "Cached[Concatenate[S, Q], R_co]", instance: S, owner: type | None = None, /
    ) -> "Cached[Q, R_co]": ...
    def __get__(self, instance: Any, owner: type | None = None, /) -> Any:
        """Bind a method to its instance, as with any function."""
        ...

    def cache_info(self) -> CacheInfo:
        """Count hits and misses. Cost: `O(entries)`."""
        ...

    def cache_clear(self) -> int:
        """Invalidate all results of functions of this module and name, in all processes.

        Returns:
            How many there were here.
        """
        ...

    def invalidate(self, *args: Any, **kwargs: Any) -> int:
        """Invalidate the results for these arguments, in all processes.

        An id given as a UUID or as its text means the same here, and so do all functions of this
        module and name (closures), and all instances of a class: another process cannot tell
        which of its own is meant.

        Args:
            *args: As in the call. For a method, the instance comes first:
                ``service.check.invalidate(service, user_id)``.
            **kwargs: As in the call.

        Returns:
            How many results were dropped.

        Raises:
            TypeError: The arguments do not fit the function; for a method, the instance is
                missing.
        """
        ...


class _Decorator(Protocol):
    """Keeps the type of what it decorates."""

    def __call__(self, function: Callable[P, R], /) -> Cached[P, R]: ...


def cached_authorization(
    ttl_seconds: float = 600,
    tags: Iterable[str] = (),
    key: Callable[..., Any] | None = None,
    *,
    cache: OptimizedCacheManager | None = None,
    permissive: bool | Callable[[Any], bool] = True,
    l2_name: str | None = None,
    freshness: Freshness | None = None,
) -> _Decorator:
    """Cache the results of a function, sync or async, method or not.

    Arguments are keyed by type and value, however they are passed: ``f(1)`` and ``f(user_id=1)``
    share a result, ``f(1)``, ``f(1.0)``, ``f(True)`` and ``f("1")`` do not. They are kept as a
    keyed digest only, so an argument may be a token. A method's results belong to its instance.

    Args:
        ttl_seconds: Life of a result in seconds, above 0, cut to ``max_ttl_seconds``.
        tags: Templates such as ``"user:{user_id}"``, filled from the arguments of the call.
            Parameters called ``user_id``, ``generation_id``, ``project_id`` and ``team_id`` tag
            the result without being asked.
        key: Called with the arguments; what it returns (an id, or a tuple of ids) is keyed in
            their place. It must name everything the result depends on. None: all arguments.
        cache: Where results are kept; None: the manager of this process.
        permissive: Whether results allow something, or a function of the result that says so with
            True or False, such as ``bool`` where the function returns an allow or a deny. What
            denies may be served while there is no news from the invalidation log, what allows
            may not.
        l2_name: Name under which hosts share results by way of L2, such as
            ``"permissions.can_read.v1"``. With it you promise that it means the same function in
            the same version wherever it is used: change it together with what the function
            returns. Needs ``l2_encryption_key`` or ``l2_signing_key``, and for a method ``key``.
            None: results stay in this process.
        freshness: What is done when a result is near its end, or past it, or the function takes
            long; see :class:`~velro_cache.freshness.Freshness`. ``refresh_ahead`` is for coroutine
            functions alone: a hit of others runs nothing that could begin a load. None: nothing.

    Returns:
        A decorator. What it returns can be called like the function, and has ``cache_info()``,
        ``cache_clear()``, ``invalidate(*args)`` and ``__wrapped__``.

    Raises:
        ConfigError: ``ttl_seconds`` is not above 0, ``permissive`` neither a bool nor a function,
            ``freshness`` asks for old values of what allows something, or for ``refresh_ahead`` of
            a plain function, or ``l2_name`` is no name, one of another function, or one of
            something that depends on an object of this process. Also, at the first call at the
            latest: ``l2_name`` without a key of L2.
        InvalidTagError: A template names no parameter, or ``tags`` is a bare string.
        UncacheableArgumentError: At the call: an argument has no safe key. The function is not
            called then.

    Consistency: as for ``get_or_load``: one call of the function for any number of callers at
    once; its exceptions reach all of them and are never cached; a result invalidated while the
    function ran is not kept.
    """
    if callable(ttl_seconds):
        raise ConfigError("write @cached_authorization(), with parentheses")
    if isinstance(ttl_seconds, bool) or not isinstance(ttl_seconds, (int, float)):
        raise ConfigError("ttl_seconds must be a number of seconds")
    if not ttl_seconds > 0:
        raise ConfigError(f"ttl_seconds must be a number of seconds above 0, not {ttl_seconds!r}")
    # An integer too large for a float is a very long time like any other; it is cut anyway.
    life = float(min(ttl_seconds, _LONGEST_SECONDS))
    if not (isinstance(permissive, bool) or callable(permissive)):
        kind = type(permissive).__name__
        raise ConfigError(f"permissive must be True, False or a function of the result, not {kind}")
    if isinstance(tags, str):
        raise InvalidTagError("tags must be a list, tuple or set of templates, not one text")
    if freshness is not None:
        if not isinstance(freshness, Freshness):
            kind = type(freshness).__name__
            raise ConfigError(f"freshness must be a Freshness or None, not {kind}")
        freshness.check_permissive(permissive)
    templates = tuple(tags)

    def decorate(function: Callable[P, R], /) -> Cached[P, R]:
        if isinstance(function, (staticmethod, classmethod)):
            kind = type(function).__name__
            raise ConfigError(f"write @{kind} above @cached_authorization, not below it")
        if not callable(function):
            raise TypeError(f"cannot decorate a {type(function).__name__}: it cannot be called")
        shape = _Shape(function, templates, key, cache, permissive, l2_name, freshness)
        is_async = _is_coroutine_function(function)
        if not is_async and freshness is not None and freshness.refresh_ahead is not None:
            raise ConfigError("refresh_ahead is for coroutine functions")
        build: Callable[[Any, _Shape, float], Any] = _asynchronous if is_async else _synchronous
        return cast("Cached[P, R]", build(function, shape, life))

    return decorate


class _CachedFunction(CachedFunction):
    """The compiled function, with room for attributes."""

    def __reduce__(self) -> str:
        # As any function: by its name, and a copy of it is the function itself.
        return cast("str", cast("Any", self).__qualname__)


call_directly(_CachedFunction)


class _Shape:
    """What the decorator knows about a function."""

    def __init__(
        self,
        function: Callable[..., Any],
        templates: tuple[str, ...],
        key: Callable[..., Any] | None,
        cache: OptimizedCacheManager | None,
        permissive: bool | Callable[[Any], bool],
        l2_name: str | None,
        freshness: Freshness | None,
    ) -> None:
        self.function = function
        self.freshness = freshness
        self.permissive = permissive
        # Its own, not that of what it wraps: a wrapper may add or drop arguments, and what is
        # called here is the wrapper.
        self.signature = inspect.signature(function, follow_wrapped=False)
        _refuse_hidden_ids(function, self.signature)
        self.templates = _checked(templates, self.signature, function)
        self.cache = cache
        parameters = [
            (name, int(p.kind), p.default is not p.empty, p.default)
            for name, p in self.signature.parameters.items()
        ]
        is_method = _is_method(function)
        self.key = key
        self.shared: SharedFunction | None = None
        if l2_name is not None:
            self.shared = SharedFunction(
                l2_name,
                function,
                _name(function),
                has_receiver=is_method,
                has_key=key is not None,
            )
            if cache is not None and cache._l2 is not None:
                self.shared.check(cache._l2)
        # A name that is shared is the same in all processes, whatever was defined before: what
        # one of them invalidates by it, the others find by it.
        name = _unique_name(function) if self.shared is None else self.shared.name
        self.calls = CachedCalls(name, parameters, is_method, key, cache, _MISS)

    def manager(self) -> OptimizedCacheManager:
        return get_cache_manager() if self.cache is None else self.cache

    def describe(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, str]:
        described = self.calls.describe(args, kwargs)
        if described is None:
            # Says what is wrong better than we could.
            self.signature.bind(*args, **kwargs)
            raise TypeError(f"arguments do not fit {_name(self.function)}()")
        return described

    def about(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> "_About":
        """Say everything about a call that the cache has to know to load its result."""
        key, call_tag = self.describe(args, kwargs)
        bound = self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        tags = self.tags(dict(bound.arguments), call_tag)
        manager = self.manager()
        l2_key = None
        if self.shared is not None and manager._l2 is not None:
            # No parameter has an empty name.
            own = None if self.key is None else [("", self.key(*args, **kwargs))]
            l2_key = self.shared.key_in(manager._l2, own or self._keyed(bound))
        return _About(manager, key, tags, l2_key, (call_tag,))

    def _keyed(self, bound: inspect.BoundArguments) -> list[tuple[str, Any]]:
        """All arguments by name; those by names of the caller's own in an order of their own."""
        kinds = {name: parameter.kind for name, parameter in self.signature.parameters.items()}
        return [
            (name, tuple(sorted(value.items())) if kinds[name].name == "VAR_KEYWORD" else value)
            for name, value in bound.arguments.items()
        ]

    def tags(self, values: dict[str, Any], call_tag: str) -> list[str]:
        for name, parameter in self.signature.parameters.items():
            if parameter.kind is parameter.VAR_KEYWORD:
                values = {**values.get(name, {}), **values}
        tags = [call_tag, "auth"]
        for name, kind in _IMPLIED_TAGS.items():
            text = _as_id(values.get(name))
            if text:
                tags.append(f"{kind}:{text}")
        # An id of a class of its own, such as a masked text, is written as what it is.
        plain = {
            name: value if type(value) in (str, int, UUID) else _as_id(value) or value
            for name, value in values.items()
        }
        tags.extend(template.format_map(plain) for template in self.templates)
        return tags

    def info(self) -> CacheInfo:
        hits, misses = self.calls.counts
        manager = self.manager()
        entries = len(manager.keys(self.calls.pattern, manager.config.max_entries))
        return CacheInfo(hits, misses, manager.config.max_entries, entries)

    def clear(self) -> int:
        return self.manager().invalidate_by_pattern(self.calls.family_pattern)

    def invalidate(self, *args: Any, **kwargs: Any) -> int:
        _, call_tag = self.describe(args, kwargs)
        is_shared = self.shared is not None
        return self.manager()._invalidate_call(call_tag, self.calls.family_pattern, is_shared)


class _About(NamedTuple):
    """One call, for the cache."""

    manager: OptimizedCacheManager
    key: str
    tags: list[str]
    l2_key: str | None
    private_tags: tuple[str, ...]
    """A digest that anybody could make of guessed arguments: it is for this host alone."""


def _synchronous(function: Callable[..., R], shape: _Shape, ttl: float) -> Any:
    def load(args: tuple[Any, ...], kwargs: dict[str, Any]) -> R:
        about = shape.about(args, kwargs)
        work = functools.partial(function, *args, **kwargs)
        return about.manager.load_missing(
            about.key,
            work,
            ttl=ttl,
            tags=about.tags,
            permissive=shape.permissive,
            l2_key=about.l2_key,
            private_tags=about.private_tags,
            freshness=shape.freshness,
        )

    cached = _CachedFunction(shape.calls, load)
    functools.update_wrapper(cast("Any", cached), function)
    return _with_methods(cached, shape)


def _asynchronous(function: Callable[..., Awaitable[R]], shape: _Shape, ttl: float) -> Any:
    probe = shape.calls.probe
    miss = _MISS
    asked = shape.freshness
    ahead = asked if asked is not None and asked.refresh_ahead is not None else None

    def load_ahead(args: tuple[Any, ...], kwargs: dict[str, Any], freshness: Freshness) -> None:
        manager = shape.manager()
        # Cheap enough to be asked on every hit; what follows is for one in a life.
        if not manager._is_due(shape.describe(args, kwargs)[0], freshness):
            return
        about = shape.about(args, kwargs)
        manager._aload_ahead(
            about.key,
            functools.partial(function, *args, **kwargs),
            ttl=ttl,
            tags=about.tags,
            permissive=shape.permissive,
            l2_key=about.l2_key,
            private_tags=about.private_tags,
            freshness=freshness,
        )

    # A function of Python's own, and not an object that behaves like one: that is what frameworks
    # recognise as a coroutine function.
    @functools.wraps(function)
    async def cached(*args: Any, **kwargs: Any) -> Any:
        value = probe(args, kwargs)
        if value is not miss:
            if ahead is not None:
                load_ahead(args, kwargs, ahead)
            return value
        about = shape.about(args, kwargs)
        work = functools.partial(function, *args, **kwargs)
        return await about.manager.aload_missing(
            about.key,
            work,
            ttl=ttl,
            tags=about.tags,
            permissive=shape.permissive,
            l2_key=about.l2_key,
            private_tags=about.private_tags,
            freshness=shape.freshness,
        )

    return _with_methods(cached, shape)


def _with_methods(cached: Any, shape: _Shape) -> Any:
    cached.cache_info = shape.info
    cached.cache_clear = shape.clear
    cached.invalidate = shape.invalidate
    return cached


def _checked(
    templates: tuple[str, ...], signature: inspect.Signature, function: Callable[..., Any]
) -> tuple[str, ...]:
    for template in templates:
        if not isinstance(template, str):
            raise InvalidTagError(f"a tag must be a str, not {type(template).__name__}")
        try:
            fields = [parsed[1:] for parsed in string.Formatter().parse(template)]
        except ValueError as error:
            raise InvalidTagError(f"tag {template!r:.80}: {error}") from None
        if not template:
            raise InvalidTagError("a tag must not be empty")
        for field, spec, conversion in fields:
            if spec or conversion:
                raise InvalidTagError(f"tag {template!r:.80}: write a plain {{{field}}}")
            name = None if field is None else field.split(".")[0].split("[")[0]
            if name is not None and name not in signature.parameters:
                known = ", ".join(signature.parameters) or "none"
                raise InvalidTagError(
                    f"tag {template!r:.80}: {_name(function)}() has no parameter {name!r};"
                    f" it has: {known}"
                )
    return templates


def _as_id(value: object) -> str:
    """The text of an id, whatever its class makes of ``str()``; empty for what is none."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, UUID):
        return UUID.__str__(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return int.__repr__(value)
    if isinstance(value, Enum):
        return _as_id(value.value)
    return ""


def _refuse_hidden_ids(function: Callable[..., Any], own: inspect.Signature) -> None:
    """Refuse a wrapper that hides ids: its results could not be tagged with them."""
    try:
        wrapped = inspect.signature(function)
    except ValueError:
        return
    hidden = [
        name for name in _IMPLIED_TAGS if name in wrapped.parameters and name not in own.parameters
    ]
    if hidden:
        raise ConfigError(
            f"another decorator hides the parameter {hidden[0]!r} of {_name(function)}(): its"
            " results would escape invalidation. Put @cached_authorization() below it, next to"
            " the function"
        )


def _is_coroutine_function(function: Callable[..., Any]) -> bool:
    call = getattr(function, "__call__", None)  # noqa: B004 - asked for, not tested
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


def _name(function: Callable[..., Any]) -> str:
    """Name a function by module and place, a partial one by what it calls, an object by class."""
    named: Any = function.func if isinstance(function, functools.partial) else function
    if not hasattr(named, "__qualname__"):
        named = type(named)
    return f"{named.__module__}.{named.__qualname__}"


def _is_method(function: Callable[..., Any]) -> bool:
    """Whether the first argument is the object a method is called on, and not an id."""
    first = next(iter(inspect.signature(function).parameters), None)
    outer = getattr(function, "__qualname__", "").rpartition(".")[0]
    return first in ("self", "cls") and bool(outer) and not outer.endswith("<locals>")


_names_lock = ForkSafeLock()
_names: dict[str, int] = {}


def _unique_name(function: Callable[..., Any]) -> str:
    """Name a function for its keys; a second function of the same name gets another one."""
    name = _name(function)
    with _names_lock:
        number = _names[name] = _names.get(name, 0) + 1
    # Always with its number: a function may bear any name, that of another one's number too.
    return f"{name}#{number}"
