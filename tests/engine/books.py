"""The whole log of a stack that stands still, and what is amiss with it: gaps in seq, answers that are missing, frames unaccounted for."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from common import messages as m
from common.codec import decoder_of
from common.io.kafka import KafkaTransport
from common.processor import Position
from common.topics import EXECUTIONS, HEDGE_RATIOS, RISK_SIGNALS, TICKS, VOLATILITY_THRESHOLDS, Topic
from tests.engine.stack import Stack, eventually

Seq = tuple[str, int]
Bar = tuple[str, int, int]


class Log(NamedTuple):
    """Everything that was published, each once, however often it was sent."""

    #: Numbers of each pair, in the order of the log.
    seqs: Mapping[str, list[int]]
    ticks: set[Seq]
    hedge_ratios: set[Seq]
    closes: set[Bar]
    thresholds: set[Bar]
    signals: set[Bar]
    marks: set[Bar]


def the_books_balance(stack: Stack) -> None:
    """With the exchange held still: no seq is missing, every stage answered every tick and bar, and frames = ticks + conflated + dead letters + ignored."""
    stack.compose("pause", "exchange-simulator")
    found: list[str] = []

    def in_order() -> bool:
        found[:] = _problems(stack, log := read_log(stack.ports["KAFKA_PORT"]))
        if not found:
            stack.say(f"{len(log.ticks)} ticks and {len(log.closes)} bars of {len(log.seqs)} pairs without a gap")
        return not found

    try:
        # What is still on its way arrives; up to a thousand ticks a pair may be, and on a busy machine that takes a while.
        assert eventually(in_order, 180), "\n".join(found)
    finally:
        stack.compose("unpause", "exchange-simulator")


def read_log(kafka_port: int) -> Log:
    """Read the topics of all pairs from their beginning to where they end now."""
    transport = KafkaTransport(f"localhost:{kafka_port}", client_id="books")
    try:
        transport.connect(timeout_s=30)
        log = Log(defaultdict(list), set(), set(), set(), set(), set(), set())
        for message in _of_the_newest_writers(transport):
            log.seqs[message.pair].append(message.seq)
            if isinstance(message, m.Tick):
                log.ticks.add((message.pair, message.seq))
            else:
                log.closes.add(_bar(message))
        log.hedge_ratios.update((each.tick.pair, each.tick.seq) for _, each in _messages(transport, HEDGE_RATIOS) if isinstance(each, m.HedgeRatio))
        for topic, bars, kind in (
            (VOLATILITY_THRESHOLDS, log.thresholds, m.Thresholds),
            (RISK_SIGNALS, log.signals, m.RiskSignal),
            (EXECUTIONS, log.marks, m.Mark),
        ):
            bars.update(_bar(each) for _, each in _messages(transport, topic) if isinstance(each, kind))
        return log
    finally:
        transport.close()


def _of_the_newest_writers(transport: KafkaTransport) -> Iterator[m.Tick | m.BarClose]:
    """Ticks and bar closes, without what a writer wrote after its successor had begun: nobody reads that."""
    epochs: dict[int, int] = {}
    for partition, message in _messages(transport, TICKS):
        if isinstance(message, m.WriterEpoch):
            epochs[partition] = message.epoch
        elif message.epoch >= epochs.get(partition, 0):
            yield message


def _messages(transport: KafkaTransport, topic: Topic) -> Iterator[tuple[int, Any]]:
    """Partition and message of everything that is there now."""
    decoder, ends, oldest = decoder_of(topic), transport.end_offsets(topic), transport.oldest_offsets(topic)
    left = {partition for partition, end in ends.items() if end > oldest[partition]}
    reader = transport.reader([Position(topic, partition, 0) for partition in ends])
    while left:
        for record in reader.poll(0.1):
            if record.offset < ends[record.partition]:
                yield record.partition, decoder.decode(record.value)
            if record.offset >= ends[record.partition] - 1:
                left.discard(record.partition)
    reader.close()


def _bar(message: Any) -> Bar:
    return message.pair, message.session, message.bar


def _problems(stack: Stack, log: Log) -> list[str]:
    found = [f"{pair}: {numbers[0]}, then {len(numbers)} records to {numbers[-1]}" for pair, numbers in log.seqs.items() if numbers != _gapless(numbers)]
    answers: tuple[tuple[str, set[Any], set[Any]], ...] = (
        ("hedge ratios", log.hedge_ratios, log.ticks),
        ("thresholds", log.thresholds, log.closes),
        ("signals", log.signals, log.closes),
        ("marks", log.marks, log.closes),
    )
    for name, given, wanted in answers:
        if given != wanted:
            found.append(f"{len(wanted - given)} {name} are missing and {len(given - wanted)} too many, such as {sorted(wanted ^ given)[:3]}")
    return [*found, *_accounts(stack, len(log.ticks))] if log.ticks else ["nothing was published"]


def _gapless(numbers: list[int]) -> list[int]:
    return list(range(numbers[0], numbers[0] + len(numbers)))


def _accounts(stack: Stack, ticks: int) -> Iterator[str]:
    """Ingestion's own books; those of one that was started anew begin anew."""
    report = stack.get("INGESTION_PORT", "/info")
    books = report["details"]
    parts = {name: books[name] for name in ("ticks", "conflated", "dead_letters", "pending")} | {"ignored": Counter(books["ignored"]).total()}
    if books["frames"] != sum(parts.values()) or not books["frames"]:
        yield f"{books['frames']} frames are not {parts}"
    if books["ticks"] > ticks:
        yield f"ingestion wrote {books['ticks']} ticks, and {ticks} are there"
