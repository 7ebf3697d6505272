"""Runs the Python of a page the way a reader would type it, and checks what the page says of it.

All blocks of a page share one namespace and one event loop; ``await`` may stand anywhere. Two
comments at the end of an expression are checked::

    cache.get("k")                 # -> (1, True)
    cache.set("k", 1, ttl=0)       # raises ValueError

``...`` within the first one stands for anything.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, ModuleType

from pages import Block, name_of

_SHOWS, _RAISES = "_page_shows", "_page_raises"


def run(blocks: list[Block]) -> None:
    """Run the blocks of one page.

    Args:
        blocks: Those to run, in order, all of one page.

    Raises:
        AssertionError: A result is not the one the page shows, or an error did not come.
        Exception: Whatever the code raised; the traceback names the line of the page.
    """
    module = ModuleType("page")
    module.__dict__.update({_SHOWS: _shows, _RAISES: _raises})
    before = sys.modules.get(module.__name__)
    # Dataclasses and the like look the module of a class up.
    sys.modules[module.__name__] = module
    try:
        with asyncio.Runner() as runner:
            for block in blocks:
                outcome = eval(_compiled(block), module.__dict__)  # noqa: S307
                if inspect.iscoroutine(outcome):
                    runner.run(outcome)
    finally:
        sys.modules.pop(module.__name__)
        if before is not None:
            sys.modules[module.__name__] = before


def _compiled(block: Block) -> CodeType:
    # Empty lines in front make the numbers of lines those of the page.
    source = "\n" * (block.line - 1) + block.code
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    tree = _Checks(comments).visit(ast.parse(source))
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code: CodeType = compile(
        ast.fix_missing_locations(tree), str(block.page), "exec", flags=flags, dont_inherit=True
    )
    return code


class _Checks(ast.NodeTransformer):
    def __init__(self, comments: dict[int, str]) -> None:
        self._comments = comments

    def visit_Expr(self, node: ast.Expr) -> ast.stmt:
        comment = self._comments.get(node.end_lineno or 0, "")
        kind, _, said = comment.partition(" ")
        if kind not in ("->", "raises"):
            return node
        checker = ast.Name(_SHOWS if kind == "->" else _RAISES, ast.Load())
        text = ast.Constant(said.strip())
        new: ast.stmt
        if kind == "->":
            new = ast.Expr(ast.Call(checker, [node.value, text], []))
        else:
            expected = ast.Call(checker, [text], [])
            new = ast.With([ast.withitem(expected)], [node])
        return ast.copy_location(new, node)


def _shows(value: object, said: str) -> None:
    parts = (re.escape(part) for part in said.split("..."))
    assert re.fullmatch(".*".join(parts), repr(value)), f"the page shows {said}, it is {value!r}"


@contextmanager
def _raises(name: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if any(kind.__name__ == name for kind in type(error).__mro__):
            return
        raise
    raise AssertionError(f"the page says that this raises {name}; it does not")


def describe(blocks: list[Block]) -> str:
    """Name the page of some blocks, for the list of tests."""
    return name_of(blocks[0].page)
