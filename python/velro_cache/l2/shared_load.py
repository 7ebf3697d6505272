"""One load with a second level before the loader: what is asked, in which order, and why.

The order is what makes it safe:

1. The flight has read its stamp before anything else, so whatever is invalidated from here on keeps
   the value out of the first level.
2. The position in the invalidation log is read before the loader begins. It goes with the value:
   what was loaded after this host had applied entry 17 is at least as new as entry 17.
3. A shared value is believed only if it is sealed for this very key, in time, and this host has
   applied all that the loading host had, and nothing since that touches the value. That is asked
   after the stamp was read, so nothing falls between the two.
4. Only what the first level has kept is written to the second.

The steps are written once, as a generator; one driver blocks and the other awaits.
"""

import asyncio
import inspect
import random
import secrets
import time
from collections.abc import Callable, Generator, Iterable
from typing import Any, Final, NamedTuple, Protocol

from velro_cache._engine import LoadedValue, PreparedEntry
from velro_cache.l2.calls import FAILED, Calls, Method
from velro_cache.l2.codec import Codec, Envelope
from velro_cache.l2.counters import Counters
from velro_cache.l2.refused import RefusedValueError
from velro_cache.l2.seal import StorageKeys
from velro_cache.l2.values import ValueNotSharedError

__all__ = ["Levels", "Request", "SharedLoad", "SharingCache"]

_LOCK_SECONDS: Final = 2.0
"""How long one loader keeps all others waiting: a decision takes milliseconds, and a holder that
died delays the others for so long."""

_USELESS_SECONDS: Final = 1.0
"""How long others are told not to wait for a value that turned out not to be shared."""

_FIRST_PAUSE_SECONDS: Final = 0.005
_LONGEST_PAUSE_SECONDS: Final = 0.1
_SHORTEST_LIFE_SECONDS: Final = 0.001
"""What the engine counts in."""


class SharingCache(Protocol):
    """What is needed of the first level."""

    def _position(self) -> tuple[str, int] | None: ...
    def _admits(
        self,
        key: str,
        tags: Iterable[str],
        generation: str,
        sequence: int,
        permissive: bool = True,
    ) -> bool: ...
    def _prepare(
        self,
        key: str,
        ttl: float | None = None,
        tags: Iterable[str] | None = None,
        priority: int = 1,
        refresh: bool = False,
        grace: float | None = None,
    ) -> PreparedEntry: ...


class Levels(NamedTuple):
    """What all loads of one cache have in common."""

    cache: SharingCache
    calls: Calls
    codec: Codec
    names: StorageKeys
    counters: Counters
    default_ttl_seconds: float
    max_ttl_seconds: float
    timeout_seconds: float
    single_flight: bool
    write_later: Callable[["SharedLoad", bytes, float], None]
    unlock_later: Callable[["SharedLoad", float], None]
    wall: Callable[[], float]
    """The wall clock, in seconds: the one that hosts have in common."""


class Request(NamedTuple):
    """What a caller of ``get_or_load`` asked for."""

    key: str
    tags: Iterable[str] | None
    priority: int
    ttl: Any
    refresh: bool
    load_timeout_seconds: float | None
    permissive: Any = True
    shared_key: str | None = None
    """Its key in the second level; None: the same."""
    private_tags: Iterable[str] = ()
    """Those of its tags that mean nothing to other processes, or must not leave this host."""


class _Call(NamedTuple):
    """A step: have the backend do something."""

    method: Method
    arguments: tuple[Any, ...]
    within: float | None = None


class _Pause(NamedTuple):
    """A step: wait."""

    seconds: float


_Steps = Generator[_Call | _Pause, Any, bool]


class SharedLoad:
    """Stands for the loader, the life and the entry of one load, with the second level behind.

    Args:
        levels: What all loads have in common.
        request: What was asked for.
        entry: Where the value goes in the first level.
        loader: What to call if the second level has nothing.
    """

    __slots__ = (
        "_entry",
        "_found",
        "_left",
        "_levels",
        "_loader",
        "_permissive",
        "_position",
        "_request",
        "_seen",
        "_tags",
        "loop",
        "owner",
    )

    def __init__(
        self, levels: Levels, request: Request, entry: PreparedEntry, loader: Callable[[], Any]
    ) -> None:
        self._levels = levels
        self._request = request
        # Their plain texts, whatever their classes make of them.
        self._tags = tuple(str.__str__(tag) for tag in request.tags or ())
        self._entry = entry
        self._loader = loader
        self._position: tuple[str, int] | None = None
        self._found: Envelope | None = None
        self._left = 0.0
        self._permissive = False
        self._seen: bytes | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        """The event loop this load runs on. None: a thread of its own."""
        self.owner = ""
        """The name under which it holds the lock of its key; empty if it does not."""

    @property
    def shared_key(self) -> str:
        """The key under which other hosts look for the value."""
        own = self._request.shared_key
        return self._request.key if own is None else own

    @property
    def timeout_seconds(self) -> float | None:
        """How long this load may take: the second level must not use up the loader's time."""
        longest = self._request.load_timeout_seconds
        if longest is None:
            return None
        asking = self._levels.timeout_seconds
        return longest + asking + (self._patience() if self._levels.single_flight else 0.0)

    # In the place of the loader

    def load(self) -> Any:
        """Return the value from the second level, or else from the loader."""
        steps = self._ask(self._levels.calls.works_without_loop)
        answer: Any = None
        try:
            while True:
                step = steps.send(answer)
                if isinstance(step, _Pause):
                    time.sleep(step.seconds)
                else:
                    calls = self._levels.calls
                    answer = calls.call(step.method, *step.arguments, within=step.within)
        except StopIteration as end:
            if end.value:
                return self._value()
        except BaseException:
            self._give_lock_back(0)
            raise
        try:
            return self._loader()
        except BaseException:
            self._give_lock_back(_USELESS_SECONDS)
            raise

    async def aload(self) -> Any:
        """Do what :meth:`load` does, on an event loop."""
        self.loop = asyncio.get_running_loop()
        steps = self._ask(True)
        answer: Any = None
        try:
            while True:
                step = steps.send(answer)
                if isinstance(step, _Pause):
                    await asyncio.sleep(step.seconds)
                else:
                    calls = self._levels.calls
                    answer = await calls.acall(step.method, *step.arguments, within=step.within)
        except StopIteration as end:
            if end.value:
                return self._value()
        except BaseException:
            self._give_lock_back(0)
            raise
        try:
            loaded = self._loader()
            return await loaded if inspect.isawaitable(loaded) else loaded
        except BaseException:
            self._give_lock_back(_USELESS_SECONDS)
            raise

    # In the place of the life

    def ttl(self, value: Any) -> float | None:
        """Return the life of the value, in seconds; None: that of the entry."""
        if self._found is not None:
            return self._left
        try:
            own: float | None = self._request.ttl(value) if callable(self._request.ttl) else None
        except BaseException:
            self._give_lock_back(_USELESS_SECONDS)
            raise
        return own

    # In the place of the entry

    def begin_loading(self) -> Any:
        """See :class:`PreparedEntry`."""
        return self._entry.begin_loading()

    def end_loading(self, token: Any) -> None:
        """See :class:`PreparedEntry`."""
        self._entry.end_loading(token)

    def hand_on(self, stamp: int) -> None:
        """See :class:`PreparedEntry`."""
        self._entry.hand_on(stamp)

    def pass_on(self, value: Any, stamp: int) -> LoadedValue:
        """See :class:`PreparedEntry`."""
        self._give_lock_back(_USELESS_SECONDS)
        return self._entry.pass_on(value, stamp)

    def discard(self, everywhere: bool) -> None:
        """See :class:`PreparedEntry`."""
        self._entry.discard(everywhere)

    def store(
        self, value: Any, stamp: int, ttl: float | None = None, permissive: bool = True
    ) -> LoadedValue:
        """Store the value in the first level, and if it was loaded, in the second as well."""
        # Whoever has written it may know better what it allows.
        permissive = permissive or self._permissive
        try:
            loaded = self._entry.store(value, stamp, ttl, permissive)
        except BaseException:
            self._give_lock_back(_USELESS_SECONDS)
            raise
        if self._found is not None:
            self._give_lock_back(0)
        elif self._position is not None:
            self._share(self._position, value, loaded, ttl, permissive)
        return loaded

    # The steps

    def _ask(self, backend_works: bool) -> _Steps:
        """Look for the value in the second level; the outcome says whether it was there."""
        levels = self._levels
        if not backend_works:
            levels.counters.skipped("no_plain_methods")
            return False
        self._position = levels.cache._position()
        if self._position is None:
            levels.counters.skipped("no_position")
            return False
        if self._request.refresh:
            levels.counters.skipped("refresh")
            return False
        data = yield self._get()
        if data is FAILED:
            return False
        if self._believes(data):
            return True
        if not levels.single_flight:
            return False
        found = yield from self._take_turns()
        # What is loaded now is newer than what was known before waiting.
        self._position = None if found else levels.cache._position()
        return found

    def _take_turns(self) -> _Steps:
        """Let one of all hosts load, and see what it has loaded; at most for a while."""
        levels = self._levels
        patience = self._patience()
        lock, owner = levels.names.lock(self.shared_key), secrets.token_hex(16)
        end, pause, waited = time.monotonic() + patience, _FIRST_PAUSE_SECONDS, False
        while True:
            left = end - time.monotonic()
            if left <= 0:
                levels.counters.count("waits_in_vain")
                return False
            answer = yield _Call("try_lock", (lock, owner, patience), left)
            if answer == "mine":
                self.owner = owner
            elif answer != "taken":
                return False
            if waited or answer == "taken":
                # Whoever held it may have left something since this one looked.
                data = yield self._get(left)
                if data is FAILED:
                    return False
                if self._believes(data):
                    return True
            if answer == "mine":
                return False
            if not waited:
                levels.counters.count("waits")
                waited = True
            # Not all at the same moment.
            yield _Pause(min(left, pause * random.uniform(0.5, 1.0)))  # noqa: S311
            pause = min(1.5 * pause, _LONGEST_PAUSE_SECONDS)

    def _patience(self) -> float:
        longest = self._request.load_timeout_seconds
        return _LOCK_SECONDS if longest is None else min(_LOCK_SECONDS, longest)

    def _get(self, within: float | None = None) -> _Call:
        return _Call("get", (self._levels.names.value(self.shared_key),), within)

    def _believes(self, data: Any) -> bool:
        """Whether what the backend returned is a value to go on with; notes it if so."""
        levels = self._levels
        if data is None:
            levels.counters.count("misses")
            return False
        if data == self._seen:
            return False
        try:
            envelope = levels.codec.decode(self.shared_key, data)
            self._check(envelope)
        except RefusedValueError as refused:
            levels.counters.refused(refused.reason)
            self._seen = data
            return False
        levels.counters.count("hits")
        self._found = envelope
        return True

    def _check(self, envelope: Envelope) -> None:
        """Find out whether an envelope is to be believed here and now.

        Raises:
            RefusedValueError: It is not.
        """
        levels, request = self._levels, self._request
        left = envelope.expires_at - levels.wall()
        # Written so that NaN is refused as well.
        if not left >= _SHORTEST_LIFE_SECONDS:
            raise RefusedValueError("expired")
        more = [tag for tag in envelope.tags if tag not in self._tags]
        try:
            # Longer than a value loaded here it does not live either, whatever clocks there are.
            self._left = min(left, self._life(envelope.value))
            allows = self._allows(envelope.value)
            if more:
                # One entry for all that the value depends on. The first one goes on watching
                # whether something newer is set.
                tags = (*self._tags, *more)
                entry = levels.cache._prepare(request.key, None, tags, request.priority)
            else:
                tags, entry = self._tags, self._entry
        except Exception as error:
            # It does not fit what is asked for: a value of another type, a tag that is none.
            raise RefusedValueError("unfit") from error
        if not self._left >= _SHORTEST_LIFE_SECONDS:
            raise RefusedValueError("expired")
        generation, sequence = envelope.generation, envelope.sequence
        # What either of the two takes for an allow is one.
        permissive = envelope.permissive or allows
        if not levels.cache._admits(request.key, tags, generation, sequence, permissive):
            raise RefusedValueError("position")
        if more and self._entry.pass_on(None, 0).is_superseded:
            raise RefusedValueError("superseded")
        self._entry = entry
        self._permissive = permissive

    def _allows(self, value: Any) -> bool:
        given = self._request.permissive
        answer = given(value) if callable(given) else given
        if not isinstance(answer, bool):
            raise TypeError("neither True nor False")
        return answer

    def _life(self, value: Any) -> float:
        ttl = self._request.ttl
        return self._seconds(ttl(value) if callable(ttl) else ttl)

    def _seconds(self, ttl: float | None) -> float:
        """The life that the first level makes of what was asked for."""
        levels = self._levels
        return float(
            min(levels.default_ttl_seconds if ttl is None else ttl, levels.max_ttl_seconds)
        )

    def _value(self) -> Any:
        assert self._found is not None  # noqa: S101 - the steps said that there is one
        return self._found.value

    # Writing

    def _share(
        self,
        position: tuple[str, int],
        value: Any,
        loaded: LoadedValue,
        ttl: float | None,
        permissive: bool,
    ) -> None:
        levels, request = self._levels, self._request
        if loaded.is_made_of_others:
            # Its tags do not say everything by which it can be invalidated.
            self._unshared("made_of_others", _USELESS_SECONDS)
            return
        if not loaded.is_current or loaded.is_superseded:
            # Whoever waits has reason to load it himself.
            self._unshared("stale", 0)
            return
        generation, sequence = position
        try:
            given = None if callable(request.ttl) else request.ttl
            life = self._seconds(given if ttl is None else ttl)
            end = levels.wall() + life
            private = {*request.private_tags}
            tags = tuple(tag for tag in self._tags if tag not in private)
            envelope = Envelope(generation, sequence, end, permissive, tags, value)
            data = levels.codec.encode(self.shared_key, envelope)
        except ValueNotSharedError as error:
            self._unshared(error.reason, _USELESS_SECONDS)
        except Exception:
            # A value that changes while it is written, or worse; the caller has it all the same.
            self._unshared("error", _USELESS_SECONDS)
        else:
            levels.write_later(self, data, life)

    def _unshared(self, reason: str, useless_seconds: float) -> None:
        self._levels.counters.unshared(reason)
        self._give_lock_back(useless_seconds)

    def _give_lock_back(self, useless_seconds: float) -> None:
        if self.owner:
            self._levels.unlock_later(self, useless_seconds)
