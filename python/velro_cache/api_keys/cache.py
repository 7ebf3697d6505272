"""API keys, checked in memory.

What makes it safe:

- **No key is kept.** Names and snapshots hold a digest under a pepper; texts of keys are in no
  error, log or repr.
- **A revocation is seen.** Every entry has the tags of its key and of its organization. What is
  invalidated is gone on every worker of the host when the call returns, and a load that was under
  way meanwhile is not kept.
- **Nobody's error lets anybody in.** If the database cannot be asked, a key that was read before
  answers for ``stale_if_error_seconds`` more, unless it was invalidated or has expired; after that,
  and for every other key, it is "nobody can tell".
- **Made-up keys cost little.** What cannot be a key is refused by its shape. Of keys nobody knows a
  few thousand are remembered for seconds, apart from the real ones; and only so many a second are
  asked about at all.

Cost of a hit: one call of the compiled half: shape and checksum, HMAC-SHA-256, a lookup, a look at
the clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import math
import random
import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from velro_cache._engine import ApiKeyMemory, KeptKey
from velro_cache.api_keys.digests import Peppers
from velro_cache.api_keys.kept import EVERY_KEY, PREFIX, name_of, tags_named, tags_of
from velro_cache.api_keys.key_format import KeyFormat
from velro_cache.api_keys.miss_budget import MissBudget
from velro_cache.api_keys.models import ApiKey
from velro_cache.api_keys.repository import ApiKeyRepository
from velro_cache.api_keys.unknown_keys import UnknownKeys
from velro_cache.exceptions import (
    ApiKeyError,
    AuthorizationUnavailable,
    KeyExpired,
    KeyMalformed,
    KeyRevoked,
    KeyUnknown,
    MissBudgetExceeded,
)
from velro_cache.fork_safety import ForkSafeLock
from velro_cache.manager import OptimizedCacheManager
from velro_cache.registry import get_cache_manager
from velro_cache.typed_entries import Wait

__all__ = ["ApiKeyCache"]

_LONGEST_KEY_CHARACTERS: Final = 512
"""Longer is no key in any format, and is not digested."""

_PRIORITY: Final = 2
_QUESTIONS: Final = 2
"""Asked for one check, if something became good while the first one was under way."""

_SHARE_OF_ONE_SOURCE: Final = 0.2


class ApiKeyCache:
    """Says what an API key is good for, from memory where it can.

    Args:
        repository: Where keys are kept.
        peppers: With what they are digested.
        key_format: What they look like. None: ``vk_live_...``; see also ``accept_other_formats``.
        cache_manager: Where snapshots are kept. None: the cache manager of this process. Its
            ``max_entries`` must hold all live keys.
        ttl_seconds: How long a snapshot answers without asking, in seconds.
        ttl_jitter: Part of it by which lives differ, 0 to 0.5, so that keys that were read
            together are not read again together.
        unknown_ttl_seconds: How long it is remembered that a key lets nobody in. 0: not at all.
        max_unknown_keys: How many of those are remembered.
        misses_per_second: How often the database is asked about keys that are not cached, in the
            long run; one source may use a fifth of it.
        miss_burst: How often at once.
        stale_if_error_seconds: How long a snapshot answers after ``ttl_seconds`` while the
            database cannot be asked. 0: not at all.
        accept_other_formats: Whether keys of another shape are looked up, too: imported ones.
        now: The wall clock, in seconds since 1970.
        monotonic: A clock that only goes forward, in seconds.

    Raises:
        ValueError: A limit makes no sense.
    """

    def __init__(
        self,
        repository: ApiKeyRepository,
        *,
        peppers: Peppers,
        key_format: KeyFormat | None = None,
        cache_manager: OptimizedCacheManager | None = None,
        ttl_seconds: float = 900.0,
        ttl_jitter: float = 0.1,
        unknown_ttl_seconds: float = 10.0,
        max_unknown_keys: int = 10_000,
        misses_per_second: float = 50.0,
        miss_burst: int = 100,
        stale_if_error_seconds: float = 900.0,
        accept_other_formats: bool = False,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        for name, value, least in (
            ("ttl_seconds", ttl_seconds, 0.001),
            ("unknown_ttl_seconds", unknown_ttl_seconds, 0.0),
            ("stale_if_error_seconds", stale_if_error_seconds, 0.0),
        ):
            if not (math.isfinite(value) and value >= least):
                raise ValueError(f"{name} must be {least:g} or more seconds, not {value!r:.40}")
        if not 0 <= ttl_jitter <= 0.5:
            raise ValueError("ttl_jitter must be 0 to 0.5")
        if max_unknown_keys < 0:
            raise ValueError("max_unknown_keys must be 0 or more")
        self.repository: Final = repository
        self.peppers: Final = peppers
        self.key_format: Final = KeyFormat() if key_format is None else key_format
        self._cache = cache_manager
        self._ttl_seconds = ttl_seconds
        self._jitter = ttl_jitter
        self._stale_seconds = stale_if_error_seconds
        self._any_format = accept_other_formats
        self._now = now
        self._lock = ForkSafeLock()
        self._unknown = UnknownKeys(unknown_ttl_seconds, max_unknown_keys, monotonic)
        self._times_forgotten = 0
        self._budget = MissBudget(misses_per_second, miss_burst, _SHARE_OF_ONE_SOURCE, monotonic)
        self._memory: ApiKeyMemory | None = None
        self._bound_to: OptimizedCacheManager | None = None
        self.generation = 0
        """Counts refreshes that were begun; what was read before one belongs to an older one."""
        self._counts = dict.fromkeys(
            ("hits", "loads", "stale_served", "unavailable", "malformed", "refused_from_memory"), 0
        )

    # Checks

    def recall(self, plain: str | bytes) -> ApiKey | None:
        """Say what is known of a key, if memory alone can tell that it is good now.

        Args:
            plain: The key, as a client sent it.

        Returns:
            What is known. None: not from memory; :meth:`verify` tells.

        Consistency: as for :meth:`verify`.
        """
        found: ApiKey | None = self._current_memory().recall(plain)
        return found

    async def verify(self, plain: str | bytes, *, source: Hashable | None = None) -> ApiKey:
        """Say what a key is good for.

        Args:
            plain: The key, as a client sent it.
            source: Who sent it, such as the address of the client: one source may use a part
                only of the questions to the database. None: not known.

        Returns:
            What is known of the key, which is good now.

        Raises:
            KeyMalformed: It cannot be a key. Nobody was asked.
            KeyUnknown, KeyRevoked, KeyExpired: It lets nobody in.
            MissBudgetExceeded: It is not cached, and too much was asked for lately. A key that was
                good before is still, as if the database could not be asked.
            AuthorizationUnavailable: It is not cached, and the database cannot be asked.

        Consistency: a check that begins after a revocation of the key or its organization has
            returned is never answered by what was read before it, on any worker of this host; on
            others within the bound of the invalidation log. What becomes good is seen at once
            where it is invalidated, and within ``unknown_ttl_seconds`` elsewhere.
        Cost: a hit takes about a microsecond; others share one question.
        """
        found = self.recall(plain)
        if found is not None:
            return found
        # From here on digests alone: what waits, fails and is traced back holds no key.
        digests = tuple(self.peppers.candidates(self._text_of(plain)))
        del plain
        digest = dict(digests)[self.peppers.current]
        with self._lock:
            why = self._unknown.why(digest)
        if why is not None:
            self._counts["refused_from_memory"] += 1
            raise why(_SAYS[why])
        return await self._ask(digests, digest, source)

    async def get(self, plain: str | bytes) -> ApiKey | None:
        """Say what is known of a key, or None if it lets nobody in.

        Args:
            plain: The key.

        Raises:
            MissBudgetExceeded, AuthorizationUnavailable: As for :meth:`verify`.
        """
        try:
            return await self.verify(plain)
        except ApiKeyError:
            return None

    # Entries

    def set(
        self,
        key: ApiKey,
        *,
        stamp: int | None = None,
        generation: int | None = None,
        fresh_seconds: float | None = None,
    ) -> bool:
        """Keep what was read of a key.

        Args:
            key: What was read.
            stamp: What ``snapshot()`` returned before it was read. None: it was read just now, and
                nothing was invalidated since.
            generation: What :attr:`generation` was before it was read. None: what it is now.
            fresh_seconds: How long it answers without asking. None: ``ttl_seconds``.

        Returns:
            Whether it is there: it is live, and since the stamp nothing of it was invalidated, nor
            was it refused. If it is not live, what was kept of it before is invalidated.
        """
        now = self._now()
        if generation is None:
            generation = self.generation
        fresh = self._ttl_seconds if fresh_seconds is None else fresh_seconds
        kept = self._kept(key, key.digest, now, generation, fresh)
        if not key.is_live(now) or kept.stale_until <= now:
            self.invalidate(key_id=key.id)
            return False
        if len(self._unknown):
            with self._lock:
                if stamp is not None and self._unknown.is_newer(key.digest, stamp):
                    # Such as a page of all keys that was read before the key was revoked.
                    return False
                self._unknown.forget(key.digest)
        life = kept.stale_until - now
        name = name_of(key.digest)
        return self.manager.set(name, kept, life, tags_of(key), _PRIORITY, stamp=stamp)

    def kept(self, digest: bytes) -> ApiKey | None:
        """What is kept of the key with a stored digest, be it fresh or not; None: nothing.

        Args:
            digest: 32 bytes.

        Raises:
            AuthorizationUnavailable: What was read is no key.

        Counts no lookup.
        """
        found = self._current_memory().kept(digest)
        return None if found is None else _key_of(found)

    def lives(self, fresh_seconds: float | None = None) -> tuple[float, float, float, int]:
        """How long and how firmly what is read of keys is kept.

        Args:
            fresh_seconds: How long it answers without asking. None: ``ttl_seconds``.

        Returns:
            That, the part of it by which lives differ, for how many seconds more it answers while
            the database cannot be asked, and its weight on survival in a full cache.
        """
        fresh = self._ttl_seconds if fresh_seconds is None else fresh_seconds
        return fresh, self._jitter, self._stale_seconds, _PRIORITY

    @property
    def refused(self) -> Mapping[bytes, object]:
        """Digests of the keys that were refused lately; not to be changed."""
        return self._unknown.digests

    def is_refused_since(self, digest: bytes, stamp: int) -> bool:
        """Whether a key was refused by what was read since a stamp, and that is remembered.

        Args:
            digest: 32 bytes.
            stamp: Of :meth:`snapshot`.
        """
        with self._lock:
            return self._unknown.is_newer(digest, stamp)

    def wall_clock(self) -> float:
        """The moment, in seconds since 1970."""
        return self._now()

    def snapshot(self) -> int:
        """The stamp for :meth:`set`: to be taken before the database is asked."""
        return self.manager.snapshot()

    def invalidate(
        self,
        *,
        key_id: str | None = None,
        organization_id: str | None = None,
        wait: Wait | None = None,
        reason: str | None = None,
        actor: str | None = None,
    ) -> int:
        """Have what is known of keys read again, on all workers.

        Args:
            key_id: A key.
            organization_id: All keys of an organization.
            wait: As for ``invalidate_by_tags``.
            reason: Why, for the list of recent invalidations.
            actor: Who asks for it.

        Returns:
            How many entries of this process were dropped.

        Raises:
            ValueError: Neither is named.
            InvalidationNotAcknowledged, InvalidTagError: As for ``invalidate_by_tags``.

        Consistency: as for ``invalidate_by_tags``.
        """
        tags = tags_named(key_id, organization_id)
        self.forget_refusals()
        return self.manager.invalidate_by_tags(tags, wait=wait, reason=reason, actor=actor)

    def clear(self) -> None:
        """Have all keys read again, on all workers."""
        self.forget_refusals()
        self.manager.invalidate_by_tags([EVERY_KEY])

    def forget_refusals(self) -> None:
        """Ask again about keys that were refused: which of them are good now is not known."""
        with self._lock:
            self._times_forgotten += 1
            self._unknown.clear()

    def purge_expired(self) -> int:
        """Give back the memory of what will not be served any more.

        Returns:
            How many refusals were dropped; what the cache manager drops is in its statistics.
        """
        self.manager.sweep()
        with self._lock:
            return self._unknown.purge()

    async def warm(self, page_size: int = 500) -> int:
        """Read all live keys into memory, once; a ``RefreshManager`` does so again and again.

        Args:
            page_size: Rows of one page.

        Returns:
            How many are there now.

        Raises:
            Exception: What the repository raised; what was read before that is there.

        Consistency: what is revoked while this runs is not kept.
        Cost: one pass over all live keys; the event loop is let go between pages.
        """
        stamp, generation, count = self.snapshot(), self.generation, 0
        async for page in self.repository.fetch_live(page_size=page_size):
            for key in page:
                count += self.set(key, stamp=stamp, generation=generation)
            await asyncio.sleep(0)
        return count

    def stats(self) -> dict[str, Any]:
        """What happened, in this process.

        Returns:
            ``hits``, ``loads`` (questions to the database), ``stale_served`` (answers of
            snapshots past their time, while the database could not be asked), ``unavailable``
            (nobody could tell), ``malformed``, ``refused_from_memory``, ``unknown_keys``
            (refusals that are remembered now), ``misses_refused`` (by the budget).
        """
        memory = self._memory
        hits = 0 if memory is None else memory.hits
        return {
            **self._counts,
            "hits": hits + self._counts["hits"],
            "unknown_keys": len(self._unknown),
            "misses_refused": self._budget.refused,
        }

    # The whole way

    @property
    def manager(self) -> OptimizedCacheManager:
        """Where snapshots are kept."""
        return get_cache_manager() if self._cache is None else self._cache

    def _current_memory(self) -> ApiKeyMemory:
        memory = self._memory
        if memory is None or (self._cache is None and get_cache_manager() is not self._bound_to):
            memory = self._bound()
        return memory

    def _bound(self) -> ApiKeyMemory:
        manager = self.manager
        now = None if self._now is time.time else self._now
        start, secrets = self.key_format.start, self.peppers.secrets()
        if self._memory is not None:
            self._counts["hits"] += self._memory.hits
        self._memory = ApiKeyMemory(manager, PREFIX, start, secrets, now)
        self._bound_to = manager
        return self._memory

    def _text_of(self, plain: str | bytes) -> str:
        if not isinstance(plain, (str, bytes)):
            # Its repr might be the key.
            raise TypeError(f"an API key must be text or bytes, not {type(plain).__name__}")
        text = plain.decode("latin-1") if isinstance(plain, bytes) else plain
        if not self.key_format.matches(text) and not (
            self._any_format
            and 0 < len(text) <= _LONGEST_KEY_CHARACTERS
            and text.isascii()
            and text.isprintable()
        ):
            self._counts["malformed"] += 1
            raise KeyMalformed(_SAYS[KeyMalformed])
        return text

    async def _ask(self, digests: _Digests, digest: bytes, source: Hashable | None) -> ApiKey:
        manager, name = self.manager, name_of(digest)
        before = self._before(manager, digests)
        # Its freshness ends when the key expires, at the latest.
        if before is not None and self._now() < before.fresh_until:
            # Of another shape, or under an older pepper.
            self._counts["hits"] += 1
            return _key_of(before)
        question = _Question(self, manager, digests, digest, source)
        for _ in range(_QUESTIONS):
            try:
                answer = await manager.aload_missing(
                    name,
                    question,
                    ttl=self._life_of,
                    tags=(EVERY_KEY,),
                    priority=_PRIORITY,
                    refresh=before is not None or name in manager,
                    l2_key=None,
                )
            except Exception as error:
                return self._instead(manager, digests, error)
            if type(answer) is KeptKey:
                break
            if before is not None:
                manager.invalidate_by_tags([f"api_key:{before.key.id}"])
                before = None
            elif name in manager:
                # Put there meanwhile, by a refresh that read it before or after. A deny wins.
                manager.delete(name)
            why = answer.why
            if self._is_true_still(digest, answer):
                raise why(_SAYS[why])
        else:
            # Something becomes good all the time; what this key is, the next check finds out.
            raise why(_SAYS[why])
        # Nothing may be awaited from here on: the clock has the last word.
        key = _key_of(answer)
        if not key.is_live(self._now()):
            raise KeyExpired(_SAYS[KeyExpired])
        return key

    def _is_true_still(self, digest: bytes, refusal: _Refusal) -> bool:
        """Remember a refusal, unless something may have become good since it was read."""
        with self._lock:
            if refusal.times_forgotten != self._times_forgotten:
                return False
            for name in {digest, refusal.digest or digest}:
                self._unknown.add(name, refusal.why, refusal.stamp)
            return True

    def _before(self, manager: OptimizedCacheManager, digests: _Digests) -> KeptKey | None:
        """What is kept of a key, good or not any more."""
        for _, digest in digests:
            kept = manager.get_value(name_of(digest))
            if type(kept) is KeptKey and hmac.compare_digest(kept.digest, digest):
                # What was read may be no key.
                with contextlib.suppress(AuthorizationUnavailable):
                    _key_of(kept)
                    return kept
        return None

    def _instead(
        self, manager: OptimizedCacheManager, digests: _Digests, error: Exception
    ) -> ApiKey:
        """What answers where the database cannot be asked."""
        # Looked up again: meanwhile it may have been revoked.
        kept = self._before(manager, digests)
        if kept is not None and self._now() < kept.stale_until:
            self._counts["stale_served"] += 1
            return _key_of(kept)
        if isinstance(error, MissBudgetExceeded):
            raise error
        self._counts["unavailable"] += 1
        raise AuthorizationUnavailable("whether the API key is good cannot be told") from error

    def _kept(
        self, key: ApiKey, digest: bytes, read_at: float, generation: int, fresh_seconds: float
    ) -> KeptKey:
        spread = fresh_seconds * self._jitter
        end = math.inf if key.expires_at is None else key.expires_at
        fresh_until = read_at + fresh_seconds - random.random() * spread  # noqa: S311
        stale_until = fresh_until + self._stale_seconds
        return KeptKey(digest, key, min(fresh_until, end), min(stale_until, end), generation)

    def _life_of(self, answer: _Answer) -> float:
        """How long an answer is kept; 0 or less: not at all."""
        return answer.stale_until - self._now() if type(answer) is KeptKey else 0.0


class _Refusal(NamedTuple):
    """That a key lets nobody in, and as of when."""

    why: type[ApiKeyError]
    times_forgotten: int
    """By then; see :meth:`ApiKeyCache.forget_refusals`."""
    stamp: int
    """From before the database was asked."""
    digest: bytes | None = None
    """Under which the key is stored. None: it is not."""


_Answer: TypeAlias = KeptKey | _Refusal

_Digests: TypeAlias = tuple[tuple[str, bytes], ...]
"""All under which a key may be stored, each with the name of its pepper."""


def _key_of(kept: KeptKey) -> ApiKey:
    key: ApiKey = kept.key
    return key


class _Question:
    """One question to the database about one key."""

    __slots__ = ("_digest", "_digests", "_keys", "_manager", "_source")

    def __init__(
        self,
        keys: ApiKeyCache,
        manager: OptimizedCacheManager,
        digests: _Digests,
        digest: bytes,
        source: Hashable | None,
    ) -> None:
        self._keys = keys
        self._manager = manager
        self._digests = digests
        self._digest = digest
        self._source = source

    async def __call__(self) -> _Answer:
        keys = self._keys
        with keys._lock:
            wait_seconds = keys._budget.take(self._source)
        if wait_seconds:
            raise MissBudgetExceeded(retry_after_seconds=wait_seconds)
        keys._counts["loads"] += 1
        stamp, read_at, generation = self._manager.snapshot(), keys._now(), keys.generation
        times_forgotten = keys._times_forgotten
        key = await self._find()
        if key is None:
            return _Refusal(KeyUnknown, times_forgotten, stamp)
        if key.revoked_at is not None or not key.is_active:
            return _Refusal(KeyRevoked, times_forgotten, stamp, key.digest)
        if not key.is_live(keys._now()):
            return _Refusal(KeyExpired, times_forgotten, stamp, key.digest)
        self._manager._depend_on(tags_of(key), stamp)
        return keys._kept(key, self._digest, read_at, generation, keys._ttl_seconds)

    async def _find(self) -> ApiKey | None:
        for pepper_id, digest in self._digests:
            key = await self._keys.repository.get(digest)
            if key is None:
                continue
            if type(key) is not ApiKey:
                raise TypeError(f"the repository returned {type(key).__name__}, not ApiKey or None")
            if not hmac.compare_digest(key.digest, digest) or key.pepper_id != pepper_id:
                raise ValueError("the repository returned another key than it was asked for")
            return key
        return None


_SAYS: Final[dict[type[ApiKeyError], str]] = {
    KeyMalformed: "this is no API key",
    KeyUnknown: "there is no such API key",
    KeyRevoked: "the API key was revoked",
    KeyExpired: "the API key has expired",
}
