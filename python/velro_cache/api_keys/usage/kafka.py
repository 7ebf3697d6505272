"""Usage in a topic of Kafka, through aiokafka: one message for each event, in JSON.

Messages of one organization are in one partition, in order. Each has a header ``event`` with the
batch and the place in there: the producer is idempotent within its session, and by the header a
consumer drops what came twice all the same.
"""

from __future__ import annotations

import asyncio
import importlib
import json
from typing import Any, Final

from velro_cache.api_keys.usage.events import UsageBatch, UsageEvent
from velro_cache.exceptions import ConfigError

__all__ = ["KafkaUsage", "as_json"]

_REFUSED: Final = ("MessageSizeTooLargeError", "InvalidTopicError")
"""Errors of aiokafka, by name, after which a message would be refused the next time, too."""


class KafkaUsage:
    """Sends usage to a topic.

    Args:
        servers: Where brokers are, such as ``kafka:9092``; several with commas.
        topic: Where messages go. It must exist, or brokers must create topics.
        options: More for ``aiokafka.AIOKafkaProducer``: ``security_protocol``, ``ssl_context``,
            ``sasl_mechanism`` and the like.

    Raises:
        ConfigError: aiokafka is not installed, or there is no topic.
    """

    def __init__(self, servers: str, topic: str = "api-key-usage", **options: Any) -> None:
        if not topic or not servers:
            raise ConfigError("name the brokers and the topic")
        try:
            self._kafka: Any = importlib.import_module("aiokafka")
        except ImportError:
            raise ConfigError(
                "usage in Kafka needs aiokafka: pip install velro-cache[kafka]"
            ) from None
        self._topic = topic
        self._options = {
            # All replicas in sync have it, and none has it twice.
            "acks": "all",
            "enable_idempotence": True,
            "linger_ms": 5,
            "bootstrap_servers": servers,
            **options,
        }
        self._producer: Any = None
        self._starting = asyncio.Lock()

    async def write(self, batch: UsageBatch) -> None:
        """See :class:`UsageSink`."""
        producer = await self._started()
        try:
            sent = [
                await producer.send(
                    self._topic,
                    value=as_json(event),
                    key=event.organization_id.encode(),
                    timestamp_ms=int(event.at * 1000),
                    headers=[("event", f"{batch.id}-{position}".encode())],
                )
                for position, event in enumerate(batch.events)
            ]
            await asyncio.gather(*sent)
        except Exception as error:
            if type(error).__name__ in _REFUSED:
                raise ValueError(type(error).__name__) from error
            raise

    async def aclose(self) -> None:
        """See :class:`UsageSink`."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()

    async def _started(self) -> Any:
        async with self._starting:
            if self._producer is None:
                producer = self._kafka.AIOKafkaProducer(**self._options)
                try:
                    await producer.start()
                except BaseException:
                    # It has connections even if it did not start.
                    await producer.stop()
                    raise
                self._producer = producer
            return self._producer


def as_json(event: UsageEvent) -> bytes:
    """An event as a message.

    Args:
        event: What happened.
    """
    return json.dumps(
        {
            "organization_id": event.organization_id,
            "key_id": event.key_id,
            "endpoint": event.endpoint,
            "method": event.method,
            "status": event.status,
            "duration_seconds": round(event.duration_seconds, 6),
            "at": event.at,
        },
        separators=(",", ":"),
    ).encode()
