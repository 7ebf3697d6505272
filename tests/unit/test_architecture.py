"""Arrows point downwards: which module may import which, read from the sources themselves."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "python" / "velro_cache"

# From the top. A unit may import units of lower layers, and of its own layer only as named below.
LAYERS: list[set[str]] = [
    {"fastapi", "prometheus", "opentelemetry", "testing", "cli", "__main__"},
    {"authorization", "api_keys", "decorators", "rate_limit"},
    {
        "manager",
        "registry",
        "performance",
        "loader",
        "loading",
        "load_request",
        "freshness",
        "observed",
        "flight",
        "typed_entries",
        "revoking",
        "refill",
    },
    {"l2", "warming"},
    {
        "config",
        "configured",
        "stats",
        "outbox",
        "hidden_ids",
        "recommendations",
        "request_ids",
        "sparing_log",
    },
    {"exceptions", "_engine", "fork_safety"},
]
WITHIN_A_LAYER = {
    # The route for metrics.
    ("fastapi", "prometheus"),
    ("__main__", "cli"),
    ("registry", "manager"),
    ("performance", "manager"),
    ("manager", "loader"),
    ("manager", "observed"),
    ("observed", "loading"),
    ("manager", "revoking"),
    ("manager", "typed_entries"),
    ("revoking", "typed_entries"),
    ("loading", "freshness"),
    ("freshness", "flight"),
    ("loading", "load_request"),
    ("load_request", "freshness"),
    ("load_request", "loader"),
    ("loading", "loader"),
    ("loading", "typed_entries"),
    ("loading", "refill"),
    ("loader", "flight"),
    ("loader", "refill"),
    ("configured", "config"),
    ("stats", "config"),
    ("recommendations", "config"),
    ("_engine", "exceptions"),
}
# Third parties, and the only places where they may be imported.
OPTIONAL = {
    "fastapi": {"fastapi"},
    "starlette": {"fastapi"},
    "pydantic": {"fastapi"},
    "rich": {"cli"},
    "sqlalchemy": {"outbox", "api_keys"},
    "alembic": {"api_keys"},
    "redis": {"l2"},
    "msgpack": {"l2"},
    "cryptography": {"l2"},
    "prometheus_client": {"prometheus"},
    "opentelemetry": {"opentelemetry"},
    "pytest": {"testing"},
}


def unit_of(path: Path) -> str:
    """The module, or the subpackage it belongs to."""
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def sources() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py"))


def imports_of(path: Path) -> list[tuple[str, int]]:
    """Dotted names a module imports anywhere in it, with the line; relative ones resolved."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = ["velro_cache", *path.relative_to(PACKAGE).parts[:-1]]
    found: list[tuple[str, int]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *filter(None, [node.module])])
            if module == "velro_cache":
                # `from velro_cache import config` means the module, anything else the root.
                found += [(f"velro_cache.{alias.name}", node.lineno) for alias in node.names]
            else:
                found.append((module, node.lineno))
    return found


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
class TestEveryModule:
    def test_stands_in_a_layer(self, path: Path) -> None:
        unit = unit_of(path)
        assert unit == "__init__" or sum(unit in layer for layer in LAYERS) == 1

    def test_imports_downwards_only(self, path: Path) -> None:
        unit = unit_of(path)
        if unit == "__init__":
            return
        (level,) = (number for number, layer in enumerate(LAYERS) if unit in layer)
        below: set[str] = set().union(*LAYERS[level + 1 :])
        wrong = []
        for name, line in imports_of(path):
            parts = name.split(".")
            if parts[0] != "velro_cache":
                continue
            target = parts[1] if len(parts) > 1 else "the package root"
            allowed = target in below or target == unit or (unit, target) in WITHIN_A_LAYER
            if not allowed:
                wrong.append(f"line {line}: {unit} imports {name}")
        assert not wrong

    def test_imports_modules_and_never_the_package_root(self, path: Path) -> None:
        units = set().union(*LAYERS)
        wrong = [
            f"line {line}: {name}"
            for name, line in imports_of(path)
            if name == "velro_cache"
            or (name.startswith("velro_cache.") and name.split(".")[1] not in units)
        ]
        if path == PACKAGE / "cli" / "main.py" or path.name == "__main__.py":
            wrong = [line for line in wrong if "__version__" not in line]
        assert not wrong

    def test_imports_third_parties_only_where_they_are_at_home(self, path: Path) -> None:
        unit = unit_of(path)
        standard = set(sys.stdlib_module_names) | {"velro_cache"}
        wrong = [
            f"line {line}: {name}"
            for name, line in imports_of(path)
            if (top := name.split(".")[0]) not in standard and unit not in OPTIONAL.get(top, set())
        ]
        assert not wrong


def test_no_module_imports_in_a_circle() -> None:
    arrows: dict[str, set[str]] = {}
    for path in sources():
        unit = unit_of(path)
        targets = {
            name.split(".")[1]
            for name, _ in imports_of(path)
            if name.count(".") >= 1 and name.startswith("velro_cache.")
        }
        arrows.setdefault(unit, set()).update(targets - {unit})
    done: set[str] = set()

    def visit(unit: str, way: tuple[str, ...]) -> None:
        assert unit not in way, " -> ".join((*way, unit))
        if unit not in done:
            for target in sorted(arrows.get(unit, ())):
                visit(target, (*way, unit))
            done.add(unit)

    for unit in sorted(arrows):
        visit(unit, ())


def test_the_check_sees_what_is_imported() -> None:
    # It must not be blind: these are the arrows everybody knows of.
    names = {name for name, _ in imports_of(PACKAGE / "registry.py")}
    assert {"velro_cache.manager", "velro_cache.config", "velro_cache.exceptions"} <= names
    assert len(sources()) > 15
