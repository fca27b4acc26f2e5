"""Start is recovery: mark the log as ours, then read back where it stood before the mark."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from common.codec import decoder_of, encode
from common.errors import InvalidRecord, TransportError
from common.market import Pair, bar_end_ns
from common.messages import BarClose, Tick, TickMessage, WriterEpoch
from common.processor import Position, Producer, Record, Transport
from common.topics import TICKS
from services.ingestion.bars import LogState, PairHistory, pairs_id

#: How far back the first look goes, in records of a partition; each further one goes ten times as far.
_FIRST_LOOK = 1000
_FURTHER = 10
#: A pair's last tick is looked for no further back than this; its last close always is.
_TICK_LOOK = 20_000
#: Closes of so many bars in a partition: the newest two are complete, and a crash leaves a pair out of the newest at most.
_BARS_TO_KNOW_ALL = 3
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
    #: Session and bar of every close.
    bars: set[tuple[int, int]] = field(default_factory=set)


def take_over(transport: Transport, producer: Producer, pairs: Sequence[Pair], bar_interval_ns: int) -> LogState:
    """Become the writer of `ticks` and learn where the log stands.

    The epoch is one above all that are found. The marker goes into every partition and is acknowledged before anything is
    read back, so that what an older writer still adds lies after it and is void.
    """
    before = transport.end_offsets(TICKS)
    epoch = _next_epoch(transport, before)
    marker = encode(WriterEpoch(epoch=epoch))
    for partition in before:
        producer.send(TICKS, "", marker, partition=partition)
    producer.flush()
    marks = {partition: _offset_of_marker(transport, partition, end, epoch) for partition, end in before.items()}
    places = {str(pair): transport.partition_of(TICKS, str(pair)) for pair in pairs}
    found = _find_all(transport, marks, places)
    session = max((seen.newest.session for seen in found.values()), default=0)
    other_pairs = _has_other_pairs(found, session, places)
    if other_pairs:
        found |= _find_participants(transport, marks, session)
    kept = {name: seen for name, seen in found.items() if name in places or seen.newest.session == session}
    state = _state(epoch, kept, bar_interval_ns, other_pairs=other_pairs)
    return _above_what_is_gone(transport, state, marks, places)


def _next_epoch(transport: Transport, ends: Mapping[int, int]) -> int:
    """One above all that are found; where retention has emptied the log, above all that can have been: each epoch has left a record."""
    newest = max((_look_back(transport, partition, end, _FIRST_LOOK).epoch for partition, end in ends.items() if end), default=0)
    return 1 + (newest if newest > 0 else max(ends.values(), default=0) if _is_truncated(transport) else 0)


def _is_truncated(transport: Transport) -> bool:
    return any(transport.oldest_offsets(TICKS).values())


def _find_all(transport: Transport, marks: Mapping[int, int], places: Mapping[str, int]) -> dict[str, _Seen]:
    """The configured pairs, and whatever else the same stretches of the log hold."""
    found: dict[str, _Seen] = {}
    for partition, mark in marks.items():
        wanted = {name for name, its in places.items() if its == partition}

        def is_enough(look: _Look, size: int, wanted: set[str] = wanted) -> bool:
            return bool(look.pairs) and all(_is_enough(look.pairs.get(name), look.epoch, size) for name in wanted)

        found |= _find(transport, partition, mark, is_enough)
    return found


def _has_other_pairs(found: Mapping[str, _Seen], session: int, places: Mapping[str, int]) -> bool:
    """Whether the newest session is one of another set of pairs: it has one that has left, or its closes say so."""
    taking_part = {name: seen for name, seen in found.items() if seen.newest.session == session}
    closes = [seen.last_close for seen in taking_part.values() if seen.last_close and seen.last_close.session == session]
    return bool(taking_part.keys() - places.keys()) or any(close.pairs_id not in {"", pairs_id(places)} for close in closes)


def _find_participants(transport: Transport, marks: Mapping[int, int], session: int) -> dict[str, _Seen]:
    """Every pair of the newest session."""

    def is_enough(look: _Look, _size: int) -> bool:
        newest = [seen for seen in look.pairs.values() if seen.newest.session == session]
        certain = all(seen.founded or seen.newest.epoch >= look.epoch for seen in newest)
        return certain and len(look.bars) >= _BARS_TO_KNOW_ALL

    found: dict[str, _Seen] = {}
    for partition, mark in marks.items():
        seen = _find(transport, partition, mark, is_enough)
        found |= {name: each for name, each in seen.items() if each.newest.session == session}
    return found


def _state(epoch: int, found: Mapping[str, _Seen], bar_interval_ns: int, *, other_pairs: bool) -> LogState:
    """Where the newest session in the log stands; a log of another bar interval is a session that is over."""
    if not found:
        return LogState(epoch)
    session = max(seen.newest.session for seen in found.values())
    pairs = {name: _history(seen, session) for name, seen in found.items()}
    closes = [history.last_close for history in pairs.values() if history.last_close]
    if any(close.end_time_ns != bar_end_ns(close.bar, bar_interval_ns) for close in closes):
        return LogState(epoch, session, None, {name: PairHistory(history.next_seq) for name, history in pairs.items()})
    bars = [close.bar + 1 for close in closes] + [history.last_tick.bar for history in pairs.values() if history.last_tick]
    return LogState(epoch, session, max(bars, default=None), pairs, other_pairs)


def _above_what_is_gone(transport: Transport, state: LogState, marks: Mapping[int, int], places: Mapping[str, int]) -> LogState:
    """Go on above every session and seq that retention may have taken: none was higher than the records written until then."""
    if not _is_truncated(transport):
        return state
    unknown = {name: PairHistory(next_seq=marks[partition]) for name, partition in places.items() if name not in state.pairs}
    known = {**state.pairs, **unknown}
    return state._replace(session=state.session or sum(marks.values()), pairs=known)


def _history(seen: _Seen, session: int) -> PairHistory:
    close, tick = seen.last_close, seen.last_tick
    return PairHistory(
        next_seq=seen.newest.seq + 1,
        last_close=close if close and close.session == session else None,
        last_tick=tick if tick and tick.session == session else None,
    )


def _find(transport: Transport, partition: int, end: int, is_enough: Callable[[_Look, int], bool]) -> dict[str, _Seen]:
    """Look back in growing stretches until that is enough, or the beginning is reached."""
    size = _FIRST_LOOK
    while True:
        look = _look_back(transport, partition, end, size)
        if size >= end or is_enough(look, size):
            return {name: seen for name, seen in look.pairs.items() if _is_at_home(transport, name, partition)}
        size *= _FURTHER


def _is_at_home(transport: Transport, name: str, partition: int) -> bool:
    """Whether a pair can be one of ours: a record that somebody else has written must not become one that has left."""
    try:
        return transport.partition_of(TICKS, str(Pair.parse(name))) == partition
    except InvalidRecord:
        return False


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
            if isinstance(message, BarClose):
                look.bars.add((message.session, message.bar))
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
    """Records from `start` up to `end`; from the oldest there is when retention has taken `start`, none when it has taken all."""
    begun = False
    start = max(start, transport.oldest_offsets(TICKS)[partition])
    if end is not None and start >= end:
        return
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
