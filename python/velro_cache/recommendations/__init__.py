"""What the figures of a cache suggest, as findings that pages and the command line show alike."""

from velro_cache.recommendations.evidence import Evidence
from velro_cache.recommendations.finding import Finding, Severity
from velro_cache.recommendations.rules import recommend

__all__ = ["Evidence", "Finding", "Severity", "recommend"]
