"""Puts the files of a backup in the place of what a volume holds, and fits a restored ledger to the broker."""

import itertools
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import msgspec

from common.codec import decoder_of, encode
from common.errors import InvalidRecord
from common.messages import BarClose, BarStatus, Feed, HedgeRatio, HedgeRatioClose
from common.processor import Position, Record, Transport
from common.topics import ALL_TOPICS, HEDGE_RATIOS, TICKS

_TOPICS = {topic.name: topic for topic in ALL_TOPICS}
#: Names the set of pairs of the record that a restored ledger begins a new log with.
_RESTORED = "restored"
#: The last record that a ledger has read may be so many bars from where the pair stands.
_BARS_APART = 10
_POLLS, _POLL_S = 50, 0.1


def put_in_place(staged: Path, volume: Path, replaced: str, *, keep: bool) -> list[str]:
    """Move what a volume holds into the folder `replaced` of it, or delete it unless `keep`, and what is staged in; tells what was there."""
    inside = [path for path in sorted(volume.iterdir()) if path != staged and not path.name.startswith("replaced-")]
    if keep and inside:
        (volume / replaced).mkdir()
    for path in inside:
        if keep:
            path.rename(volume / replaced / path.name)
        elif path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    for path in sorted(staged.iterdir()):
        path.rename(volume / path.name)
    staged.rmdir()
    return [path.name for path in inside]


# --- a ledger and its broker ------------------------------------------------------------------------------------------


class Place(NamedTuple):
    """Where a pair stands in the ledger."""

    pair: str
    session: int
    bar: int
    last_seq: int


class Fit(NamedTuple):
    """What a broker is to a ledger."""

    #: Whether the broker holds what the ledger has read.
    same: bool
    #: Whether nobody has written ticks to it yet.
    empty: bool


def fit_of(positions: Sequence[Position], places: Sequence[Place], transport: Transport) -> Fit:
    """Compare where the ledger has read to with where the topics end, and its pairs with the last records that it has read."""
    ends = {topic: transport.end_offsets(topic) for topic in {position.topic for position in positions} | {TICKS}}
    within = all(position.offset <= ends[position.topic].get(position.partition, 0) for position in positions)
    known = {place.pair: place for place in places}
    same = within and all(_is_ours(record, known) for position in positions for record in _last_read(position, transport))
    return Fit(same, not any(ends[TICKS].values()))


def _last_read(position: Position, transport: Transport) -> Iterator[Record]:
    """The record before a position of hedge-ratios, unless there is none or retention has taken it."""
    if position.topic == HEDGE_RATIOS and position.offset > transport.oldest_offsets(HEDGE_RATIOS).get(position.partition, 0):
        reader = transport.reader([position._replace(offset=position.offset - 1)])
        # The first offset of a partition is asked for as 0 and found as the oldest, which it is.
        yield from itertools.islice(itertools.chain.from_iterable(reader.poll(_POLL_S) for _ in range(_POLLS)), 1)
        reader.close()


def _is_ours(record: Record, known: Mapping[str, Place]) -> bool:
    """Whether the ledger can have read this record last: of its session, about its bar, not beyond its seq."""
    try:
        message = decoder_of(HEDGE_RATIOS).decode(record.value)
    except InvalidRecord:
        # It would be among the dead letters.
        return True
    at = message.tick if isinstance(message, HedgeRatio) else message.close if isinstance(message, HedgeRatioClose) else None
    place = known.get(at.pair) if at else None
    if at is None or place is None:
        return True
    return at.session == place.session and at.seq <= place.last_seq and abs(at.bar - place.bar) <= _BARS_APART


def fit_ledger(ledger: Path, risk: Path, transport: Transport) -> str:
    """Make a restored ledger go on with this broker; says what was done.

    With the broker that it has always had, nothing. With a new one it forgets where it had read to, and the log begins
    with one record a pair, of the ledger's own session and seq: ingestion goes on above them with a new market session.
    Those records belong to bar 0, so they have no effect on anybody.

    Raises InvalidRecord when the broker is another one's.
    """
    if not ledger.exists():
        return "there is no ledger, so any broker will do"
    with closing(sqlite3.connect(ledger, isolation_level=None)) as connection:
        rows = connection.execute('SELECT topic, "partition", next_offset FROM positions').fetchall()
        positions = [Position(_TOPICS[topic], partition, offset) for topic, partition, offset in rows if topic in _TOPICS]
        places = [Place(*row) for row in connection.execute("SELECT pair, session, bar, last_seq FROM pairs ORDER BY pair")]
        fit = fit_of(positions, places, transport)
        if fit.same:
            return "the broker holds what the ledger has read: trading goes on where it stood"
        if not fit.empty:
            raise InvalidRecord(
                "Kafka holds another history than the restored ledger: remove its volume (docker volume ls names it, it ends in -kafka) and restore again"
            )
        _begin_log(places, max([_session_of(risk), *(place.session for place in places)]), transport)
        connection.execute("DELETE FROM positions")
    return "the broker is new: trading goes on in a new market session, in which models warm up again and paper positions are closed at their last book"


def _begin_log(places: Iterable[Place], session: int, transport: Transport) -> None:
    producer = transport.producer()
    for place in places:
        # A bar that does not end where its number says tells ingestion that this session is over.
        close = BarClose(
            pair=place.pair,
            seq=max(place.last_seq, 0),
            epoch=0,
            session=session,
            bar=0,
            end_time_ns=1,
            status=BarStatus.EMPTY,
            feed=Feed.RECORDING,
            pairs_id=_RESTORED,
        )
        producer.send(TICKS, place.pair, encode(close))
    producer.flush()
    producer.close()


def _session_of(risk: Path) -> int:
    """The session of the last bar that risk-manager has closed; it may have gone on after the ledger was copied."""
    if not risk.exists():
        return 0
    with closing(sqlite3.connect(f"file:{risk}?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT value FROM state WHERE name = 'portfolio'").fetchall()
    closed = msgspec.json.decode(rows[0][0])["closed"] if rows else None
    return int(closed[0]) if isinstance(closed, list) else int(closed["session"]) if isinstance(closed, Mapping) else 0
