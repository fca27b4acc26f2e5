"""Runs a model with one state per pair as a member of a consumer group.

The states live in a compacted topic beside the input: a snapshot carries the offset of the last input handled. It is written
only after every output of the inputs up to it has been acknowledged, and only then is the group's position committed.

A partition starts after the oldest of its pairs' snapshots, wherever the group's position is, and skips per pair what its
snapshot already holds. For a member that was paused, lost its partitions and woke up may still write a snapshot older than its
successor's: that is a true state too, only of an earlier input, and compaction may leave no other. The committed position
says something else: the outputs and dead letters of all inputs before it are published. So what is read again before it moves
states and publishes nothing; what lies behind it is answered, at worst a second time and alike.
A pair without a usable snapshot is rebuilt from the oldest input there is, and says so.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import msgspec

from common.codec import Decoder, decoder_of, encode
from common.dead_letters import dead_letter
from common.errors import ConfigurationError, InvalidRecord, TransportError
from common.market import NANOSECONDS, Pair
from common.messages import BarClose, HedgeRatio, HedgeRatioClose, Message, Thresholds, Tick, WriterEpoch
from common.processor import Consumer, Health, Model, Observer, Position, Producer, Record, Transport, WallClock
from common.snapshots import StateTopic, seal
from common.topics import DEAD_LETTERS, Topic
from common.trace import NO_TRACE, Trace

S = TypeVar("S", bound=msgspec.Struct)

#: Longest time and most records between two snapshots.
SNAPSHOT_INTERVAL_NS = NANOSECONDS
SNAPSHOT_RECORDS = 2000
#: A pair that has been quiet for this many records of its partition is snapshotted too, so that few are read again.
QUIET_RECORDS = 5000
#: Why a pair is rebuilt of which there is no state.
NO_SNAPSHOT = "no-snapshot: none is in the state topic"
#: Turns are kept about this short, for a rebalance waits for the end of the longest of all members.
TURN_NS = NANOSECONDS // 20
LEAST_RECORDS, MOST_RECORDS = 10, 500
#: How often a pair's last state is shown to people.
SUMMARY_INTERVAL_NS = NANOSECONDS
#: How often the lag is reported.
LAG_INTERVAL_NS = NANOSECONDS


def pair_of(message: Message) -> str:
    """The pair that a message of an input topic is about; raises InvalidRecord when it is about none."""
    match message:
        case Tick() | BarClose() | HedgeRatio() | HedgeRatioClose() | Thresholds():
            return message.pair
        case _:
            raise InvalidRecord("no-pair", f"{type(message).__name__} is about no pair")


@dataclass(slots=True)
class _PairState(Generic[S]):
    """A pair's state and the offsets of the last input that it has seen, now and in its last snapshot; -1 before the first.

    `origin` is where the state came from, `reason` why it was not the snapshot, `missing` which inputs it lacks for good.
    """

    pair: str
    state: S
    offset: int
    origin: str
    reason: str = ""
    missing: str = ""
    sealed_offset: int = -1
    dirty: bool = False
    shown_at_ns: int = 0


@dataclass(slots=True)
class _Partition(Generic[S]):
    """An owned partition: its pairs, up to where its inputs are answered for good, and how far it has been read."""

    pairs: dict[str, _PairState[S]]
    committed: int
    next_offset: int


def _relabel(slot: _PairState[Any], message: Message, state: Any, *, is_new: bool) -> None:
    """Take back what was said of a pair: its first input of all shows that none is missing, a new session that none matters."""
    is_first = _seq_of(message) == 0
    if is_first and is_new and slot.reason == NO_SNAPSHOT:
        slot.origin, slot.reason = "beginning", ""
    if is_first or 0 <= getattr(slot.state, "session", -1) < getattr(state, "session", -1):
        slot.missing = ""


def _seq_of(message: Message) -> int:
    match message:
        case Tick() | BarClose():
            return message.seq
        case HedgeRatio():
            return message.tick.seq
        case HedgeRatioClose():
            return message.close.seq
        case _:
            return -1


@dataclass(slots=True)
class _Tally:
    """What a turn counts, reported once at its end."""

    outputs: int = 0
    dropped: Counter[str] = field(default_factory=Counter)


class KeyedService(Generic[S]):
    """A `Service` around a `Model`; also the listener of its own group membership."""

    def __init__(  # noqa: PLR0913, PLR0917 - its ports and topics, one each
        self,
        name: str,
        model: Model[S],
        pairs: Sequence[str],
        input_topic: Topic,
        output_topic: Topic,
        state_topic: Topic,
        transport: Transport,
        observer: Observer,
        clock: WallClock,
    ) -> None:
        self.name = name
        self.group = f"crypto-bot-{name}"
        self._model = model
        self._pairs = tuple(pairs)
        self._input_topic, self._output_topic = input_topic, output_topic
        self._states = StateTopic(model, state_topic, transport)
        self._transport = transport
        self._observer = observer
        self._clock = clock
        self._decoder: Decoder[Message] = decoder_of(input_topic)
        self._drop_reason: Callable[[S, Message], str | None] | None = getattr(model, "drop_reason", None)
        self._summary: Callable[[S], Mapping[str, Any]] | None = getattr(model, "summary", None)
        self._resume: Callable[[S], None] | None = getattr(model, "resume", None)
        self._pairs_of: dict[int, list[str]] = {}
        self._partitions: dict[int, _Partition[S]] = {}
        self._handed_over: dict[int, _Partition[S]] = {}
        self._producer: Producer | None = None
        self._consumer: Consumer | None = None
        self._now_ns = 0
        self._snapshot_at_ns = 0
        self._lag_at_ns = 0
        self._since_snapshot = 0
        self._most_records = MOST_RECORDS
        self._inputs = 0
        self._outputs = 0
        self._assigned = False

    # Service

    def start(self) -> None:
        """Join the group; states are restored when partitions are assigned. May be called again after a TransportError."""
        counts = {topic.name: self._transport.partitions(topic) for topic in (self._input_topic, self._output_topic, self._states.topic)}
        if len(set(counts.values())) > 1:
            raise ConfigurationError([f"topics must have the same number of partitions, but have {counts}; make them anew with TOPIC_PARTITIONS of them"])
        self._pairs_of = {}
        for pair in self._pairs:
            self._pairs_of.setdefault(self._transport.partition_of(self._input_topic, pair), []).append(pair)
        self._producer = self._producer or self._transport.producer()
        self._consumer = self._consumer or self._transport.member(self._input_topic, self.group, self)

    def turn(self, timeout_s: float) -> int:
        """Answer what is there; snapshot when it is time."""
        if self._consumer is None:
            raise TransportError(f"{self.name} has not been started")
        records = self._consumer.poll(timeout_s, self._most_records)
        self._now_ns = self._clock()
        if self._now_ns - self._lag_at_ns >= LAG_INTERVAL_NS:
            self._lag_at_ns = self._now_ns
            self._observer.gauge("crypto_bot_consumer_lag_records", self._consumer.lag())
        if records:
            self._handle_all(records)
        if self._since_snapshot and (self._since_snapshot >= SNAPSHOT_RECORDS or self._now_ns - self._snapshot_at_ns >= SNAPSHOT_INTERVAL_NS):
            self._snapshot(self._partitions)
        return len(records)

    def stop(self) -> None:
        """Snapshot and leave; a static member's partitions wait for its return."""
        if self._consumer:
            self._consumer.close()
        if self._producer:
            self._producer.close()

    def health(self) -> Health:
        """Ready once the states of an assignment are restored; a member without pairs is idle."""
        partitions = dict(self._partitions)
        slots = [slot for partition in partitions.values() for slot in partition.pairs.values()]
        details = {
            "pairs": sorted(slot.pair for slot in slots),
            "restored_from": dict(Counter(slot.origin for slot in slots)),
            "rebuilt": {slot.pair: slot.reason for slot in slots if slot.reason},
            "missing_inputs": {slot.pair: slot.missing for slot in slots if slot.missing},
            "next_offsets": {str(number): partition.next_offset for number, partition in sorted(partitions.items()) if partition.next_offset >= 0},
            "inputs": self._inputs,
            "outputs": self._outputs,
        }
        if not self._assigned:
            return Health(ready=False, reason="waiting for partitions and their states", details=details)
        labelled = sum(bool(slot.reason or slot.missing) for slot in slots)
        reason = f"{labelled} of {len(slots)} pairs were rebuilt or lack inputs; /info says which" if labelled else ""
        return Health(ready=True, reason=reason, role="active" if slots else "idle", details=details)

    # GroupListener

    def on_assigned(self, partitions: Sequence[int]) -> Mapping[int, int]:
        """Restore the pairs of the partitions; each starts after the oldest of its pairs' snapshots."""
        committed = self._transport.committed(self._input_topic, self.group)
        back = self._unchanged(partitions, committed)
        others = [number for number in partitions if number not in back]
        newest = self._states.newest(others) if others else {}
        oldest = self._transport.oldest_offsets(self._input_topic)
        # Asked last: whatever the others tell of lies before it.
        ends = self._transport.end_offsets(self._input_topic)
        for number in others:
            # Beyond the end stands a position in a topic that is gone.
            done = committed.get(number, 0) if committed.get(number, 0) <= ends[number] else 0
            slots = {pair: self._restored(pair, newest.get(pair), ends[number], done) for pair in self._pairs_of.get(number, ())}
            self._partitions[number] = _Partition(slots, done, min((slot.offset + 1 for slot in slots.values()), default=done))
            self._label_missing(number, oldest[number])
        self._partitions.update(back)
        self._handed_over = {}
        self._assigned = True
        self._log_restored(others)
        self._observer.log("INFO", "partitions assigned", partitions=list(partitions), kept=sorted(back))
        return {number: self._partitions[number].next_offset for number in partitions}

    def _unchanged(self, partitions: Sequence[int], committed: Mapping[int, int]) -> dict[int, _Partition[S]]:
        """Partitions that come back from a rebalance as they went into it, since nobody has moved their position."""
        return {
            number: partition
            for number in partitions
            if (partition := self._handed_over.get(number)) and partition.next_offset > 0 and partition.next_offset == committed.get(number)
        }

    def on_revoked(self, partitions: Sequence[int], *, lost: bool) -> None:
        """Hand the partitions over."""
        leaving = {number: partition for number in partitions if (partition := self._partitions.pop(number, None))}
        self._assigned = False
        if not lost:
            self._snapshot(leaving)
            self._handed_over = leaving

    # Records

    def _handle_all(self, records: Sequence[Record]) -> None:
        tally = _Tally()
        for record in records:
            partition = self._partitions.get(record.partition)
            if partition is not None:
                self._handle(partition, record, tally)
                partition.next_offset = record.offset + 1
        self._inputs += len(records)
        self._outputs += tally.outputs
        self._since_snapshot += len(records)
        self._report(records, tally)
        took_ns = max(1, self._clock() - self._now_ns)
        self._most_records = max(LEAST_RECORDS, min(MOST_RECORDS, len(records) * TURN_NS // took_ns))

    def _handle(self, partition: _Partition[S], record: Record, tally: _Tally) -> None:
        slot = partition.pairs.get(record.key)
        if slot and record.offset <= slot.offset:
            tally.dropped["already-applied"] += 1
            return
        try:
            message = self._decoder.decode(record.value)
            if isinstance(message, WriterEpoch):
                for each in partition.pairs.values():
                    self._apply(partition, each, record, message, tally)
            elif slot := self._slot_of(partition, record, message):
                self._apply(partition, slot, record, message, tally)
            else:
                tally.dropped["unconfigured-pair"] += 1
        except InvalidRecord as error:
            if record.offset >= partition.committed:
                self._set_aside(record, error)

    def _slot_of(self, partition: _Partition[S], record: Record, message: Message) -> _PairState[S] | None:
        """The state that a record belongs to; None for a pair that has left PAIRS, whose last records may still be there."""
        pair = pair_of(message)
        slot = partition.pairs.get(pair)
        if slot is None and pair in self._pairs:
            raise InvalidRecord("wrong-partition", f"{pair} does not belong in {record.topic}/{record.partition}; has the number of partitions changed?")
        if slot is None:
            Pair.parse(pair)
        return slot

    def _apply(self, partition: _Partition[S], slot: _PairState[S], record: Record, message: Message, tally: _Tally) -> None:
        if record.offset <= slot.offset:
            tally.dropped["already-applied"] += 1
            return
        if self._drop_reason and (reason := self._drop_reason(slot.state, message)):
            tally.dropped[reason] += 1
            return
        state, outputs = self._step(slot.state, message)
        if record.offset >= partition.committed:
            for output in outputs:
                self._send(self._output_topic, slot.pair, output, trace=record.trace.with_hop(self._now_ns, self._clock()))
            tally.outputs += len(outputs)
        elif outputs:
            tally.dropped["published-before"] += 1
        if slot.missing or slot.reason:
            _relabel(slot, message, state, is_new=record.offset >= partition.committed)
        slot.dirty |= state is not slot.state
        slot.state, slot.offset = state, record.offset
        if self._summary and self._now_ns - slot.shown_at_ns >= SUMMARY_INTERVAL_NS:
            slot.shown_at_ns = self._now_ns
            self._observer.pair_state(slot.pair, self._summary(state))

    def _step(self, state: S, message: Message) -> tuple[S, Sequence[Message]]:
        """A step is pure: one that cannot be computed leaves the state as it was, and its input is set aside."""
        try:
            return self._model.step(state, message)
        except (ArithmeticError, ValueError) as error:
            raise InvalidRecord("not-computable", f"{type(error).__name__}: {error}") from error

    def _set_aside(self, record: Record, error: InvalidRecord) -> None:
        self._send(DEAD_LETTERS, record.topic.name, dead_letter(self.name, record, error))
        self._observer.count("crypto_bot_dead_letters_total", source=record.topic.name, reason=error.reason)

    def _send(self, topic: Topic, key: str, message: Message, *, partition: int | None = None, trace: Trace = NO_TRACE) -> None:
        if self._producer is None:
            raise TransportError(f"{self.name} has not been started")
        self._producer.send(topic, key, encode(message), partition=partition, trace=trace)

    def _report(self, records: Sequence[Record], tally: _Tally) -> None:
        self._observer.count("crypto_bot_records_consumed_total", len(records), topic=self._input_topic.name)
        if tally.outputs:
            self._observer.count("crypto_bot_records_produced_total", tally.outputs, topic=self._output_topic.name)
        for reason, amount in tally.dropped.items():
            self._observer.count("crypto_bot_records_dropped_total", amount, topic=self._input_topic.name, reason=reason)
        if oldest := records[0].trace.read_at_ns:
            self._observer.observe("crypto_bot_input_age_seconds", (self._now_ns - oldest) / NANOSECONDS)

    # Snapshots

    def _snapshot(self, partitions: Mapping[int, _Partition[S]]) -> None:
        """Snapshot what changed, then commit; never before all outputs of the inputs within are acknowledged."""
        if self._producer is None:
            return
        self._producer.flush()
        for number, partition in partitions.items():
            for slot in partition.pairs.values():
                self._seal(number, partition, slot)
        self._producer.flush()
        self._commit(partitions)
        self._snapshot_at_ns = self._now_ns
        self._since_snapshot = 0

    def _seal(self, number: int, partition: _Partition[S], slot: _PairState[S]) -> None:
        """Write a snapshot of a pair that changed, or whose last one would have too many records read again."""
        # What lies between a pair's last input and the partition's next was handled without touching the pair.
        slot.offset = max(slot.offset, partition.next_offset - 1)
        if not slot.dirty and slot.offset - slot.sealed_offset < QUIET_RECORDS:
            return
        snapshot = seal(self._model, slot.pair, slot.offset, slot.state, missing=slot.missing)
        self._send(self._states.topic, slot.pair, snapshot, partition=number)
        slot.dirty, slot.sealed_offset = False, slot.offset

    def _commit(self, partitions: Mapping[int, _Partition[S]]) -> None:
        moved = {number: partition for number, partition in partitions.items() if partition.next_offset > partition.committed}
        if moved and self._consumer:
            self._consumer.commit([Position(self._input_topic, number, partition.next_offset) for number, partition in moved.items()])
        for partition in moved.values():
            partition.committed = partition.next_offset

    def _restored(self, pair: str, record: Record | None, input_end: int, done: int) -> _PairState[S]:
        if record is None:
            # Of a new pair in a partition that others have used, only its first input can tell that it never had one.
            return self._rebuilt(pair, NO_SNAPSHOT) if done else _PairState(pair, self._model.initial(pair), -1, "beginning")
        try:
            state, snapshot = self._states.restore(pair, record, input_end)
        except InvalidRecord as error:
            self._set_aside(record, error)
            self._observer.log("ERROR", "snapshot refused, rebuilding from the oldest input", pair=pair, reason=error.reason, detail=error.detail)
            return self._rebuilt(pair, f"{error.reason}: {error.detail}")
        if self._resume:
            self._resume(state)
        return _PairState(pair, state, snapshot.offset, "snapshot", missing=snapshot.missing, sealed_offset=snapshot.offset)

    def _rebuilt(self, pair: str, reason: str) -> _PairState[S]:
        return _PairState(pair, self._model.initial(pair), -1, "rebuilt", reason=reason)

    def _label_missing(self, number: int, oldest: int) -> None:
        """Say of which pairs the topic no longer holds the inputs that they still need; they go on with what there is."""
        for slot in self._partitions[number].pairs.values():
            if slot.offset + 1 < oldest:
                slot.missing = f"{self._input_topic}/{number} from {slot.offset + 1} to {oldest - 1}"

    def _log_restored(self, partitions: Sequence[int]) -> None:
        slots = [slot for number in partitions for slot in self._partitions[number].pairs.values()]
        for origin, amount in (origins := Counter(slot.origin for slot in slots)).items():
            self._observer.count("crypto_bot_states_restored_total", amount, origin=origin)
        if missing := {slot.pair: slot.missing for slot in slots if slot.missing}:
            self._observer.log("ERROR", "retention took inputs that these pairs need, they go on without them", missing=missing)
        if slots:
            self._observer.log("INFO", "states restored", partitions=list(partitions), restored_from=dict(origins))
