"""Warming: loading ahead what will be asked for."""

from velro_cache.warming.report import Progress, WarmReport

__all__ = ["Progress", "WarmReport"]
