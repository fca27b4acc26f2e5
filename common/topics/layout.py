"""What a broker is asked for: partitions and settings of every topic, so that all of them together fit the disk."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from common.errors import ConfigurationError
from common.topics import Retention, Topic

GIGABYTE = 1_000_000_000
_MEBIBYTE = 1 << 20
_HOUR_MS = 3_600_000

#: Largest batch that a topic takes; above what producers send, below the smallest segment.
MAX_MESSAGE_BYTES = 1_048_588
#: Part of the disk left to indexes, to the broker's own topics and to what arrives between two looks at the retention.
RESERVE = 0.1
#: A segment must hold the largest batch; brokers refuse less than one MiB.
LEAST_SEGMENT_BYTES = 2 * _MEBIBYTE
MOST_SEGMENT_BYTES = 128 * _MEBIBYTE
#: Only closed segments are compacted, and who restores reads all there is: those of states are small and close soon.
MOST_STATE_SEGMENT_BYTES = 4 * _MEBIBYTE
LEAST_PARTITION_BYTES = 2 * LEAST_SEGMENT_BYTES

_STATE_CONFIG = {
    "cleanup.policy": "compact",
    "min.cleanable.dirty.ratio": "0.1",
    "segment.ms": "600000",
    "max.compaction.lag.ms": "600000",
    "delete.retention.ms": "86400000",
}


@dataclass(frozen=True, slots=True)
class Layout:
    """How many partitions and copies, and how much disk, GB of a billion bytes; `prefix` goes before every name."""

    partitions: int
    disk_gb: float
    replication: int = 1
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as a broker should have it; `partition_bytes` is what one partition may take, its active segment included."""

    name: str
    partitions: int
    replication: int
    partition_bytes: int
    config: Mapping[str, str]

    @property
    def total_bytes(self) -> int:
        """What the topic may take of a broker that holds all its partitions."""
        return self.partitions * self.partition_bytes


def specs_of(topics: Sequence[Topic], layout: Layout) -> list[TopicSpec]:
    """Share out the disk: the least that works to every partition, the rest by share.

    A state topic's part is set aside for it; what it really takes follows from the number of pairs, since compaction deletes
    by key, never by size.

    Raises
    ------
    ConfigurationError
        When not even the least fits, with the disk that would do.

    """
    counts = {topic: layout.partitions if topic.per_pair else 1 for topic in topics}
    usable = int(layout.disk_gb * GIGABYTE * (1 - RESERVE))
    least = sum(counts.values()) * LEAST_PARTITION_BYTES
    if least > usable:
        needed_gb = least / (1 - RESERVE) / GIGABYTE
        problem = f"{sum(counts.values())} partitions of {len(topics)} topics do not fit into {layout.disk_gb:g} GB, the least is {needed_gb:.2f} GB"
        raise ConfigurationError([f"{problem}: raise KAFKA_DISK_GB (--disk-gb) or lower TOPIC_PARTITIONS (--partitions)"])
    shares = sum(topic.share for topic in topics)
    return [_spec(topic, counts[topic], LEAST_PARTITION_BYTES + (usable - least) * topic.share // shares // counts[topic], layout) for topic in topics]


def _spec(topic: Topic, partitions: int, partition_bytes: int, layout: Layout) -> TopicSpec:
    common = {"max.message.bytes": str(MAX_MESSAGE_BYTES), "min.insync.replicas": str(max(1, layout.replication - 1))}
    own = _state_config(partition_bytes) if topic.retention is Retention.COMPACTED else _log_config(topic, partition_bytes)
    return TopicSpec(layout.prefix + topic.name, partitions, layout.replication, partition_bytes, own | common)


def _state_config(partition_bytes: int) -> dict[str, str]:
    return {**_STATE_CONFIG, "segment.bytes": str(_segment_bytes(partition_bytes, MOST_STATE_SEGMENT_BYTES))}


def _log_config(topic: Topic, partition_bytes: int) -> dict[str, str]:
    """By size and by age; segments close often enough that either limit is kept closely."""
    segment_bytes = _segment_bytes(partition_bytes, MOST_SEGMENT_BYTES)
    retention_ms = topic.keep_hours * _HOUR_MS
    return {
        "cleanup.policy": "delete",
        "retention.bytes": str(partition_bytes - segment_bytes),
        "retention.ms": str(retention_ms),
        "segment.bytes": str(segment_bytes),
        "segment.ms": str(min(retention_ms // 4, 24 * _HOUR_MS)),
    }


def _segment_bytes(partition_bytes: int, most: int) -> int:
    return max(LEAST_SEGMENT_BYTES, min(most, partition_bytes // 4))
