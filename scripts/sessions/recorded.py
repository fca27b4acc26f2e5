"""Reads a recorded session: everything that was published, up to where the topics end now."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common import messages as m
from common.codec import decoder_of
from common.errors import ConfigurationError, InvalidRecord, TransportError
from common.processor import Position, Record, Transport
from common.rules import SymbolRules, parse_exchange_info
from common.settings import Market
from common.topics import COMMANDS, EXECUTIONS, HEDGE_RATIOS, RISK_SIGNALS, TICKS, VOLATILITY_THRESHOLDS, Topic
from services.exchange_simulator.exchange_info import exchange_info
from services.exchange_simulator.store import Wanted, open_recording

#: What is compared, in the order of the data.
OUTPUTS = (HEDGE_RATIOS, VOLATILITY_THRESHOLDS, RISK_SIGNALS, EXECUTIONS)

_POLL_S = 1.0
#: Polls in a row without a record before the broker counts as away.
_PATIENCE = 15
#: What serves liveness only.
_PASSING = m.RiskHeartbeat

Hear = Callable[[str], None]


@dataclass
class Session:
    """What the topics hold."""

    partitions: int
    place: Callable[[str], int]
    ticks: list[Record]
    commands: list[m.Command]
    outputs: Mapping[Topic, list[m.Message]]
    #: Records that are no message, by topic.
    unreadable: Counter[str] = field(default_factory=Counter)
    #: Topics whose first records retention has taken.
    shortened: frozenset[Topic] = frozenset()

    def tick_messages(self) -> list[m.Message]:
        """Ticks and bar closes."""
        return [message for message in _messages(TICKS, self.ticks, Counter()) if not isinstance(message, m.WriterEpoch)]

    def live(self) -> bool:
        """Whether any bar came from a live feed."""
        return any(b'"feed":"live"' in record.value for record in self.ticks)


def read_session(transport: Transport, hear: Hear = lambda _: None) -> Session:
    """Read all topics.

    Raises ConfigurationError when `ticks` is empty or its first records are gone, since a replay begins at the first one,
    and TransportError when the broker does not answer.
    """
    # Outputs first: whatever they answer is in `ticks` by then.
    ends = {topic: transport.end_offsets(topic) for topic in (*OUTPUTS, COMMANDS, TICKS)}
    gone = frozenset(topic for topic in ends if any(transport.oldest_offsets(topic).values()))
    if not any(ends[TICKS].values()):
        raise ConfigurationError(["ticks holds no record: name the broker and TOPIC_PREFIX of the session that is to be replayed"])
    if TICKS in gone:
        raise ConfigurationError(["the first records of ticks are gone, and a replay begins with them: retention was shorter than the session"])
    unreadable: Counter[str] = Counter()
    ticks = list(_read(transport, TICKS, ends[TICKS], hear))
    outputs = {topic: lasting(_messages(topic, _read(transport, topic, ends[topic], hear), unreadable)) for topic in OUTPUTS}
    commands = [command for command in _messages(COMMANDS, _read(transport, COMMANDS, ends[COMMANDS], hear), unreadable) if isinstance(command, m.Command)]
    partitions = transport.partitions(TICKS)
    return Session(partitions, lambda key: transport.partition_of(TICKS, key), ticks, commands, outputs, unreadable, gone)


def _messages(topic: Topic, records: Iterable[Record], unreadable: Counter[str]) -> Iterator[m.Message]:
    decoder: Any = decoder_of(topic)
    for record in records:
        try:
            yield decoder.decode(record.value)
        except InvalidRecord:
            unreadable[topic.name] += 1


def lasting(messages: Iterable[m.Message]) -> list[m.Message]:
    """Without those that serve liveness and the lead only."""
    return [message for message in messages if not isinstance(message, _PASSING)]


def _read(transport: Transport, topic: Topic, ends: Mapping[int, int], hear: Hear) -> Iterator[Record]:
    """Records of all partitions up to their ends, in order per partition."""
    oldest = transport.oldest_offsets(topic)
    left = {partition for partition, end in ends.items() if end > oldest[partition]}
    reader = transport.reader([Position(topic, partition, oldest[partition]) for partition in sorted(left)])
    silent = count = 0
    try:
        while left:
            records = reader.poll(_POLL_S, max_records=10_000)
            silent = 0 if records else silent + 1
            if silent >= _PATIENCE:
                raise TransportError(f"{topic}: no record within {_PATIENCE * _POLL_S:.0f} s, {len(left)} partitions are not read to their end")
            for record in records:
                if record.offset < ends[record.partition]:
                    yield record
                if record.offset + 1 >= ends[record.partition]:
                    left.discard(record.partition)
            count += len(records)
            hear(f"{topic}: {count} records")
    finally:
        reader.close()


def rules_of_recording(path: Path, market: Market, symbols: tuple[str, ...]) -> Mapping[str, SymbolRules]:
    """The venue's rules as the simulator gives them for a recording; raises ConfigurationError when it cannot be read."""
    opened = open_recording(path, Wanted(market, symbols))
    return parse_exchange_info(exchange_info(market, opened.rules.values(), 0), market)
