"""Invalidations while the file of the shared table is gone and no other one can be made."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from services.redis import until
from velro_cache import OptimizedCacheConfig, OptimizedCacheManager, cached_authorization
from velro_cache.exceptions import SharedTableError


class Workers:
    """Two processes of one host, as two managers that share a table."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        config = OptimizedCacheConfig(shared_memory_directory=str(folder), **settings)
        self.one, self.other = OptimizedCacheManager(config), OptimizedCacheManager(config)

    def lose_the_table(self) -> None:
        """Nobody can make another one: a file lies where its folder is to be."""
        (folder,) = self.folder.iterdir()
        shutil.rmtree(folder)
        folder.touch()
        for worker in (self.one, self.other):
            until(lambda worker=worker: state(worker) == "lost", "they notice")

    def find_it_again(self) -> None:
        """Now one can be made."""
        (in_the_way,) = self.folder.iterdir()
        in_the_way.unlink()


def state(worker: OptimizedCacheManager) -> str:
    return str(worker.get_stats()["sharing"]["state"])


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    """Without a log."""
    folder = tmp_path / "memory"
    folder.mkdir()
    workers = Workers(folder)
    yield workers
    workers.one.stop()
    workers.other.stop()


def decorated(worker: OptimizedCacheManager) -> Any:
    @cached_authorization(cache=worker)
    def may_enter(user_id: str) -> bool:
        return True

    return may_enter


async def leave_block(worker: OptimizedCacheManager) -> None:
    async with worker.revoking(user_id="ada"):
        pass


def block(worker: OptimizedCacheManager) -> None:
    with worker.revoking(user_id="ada"):
        pass


WAYS: dict[str, Callable[[OptimizedCacheManager], object]] = {
    "tags": lambda worker: worker.invalidate_by_tags(["user:ada"]),
    "pattern": lambda worker: worker.invalidate_by_pattern("auth:*"),
    "user": lambda worker: worker.invalidate_user_data("ada"),
    "generation": lambda worker: worker.invalidate_generation_data("g"),
    "key": lambda worker: worker.delete("k"),
    "everything": lambda worker: worker.clear(),
    "awaited user": lambda worker: asyncio.run(worker.invalidate_user_authorization_cache("ada")),
    "awaited generation": lambda worker: asyncio.run(
        worker.invalidate_generation_authorization_cache("g")
    ),
    "call": lambda worker: decorated(worker).invalidate("ada"),
    "calls": lambda worker: decorated(worker).cache_clear(),
    "block": block,
    "asynchronous block": lambda worker: asyncio.run(leave_block(worker)),
}


@pytest.mark.parametrize("revoke", WAYS.values(), ids=WAYS)
def test_every_invalidation_says_that_others_may_not_know(
    workers: Workers, revoke: Callable[[OptimizedCacheManager], object]
) -> None:
    revoke(workers.one)
    workers.lose_the_table()
    with pytest.raises(SharedTableError, match="holds in this process"):
        revoke(workers.one)
    workers.find_it_again()
    until(lambda: state(workers.one) == "shared", "there is a table again")
    revoke(workers.one)


def test_a_block_that_fails_goes_on_as_it_did(workers: Workers) -> None:
    workers.lose_the_table()
    with pytest.raises(KeyError) as caught, workers.one.revoking(user_id="ada"):
        raise KeyError("its own")
    assert "SharedTableError" in caught.value.__notes__[0]


def test_whoever_invalidates_looks_for_a_table_first(workers: Workers) -> None:
    """The other one may have a new table already while this one still has none."""
    workers.lose_the_table()
    workers.find_it_again()
    until(lambda: state(workers.other) == "shared", "there is a table again")
    workers.other.set("k", "yes", tags=["user:ada"])
    workers.one.invalidate_user_data("ada")
    assert workers.other.get("k") == (None, False)


def test_what_can_be_done_is_done_all_the_same(tmp_path: Path) -> None:
    """All of it is sent to the log, however many calls it takes."""
    folder = tmp_path / "memory"
    folder.mkdir()
    url = f"sqlite:///{tmp_path}/log.db"
    workers = Workers(folder, name="lost", invalidation_log=url)
    far = OptimizedCacheManager(
        OptimizedCacheConfig(name="lost", invalidation_log=url, share_invalidations=False)
    )
    try:
        until(lambda: far.get_stats()["log"]["has_lease"], "the other host hears")
        tags = [f"team:{number}" for number in range(150)]
        for tag in tags:
            far.set(tag, "yes", tags=[tag])
        workers.lose_the_table()
        with (
            pytest.raises(SharedTableError, match="in the invalidation log"),
            workers.one.revoking(tags=tags, wait="bus"),
        ):
            pass
        until(lambda: not any(far.get(tag)[1] for tag in tags), "it hears of all of them")
        assert workers.one.get_stats()["log"]["unpublished"] == 0
    finally:
        for worker in (workers.one, workers.other, far):
            worker.stop()
