"""The paper ledger: one SQLite file that is the record of every decision, order, fill and mark.

A turn is one transaction: the states of the pairs, what happened, what will be published of it and where to read on. The
paper venue lives in the same transaction, so an order's intent is on disk before anything of the order is known outside;
a venue of its own will need the intent committed first.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from operator import attrgetter
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from common.errors import InvariantBroken
from common.io.lease import Standing
from common.io.sqlite import OUTBOX_TRACE, Database
from common.messages import (
    CommandApplied,
    Decision,
    Execution,
    ExposureStop,
    Fill,
    FundingPayment,
    HoldExpired,
    Mark,
    OrderEvent,
    OrderStatus,
    RiskSignal,
    RoundTrip,
)
from common.processor import Output, Position, Producer
from common.topics import EXECUTIONS
from common.trace import Trace
from services.execution.state import STILL_AWAY, PairState, Params, initial_state

#: The ledger in DATA_DIR.
LEDGER_FILE = "trading.db"

_SCHEMA = """
CREATE TABLE pairs (pair TEXT PRIMARY KEY, session INTEGER NOT NULL, bar INTEGER NOT NULL, last_seq INTEGER NOT NULL, state TEXT NOT NULL) STRICT;
CREATE TABLE signals (pair TEXT NOT NULL, session INTEGER NOT NULL, bar INTEGER NOT NULL, payload BLOB NOT NULL, PRIMARY KEY (pair, session, bar)) STRICT;
CREATE TABLE decisions (
    id INTEGER PRIMARY KEY, pair TEXT NOT NULL, session INTEGER NOT NULL, bar INTEGER NOT NULL, seq INTEGER NOT NULL, event_time_ns INTEGER NOT NULL,
    action TEXT NOT NULL, reason TEXT NOT NULL, z REAL, beta REAL NOT NULL, scale REAL NOT NULL, notional_usd TEXT NOT NULL, gates TEXT NOT NULL
) STRICT;
CREATE TABLE orders (
    client_id TEXT PRIMARY KEY, pair TEXT NOT NULL, session INTEGER NOT NULL, bar INTEGER NOT NULL, seq INTEGER NOT NULL, event_time_ns INTEGER NOT NULL,
    leg TEXT NOT NULL, symbol TEXT NOT NULL, side TEXT NOT NULL, quantity TEXT NOT NULL, reduce_only INTEGER NOT NULL
) STRICT;
CREATE TABLE order_events (
    id INTEGER PRIMARY KEY, client_id TEXT NOT NULL REFERENCES orders, pair TEXT NOT NULL, session INTEGER NOT NULL, bar INTEGER NOT NULL,
    seq INTEGER NOT NULL, event_time_ns INTEGER NOT NULL, status TEXT NOT NULL, filled TEXT NOT NULL, reason TEXT NOT NULL, payload TEXT NOT NULL
) STRICT;
CREATE TABLE fills (
    trade_id TEXT PRIMARY KEY, client_id TEXT NOT NULL REFERENCES orders, pair TEXT NOT NULL, session INTEGER NOT NULL, bar INTEGER NOT NULL,
    seq INTEGER NOT NULL, event_time_ns INTEGER NOT NULL, leg TEXT NOT NULL, symbol TEXT NOT NULL, side TEXT NOT NULL, quantity TEXT NOT NULL,
    price TEXT NOT NULL, fee_usd TEXT NOT NULL, realised_usd TEXT NOT NULL
) STRICT;
CREATE TABLE funding (
    id INTEGER PRIMARY KEY, pair TEXT NOT NULL, session INTEGER NOT NULL, bar INTEGER NOT NULL, seq INTEGER NOT NULL, event_time_ns INTEGER NOT NULL,
    leg TEXT NOT NULL, symbol TEXT NOT NULL, amount_usd TEXT NOT NULL
) STRICT;
CREATE TABLE round_trips (
    id INTEGER PRIMARY KEY, pair TEXT NOT NULL, session INTEGER NOT NULL, bar INTEGER NOT NULL, seq INTEGER NOT NULL, event_time_ns INTEGER NOT NULL,
    action TEXT NOT NULL, direction TEXT NOT NULL, opened_seq INTEGER NOT NULL, opened_bar INTEGER NOT NULL, gross_usd TEXT NOT NULL,
    fees_usd TEXT NOT NULL, funding_usd TEXT NOT NULL, net_usd TEXT NOT NULL, unhedged_usd_seconds TEXT NOT NULL
) STRICT;
CREATE TABLE marks (
    pair TEXT NOT NULL, session INTEGER NOT NULL, bar INTEGER NOT NULL, seq INTEGER NOT NULL, event_time_ns INTEGER NOT NULL, state TEXT NOT NULL,
    y_quantity TEXT NOT NULL, x_quantity TEXT NOT NULL, realised_usd TEXT NOT NULL, fees_usd TEXT NOT NULL, funding_usd TEXT NOT NULL,
    wallet_usd TEXT NOT NULL, unrealised_usd TEXT NOT NULL, equity_usd TEXT NOT NULL, gross_exposure_usd TEXT NOT NULL,
    orders_in_bar INTEGER NOT NULL, blocking_gate TEXT NOT NULL, z REAL, PRIMARY KEY (pair, session, bar)
) STRICT;
CREATE TABLE holds (pair TEXT NOT NULL, session INTEGER NOT NULL, bar INTEGER NOT NULL, seq INTEGER NOT NULL, risk_bar INTEGER NOT NULL) STRICT;
CREATE TABLE commands (
    pair TEXT NOT NULL, command_id INTEGER NOT NULL, kind TEXT NOT NULL, session INTEGER NOT NULL, bar INTEGER NOT NULL, seq INTEGER NOT NULL,
    PRIMARY KEY (pair, command_id)
) STRICT;
"""


_EXPOSURE_STOPS = """
CREATE TABLE exposure_stops (
    pair TEXT NOT NULL, session INTEGER NOT NULL, bar INTEGER NOT NULL, seq INTEGER NOT NULL, stopped INTEGER NOT NULL, reason TEXT NOT NULL
) STRICT
"""
#: What a fill is measured by, and the ways to what belongs to a round trip.
_DECIDED_PRICES = """
ALTER TABLE fills ADD COLUMN decided_price TEXT NOT NULL DEFAULT '0';
CREATE INDEX decisions_of_pair ON decisions (pair, seq);
CREATE INDEX fills_of_pair ON fills (pair, seq)
"""
#: Which tick's trace a row belongs to; empty where it is none's.
_TRACE_IDS = ";".join(f"ALTER TABLE {table} ADD COLUMN trace_id TEXT NOT NULL DEFAULT ''" for table in ("decisions", "orders", "fills"))
#: For questions of people, no part of the schema: an older program opens a file that has it, a newer one a file that has not.
_INDEXES = ("CREATE INDEX IF NOT EXISTS marks_of_bar ON marks (bar)",)


class _Table:
    """Where a message goes: a column is the field of the same name, then come those that are worked out."""

    def __init__(self, name: str, columns: str, *, extra: Sequence[str] = ()) -> None:
        fields = columns.split()
        self.values: Callable[[Execution], tuple[Any, ...]] = attrgetter(*fields)
        self.extra = extra
        names = [*fields, *extra]
        # Tables and columns are this module's constants.
        self.insert = f"INSERT INTO {name} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"  # noqa: S608


_WHERE = "pair session bar seq event_time_ns "
_TABLES: Mapping[type[Execution], _Table] = {
    Decision: _Table("decisions", _WHERE + "action reason z beta scale notional_usd gates", extra=["trace_id"]),
    Fill: _Table("fills", _WHERE + "trade_id client_id leg symbol side quantity price fee_usd realised_usd decided_price", extra=["trace_id"]),
    FundingPayment: _Table("funding", _WHERE + "leg symbol amount_usd"),
    RoundTrip: _Table("round_trips", _WHERE + "action direction opened_seq opened_bar gross_usd fees_usd funding_usd net_usd unhedged_usd_seconds"),
    Mark: _Table(
        "marks",
        _WHERE + "state y_quantity x_quantity realised_usd fees_usd funding_usd wallet_usd unrealised_usd equity_usd gross_exposure_usd "
        "orders_in_bar blocking_gate z",
    ),
    HoldExpired: _Table("holds", "pair session bar seq risk_bar"),
    CommandApplied: _Table("commands", "pair command_id kind session bar seq"),
    ExposureStop: _Table("exposure_stops", "pair session bar seq stopped reason"),
}
_ORDERS = _Table("orders", _WHERE + "client_id leg symbol side quantity reduce_only", extra=["trace_id"])
_ORDER_EVENTS = _Table("order_events", _WHERE + "client_id status filled reason", extra=["payload"])
_FIRST_EVENTS = frozenset({OrderStatus.INTENT, OrderStatus.REJECTED})


def _tables_of(message: Execution) -> Iterator[_Table]:
    """An order's first event makes the order, too."""
    if isinstance(message, OrderEvent):
        if message.status in _FIRST_EVENTS:
            yield _ORDERS
        yield _ORDER_EVENTS
    else:
        yield _TABLES[type(message)]


@dataclass(slots=True)
class Batch:
    """What one transaction holds."""

    states: dict[str, PairState] = field(default_factory=dict)
    #: What happened, each with the trace of its cause.
    outputs: list[tuple[Sequence[Execution], Trace]] = field(default_factory=list)
    signals: list[tuple[RiskSignal, bytes]] = field(default_factory=list)
    dead_letters: list[Output] = field(default_factory=list)
    positions: Sequence[Position] = ()


class Ledger:
    """One file and, once it has taken it, its only writer."""

    def __init__(self, path: Path, *, stamp: Mapping[str, str], synchronous: str = "FULL", standby: bool = False) -> None:
        """Open or make the file; a standby takes it later.

        Raises ConfigurationError when the file belongs to another account, or when another process writes it and this is no standby.
        """
        self._state_decoder = msgspec.json.Decoder(PairState)
        self._encoder = msgspec.json.Encoder()
        migrations = (_SCHEMA, OUTBOX_TRACE, _EXPOSURE_STOPS, _DECIDED_PRICES, _TRACE_IDS)
        self._database = Database(
            path, holder="execution-service", migrations=migrations, indexes=_INDEXES, stamp=stamp, synchronous=synchronous, standby=standby
        )
        self.path = path

    @property
    def epoch(self) -> int:
        """The epoch under which this process writes; 0 while it may not."""
        return self._database.epoch

    def holder(self) -> Standing:
        """Who writes."""
        return self._database.holder()

    def try_take(self, require_fit: Callable[[], object]) -> bool:
        """Become the writer if the last one has died or hangs; `require_fit` raises when that would help nobody."""
        return self._database.try_take(require_fit)

    def readable(self) -> bool:
        """Whether a standby can read it: another program's version may have laid it out otherwise."""
        return self._database.current()

    def states(self) -> dict[str, PairState]:
        """The pairs as they were last committed."""
        return {str(pair): self._state_decoder.decode(str(state)) for pair, state in self._database.query("SELECT pair, state FROM pairs")}

    def note_pairs(self, params: Mapping[str, Params]) -> dict[str, PairState]:
        """Note which pairs are configured: what is read while one is not, it has missed. Returns the states of all."""
        states = self.states()
        newest = max((state.session for state in states.values()), default=-1)
        left = {pair: replace(state, away_session=STILL_AWAY) for pair, state in states.items() if pair not in params}
        back = {pair: replace(state, away_session=newest) for pair, state in states.items() if pair in params and state.away_session == STILL_AWAY}
        new = {pair: replace(initial_state(each), away_session=newest) for pair, each in params.items() if pair not in states}
        if changed := {pair: state for pair, state in (left | back | new).items() if states.get(pair) != state}:
            self.commit(Batch(states=changed))
        return states | changed

    def signals(self) -> list[RiskSignal]:
        """The risk signals that are still needed."""
        decoder = msgspec.json.Decoder(RiskSignal)
        return [decoder.decode(payload) for (payload,) in self._database.query("SELECT payload FROM signals ORDER BY session, bar")]  # type: ignore[arg-type]

    def positions(self) -> list[Position]:
        """Where to read on."""
        return self._database.positions()

    def recent_orders(self, limit: int) -> list[OrderEvent]:
        """The last event of each of the newest orders, oldest first."""
        newest: dict[str, str] = {}
        # An order has a handful of events, so few rows are read however many there are.
        for client_id, payload in self._database.rows("SELECT client_id, payload FROM order_events ORDER BY id DESC"):
            newest.setdefault(str(client_id), str(payload))
            if len(newest) == limit:
                break
        return [msgspec.json.decode(payload, type=OrderEvent) for payload in reversed(newest.values())]

    def commit(self, batch: Batch, *, acknowledged: bool = False) -> None:
        """Write everything or nothing; with all that was published acknowledged, empty the outbox of it, too.

        Raises InvariantBroken when an order's or a fill's id is used a second time.
        """
        try:
            with self._database.transaction() as connection:
                if acknowledged:
                    self._database.forget_published()
                self._save_states(connection, batch.states)
                self._save_signals(connection, batch.signals)
                self._record(connection, ((output, trace.id) for outputs, trace in batch.outputs for output in outputs))
                for outputs, trace in batch.outputs:
                    self._database.enqueue([Output(EXECUTIONS, output.pair, output) for output in outputs], trace=trace)
                self._database.enqueue(batch.dead_letters)
                self._database.set_positions(batch.positions)
        except sqlite3.IntegrityError as error:
            raise InvariantBroken(f"{self.path}: an id is used twice ({error})") from error

    def publish(self, producer: Producer) -> int:
        """Hand over what is new; returns how many records."""
        return self._database.publish(producer)

    def clear_published(self, producer: Producer) -> bool:
        """Forget what was published once all of it is acknowledged; returns whether it is."""
        return self._database.clear_published(producer)

    def renew(self) -> None:
        """Show others that this process works; raises LeaseLost when one has taken over."""
        self._database.renew()

    def close(self) -> None:
        """Close the file and let another process have it."""
        self._database.close()

    def _save_states(self, connection: sqlite3.Connection, states: Mapping[str, PairState]) -> None:
        """Save pairs, and drop the signals that they no longer need."""
        connection.executemany(
            "INSERT OR REPLACE INTO pairs VALUES (?, ?, ?, ?, ?)",
            [(pair, state.session, state.bar, state.last_seq, self._json(state)) for pair, state in states.items()],
        )
        connection.executemany(
            "DELETE FROM signals WHERE pair = ? AND (session < ? OR (session = ? AND bar < ?))",
            [(pair, state.session, state.session, state.bar - 1) for pair, state in states.items()],
        )

    @staticmethod
    def _save_signals(connection: sqlite3.Connection, signals: Iterable[tuple[RiskSignal, bytes]]) -> None:
        connection.executemany(
            "INSERT OR REPLACE INTO signals VALUES (?, ?, ?, ?)", [(signal.pair, signal.session, signal.bar, payload) for signal, payload in signals]
        )

    def _record(self, connection: sqlite3.Connection, outputs: Iterable[tuple[Execution, str]]) -> None:
        rows: dict[_Table, list[tuple[Any, ...]]] = {}
        for output, trace_id in outputs:
            for table in _tables_of(output):
                rows.setdefault(table, []).append(self._row(table, output, trace_id))
        # Orders come before what refers to them.
        for table in sorted(rows, key=lambda each: each is not _ORDERS):
            connection.executemany(table.insert, rows[table])

    def _row(self, table: _Table, message: Execution, trace_id: str) -> tuple[Any, ...]:
        extra = (self._json(message) if name == "payload" else trace_id for name in table.extra)
        return (*(self._column(value) for value in table.values(message)), *extra)

    def _column(self, value: Any) -> Any:
        kind = type(value)
        if kind is Decimal:
            return str(value)
        return self._json(value) if kind is tuple else value

    def _json(self, value: Any) -> str:
        return self._encoder.encode(value).decode()
