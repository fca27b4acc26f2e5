"""Compares what was recorded with what a second run gives: each message once, field by field."""

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

import msgspec

from common import messages as m
from common.codec import encode
from scripts.sessions.ledgers import Rows

#: Differences that are kept of a topic or table.
MOST_DIFFERENCES = 20

ABSENT = "(absent)"


@dataclass(frozen=True, slots=True)
class Difference:
    """One field that differs, or a whole message or row that only one side has."""

    place: str
    field: str
    recorded: Any
    replayed: Any


@dataclass(slots=True)
class Comparison:
    """A topic or a table of the ledger."""

    name: str
    equal: int = 0
    #: Messages or rows that differ, or that one side lacks.
    differing: int = 0
    #: Messages that were published again, as at-least-once allows.
    repeated: int = 0
    #: What the second run has beyond the last that was recorded of a pair: not answered yet.
    pending: int = 0
    differences: list[Difference] = field(default_factory=list)

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not self.differing

    def differ(self, found: Iterable[Difference]) -> None:
        """Count a message or row that differs."""
        self.differing += 1
        self.differences += list(found)[: MOST_DIFFERENCES - len(self.differences)]


Key = tuple[Hashable, ...]


def compare_messages(name: str, recorded: Iterable[m.Message], replayed: Iterable[m.Message], *, shortened: bool = False) -> Comparison:
    """Compare by pair, session, bar, seq and kind.

    What the second run has after the last recorded message of a pair is pending; with `shortened` what it has before the
    first recorded one does not count either.
    """
    comparison = Comparison(name)
    left, comparison.repeated = _by_key(recorded)
    right, _ = _by_key(replayed)
    bounds = _bounds(left)
    for key, value in left.items():
        if value == right.get(key):
            comparison.equal += 1
        else:
            comparison.differ(_fields(key, value, right.get(key)))
    for key, value in right.items():
        if key not in left:
            first, last = bounds.get(key[0], (None, None))
            order = key[1:4]
            if last is None or order > last:
                comparison.pending += 1
            elif not (shortened and first is not None and order < first):
                comparison.differ(_fields(key, None, value))
    return comparison


def compare_ledgers(recorded: Mapping[str, Rows], replayed: Mapping[str, Rows]) -> list[Comparison]:
    """Compare table by table, the rows of each pair in their order."""
    return [_compare_tables(table, _by_pair(rows), _by_pair(replayed[table])) for table, rows in recorded.items()]


def _compare_tables(table: str, recorded: Mapping[str, Rows], replayed: Mapping[str, Rows]) -> Comparison:
    comparison = Comparison(f"ledger {table}")
    for pair in sorted({*recorded, *replayed}):
        rows = recorded.get(pair, [])
        again = replayed.get(pair, [])
        for number, (row, other) in enumerate(zip_longest(rows, again)):
            if row == other:
                comparison.equal += 1
            elif row is None:
                comparison.pending += 1
            else:
                comparison.differ(_walk(f"{pair} row {number + 1}", "", row, ABSENT if other is None else other))
    return comparison


def _by_pair(rows: Rows) -> dict[str, Rows]:
    found: dict[str, Rows] = {}
    for row in rows:
        found.setdefault(row["pair"], []).append(row)
    return found


def _by_key(messages: Iterable[m.Message]) -> tuple[dict[Key, bytes], int]:
    """Each message once, as it is written on the wire, and how many were repetitions.

    Several of a kind at one place are numbered; one that contradicts an earlier one gets a number that the other side lacks.
    """
    seen: set[bytes] = set()
    numbers: Counter[Key] = Counter()
    found: dict[Key, bytes] = {}
    repeated = 0
    for message in messages:
        value = encode(message)
        if value in seen:
            repeated += 1
            continue
        seen.add(value)
        place = place_of(message)
        found[*place, numbers[place]] = value
        numbers[place] += 1
    return found, repeated


def place_of(message: m.Message) -> Key:
    """Pair, session, bar, seq and kind; a message of a whole bar has no seq of its own."""
    at: Any = message
    kind = type(message).__name__
    if isinstance(message, m.HedgeRatio):
        at = message.tick
    elif isinstance(message, m.HedgeRatioClose):
        at = message.close
    seq = getattr(at, "seq", -1)
    return at.pair, at.session, at.bar, seq, kind


def _bounds(found: Iterable[Key]) -> dict[Hashable, tuple[Any, Any]]:
    """The first and the last place of each pair."""
    bounds: dict[Hashable, tuple[Any, Any]] = {}
    for key in found:
        order = key[1:4]
        first, last = bounds.get(key[0], (order, order))
        bounds[key[0]] = min(first, order), max(last, order)
    return bounds


def _fields(key: Key, recorded: bytes | None, replayed: bytes | None) -> Iterator[Difference]:
    pair, session, bar, seq, kind, number = key
    place = f"{pair} session {session} bar {bar}" + (f" seq {seq}" if seq != -1 else "") + f" {kind}" + (f" no. {int(str(number)) + 1}" if number else "")
    sides = [ABSENT if value is None else msgspec.json.decode(value) for value in (recorded, replayed)]
    return _walk(place, "", *sides)


def _walk(place: str, name: str, recorded: Any, replayed: Any) -> Iterator[Difference]:
    """The fields that differ, down to the innermost."""
    if isinstance(recorded, dict) and isinstance(replayed, dict):
        for inner in dict.fromkeys((*recorded, *replayed)):
            yield from _walk(place, f"{name}.{inner}" if name else str(inner), recorded.get(inner, ABSENT), replayed.get(inner, ABSENT))
    elif recorded != replayed:
        yield Difference(place, name or "whole", recorded, replayed)


def table_of(comparisons: Sequence[Comparison]) -> list[str]:
    """The result as lines of text, a row for each comparison."""
    rows = [("", "equal", "differing", "repeated", "pending")]
    rows += [(each.name, str(each.equal), str(each.differing), str(each.repeated), str(each.pending)) for each in comparisons]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(text.ljust(width) if not column else text.rjust(width) for column, (text, width) in enumerate(zip(row, widths, strict=True))) for row in rows
    ]
