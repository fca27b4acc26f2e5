"""What a broker's topics lack of what they should be, and what may be done about it."""

import enum
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from common.topics.layout import TopicSpec


class FoundTopic(NamedTuple):
    """A topic as a broker has it."""

    partitions: int
    replication: int
    config: Mapping[str, str]


class Remedy(enum.Enum):
    """What `apply` does about a difference."""

    CREATE = "create"
    CHANGE = "change"
    REFUSE = "refuse"


class Difference(NamedTuple):
    """One thing of one topic that is not as it should be."""

    topic: str
    setting: str
    expected: str
    found: str
    remedy: Remedy
    why: str = ""

    def __str__(self) -> str:
        why = f" ({self.why})" if self.why else ""
        return f"{self.topic}: {self.setting} expected {self.expected}, found {self.found}{why}"


_FEWER = "partitions are never taken away: their records would be lost"
_MORE = "pairs would move to other partitions and leave state and order behind; begin anew under another TOPIC_PREFIX, or delete the topics yourself"
_COPIES = "copies are moved by Kafka's own kafka-reassign-partitions"


def differences(specs: Sequence[TopicSpec], found: Mapping[str, FoundTopic]) -> list[Difference]:
    """Every difference, topic by topic."""
    return [difference for spec in specs for difference in _of_topic(spec, found.get(spec.name))]


def _of_topic(spec: TopicSpec, found: FoundTopic | None) -> Iterator[Difference]:
    if found is None:
        yield Difference(spec.name, "topic", f"{spec.partitions} partition{'s' if spec.partitions > 1 else ''}", "none", Remedy.CREATE)
        return
    if spec.partitions != found.partitions:
        why = _FEWER if spec.partitions < found.partitions else _MORE
        yield Difference(spec.name, "partitions", str(spec.partitions), str(found.partitions), Remedy.REFUSE, why)
    if spec.replication != found.replication:
        yield Difference(spec.name, "replication", str(spec.replication), str(found.replication), Remedy.REFUSE, _COPIES)
    for setting, expected in sorted(spec.config.items()):
        if (has := found.config.get(setting, "nothing")) != expected:
            yield Difference(spec.name, setting, expected, has, Remedy.CHANGE)
