"""What every transport refuses, so that a test in memory meets the limits of a broker."""

from common.errors import InvalidRecord
from common.topics import Topic

#: Key and value together; a broker takes 1,048,588 bytes by default, batch header included.
MAX_RECORD_BYTES = 1_000_000


def require_size(topic: Topic, key: str, value: bytes) -> None:
    """Raise InvalidRecord for a record that no broker would take."""
    size = len(key) + len(value)
    if size > MAX_RECORD_BYTES:
        raise InvalidRecord("too-large", f"{size} bytes for {topic} ({key}); a record has at most {MAX_RECORD_BYTES}")
