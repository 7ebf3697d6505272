"""What is said where a package is missing."""

from __future__ import annotations

import subprocess
import sys

import pytest

WITHOUT = """
import sys
sys.modules[{package!r}] = None
from velro_cache.exceptions import ConfigError
import velro_cache.api_keys
try:
    {code}
except ConfigError as error:
    print(error)
else:
    print("nothing")
"""


@pytest.mark.parametrize(
    ("package", "code", "extra"),
    [
        ("sqlalchemy", "import velro_cache.api_keys.sql", "api-keys"),
        (
            "aiosqlite",
            "from velro_cache.api_keys.sql import SqlApiKeys; SqlApiKeys('sqlite:///keys.db')",
            "api-keys",
        ),
        (
            "asyncpg",
            "from velro_cache.api_keys.sql import SqlApiKeys; SqlApiKeys('postgresql://h/d')",
            "api-keys-postgres",
        ),
        (
            "alembic",
            "from velro_cache.api_keys.sql.migrating import latest; latest()",
            "api-keys",
        ),
    ],
)
def test_the_command_to_get_it_is_named(package: str, code: str, extra: str) -> None:
    command = [sys.executable, "-c", WITHOUT.format(package=package, code=code)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert f"pip install 'velro-cache[{extra}]'" in done.stdout


def test_the_command_line_needs_none_until_it_is_about_keys() -> None:
    code = "import sys; sys.modules['sqlalchemy'] = None; from velro_cache.cli.main import main;"
    command = [sys.executable, "-c", code + "main(['keys', 'list', '--database-url', 'sqlite://'])"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "pip install 'velro-cache[api-keys]'" in done.stderr
    assert "Traceback" not in done.stderr
