"""Spans for loads and metrics, through the API of OpenTelemetry.

Needs the extra ``otel``: the API alone. What becomes of spans and metrics is up to the SDK that
the application sets up; without one, nothing does.
"""

from velro_cache.opentelemetry.instrumenting import instrument, record_result, uninstrument

__all__ = ["instrument", "record_result", "uninstrument"]
