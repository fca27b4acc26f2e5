"""What a start asks the broker: where to go on reading, and which command ids others remember."""

from collections.abc import Iterable, Iterator, Sequence

from common.codec import Decoder, decoder_of
from common.errors import InvalidRecord, TransportError
from common.messages import Command
from common.processor import Consumer, Observer, Position, Record, Transport
from common.topics import COMMANDS, EXECUTIONS, VOLATILITY_THRESHOLDS

INPUTS = (VOLATILITY_THRESHOLDS, EXECUTIONS)
#: One partition for the commands of every target: receivers drop ids below the last, so they must see them in order.
COMMANDS_PARTITION = 0
#: How often, and how long each time, the newest command is asked for.
COMMAND_POLLS, COMMAND_POLL_S = 100, 0.1


def open_reader(transport: Transport, observer: Observer, stored: Iterable[Position]) -> tuple[Consumer, Sequence[Position]]:
    """Read on from the stored positions, from the oldest record where there is none or it is gone; tells where that is."""
    positions = list(_within_topics(transport, observer, stored))
    return transport.reader(positions), positions


def newest_command_id(transport: Transport) -> int:
    """Find the largest id among the commands, 0 without any: risk.db may be new or restored, and receivers drop ids they have passed."""
    if not transport.end_offsets(COMMANDS)[COMMANDS_PARTITION]:
        return 0
    decoder: Decoder[Command] = decoder_of(COMMANDS)
    reader = transport.reader([Position(COMMANDS, COMMANDS_PARTITION, 0)])
    try:
        return max((_id_of(decoder, record) for record in _to_the_end(reader)), default=0)
    finally:
        reader.close()


def _within_topics(transport: Transport, observer: Observer, stored: Iterable[Position]) -> Iterator[Position]:
    """Give the place in each partition; a topic that is shorter than before has been made anew, records may be gone from one that is not."""
    offsets = {(position.topic, position.partition): position.offset for position in stored}
    for topic in INPUTS:
        oldest = transport.oldest_offsets(topic)
        for partition, end in transport.end_offsets(topic).items():
            offset, first = offsets.get((topic, partition), 0), oldest.get(partition, 0)
            if offset > end:
                observer.log("WARNING", "topic is shorter than before, reading it anew", topic=topic.name, partition=partition, offset=offset, end=end)
            elif 0 < offset < first:
                event = "records are gone, going on at the oldest; bars without marks are closed as missing"
                observer.log("ERROR", event, topic=topic.name, partition=partition, offset=offset, oldest=first)
            yield Position(topic, partition, offset if first <= offset <= end else 0)


def _to_the_end(reader: Consumer) -> Iterator[Record]:
    for _ in range(COMMAND_POLLS):
        if not reader.lag():
            return
        yield from reader.poll(COMMAND_POLL_S)
    raise TransportError(f"the commands in {COMMANDS}/{COMMANDS_PARTITION} could not be read to their end")


def _id_of(decoder: Decoder[Command], record: Record) -> int:
    try:
        return decoder.decode(record.value).id
    except InvalidRecord:
        return 0
