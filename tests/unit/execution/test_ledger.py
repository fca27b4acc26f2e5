"""The ledger keeps what was committed, for one writer and one account."""

import sqlite3
from pathlib import Path

import pytest

from common.codec import encode
from common.errors import ConfigurationError, InvariantBroken
from common.io.memory import MemoryBroker, MemoryTransport
from common.messages import HoldExpired, OrderStatus
from common.processor import Position
from common.topics import HEDGE_RATIOS
from common.trace import NO_TRACE, Trace
from services.execution.ledger import Batch, Ledger
from tests.unit.execution.builders import FIRST_BAR, PAIR, Desk, signal

STAMP = {"environment": "paper", "venue": "simulator-futures", "account": "paper"}


def open_ledger(folder: Path, **stamp: str) -> Ledger:
    return Ledger(folder / "trading.db", stamp={**STAMP, **stamp}, synchronous="OFF")


def traded() -> Desk:
    desk = Desk()
    desk.warm()
    desk.tick(FIRST_BAR + 1, 1, risk=signal(FIRST_BAR), z=3)
    desk.tick(FIRST_BAR + 1, 2, z=3)
    return desk


def batch_of(desk: Desk) -> Batch:
    return Batch(states={PAIR: desk.state}, outputs=[(desk.outputs, Trace.begin(5))], positions=[Position(HEDGE_RATIOS, 0, 4)])


def test_what_is_committed_is_there_again(tmp_path: Path) -> None:
    """State, signals, positions and orders come back as they were."""
    ledger, desk = open_ledger(tmp_path), traded()
    ledger.commit(Batch(signals=[(signal(FIRST_BAR + 1), b'{"broken"')]))
    ledger.close()
    ledger = open_ledger(tmp_path)
    batch = batch_of(desk)
    batch.signals = [(signal(FIRST_BAR + 1), encode(signal(FIRST_BAR + 1)))]
    ledger.commit(batch)
    ledger.close()
    again = open_ledger(tmp_path)
    assert again.states() == {PAIR: desk.state}
    assert again.signals() == [signal(FIRST_BAR + 1)]
    assert again.positions() == [Position(HEDGE_RATIOS, 0, 4)]
    assert [(order.leg, order.status) for order in again.recent_orders(10)] == [("y", OrderStatus.FILLED), ("x", OrderStatus.WORKING)]
    assert [order.leg for order in again.recent_orders(1)] == ["x"]


def test_a_commit_empties_the_outbox_of_what_is_acknowledged(tmp_path: Path) -> None:
    """What was published and acknowledged goes with the next commit; what is new, or not known to be acknowledged, stays."""
    ledger, desk, producer = open_ledger(tmp_path), traded(), MemoryTransport(MemoryBroker()).producer()
    ledger.commit(batch_of(desk))
    published = ledger.publish(producer)
    mark = Batch(outputs=[((HoldExpired(pair=PAIR, session=1, bar=9, seq=9, event_time_ns=1, risk_bar=8),), NO_TRACE)])
    ledger.commit(mark)
    assert ledger._database.query("SELECT count(*) FROM outbox") == [(published + 1,)]
    ledger.commit(mark, acknowledged=True)
    assert ledger._database.query("SELECT count(*) FROM outbox") == [(2,)]
    assert ledger.publish(producer) == 2


def test_recent_orders_are_found_without_reading_all(tmp_path: Path) -> None:
    """However many orders there were, few rows are read for the newest."""
    ledger, desk = open_ledger(tmp_path), traded()
    ledger.commit(batch_of(desk))
    connection = ledger._database._connection
    connection.execute(
        "WITH RECURSIVE older (id) AS (SELECT 0 UNION ALL SELECT id - 1 FROM older LIMIT 20000) INSERT INTO order_events "
        "SELECT older.id, client_id, pair, session, bar, seq, event_time_ns, status, filled, reason, payload FROM older, order_events WHERE order_events.id = 1"
    )
    steps = 0

    def count_step() -> int:
        nonlocal steps
        steps += 1
        return 0

    connection.set_progress_handler(count_step, 100)
    assert [order.leg for order in ledger.recent_orders(2)] == ["y", "x"]
    assert steps < 20


def test_signals_go_when_the_pair_has_passed_them(tmp_path: Path) -> None:
    """Only signals from the bar before the last applied tick on are kept."""
    ledger, desk = open_ledger(tmp_path), traded()
    ledger.commit(Batch(signals=[(signal(bar), encode(signal(bar))) for bar in range(FIRST_BAR - 1, FIRST_BAR + 3)]))
    ledger.commit(Batch(states={PAIR: desk.state}))
    assert [each.bar for each in ledger.signals()] == [FIRST_BAR, FIRST_BAR + 1, FIRST_BAR + 2]


def test_an_id_used_twice_ends_the_program_and_commits_nothing(tmp_path: Path) -> None:
    """A client id or trade id is unique for ever."""
    ledger, desk = open_ledger(tmp_path), traded()
    ledger.commit(batch_of(desk))
    second = batch_of(desk)
    second.states = {"OTHER-PAIR": desk.state}
    with pytest.raises(InvariantBroken, match="used twice"):
        ledger.commit(second)
    assert set(ledger.states()) == {PAIR}


def test_a_ledger_of_an_older_program_is_given_its_indexes(tmp_path: Path) -> None:
    """It opens as it is, and the schema's number, which older programs look at, stays."""
    open_ledger(tmp_path).close()
    (path,) = tmp_path.glob("*.db")
    with sqlite3.connect(path) as older:
        older.execute("DROP INDEX marks_of_bar")
        version = older.execute("PRAGMA user_version").fetchone()
    database = open_ledger(tmp_path)._database
    assert database.query("SELECT name FROM sqlite_master WHERE name = 'marks_of_bar'") == [("marks_of_bar",)]
    assert database.query("PRAGMA user_version") == [version]


@pytest.mark.parametrize("stamp", [{"environment": "live"}, {"venue": "binance-futures"}, {"account": "mine"}], ids=lambda stamp: next(iter(stamp)))
def test_a_foreign_ledger_is_refused(tmp_path: Path, stamp: dict[str, str]) -> None:
    """Paper never becomes live by a change of settings."""
    open_ledger(tmp_path).close()
    with pytest.raises(ConfigurationError, match="belongs to another account"):
        open_ledger(tmp_path, **stamp)
    open_ledger(tmp_path).close()
