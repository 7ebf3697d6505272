"""``velro-cache init``: start a cache with a preset, check it, and write its settings down."""

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import Any

from velro_cache.cli.presets import PRESETS
from velro_cache.config import OptimizedCacheConfig
from velro_cache.exceptions import ConfigError
from velro_cache.manager import OptimizedCacheManager

__all__ = ["add_to"]

_PREFIX = "VELRO_CACHE_"


def add_to(commands: Any) -> None:
    """Add the command to a parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "init",
        help="write a configuration as environment variables",
        description=(
            "Check that a cache with this preset works here, and print its settings as the"
            " environment variables that OptimizedCacheConfig.from_env() reads."
        ),
    )
    parser.add_argument("--config", choices=sorted(PRESETS), default="development")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="write to a file, such as .env, not the screen"
    )
    parser.add_argument("--force", action="store_true", help="replace the file if it is there")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    config = PRESETS[options.config]()
    _check(config)
    text = as_environment(config, options.config)
    if options.output is None:
        sys.stdout.write(text)
        return 0
    path: Path = options.output
    try:
        with path.open("w" if options.force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError(f"{path} is there already; --force replaces it") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from None
    sys.stdout.write(f"{path}: settings of the {options.config} preset\n")
    return 0


def as_environment(config: OptimizedCacheConfig, preset: str) -> str:
    """Write a configuration as lines of an environment file.

    Args:
        config: The settings.
        preset: What they are called, for the heading.

    Returns:
        Lines such as ``VELRO_CACHE_MAX_SIZE_MB=64``.
    """
    lines = [f"# velro-cache, {preset} preset; read by OptimizedCacheConfig.from_env()"]
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        shown = "none" if value is None else str(value)
        if isinstance(value, bool):
            shown = shown.lower()
        lines.append(f"{_PREFIX}{field.name.upper()}={shown}")
    return "\n".join(lines) + "\n"


def _check(config: OptimizedCacheConfig) -> None:
    with OptimizedCacheManager(config) as manager:
        manager.set_user_profile("velro-cache-init", {"works": True})
        profile, hit = manager.get_user_profile("velro-cache-init")
        if not hit or profile != {"works": True}:
            raise ConfigError("the cache does not answer on this machine; please report it")
