"""Who used which endpoint how often: events of requests, written in batches.

Sinks: :class:`LogUsage` here; ``velro_cache.api_keys.usage.sql.SqlUsage`` for a table, and
``velro_cache.api_keys.usage.kafka.KafkaUsage`` for a topic.
"""

from velro_cache.api_keys.usage.batched import BatchedUsage, UsageStatistics
from velro_cache.api_keys.usage.events import (
    METHODS,
    UsageBatch,
    UsageEvent,
    UsageRecorder,
    UsageSink,
)
from velro_cache.api_keys.usage.logged import LogUsage

__all__ = [
    "METHODS",
    "BatchedUsage",
    "LogUsage",
    "UsageBatch",
    "UsageEvent",
    "UsageRecorder",
    "UsageSink",
    "UsageStatistics",
]
