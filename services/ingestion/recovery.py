"""Start is recovery: mark the log as ours, then read back where it stood before the mark."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from common.codec import decoder_of, encode
from common.errors import InvalidRecord, TransportError
from common.market import Pair, bar_end_ns
from common.messages import BarClose, Tick, TickMessage, WriterEpoch
from common.processor import Position, Producer, Record, Transport
from common.topics import TICKS
from services.ingestion.bars import LogState, PairHistory

#: How far back the first look goes, in records of a partition; each further one goes ten times as far.
_FIRST_LOOK = 1000
_FURTHER = 10
#: A pair's last tick is looked for no further back than this; its last close always is.
_TICK_LOOK = 20_000
_POLL_S = 1.0
#: Polls in a row without a record before the broker counts as away.
_PATIENCE = 30


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a look back found of one pair."""

    newest: Tick | BarClose
    last_close: BarClose | None = None
    last_tick: Tick | None = None
    #: A record of the same or an older writer's marker lies before it, so it was not void when written.
    founded: bool = False


@dataclass(slots=True)
class _Look:
    """What a stretch of a partition, read forward, says."""

    epoch: int = -1
    pairs: dict[str, _Seen] = field(default_factory=dict)


def take_over(transport: Transport, producer: Producer, pairs: Sequence[Pair], bar_interval_ns: int) -> LogState:
    """Become the writer of `ticks` and learn where the log stands.

    The epoch is one above all that are found. The marker goes into every partition and is acknowledged before anything is
    read back, so that what an older writer still adds lies after it and is void.
    """
    before = transport.end_offsets(TICKS)
    epoch = 1 + max((_look_back(transport, partition, end, _FIRST_LOOK).epoch for partition, end in before.items() if end), default=0)
    marker = encode(WriterEpoch(epoch=epoch))
    for partition in before:
        producer.send(TICKS, "", marker, partition=partition)
    producer.flush()
    names = {str(pair): transport.partition_of(TICKS, str(pair)) for pair in pairs}
    histories: dict[str, _Seen] = {}
    for partition, end in before.items():
        wanted = {name for name, its in names.items() if its == partition}
        if wanted:
            mark = _offset_of_marker(transport, partition, end, epoch)
            histories |= _find(transport, partition, mark, wanted)
    return _state(epoch, histories, bar_interval_ns)


def _state(epoch: int, found: Mapping[str, _Seen], bar_interval_ns: int) -> LogState:
    """Where the newest session in the log stands; a log of another bar interval is a session that is over."""
    if not found:
        return LogState(epoch)
    session = max(seen.newest.session for seen in found.values())
    pairs = {name: _history(seen, session) for name, seen in found.items()}
    closes = [history.last_close for history in pairs.values() if history.last_close]
    if any(close.end_time_ns != bar_end_ns(close.bar, bar_interval_ns) for close in closes):
        return LogState(epoch, session, None, {name: PairHistory(history.next_seq) for name, history in pairs.items()})
    bars = [close.bar + 1 for close in closes] + [history.last_tick.bar for history in pairs.values() if history.last_tick]
    return LogState(epoch, session, max(bars, default=None), pairs)


def _history(seen: _Seen, session: int) -> PairHistory:
    close, tick = seen.last_close, seen.last_tick
    return PairHistory(
        next_seq=seen.newest.seq + 1,
        last_close=close if close and close.session == session else None,
        last_tick=tick if tick and tick.session == session else None,
    )


def _find(transport: Transport, partition: int, end: int, wanted: set[str]) -> dict[str, _Seen]:
    """Look back in growing stretches until every wanted pair is known for certain, or the beginning is reached."""
    size = _FIRST_LOOK
    while True:
        look = _look_back(transport, partition, end, size)
        if size >= end or all(_is_enough(look.pairs.get(name), look.epoch, size) for name in wanted):
            return {name: seen for name, seen in look.pairs.items() if name in wanted}
        size *= _FURTHER


def _is_enough(seen: _Seen | None, epoch: int, size: int) -> bool:
    if seen is None or seen.last_close is None:
        return False
    certain = seen.founded or seen.newest.epoch >= epoch
    return certain and (seen.last_tick is not None or size >= _TICK_LOOK)


def _look_back(transport: Transport, partition: int, end: int, size: int) -> _Look:
    """Read the last `size` records before an offset; void ones, of an older writer after a newer one's, do not count."""
    look = _Look()
    founded_epoch = -1
    for message in _messages(_read(transport, partition, max(0, end - size), end)):
        if message.epoch < look.epoch:
            continue
        look.epoch = message.epoch
        if isinstance(message, WriterEpoch):
            founded_epoch = message.epoch
        else:
            seen = look.pairs.get(message.pair) or _Seen(message)
            kind = {"last_tick": message} if isinstance(message, Tick) else {"last_close": message}
            look.pairs[message.pair] = replace(seen, newest=message, founded=founded_epoch >= 0, **kind)
    return look


def _offset_of_marker(transport: Transport, partition: int, start: int, epoch: int) -> int:
    for record in _read(transport, partition, start, None):
        if any(isinstance(message, WriterEpoch) and message.epoch == epoch for message in _messages([record])):
            return record.offset
    raise TransportError(f"{TICKS}/{partition}: the marker of epoch {epoch} was acknowledged and is not there")


def _messages(records: Iterable[Record]) -> Iterable[TickMessage]:
    decoder = decoder_of(TICKS)
    for record in records:
        try:
            yield decoder.decode(record.value)
        except InvalidRecord:
            continue  # Not one of ours: those who read `ticks` set it aside.


def _read(transport: Transport, partition: int, start: int, end: int | None) -> Iterable[Record]:
    """Records from `start` up to `end`; from the oldest there is when retention has taken `start`."""
    begun = False
    try:
        for record in _read_from(transport, partition, start, end):
            begun = True
            yield record
    except TransportError:
        if begun or start == 0:
            raise
        yield from _read_from(transport, partition, 0, end)


def _read_from(transport: Transport, partition: int, start: int, end: int | None) -> Iterable[Record]:
    consumer = transport.reader([Position(TICKS, partition, start)])
    silent = 0
    try:
        while end is None or start < end:
            records = consumer.poll(_POLL_S)
            silent = 0 if records else silent + 1
            if silent >= _PATIENCE:
                raise TransportError(f"{TICKS}/{partition}: no record from offset {start} within {_PATIENCE * _POLL_S:.0f} s")
            for record in records:
                if end is not None and record.offset >= end:
                    return
                yield record
                start = record.offset + 1
    finally:
        consumer.close()
