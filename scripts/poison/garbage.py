"""Records that no service can use, by a seed: bytes, JSON of wrong shapes, and well-formed messages about a pair that nobody trades."""

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, NamedTuple

from common.codec import encode
from common.messages import BarClose, BarStatus, Command, CommandKind, Feed, HedgeRatio, HedgeRatioClose, ModelStatus, Quote, Tick
from common.topics import COMMANDS, EXECUTIONS, HEDGE_RATIO_CLOSES, HEDGE_RATIOS, PROGRESS, RISK_SIGNALS, TICKS, VOLATILITY_THRESHOLDS, Topic

STRANGER = "FUZZUSDT-BTCUSDT"
#: What a record of a pair that is not traded is counted as, where it is no dead letter.
STRANGERS_DROPPED = "unconfigured-pair"
#: Who sets aside, or drops, what it cannot use of each topic.
READERS = {
    TICKS: ("kalman-filter-service",),
    HEDGE_RATIOS: ("execution-service",),
    HEDGE_RATIO_CLOSES: ("garch-volatility-service",),
    VOLATILITY_THRESHOLDS: ("risk-manager-service",),
    RISK_SIGNALS: ("execution-service",),
    EXECUTIONS: ("risk-manager-service",),
    PROGRESS: ("ingestion-service",),
    COMMANDS: ("execution-service",),
}
_KEYS = ("", STRANGER, "ETHUSDT-BTCUSDT", "\u2603" * 5)
_WORDS = ("type", "pair", "seq", "bar", "session", "close", "tick", "y", "estimate", "thresholds", "tick", "mark", "hedge-ratio", "order", "bar-close")


class Garbage(NamedTuple):
    """A record that should not be."""

    topic: Topic
    partition: int
    key: str
    value: bytes


def expected(records: int, seed: int, partitions: int) -> Counter[tuple[str, str]]:
    """How many records of each topic a service must set aside, or drop as a stranger's, for as many records of this seed."""
    sent = Counter(record.topic for record in garbage(records, seed, partitions))
    return Counter({(service, topic.name): amount for topic, amount in sent.items() for service in READERS[topic]})


def garbage(records: int, seed: int, partitions: int) -> Iterator[Garbage]:
    """So many records; the same for the same seed."""
    chance = random.Random(seed)  # noqa: S311 - repeatable, guards nothing
    topics = tuple(READERS)
    for number in range(records):
        topic = chance.choice(topics)
        # Half of them bytes, for the rest needs the more thought.
        make = chance.choice((_bytes, _bytes, _json, _cut, _mistyped, _stranger))
        partition = chance.randrange(partitions) if topic.per_pair else 0
        yield Garbage(topic, partition, chance.choice(_KEYS), make(chance, topic, number))


def _bytes(chance: random.Random, _topic: Topic, number: int) -> bytes:
    """One in a thousand longer than what a dead letter keeps."""
    return chance.randbytes(100_000 if number % 1000 == 0 else chance.randrange(300))


def _json(chance: random.Random, _topic: Topic, _number: int) -> bytes:
    return json.dumps(_value(chance, 3)).encode()


def _value(chance: random.Random, depth: int) -> Any:
    makers: list[Callable[[], Any]] = [
        lambda: None,
        lambda: chance.choice(_WORDS),
        lambda: chance.randrange(-(2**70), 2**70),
        lambda: chance.uniform(-1e308, 1e308),
        lambda: [_value(chance, depth - 1) for _ in range(chance.randrange(4))],
        lambda: {chance.choice(_WORDS): _value(chance, depth - 1) for _ in range(chance.randrange(5))},
    ]
    return chance.choice(makers if depth else makers[:4])()


def _tick(chance: random.Random) -> Tick:
    quote = Quote(bid=Decimal(1), bid_size=Decimal(1), ask=Decimal(2), ask_size=Decimal(1), event_time_ns=1)
    seq = chance.randrange(2**40)
    return Tick(pair=STRANGER, seq=seq, epoch=1, session=1, bar=seq // 100, event_time_ns=seq, y=quote, x=quote)


def _cut(chance: random.Random, _topic: Topic, _number: int) -> bytes:
    whole = encode(_tick(chance))
    return whole[: chance.randrange(len(whole))]


def _mistyped(chance: random.Random, _topic: Topic, _number: int) -> bytes:
    """A tick but for one value; to every topic but `ticks` it is of the wrong kind besides."""
    message = json.loads(encode(_tick(chance)))
    message[chance.choice(("seq", "bar", "session", "y", "x", "pair"))] = chance.choice((None, [], -1, 2**64, 0.5, {"bid": "NaN"}))
    return json.dumps(message).encode()


def _stranger(chance: random.Random, topic: Topic, _number: int) -> bytes:
    """A message in good order, of a pair that is not traded, where the topic has one that its readers set aside."""
    if topic == TICKS:
        return encode(_tick(chance))
    if topic == HEDGE_RATIOS:
        return encode(HedgeRatio(tick=_tick(chance), status=ModelStatus.WARMING))
    if topic == HEDGE_RATIO_CLOSES:
        tick = _tick(chance)
        close = BarClose(STRANGER, tick.seq, 1, 1, tick.bar, tick.event_time_ns, BarStatus.FRESH, Feed.LIVE)
        return encode(HedgeRatioClose(close=close, status=ModelStatus.WARMING))
    if topic == COMMANDS:
        return encode(Command(id=chance.randrange(1, 2**40), target=STRANGER, kind=CommandKind.FLATTEN, who="fuzz", why="fuzz", issued_at_ns=1))
    return b"{}"
