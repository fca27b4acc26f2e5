"""The logs and groups behind the in-memory transport."""

import threading
import zlib
from collections.abc import Callable
from typing import Protocol

from common.errors import TransportError
from common.processor import Record
from common.topics import Topic
from common.trace import NO_TRACE, Trace


class Joining(Protocol):
    """What a group knows of a member: the newest generation that it has given up its partitions for."""

    joined: int


class Log:
    """One partition."""

    __slots__ = ("first_offset", "records")

    def __init__(self) -> None:
        self.first_offset = 0
        self.records: list[Record] = []

    @property
    def end(self) -> int:
        """The offset after the last record."""
        return self.first_offset + len(self.records)


class Group:
    """The members of a consumer group on one topic and what they committed."""

    def __init__(self) -> None:
        self.members: dict[str, Joining] = {}
        self.generation = 0
        self.committed: dict[int, int] = {}

    def settled(self) -> bool:
        """Whether every member has given up what it had before this generation."""
        return all(member.joined == self.generation for member in self.members.values())

    def share_of(self, name: str, partitions: int) -> list[int]:
        """The range of partitions of a member: neighbours, sizes that differ by one at most, the first ones larger."""
        place, count = sorted(self.members).index(name), len(self.members)
        size, larger = divmod(partitions, count)
        first = place * size + min(place, larger)
        return list(range(first, first + size + (place < larger)))


class MemoryBroker:
    """The shared logs and groups; topics come into being at first use, all with the same number of partitions."""

    def __init__(self, partitions: int = 4, place: Callable[[str], int] | None = None) -> None:
        """`place` gives the partition of a key, as another broker does; by default one of its own."""
        self.partitions = partitions
        self._place = place or self._usual_place
        self.changed = threading.Condition()
        #: Out of reach: nothing is read, written or told until it is back.
        self.away = False
        self._waiting = 0
        self._logs: dict[str, list[Log]] = {}
        self._groups: dict[tuple[str, str], Group] = {}
        self._partition_of: dict[str, int] = {}

    def set_away(self, *, away: bool) -> None:
        """Go out of reach of all transports, or come back."""
        with self.changed:
            self.away = away
            self.changed.notify_all()

    def require_reach(self) -> None:
        """Raise TransportError while it is out of reach."""
        if self.away:
            raise TransportError("the broker is away")

    def logs(self, topic: Topic) -> list[Log]:
        """The partitions of a topic."""
        logs = self._logs.get(topic.name)
        if logs is None:
            logs = self._logs.setdefault(topic.name, [Log() for _ in range(self.partitions)])
        return logs

    def log(self, topic: Topic, partition: int) -> Log:
        """One partition; raises TransportError when there is none of that number."""
        if not 0 <= partition < self.partitions:
            raise TransportError(f"{topic}/{partition} does not exist: the topic has {self.partitions} partitions")
        return self.logs(topic)[partition]

    def group(self, topic: Topic, name: str) -> Group:
        """A consumer group of a topic."""
        return self._groups.setdefault((topic.name, name), Group())

    def partition_of(self, key: str) -> int:
        """The partition of a key: the same in every run and process."""
        partition = self._partition_of.get(key)
        if partition is None:
            partition = self._partition_of[key] = self._place(key)
        return partition

    def _usual_place(self, key: str) -> int:
        return zlib.crc32(key.encode()) % self.partitions

    def append(self, topic: Topic, partition: int, key: str, value: bytes, trace: Trace = NO_TRACE) -> None:
        """Write a record at the end of a partition."""
        with self.changed:
            log = self.log(topic, partition)
            records = log.records
            records.append(Record(topic, partition, log.first_offset + len(records), key, value, trace))
            if self._waiting:
                self.changed.notify_all()

    def wait_for(self, condition: Callable[[], bool], timeout_s: float) -> None:
        """Wait for a record or another change that makes the condition true; the caller holds `changed`."""
        self._waiting += 1
        try:
            self.changed.wait_for(condition, timeout_s)
        finally:
            self._waiting -= 1

    def records(self, topic: Topic) -> list[Record]:
        """All records of a topic, partition by partition; for tests and reports."""
        with self.changed:
            return [record for log in self.logs(topic) for record in log.records]

    def truncate(self, topic: Topic, partition: int, first_offset: int) -> None:
        """Forget what lies before an offset, as retention does."""
        with self.changed:
            log = self.log(topic, partition)
            keep_from = min(max(first_offset, log.first_offset), log.end)
            del log.records[: keep_from - log.first_offset]
            log.first_offset = keep_from
