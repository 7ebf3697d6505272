"""Trees of cached calls against the same calls without a cache, under random invalidations.

A *fact* changes and is then invalidated in one of many ways; a *node* is made of its fact and of
the nodes below it, which it comes by in one of many ways. The cache must always answer as if it
were not there, whichever of the entries below are still held: some expire, some are evicted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from callers import InThread
from velro_cache import OptimizedCacheConfig, OptimizedCacheManager
from velro_cache._engine import ManualClock

NODES = 6

LOOKS: list[Callable[[OptimizedCacheManager, str], Any]] = [
    lambda cache, key: cache.get_value(key),
    lambda cache, key: cache.get("".join(key))[0],
    lambda cache, key: cache.get_many([key]).get(key),
    lambda cache, key: None,
]
"""How a node looks for another one before it has it loaded."""

INVALIDATIONS: list[Callable[[OptimizedCacheManager, int], Any]] = [
    lambda cache, n: cache.invalidate_by_tags([f"tag-{n}"]),
    lambda cache, n: cache.invalidate_user_data(n),
    lambda cache, n: cache.delete(key_of(n)),
    lambda cache, n: cache.invalidate_by_pattern(f"auth:user:{n}:*"),
    lambda cache, n: cache.invalidate_by_pattern(f"auth:*:{n}:node"),
    lambda cache, n: cache.clear(),
]

WAYS = len(INVALIDATIONS)


def key_of(node: int) -> str:
    return f"auth:user:{node}:node"


@dataclass
class Node:
    """How one node is made."""

    below: list[int]
    look: int
    ttl: int
    at_once: bool


@st.composite
def trees(draw: st.DrawFn) -> list[Node]:
    nodes = []
    for number in range(NODES):
        below = draw(st.lists(st.integers(0, number - 1), max_size=3)) if number else []
        look = draw(st.integers(0, len(LOOKS) - 1))
        nodes.append(Node(below, look, draw(st.integers(1, 20)), draw(st.booleans())))
    return nodes


class Calls:
    """The calls, with the cache and without."""

    def __init__(self, cache: OptimizedCacheManager, nodes: list[Node]) -> None:
        self.cache = cache
        self.nodes = nodes
        self.facts = [0] * len(nodes)
        self.loads = 0

    def plain(self, node: int) -> Any:
        return [self.facts[node], *(self.plain(below) for below in self.nodes[node].below)]

    def ask(self, node: int) -> Any:
        about = self.nodes[node]
        found = LOOKS[about.look](self.cache, key_of(node))
        if found is not None:
            return found
        return self.cache.get_or_load(
            key_of(node), lambda: self._load(node), ttl=about.ttl, tags=[f"tag-{node}"]
        )

    def _load(self, node: int) -> Any:
        self.loads += 1
        fact = self.facts[node]
        return [fact, *(self.ask(below) for below in self.nodes[node].below)]

    async def aask(self, node: int) -> Any:
        about = self.nodes[node]
        found = LOOKS[about.look](self.cache, key_of(node))
        if found is not None:
            return found
        return await self.cache.aget_or_load(
            key_of(node), lambda: self._aload(node), ttl=about.ttl, tags=[f"tag-{node}"]
        )

    async def _aload(self, node: int) -> Any:
        self.loads += 1
        fact, about = self.facts[node], self.nodes[node]
        await asyncio.sleep(0)
        if about.at_once:
            return [fact, *await asyncio.gather(*map(self.aask, about.below))]
        if about.look == 0:
            return [fact, *[await asyncio.to_thread(self.ask, below) for below in about.below]]
        return [fact, *[await self.aask(below) for below in about.below]]


class NestedCalls(RuleBasedStateMachine):
    """Facts change, nodes are asked for."""

    @initialize(nodes=trees(), max_entries=st.sampled_from([2, 4, 100]))
    def begin(self, nodes: list[Node], max_entries: int) -> None:
        self.clock = ManualClock()
        config = OptimizedCacheConfig(max_entries=max_entries)
        self.calls = Calls(OptimizedCacheManager(config, clock=self.clock), nodes)
        self.max_entries = max_entries

    @rule(node=st.integers(0, NODES - 1))
    def ask(self, node: int) -> None:
        assert self.calls.ask(node) == self.calls.plain(node)
        if self.max_entries > NODES:
            # It must not be right because nothing is ever kept.
            before = self.calls.loads
            assert self.calls.ask(node) == self.calls.plain(node)
            assert self.calls.loads == before

    @rule(node=st.integers(0, NODES - 1))
    def aask(self, node: int) -> None:
        assert asyncio.run(self.calls.aask(node)) == self.calls.plain(node)

    @rule(node=st.integers(0, NODES - 1), how=st.integers(0, WAYS - 1))
    def change(self, node: int, how: int) -> None:
        self.calls.facts[node] += 1
        INVALIDATIONS[how](self.calls.cache, node)

    @rule(node=st.integers(0, NODES - 1))
    def change_unnoticed(self, node: int) -> None:
        # Nobody is told; but nothing lives longer than what it is made of.
        self.calls.facts[node] += 1
        self.clock.advance(self.calls.nodes[node].ttl)

    @rule(seconds=st.integers(1, 5))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)


NestedCalls.TestCase.settings = settings(stateful_step_count=40, deadline=None)
TestNestedCalls = NestedCalls.TestCase


@settings(max_examples=20, deadline=None)
@given(nodes=trees(), how=st.integers(0, WAYS - 1), held=st.sampled_from([3, 100]))
def test_threads_are_never_told_what_was_invalidated_before_they_asked(
    nodes: list[Node], how: int, held: int
) -> None:
    calls = Calls(OptimizedCacheManager(OptimizedCacheConfig(max_entries=held)), nodes)
    acknowledged = [0] * NODES

    def revoke() -> None:
        for step in range(60):
            node = step % NODES
            calls.facts[node] += 1
            INVALIDATIONS[how](calls.cache, node)
            acknowledged[node] = calls.facts[node]

    def check(node: int, answer: Any, least: list[int]) -> None:
        fact, *below = answer
        assert fact >= least[node]
        for number, part in zip(nodes[node].below, below, strict=True):
            check(number, part, least)

    def ask() -> None:
        while revoking.is_running:
            for node in range(NODES):
                least = list(acknowledged)
                check(node, calls.ask(node), least)

    def aask() -> None:
        async def ask_once(node: int) -> None:
            least = list(acknowledged)
            check(node, await calls.aask(node), least)

        async def ask_all() -> None:
            while revoking.is_running:
                await asyncio.gather(*map(ask_once, range(NODES)))

        asyncio.run(ask_all())

    revoking = InThread(revoke)
    asking = [InThread(ask), InThread(ask), InThread(aask)]
    revoking.outcome()
    for thread in asking:
        thread.outcome()
