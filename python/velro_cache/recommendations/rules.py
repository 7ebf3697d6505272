"""All rules together, the most urgent finding first."""

from velro_cache.recommendations.evidence import Evidence
from velro_cache.recommendations.finding import SEVERITIES, Finding
from velro_cache.recommendations.lives import findings_about_lives
from velro_cache.recommendations.news import findings_about_news
from velro_cache.recommendations.sizing import findings_about_size
from velro_cache.recommendations.speed import findings_about_speed

__all__ = ["recommend"]


def recommend(evidence: Evidence) -> list[Finding]:
    """Say what is worth looking at.

    Args:
        evidence: What is known of a cache.

    Returns:
        Findings, the most urgent first; none if there is nothing to be done. What needs shares of
        lookups is left out while there are too few of them, and one finding says so.
    """
    found = [
        *findings_about_news(evidence),
        *findings_about_size(evidence),
        *findings_about_lives(evidence),
        *findings_about_speed(evidence),
    ]
    # Sorting keeps the order of those that are as urgent.
    return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))
