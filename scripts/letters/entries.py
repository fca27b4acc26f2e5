"""Dead letters as an operator sees them: which are meant, which may be published again, how they are shown."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from common.dead_letters import MAX_KEY_CHARACTERS
from common.messages import DeadLetter
from common.topics import EXECUTIONS, HEDGE_RATIO_CLOSES, HEDGE_RATIOS, RISK_SIGNALS, VOLATILITY_THRESHOLDS

#: Receivers of these drop what they have passed, by (pair, seq) or (pair, bar), so a late copy does no harm.
REPLAYABLE = {topic.name: topic for topic in (HEDGE_RATIOS, HEDGE_RATIO_CLOSES, VOLATILITY_THRESHOLDS, RISK_SIGNALS, EXECUTIONS)}
_HARMFUL = {
    "ticks": "only ingestion writes ticks, in order; a late one could stand for a writer or session that never was",
    "progress": "what was decided then has been told again since",
    "commands": "what an operator wanted then is not what is wanted now; give the command anew",
    "kalman-state": "an old state would hide the newer ones",
    "garch-state": "an old state would hide the newer ones",
    "dead-letters": "a dead letter is not read by any service",
}
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_HEADINGS = ("place", "time (UTC)", "service", "source", "reason", "bytes", "detail")
_DETAIL_CHARACTERS = 70


class Origin(NamedTuple):
    """The record behind a dead letter; two services may have set the same one aside."""

    source: str
    partition: int
    offset: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A dead letter and where it stands."""

    partition: int
    offset: int
    time: datetime
    letter: DeadLetter

    @property
    def place(self) -> str:
        """How it is named on the command line."""
        return f"{self.partition}/{self.offset}"

    @property
    def origin(self) -> Origin:
        """The record behind it."""
        return Origin(self.letter.source, self.letter.partition, self.letter.offset, self.letter.sha256)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which dead letters are meant; what is empty or None allows all."""

    source: str = ""
    reason: str = ""
    service: str = ""
    since: datetime | None = None
    places: frozenset[str] = field(default_factory=frozenset)

    def takes(self, entry: Entry) -> bool:
        """Whether an entry is meant."""
        letter = entry.letter
        named = not self.places or entry.place in self.places
        fits = all(not want or want == has for want, has in ((self.source, letter.source), (self.reason, letter.reason), (self.service, letter.service)))
        return named and fits and (self.since is None or entry.time >= self.since)


def parse_since(text: str, now: datetime) -> datetime:
    """A time, or how long ago; raises ValueError for what is neither."""
    if text[-1:] in _UNITS and text[:-1].isdigit():
        return now - timedelta(**{_UNITS[text[-1]]: int(text[:-1])})
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is neither a time such as 2026-05-01T12:00 (UTC) nor a length such as 30m, 2h or 3d") from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def parse_place(text: str) -> str:
    """A place in `dead-letters`; raises ValueError."""
    partition, separator, offset = text.partition("/")
    if not (separator and partition.isdigit() and offset.isdigit()):
        raise ValueError(f"{text!r} is not PARTITION/OFFSET, such as 0/17")
    return f"{int(partition)}/{int(offset)}"


def refusal(entry: Entry, replayed: Iterable[Origin]) -> str:
    """Why a dead letter must not be published again; empty when it may."""
    letter = entry.letter
    if letter.partition < 0:
        return f"it is a frame of stream {letter.source}: the exchange's data cannot be had again"
    if letter.source not in REPLAYABLE:
        return _HARMFUL.get(letter.source, f"{letter.source!r} is no topic that is known here")
    if letter.length != len(letter.payload):
        return f"only {len(letter.payload)} of its {letter.length} bytes were kept"
    if hashlib.sha256(letter.payload).hexdigest() != letter.sha256:
        return "its payload does not match its hash"
    if len(letter.key) >= MAX_KEY_CHARACTERS:
        return "its key was not kept whole"
    return "it has been replayed already" if entry.origin in set(replayed) else ""


def as_dict(entry: Entry, replayed: Iterable[Origin]) -> dict[str, Any]:
    """For programs: everything but the payload, which may be no text."""
    letter = entry.letter
    names = ("service", "source", "reason", "detail", "key", "length", "sha256")
    own = {"place": entry.place, "time": entry.time.isoformat(timespec="milliseconds"), "source_partition": letter.partition, "source_offset": letter.offset}
    return own | {name: getattr(letter, name) for name in names} | {"replayed": entry.origin in set(replayed)}


def table(entries: Sequence[Entry], replayed: Iterable[Origin]) -> list[str]:
    """For people: a line each, columns aligned."""
    done = set(replayed)
    rows = [_HEADINGS, *(_row(entry, done) for entry in entries)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _row(entry: Entry, replayed: set[Origin]) -> tuple[str, ...]:
    letter = entry.letter
    where = letter.source if letter.partition < 0 else f"{letter.source} {letter.partition}/{letter.offset}"
    detail = _printable(letter.detail)
    shown = detail if len(detail) <= _DETAIL_CHARACTERS else detail[: _DETAIL_CHARACTERS - 1] + "…"
    reason = f"{letter.reason} (replayed)" if entry.origin in replayed else letter.reason
    return entry.place, f"{entry.time:%Y-%m-%d %H:%M:%S}", letter.service, where, reason, str(letter.length), shown


def counts(reasons: Counter[tuple[str, str]]) -> list[str]:
    """How many of each source and reason, most first."""
    return [f"{amount:>8}  {source}: {reason}" for (source, reason), amount in reasons.most_common()]


def in_full(entry: Entry, replayed: Iterable[Origin]) -> list[str]:
    """One dead letter with its payload, safe for a terminal."""
    letter = entry.letter
    facts: Mapping[str, object] = {
        **{name: value for name, value in as_dict(entry, replayed).items() if name not in {"length", "detail"}},
        "detail": _printable(letter.detail),
        "length": f"{letter.length} bytes" + (f", of which {len(letter.payload)} were kept" if letter.length > len(letter.payload) else ""),
        "replay": refusal(entry, replayed) or "possible",
    }
    return [*(f"{name:<17}{value}" for name, value in facts.items()), "payload", _payload(letter.payload)]


def _payload(payload: bytes) -> str:
    """As text where it is text, else as hexadecimal."""
    try:
        return _printable(payload.decode())
    except UnicodeDecodeError:
        return "\n".join(f"{start:08x}  {payload[start : start + 32].hex(' ', 4)}" for start in range(0, len(payload), 32))


def _printable(text: str) -> str:
    """Nothing in it moves a terminal's cursor."""
    return "".join(character if character.isprintable() else f"\\x{ord(character):02x}" for character in text)
