"""The override of ``get_optimized_auth_middleware``, as guards call it.

Guards do not have FastAPI resolve that dependency: it would take longer than the check. They look
into ``app.dependency_overrides`` themselves, so an override counts for them like for ``Depends``.
It may be a class, a function or an object to call, async or not, without parameters or with one,
the request or WebSocket.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from fastapi.params import Depends
from fastapi.requests import HTTPConnection

from velro_cache.exceptions import ConfigError

__all__ = ["overridden", "signature_of"]


async def overridden(override: Callable[..., Any], connection: HTTPConnection) -> Any:
    """Call an override.

    Args:
        override: What stands in ``app.dependency_overrides``.
        connection: The request or WebSocket, for an override that takes it.

    Returns:
        What it returns, awaited.

    Raises:
        ConfigError: It has other parameters, dependencies of its own, or yields. Nobody is let in.
    """
    for code in (override, type(override).__call__):
        if inspect.isgeneratorfunction(code) or inspect.isasyncgenfunction(code):
            raise ConfigError("an override of get_optimized_auth_middleware must return, not yield")
    parameters = list(signature_of(override).parameters.values())
    needed = [
        parameter
        for parameter in parameters
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if (
        len(needed) > 1
        or any(parameter.kind is parameter.KEYWORD_ONLY for parameter in needed)
        or any(_is_dependency(parameter) for parameter in parameters)
    ):
        raise ConfigError(
            "an override of get_optimized_auth_middleware takes nothing, or the connection"
        )
    made = override(connection) if needed else override()
    return await made if inspect.isawaitable(made) else made


def signature_of(call: Callable[..., Any]) -> inspect.Signature:
    """Give a signature with its annotations evaluated, if all of them can be.

    Args:
        call: A function, class or object to call.
    """
    try:
        return inspect.signature(call, eval_str=True)
    except NameError:
        return inspect.signature(call)


def _is_dependency(parameter: inspect.Parameter) -> bool:
    """Whether only FastAPI could fill it in."""
    hints = (parameter.default, *getattr(parameter.annotation, "__metadata__", ()))
    return any(isinstance(hint, Depends) for hint in hints)
