"""What model replicas answered, and whether it is what one undisturbed model would have."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from common.codec import decoder_of, encode
from common.messages import HedgeRatio, HedgeRatioClose, Message, Thresholds
from common.processor import Model, Position, Record, Transport
from common.topics import HEDGE_RATIOS, VOLATILITY_THRESHOLDS, Topic
from common.trace import Trace

#: A pair and the number that its answers are known by: the seq of a hedge ratio, the bar of thresholds.
Place = tuple[str, int]

PATIENCE_S = 60.0


def place_of(message: Message) -> Place:
    """What an answer is known by."""
    match message:
        case HedgeRatio():
            return message.tick.pair, message.tick.seq
        case HedgeRatioClose():
            return message.close.pair, message.close.seq
        case Thresholds():
            return message.pair, message.bar
        case _:
            raise TypeError(f"{type(message).__name__} is no answer of a model")


def expected(model: Model[Any], inputs: Mapping[str, Sequence[Message]]) -> dict[str, list[Message]]:
    """What one instance answers to the inputs of each pair."""
    answers: dict[str, list[Message]] = {}
    for pair, messages in inputs.items():
        state, mine = model.initial(pair), answers.setdefault(pair, [])
        for message in messages:
            state, outputs = model.step(state, message)
            mine += outputs
    return answers


@dataclass(slots=True)
class Answers:
    """All copies of each answer in a topic, in the order of the log."""

    topic: Topic
    copies: dict[Place, list[bytes]] = field(default_factory=dict)
    #: Places of each pair in the order of their first copies.
    order: dict[str, list[int]] = field(default_factory=dict)
    #: When the first copy was sent, wall time in ns.
    sent_at_ns: dict[Place, int] = field(default_factory=dict)

    def add(self, record: Record) -> None:
        """Take in a record of the topic."""
        place = place_of(_DECODERS[self.topic].decode(record.value))
        if place not in self.copies:
            self.order.setdefault(place[0], []).append(place[1])
            self.sent_at_ns[place] = sent_at_ns(record.trace)
        self.copies.setdefault(place, []).append(record.value)

    @property
    def repeated(self) -> int:
        """How many copies there are beyond the first ones."""
        return sum(len(copies) - 1 for copies in self.copies.values())

    def problems(self, wanted: Mapping[str, Sequence[Message]]) -> list[str]:
        """Gaps, answers out of order, and copies that differ from what is wanted; one line each."""
        found = []
        for pair, messages in wanted.items():
            numbers = [place_of(message)[1] for message in messages]
            if self.order.get(pair, []) != numbers:
                found.append(f"{self.topic} of {pair}: {_first_difference(self.order.get(pair, []), numbers)}")
            found += [
                f"{self.topic} of {pair}: a copy of number {number} differs from what one instance answers"
                for number, message in zip(numbers, messages, strict=True)
                if set(self.copies.get((pair, number), ())) - {encode(message)}
            ]
        return found


_DECODERS = {topic: decoder_of(topic) for topic in (HEDGE_RATIOS, VOLATILITY_THRESHOLDS)}


def _first_difference(seen: Sequence[int], wanted: Sequence[int]) -> str:
    for index, (mine, theirs) in enumerate(zip(seen, wanted, strict=False)):
        if mine != theirs:
            return f"answer {index} is number {mine} instead of {theirs}"
    return f"{len(seen)} answers instead of {len(wanted)}"


def sent_at_ns(trace: Trace) -> int:
    """When the service that answered sent its answer, ns; 0 when unknown."""
    times = trace.times_ns
    return times[-1] if times else 0


def read_until(transport: Transport, topic: Topic, is_enough: Callable[[Answers], bool], patience_s: float = PATIENCE_S) -> Answers:
    """Read a topic from its beginning until there is enough; gives up, with what there is, when patience ends."""
    answers = Answers(topic)
    reader = transport.reader([Position(topic, number, 0) for number in range(transport.partitions(topic))])
    give_up_at = time.monotonic() + patience_s
    try:
        while (reader.lag() or not is_enough(answers)) and time.monotonic() < give_up_at:
            for record in reader.poll(0.1):
                answers.add(record)
    finally:
        reader.close()
    return answers


def longest_wait_ms(asked_at_ns: Mapping[Place, int], answers: Answers, since_ns: int, until_ns: int) -> float:
    """The longest that an input answered within a span of wall time had waited for its first answer, ms."""
    waits = (at_ns - asked_at_ns[place] for place, at_ns in answers.sent_at_ns.items() if since_ns <= at_ns < until_ns and place in asked_at_ns)
    return max(waits, default=0) / 1e6
