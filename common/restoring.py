"""Takes up the states of pairs that a group has given to this member, and says of each where it comes from and what it lacks."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import msgspec

from common.errors import InvalidRecord
from common.messages import BarClose, HedgeRatio, HedgeRatioClose, Message, Tick
from common.processor import Model, Observer, Record, Transport
from common.snapshots import StateTopic
from common.topics import Topic

S = TypeVar("S", bound=msgspec.Struct)

#: Why a pair is rebuilt of which there is no state.
NO_SNAPSHOT = "no-snapshot: none is in the state topic"


@dataclass(slots=True)
class PairState(Generic[S]):
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
    #: Where others, that were not told of the pair, began to pass its inputs over; -1 when they did not.
    unanswered_from: int = -1
    dirty: bool = False
    shown_at_ns: int = 0


@dataclass(slots=True)
class PartitionState(Generic[S]):
    """An owned partition: its pairs, up to where its inputs are answered for good, and how far it has been read."""

    pairs: dict[str, PairState[S]]
    committed: int
    next_offset: int
    #: Pairs that are not configured: where their records began to be passed over, and of which that is written down.
    passed_over: dict[str, int] = field(default_factory=dict)
    noted: set[str] = field(default_factory=set)

    def is_new(self, slot: PairState[S], offset: int) -> bool:
        """Whether nobody has answered a pair's input yet."""
        return offset >= self.committed or 0 <= slot.unanswered_from <= offset


def relabel(slot: PairState[Any], message: Message, state: Any, *, is_new: bool) -> None:
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


class Restorer(Generic[S]):
    """Restores from the state topic what does not come back as it was."""

    def __init__(  # noqa: PLR0913, PLR0917 - what it reads from and whom it tells
        self,
        model: Model[S],
        states: StateTopic[S],
        source: tuple[Topic, str],
        transport: Transport,
        observer: Observer,
        set_aside: Callable[[Record, InvalidRecord], None],
    ) -> None:
        self._model = model
        self._states = states
        self._input_topic, self._group = source
        self._transport = transport
        self._observer = observer
        self._set_aside = set_aside
        self._resume: Callable[[S], None] | None = getattr(model, "resume", None)

    def restore(self, wanted: Mapping[int, Sequence[str]], handed_over: Mapping[int, PartitionState[S]]) -> dict[int, PartitionState[S]]:
        """The partitions with the states of the pairs that belong in each; those just handed over come back as they are, unless another has moved them."""
        committed = self._transport.committed(self._input_topic, self._group)
        made = {number: handed_over[number] for number in wanted if number in handed_over and _is_unmoved(handed_over[number], committed.get(number))}
        others = [number for number in wanted if number not in made]
        newest = self._states.newest(others) if others else {}
        oldest = self._transport.oldest_offsets(self._input_topic)
        # Asked last: whatever the others tell of lies before it.
        ends = self._transport.end_offsets(self._input_topic)
        self._observer.log("INFO", "partitions assigned", partitions=list(wanted), kept=sorted(made))
        for number in others:
            # Beyond the end stands a position in a topic that is gone.
            done = committed.get(number, 0) if committed.get(number, 0) <= ends[number] else 0
            slots = {pair: self._pair(pair, newest.get(pair), ends[number], done) for pair in wanted[number]}
            self._label_missing(number, slots.values(), oldest[number])
            made[number] = PartitionState(slots, done, min((slot.offset + 1 for slot in slots.values()), default=done))
        self._report([slot for number in others for slot in made[number].pairs.values()])
        return made

    def _pair(self, pair: str, record: Record | None, input_end: int, done: int) -> PairState[S]:
        if record is None:
            # Of a new pair in a partition that others have used, only its first input can tell that it never had one.
            return self._rebuilt(pair, NO_SNAPSHOT) if done else PairState(pair, self._model.initial(pair), -1, "beginning")
        try:
            state, snapshot = self._states.restore(pair, record, input_end)
        except InvalidRecord as error:
            self._set_aside(record, error)
            self._observer.log("ERROR", "snapshot refused, rebuilding from the oldest input", pair=pair, reason=error.reason, detail=error.detail)
            return self._rebuilt(pair, f"{error.reason}: {error.detail}")
        if self._resume:
            self._resume(state)
        restored = PairState(pair, state, snapshot.offset, "snapshot", missing=snapshot.missing, sealed_offset=snapshot.offset)
        restored.unanswered_from = snapshot.unanswered_from
        return restored

    def _rebuilt(self, pair: str, reason: str) -> PairState[S]:
        return PairState(pair, self._model.initial(pair), -1, "rebuilt", reason=reason)

    def _label_missing(self, number: int, slots: Iterable[PairState[S]], oldest: int) -> None:
        """Say of which pairs the topic no longer holds the inputs that they still need; they go on with what there is."""
        for slot in slots:
            if slot.offset + 1 < oldest:
                slot.missing = f"{self._input_topic}/{number} from {slot.offset + 1} to {oldest - 1}"

    def _report(self, slots: Sequence[PairState[S]]) -> None:
        for origin, amount in (origins := Counter(slot.origin for slot in slots)).items():
            self._observer.count("crypto_bot_states_restored_total", amount, origin=origin)
        if missing := {slot.pair: slot.missing for slot in slots if slot.missing}:
            self._observer.log("ERROR", "retention took inputs that these pairs need, they go on without them", missing=missing)
        if slots:
            self._observer.log("INFO", "states restored", restored_from=dict(origins))


def _is_unmoved(partition: PartitionState[Any], committed: int | None) -> bool:
    """Whether nobody has moved a partition's position since it was handed over."""
    return partition.next_offset > 0 and partition.next_offset == committed
