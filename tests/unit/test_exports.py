"""What each module exports: `__all__` is there, sorted, complete, and names what exists."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from pathlib import Path
from types import ModuleType

import pytest

import velro_cache

ROOT = Path(velro_cache.__file__).parent


def module_names() -> list[str]:
    found = pkgutil.walk_packages([str(ROOT)], "velro_cache.")
    # The command line exports commands, and the extension is described by its stub.
    left_out = ("velro_cache.cli", "velro_cache.__main__", "velro_cache._engine")
    return ["velro_cache", *(i.name for i in found if not i.name.startswith(left_out))]


def load(name: str) -> ModuleType:
    if name.startswith("velro_cache.fastapi"):
        pytest.importorskip("starlette")
    return importlib.import_module(name)


def by_kind(name: str) -> tuple[int, str]:
    """The order of ruff's RUF022: constants, then classes, then the rest."""
    if name.isupper():
        return 0, name
    return (1 if name[:1].isupper() else 2), name


@pytest.mark.parametrize("name", module_names())
class TestEveryModule:
    def test_lists_what_exists_each_once_and_sorted(self, name: str) -> None:
        module = load(name)
        exported = module.__all__
        assert len(exported) == len(set(exported))
        assert sorted(exported, key=by_kind) == list(exported)
        for public in exported:
            assert hasattr(module, public), public

    def test_lists_every_public_class_function_and_constant_it_defines(self, name: str) -> None:
        module = load(name)
        source = Path(module.__file__ or "").read_text(encoding="utf-8")
        defined: set[str] = set()
        for node in ast.parse(source).body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                defined.add(node.name)
            elif isinstance(node, ast.Assign):
                names = {target.id for target in node.targets if isinstance(target, ast.Name)}
                defined |= {constant for constant in names if constant.isupper()}
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                defined |= {node.target.id} if node.target.id.isupper() else set()
        # One capital letter is a type variable.
        public = {n for n in defined if not n.startswith("_") and len(n) > 1}
        assert public <= set(module.__all__), public - set(module.__all__)

    def test_a_package_exports_exactly_what_it_imports_by_name(self, name: str) -> None:
        module = load(name)
        path = Path(module.__file__ or "")
        if path.name != "__init__.py":
            return
        imported: set[str] = set()
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("velro_cache"):
                imported |= {alias.asname or alias.name for alias in node.names}
        assert imported == set(module.__all__)


def test_the_names_of_the_documentation_are_importable_from_the_package() -> None:
    documented = {
        "EvictionPolicy",
        "OptimizedCacheConfig",
        "OptimizedCacheManager",
        "AccessType",
        "GenerationPermissions",
        "cached_authorization",
        "get_cache_manager",
        "run_cache_performance_test",
        "start_cache_manager",
        "stop_cache_manager",
    }
    assert documented <= set(velro_cache.__all__)


def test_there_is_a_version() -> None:
    assert velro_cache.__version__.count(".") == 2
    assert all(part.isdigit() for part in velro_cache.__version__.split("."))
