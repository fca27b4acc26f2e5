"""The ports between a service and the world: records in, messages out, one turn at a time.

A service is driven by turns. The runtime calls `turn` for ever in a thread of its own; a test calls it in whatever order
a seed says. A service keeps nothing that a new instance cannot recover in `start`, so a killed one is replaced by the next.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import msgspec

from common.messages import Message
from common.topics import Topic
from common.trace import NO_TRACE, Trace

S = TypeVar("S", bound=msgspec.Struct)


class Record(NamedTuple):
    """A record read from a topic."""

    topic: Topic
    partition: int
    offset: int
    key: str
    value: bytes
    #: When the oldest frame behind this record was read from the socket, and when each service had it; empty when unknown.
    trace: Trace = NO_TRACE


class Output(NamedTuple):
    """A message to publish; by default to the partition of its key."""

    topic: Topic
    key: str
    message: Message
    partition: int | None = None


class Position(NamedTuple):
    """A place in a partition: the offset of the next record to read."""

    topic: Topic
    partition: int
    offset: int


class Producer(Protocol):
    """Publishes records, in order per partition, at least once."""

    def send(self, topic: Topic, key: str, value: bytes, *, partition: int | None = None, trace: Trace = NO_TRACE) -> None:
        """Hand over a record; blocks while the queue is full. Raises DeliveryFailed once an earlier one was lost."""
        ...

    def flush(self) -> None:
        """Return when every record so far is acknowledged; raises DeliveryFailed otherwise."""
        ...

    def acknowledged(self) -> bool:
        """Whether every record so far is acknowledged, without waiting for it; raises DeliveryFailed once one was lost."""
        ...

    def close(self) -> None:
        """Flush and let go."""
        ...


class Consumer(Protocol):
    """Reads the partitions it was given."""

    def poll(self, timeout_s: float, max_records: int = 500) -> Sequence[Record]:
        """Records in offset order per partition; waits up to `timeout_s` for the first, takes what else is there."""
        ...

    def pause(self, topic: Topic, partitions: Sequence[int]) -> None:
        """Stop reading these partitions; their place is kept."""
        ...

    def resume(self, topic: Topic, partitions: Sequence[int]) -> None:
        """Go on reading them."""
        ...

    def commit(self, positions: Sequence[Position]) -> None:
        """Group members only: store where a successor starts."""
        ...

    def lag(self) -> int:
        """Records that are there and not yet read, over all partitions; cheap, may be a second old."""
        ...

    def close(self) -> None:
        """Leave; nothing is committed."""
        ...


class GroupListener(Protocol):
    """Told which partitions of the input topic this member owns."""

    def on_assigned(self, partitions: Sequence[int]) -> Mapping[int, int]:
        """Restore state; returns the offset to start from where it is not the group's committed one."""
        ...

    def on_revoked(self, partitions: Sequence[int], *, lost: bool) -> None:
        """Snapshot, commit and drop the state; only drop it when the partitions are lost already."""
        ...


class Transport(Protocol):
    """A broker."""

    def producer(self) -> Producer:
        """A new producer."""
        ...

    def partitions(self, topic: Topic) -> int:
        """How many partitions the topic has; raises TransportError when the broker does not answer."""
        ...

    def partition_of(self, topic: Topic, key: str) -> int:
        """The partition that records of this key go to."""
        ...

    def oldest_offsets(self, topic: Topic) -> Mapping[int, int]:
        """The offset of the first record that is still there, of every partition."""
        ...

    def end_offsets(self, topic: Topic) -> Mapping[int, int]:
        """The offset after the last record of every partition."""
        ...

    def committed(self, topic: Topic, group: str) -> Mapping[int, int]:
        """The group's committed offsets; partitions without one are absent."""
        ...

    def reader(self, positions: Sequence[Position]) -> Consumer:
        """A consumer of exactly these partitions. An offset that is gone raises TransportError; 0 means the oldest there is."""
        ...

    def member(self, topic: Topic, group: str, listener: GroupListener) -> Consumer:
        """A member of a consumer group; the listener is called from within `poll` and `close`."""
        ...

    def problem(self) -> str:
        """What is wrong with the way to the broker, for people; empty while records arrive there. Called from other threads."""
        ...

    def queue_fill(self) -> float:
        """How full the fullest producer's queue is, 0 to 1. Called from other threads."""
        ...

    def close(self) -> None:
        """Let go of everything."""
        ...


class Model(Protocol[S]):
    """A model with one state per pair and one ordered input; see `common.keyed_service`.

    It may also have `drop_reason(state, message)`, why an input is passed over; `summary(state)`, what people want to see; and
    `resume(state)`, which begins again what was under way when a state was left. A state's `session` tells when it starts afresh.
    """

    #: Name and layout version that a snapshot is stamped with.
    name: str
    schema: int
    state_type: type[S]

    def initial(self, pair: str) -> S:
        """The state before the first input."""
        ...

    def step(self, state: S, message: Message) -> tuple[S, Sequence[Message]]:
        """Apply one input. Pure: equal arguments give equal results. Raises InvalidRecord for an input it cannot apply."""
        ...


class Health(NamedTuple):
    """What a service says of itself, beyond what the runtime sees."""

    ready: bool
    reason: str = ""
    role: str = "active"
    details: Mapping[str, Any] = {}


class Service(Protocol):
    """A service that advances by turns.

    It may also have `measure(observer)`, called from another thread before metrics are read: it sets the gauges that follow from
    the state at hand, so that no turn has to.
    """

    name: str

    def start(self) -> None:
        """Recover the state and take up the inputs."""
        ...

    def turn(self, timeout_s: float) -> int:
        """Read what is there, process and publish it; returns how many records were handled."""
        ...

    def stop(self) -> None:
        """Finish what is in hand, snapshot, publish, let go."""
        ...

    def health(self) -> Health:
        """Readiness and details; called from other threads, never blocks."""
        ...


class Observer(Protocol):
    """Where a service reports what metrics and logs show; see `common.io.metrics`."""

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""
        ...

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        ...

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Add to a histogram."""
        ...

    def log(self, level: str, event: str, **fields: Any) -> None:
        """Write a log line."""
        ...

    def pair_state(self, pair: str, state: Mapping[str, Any]) -> None:
        """Cache the last state of a pair for people; may be dropped."""
        ...

    def forget_pair(self, pair: str) -> None:
        """Show no gauge of a pair any more: another replica has it. What was counted stays."""
        ...


#: Wall time in ns; only for latency, liveness and live time-outs.
WallClock = Callable[[], int]
