"""Runs a model with one state per pair as a member of a consumer group.

The states live in a compacted topic beside the input: a snapshot carries the offset of the last input handled. It is written
only after every output of the inputs up to it has been acknowledged, and only then is the group's position committed.

A partition starts after the oldest of its pairs' snapshots, wherever the group's position is, and skips per pair what its
snapshot already holds. For a member that was paused, lost its partitions and woke up may still write a snapshot older than its
successor's: that is a true state too, only of an earlier input, and compaction may leave no other. The committed position
says something else: the outputs and dead letters of all inputs before it are published. So what is read again before it moves
states and publishes nothing; what lies behind it is answered, at worst a second time and alike.
A pair without a usable snapshot is rebuilt from the oldest input there is, and says so.

Records of a pair that is not configured are passed over, and the position goes past them without an answer. While PAIRS is
changed one service after the other they may be somebody's, so the pair's snapshot notes where that began: whoever is told of
the pair later answers from there.
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
from common.restoring import PairState, PartitionState, Restorer, relabel
from common.snapshots import StateTopic, seal
from common.topics import DEAD_LETTERS, Topic
from common.trace import NO_TRACE, Trace

S = TypeVar("S", bound=msgspec.Struct)

#: Longest time and most records between two snapshots.
SNAPSHOT_INTERVAL_NS = NANOSECONDS
SNAPSHOT_RECORDS = 2000
#: A pair that has been quiet for this many records of its partition is snapshotted too, so that few are read again.
QUIET_RECORDS = 5000
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
class _Tally:
    """What a turn counts, reported once at its end."""

    outputs: Counter[str] = field(default_factory=Counter)
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
        closes_topic: Topic | None = None,
    ) -> None:
        """The answers that close a bar go to `closes_topic` too: its readers are not woken by ticks."""
        self.name = name
        self.group = f"crypto-bot-{name}"
        self._model = model
        self._pairs = tuple(pairs)
        self._input_topic, self._output_topic = input_topic, output_topic
        self._state_topic, self._closes_topic = state_topic, closes_topic
        self._transport = transport
        self._observer = observer
        self._clock = clock
        self._decoder: Decoder[Message] = decoder_of(input_topic)
        self._drop_reason: Callable[[S, Message], str | None] | None = getattr(model, "drop_reason", None)
        self._summary: Callable[[S], Mapping[str, Any]] | None = getattr(model, "summary", None)
        self._states = StateTopic(model, state_topic, transport)
        self._restorer = Restorer(model, self._states, (input_topic, self.group), transport, observer, self._set_aside)
        self._pairs_of: dict[int, list[str]] = {}
        self._partitions: dict[int, PartitionState[S]] = {}
        self._handed_over: dict[int, PartitionState[S]] = {}
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
        topics = (self._input_topic, self._output_topic, self._closes_topic, self._state_topic)
        counts = {topic.name: self._transport.partitions(topic) for topic in topics if topic}
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

    def measure(self, _observer: Observer) -> None:
        """Show every pair as it stands now. Called from other threads."""
        if self._summary:
            for partition in tuple(self._partitions.values()):
                for slot in tuple(partition.pairs.values()):
                    self._observer.pair_state(slot.pair, self._summary(slot.state))

    # GroupListener

    def on_assigned(self, partitions: Sequence[int]) -> Mapping[int, int]:
        """Restore the pairs of the partitions; each starts after the oldest of its pairs' snapshots."""
        wanted = {number: self._pairs_of.get(number, ()) for number in partitions}
        restored = self._restorer.restore(wanted, self._handed_over)
        self._partitions.update(restored)
        self._handed_over = {}
        self._assigned = True
        return {number: partition.next_offset for number, partition in restored.items()}

    def on_revoked(self, partitions: Sequence[int], *, lost: bool) -> None:
        """Hand the partitions over."""
        leaving = {number: partition for number in partitions if (partition := self._partitions.pop(number, None))}
        self._assigned = False
        if not lost:
            self._snapshot(leaving)
            self._handed_over = leaving
        for partition in leaving.values():
            for pair in partition.pairs:
                self._observer.forget_pair(pair)

    # Records

    def _handle_all(self, records: Sequence[Record]) -> None:
        tally = _Tally()
        for record in records:
            partition = self._partitions.get(record.partition)
            if partition is not None:
                self._handle(partition, record, tally)
                partition.next_offset = record.offset + 1
        self._inputs += len(records)
        self._outputs += tally.outputs[self._output_topic.name]
        self._since_snapshot += len(records)
        self._report(records, tally)
        took_ns = max(1, self._clock() - self._now_ns)
        self._most_records = max(LEAST_RECORDS, min(MOST_RECORDS, len(records) * TURN_NS // took_ns))

    def _handle(self, partition: PartitionState[S], record: Record, tally: _Tally) -> None:
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
                self._pass_over(partition, record, pair_of(message), tally)
        except InvalidRecord as error:
            if record.offset >= partition.committed:
                self._set_aside(record, error)

    def _slot_of(self, partition: PartitionState[S], record: Record, message: Message) -> PairState[S] | None:
        """The state that a record belongs to; None for a pair that has left PAIRS, whose last records may still be there."""
        pair = pair_of(message)
        slot = partition.pairs.get(pair)
        if slot is None and pair in self._pairs:
            raise InvalidRecord("wrong-partition", f"{pair} does not belong in {record.topic}/{record.partition}; has the number of partitions changed?")
        if slot is None:
            Pair.parse(pair)
        return slot

    def _pass_over(self, partition: PartitionState[S], record: Record, pair: str, tally: _Tally) -> None:
        tally.dropped["unconfigured-pair"] += 1
        if pair not in partition.noted:
            partition.passed_over.setdefault(pair, record.offset)

    def _apply(self, partition: PartitionState[S], slot: PairState[S], record: Record, message: Message, tally: _Tally) -> None:
        if record.offset <= slot.offset:
            tally.dropped["already-applied"] += 1
            return
        if self._drop_reason and (reason := self._drop_reason(slot.state, message)):
            tally.dropped[reason] += 1
            return
        state, outputs = self._step(slot.state, message)
        is_new = partition.is_new(slot, record.offset)
        if is_new:
            for output in outputs:
                self._publish(slot.pair, output, record.trace, tally)
            if isinstance(message, BarClose | HedgeRatioClose):
                self._log_bar(record, message)
        elif outputs:
            tally.dropped["published-before"] += 1
        if slot.missing or slot.reason:
            relabel(slot, message, state, is_new=is_new)
        slot.dirty |= state is not slot.state
        slot.state, slot.offset = state, record.offset
        if self._summary and self._now_ns - slot.shown_at_ns >= SUMMARY_INTERVAL_NS:
            slot.shown_at_ns = self._now_ns
            self._observer.pair_state(slot.pair, self._summary(state))

    def _publish(self, pair: str, output: Message, trace: Trace, tally: _Tally) -> None:
        topics = [self._output_topic]
        if self._closes_topic and isinstance(output, HedgeRatioClose):
            topics.append(self._closes_topic)
        for topic in topics:
            self._send(topic, pair, output, trace=trace.with_hop(self._now_ns, self._clock()))
            tally.outputs[topic.name] += 1

    def _log_bar(self, record: Record, message: BarClose | HedgeRatioClose) -> None:
        """A bar is told of in every service that answers it, under one trace; ticks are too many for lines."""
        close = message if isinstance(message, BarClose) else message.close
        fields = {"pair": close.pair, "bar": close.bar, "seq": close.seq, "status": close.status.value}
        self._observer.log("DEBUG", "bar answered", **fields, trace_id=record.trace.id)

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
        for topic, amount in tally.outputs.items():
            self._observer.count("crypto_bot_records_produced_total", amount, topic=topic)
        for reason, amount in tally.dropped.items():
            self._observer.count("crypto_bot_records_dropped_total", amount, topic=self._input_topic.name, reason=reason)
        if oldest := records[0].trace.read_at_ns:
            self._observer.observe("crypto_bot_input_age_seconds", (self._now_ns - oldest) / NANOSECONDS)

    # Snapshots

    def _snapshot(self, partitions: Mapping[int, PartitionState[S]]) -> None:
        """Snapshot what changed, then commit; never before all outputs of the inputs within are acknowledged."""
        if self._producer is None:
            return
        self._producer.flush()
        for number, partition in partitions.items():
            for slot in partition.pairs.values():
                self._seal(number, partition, slot)
            self._note_passed_over(number, partition)
        self._producer.flush()
        self._commit(partitions)
        self._snapshot_at_ns = self._now_ns
        self._since_snapshot = 0

    def _seal(self, number: int, partition: PartitionState[S], slot: PairState[S]) -> None:
        """Write a snapshot of a pair that changed, or whose last one would have too many records read again."""
        # What lies between a pair's last input and the partition's next was handled without touching the pair.
        slot.offset = max(slot.offset, partition.next_offset - 1)
        if not slot.dirty and slot.offset - slot.sealed_offset < QUIET_RECORDS:
            return
        if slot.offset + 1 >= partition.committed:
            slot.unanswered_from = -1
        snapshot = seal(self._model, slot.pair, slot.offset, slot.state, missing=slot.missing)
        snapshot = msgspec.structs.replace(snapshot, unanswered_from=slot.unanswered_from)
        self._send(self._state_topic, slot.pair, snapshot, partition=number)
        slot.dirty, slot.sealed_offset = False, slot.offset

    def _note_passed_over(self, number: int, partition: PartitionState[S]) -> None:
        """Write down which inputs the position will pass without an answer, for whoever is told of their pairs later."""
        if partition.passed_over:
            for snapshot in self._states.passed_over(number, partition.passed_over):
                self._send(self._state_topic, snapshot.pair, snapshot, partition=number)
            partition.noted |= partition.passed_over.keys()
            partition.passed_over = {}

    def _commit(self, partitions: Mapping[int, PartitionState[S]]) -> None:
        moved = {number: partition for number, partition in partitions.items() if partition.next_offset > partition.committed}
        if moved and self._consumer:
            self._consumer.commit([Position(self._input_topic, number, partition.next_offset) for number, partition in moved.items()])
        for partition in moved.values():
            partition.committed = partition.next_offset
