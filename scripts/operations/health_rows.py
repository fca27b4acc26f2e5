"""Rows of a health check: one a subject, each with its state and reason, and what they say together."""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple


class State(StrEnum):
    """How a subject is, from best to worst."""

    OK = "ok"
    #: Worth knowing and no fault of the system: trading is halted, an alert fires.
    NOTE = "note"
    #: Bad, because of another row that is bad; that one counts.
    FOLLOWS = "follows"
    DEGRADED = "degraded"
    #: The system cannot do its work.
    DOWN = "down"


#: These are somebody's to mend.
FAULTS = frozenset({State.DEGRADED, State.DOWN})
#: These have a line of their own; what follows from others is told once a group.
_TOLD = FAULTS | {State.NOTE}


class Row(NamedTuple):
    """What was found of one subject."""

    group: str
    subject: str
    state: State
    text: str
    #: Keys of the rows without which this one cannot be well.
    needs: tuple[str, ...] = ()
    #: The key of the row that this one follows from.
    because_of: str = ""

    @property
    def key(self) -> str:
        """Names the row: `container kafka`."""
        return f"{self.group} {self.subject}"


class Verdict(NamedTuple):
    """What all rows say together."""

    word: str
    exit_status: int


_VERDICTS = {State.DOWN: Verdict("down", 2), State.DEGRADED: Verdict("degraded", 1)}


def verdict_of(rows: Sequence[Row]) -> Verdict:
    """Down, degraded or healthy; nothing at all is down."""
    found = {row.state for row in rows} or {State.DOWN}
    # A circle of rows that all follow from each other is no reason to call it healthy.
    return next((_VERDICTS[state] for state in (State.DOWN, State.DEGRADED) if state in found), Verdict("healthy", 0))


def explained(rows: Iterable[Row]) -> list[Row]:
    """Tell symptoms from causes: a faulty row that needs another faulty one follows from it, and only the cause counts.

    A need for which there is no row is well.
    """
    rows = list(rows)
    faulty = {row.key: row for row in rows if row.state in FAULTS}
    return [_explained(row, faulty) for row in rows]


def _explained(row: Row, faulty: Mapping[str, Row]) -> Row:
    if row.state not in FAULTS:
        return row
    cause = _cause(row, faulty, {row.key})
    return row._replace(state=State.FOLLOWS, because_of=cause) if cause else row


def _cause(row: Row, faulty: Mapping[str, Row], seen: set[str]) -> str:
    """The faulty row at the far end of what a row needs; empty when all it needs is well."""
    for need in row.needs:
        if need in faulty and need not in seen:
            return _cause(faulty[need], faulty, seen | {need}) or need
    return ""


# --- for people and programs ------------------------------------------------------------------------------------------


def as_document(rows: Sequence[Row], **about: Any) -> dict[str, Any]:
    """For programs: the verdict, and every row."""
    shown = [{name: value for name, value in row._asdict().items() if name != "needs" and value} | {"state": row.state.value} for row in rows]
    return {"verdict": verdict_of(rows).word, **about, "rows": shown}


def as_lines(rows: Sequence[Row], title: str, *, verbose: bool) -> list[str]:
    """For people: a line a group, below it what somebody should read; with `verbose` every row. Rows of a group stand together."""
    shown = [row for row in rows if verbose or row.state in _TOLD]
    width = max((len(row.subject) for row in shown), default=0)
    lines = []
    for group in dict.fromkeys(row.group for row in rows):
        mine = [row for row in rows if row.group == group]
        lines.append(f"{_worst(mine).value:<10}{group:<14}{_tally(mine)}")
        lines += [f"  {row.state.value:<10}{row.subject:<{width}}  {_said(row)}".rstrip() for row in shown if row.group == group]
    return [*lines, f"{title}: {verdict_of(rows).word}{_counted(rows)}"]


def fault_lines(rows: Sequence[Row]) -> list[str]:
    """Only what somebody has to mend."""
    return [f"{row.state.value:<10}{row.key}: {row.text}" for row in rows if row.state in FAULTS]


def _said(row: Row) -> str:
    return f"{row.text} (because of {row.because_of})" if row.because_of else row.text


def _worst(rows: Sequence[Row]) -> State:
    order = list(State)
    return max((row.state for row in rows), key=order.index)


def _tally(rows: Sequence[Row]) -> str:
    well = sum(row.state in {State.OK, State.NOTE} for row in rows)
    causes = dict.fromkeys(row.because_of for row in rows if row.because_of)
    return f"{well:>2} of {len(rows)}{', because of ' if causes else ''}{', '.join(causes)}"


def _counted(rows: Sequence[Row]) -> str:
    counts = {state: sum(row.state is state for row in rows) for state in (State.DOWN, State.DEGRADED, State.FOLLOWS, State.NOTE)}
    names = {State.DOWN: "down", State.DEGRADED: "degraded", State.FOLLOWS: "that follow", State.NOTE: "to note"}
    parts = [f"{count} {names[state]}" for state, count in counts.items() if count]
    return f" ({len(rows)} rows: {', '.join(parts)})" if parts else f" ({len(rows)} rows)"
