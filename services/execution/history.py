"""What the ledger tells of fills, round trips and equity, for people: newest first, a page at a time, exact money as text."""

from collections.abc import Callable, Collection, Mapping, Sequence
from decimal import Decimal, localcontext
from itertools import groupby
from typing import Any

import msgspec

from common.costs import MONEY
from common.market import Side
from services.execution.account import ZERO
from services.execution.quality import slippage_bps

Row = Mapping[str, Any]
#: Asks the ledger: an SQL text and its parameters give rows by column.
Query = Callable[[str, Sequence[object]], Sequence[Row]]

_FILL = (
    "rowid AS id, trade_id, client_id, pair, session, bar, seq, event_time_ns, leg, symbol, side, quantity, price, decided_price, fee_usd, realised_usd, "
    "trace_id"
)
_MONEY_OF_A_MARK = ("equity_usd", "wallet_usd", "unrealised_usd", "gross_exposure_usd")
# The index of bars answers both, each asked alone; only the bars that are wanted are looked up. A ledger of years has millions of marks.
_ENDS = "SELECT (SELECT min(bar) FROM marks) AS first, (SELECT max(bar) FROM marks) AS last"
_MARKS = """
WITH RECURSIVE wanted(bar, every, first) AS (VALUES (?, ?, ?) UNION ALL SELECT bar - every, every, first FROM wanted WHERE bar - every >= first)
SELECT pair, session, bar, event_time_ns, equity_usd, wallet_usd, unrealised_usd, gross_exposure_usd FROM marks
WHERE bar IN (SELECT bar FROM wanted) ORDER BY session, bar
"""
# Without an end: a page before nothing is the newest.
_END = 2**63 - 1


def fills(query: Query, *, pair: str, limit: int, before: int) -> dict[str, Any]:
    """The newest fills, of a pair if one is named; `next` is the `before` of the page after this one, 0 for none."""
    rows = query(f"SELECT {_FILL} FROM fills WHERE rowid < ? AND (? = '' OR pair = ?) ORDER BY rowid DESC LIMIT ?", (before or _END, pair, pair, limit))  # noqa: S608
    return {"fills": [_fill(row) for row in rows], "next": _next(rows, limit)}


def round_trips(query: Query, *, pair: str, limit: int, before: int) -> dict[str, Any]:
    """The newest round trips with the decisions that opened and closed them and their fills."""
    rows = query("SELECT * FROM round_trips WHERE id < ? AND (? = '' OR pair = ?) ORDER BY id DESC LIMIT ?", (before or _END, pair, pair, limit))
    return {"round_trips": [_round_trip(query, row) for row in rows], "next": _next(rows, limit)}


def equity(query: Query, *, points: int) -> dict[str, Any]:
    """Equity of all pairs at about so many bars of the whole ledger, evenly spread, the newest among them, oldest first."""
    ((first, last),) = [tuple(row.values()) for row in query(_ENDS, ())]
    if first is None:
        return {"equity": [], "every_bars": 1}
    every = max(1, -(-(last - first + 1) // points))
    newest: dict[str, Row] = {}
    equities = []
    for (session, bar), group in groupby(query(_MARKS, (last, every, first)), key=lambda row: (row["session"], row["bar"])):
        closed = list(group)
        # A pair that has not closed the bar yet, or is traded no more, counts with its last mark.
        newest |= {row["pair"]: row for row in closed}
        equities.append({"session": session, "bar": bar, "event_time_ns": max(row["event_time_ns"] for row in closed), **_sum(newest.values())})
    return {"equity": equities, "every_bars": every}


def trace_ids(query: Query, client_ids: Sequence[str]) -> dict[str, str]:
    """The trace of the tick that decided each order, by the order's id."""
    return {row["client_id"]: row["trace_id"] for each in client_ids for row in query("SELECT client_id, trace_id FROM orders WHERE client_id = ?", (each,))}


def _next(rows: Sequence[Row], limit: int) -> int:
    return int(rows[-1]["id"]) if len(rows) == limit else 0


def _round_trip(query: Query, row: Row) -> dict[str, Any]:
    """A position's first decision is at `opened_seq`, its fills come after it, its last one is no entry."""
    pair, opened, closed = row["pair"], row["opened_seq"], row["seq"]
    made = [_fill(fill) for fill in query(f"SELECT {_FILL} FROM fills WHERE pair = ? AND seq > ? AND seq <= ? ORDER BY seq, rowid", (pair, opened, closed))]  # noqa: S608
    entry = query("SELECT * FROM decisions WHERE pair = ? AND seq = ? AND action = ? ORDER BY id DESC LIMIT 1", (pair, opened, row["direction"]))
    leave = query(
        "SELECT * FROM decisions WHERE pair = ? AND seq > ? AND seq <= ? AND action NOT LIKE 'ENTER%' ORDER BY seq DESC, id DESC LIMIT 1",
        (pair, opened, closed),
    )
    lost = [Decimal(fill["slippage_usd"]) for fill in made if fill["slippage_usd"] is not None]
    with localcontext(MONEY):
        slippage = str(sum(lost, ZERO)) if len(lost) == len(made) else None
    return {**row, "slippage_usd": slippage, "entry": _decision(entry), "exit": _decision(leave), "fills": made}


def _decision(rows: Sequence[Row]) -> dict[str, Any] | None:
    return {**rows[0], "gates": msgspec.json.decode(rows[0]["gates"])} if rows else None


def _fill(row: Row) -> dict[str, Any]:
    """A fill and what it lost against the middle of the book at its decision: a cost is negative in USD, positive in bps."""
    price, decided, quantity = Decimal(row["price"]), Decimal(row["decided_price"]), Decimal(row["quantity"])
    if not decided:
        return {**row, "decided_price": None, "slippage_usd": None, "slippage_bps": None}
    side = Side(row["side"])
    with localcontext(MONEY):
        won = quantity * (decided - price if side is Side.BUY else price - decided)
    return {**row, "slippage_usd": str(won), "slippage_bps": slippage_bps(side, float(decided), float(price))}


def _sum(marks: Collection[Row]) -> dict[str, str]:
    with localcontext(MONEY):
        return {name: str(sum((Decimal(mark[name]) for mark in marks), ZERO)) for name in _MONEY_OF_A_MARK}
