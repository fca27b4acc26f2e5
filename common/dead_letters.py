"""What could not be parsed or applied, as a record for the operator."""

import hashlib

from common.errors import InvalidRecord
from common.messages import DeadLetter
from common.processor import Record

#: How much of a payload and of a key is kept.
MAX_PAYLOAD_BYTES = 64 * 1024
MAX_KEY_CHARACTERS = 1024


def dead_letter(service: str, record: Record, error: InvalidRecord) -> DeadLetter:
    """The dead letter of a record that was refused."""
    return DeadLetter(
        service=service,
        source=record.topic.name,
        partition=record.partition,
        offset=record.offset,
        reason=error.reason,
        detail=error.detail[:1000],
        payload=record.value[:MAX_PAYLOAD_BYTES],
        length=len(record.value),
        sha256=hashlib.sha256(record.value).hexdigest(),
        key=record.key[:MAX_KEY_CHARACTERS],
    )
