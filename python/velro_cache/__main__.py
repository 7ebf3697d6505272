"""``python -m velro_cache``: the same as the command ``velro-cache``."""

import sys

from velro_cache.cli.main import main

__all__: list[str] = []

if __name__ == "__main__":
    sys.exit(main())
