"""The database: all or nothing, stamped, migrated, and an outbox that a crash cannot lose."""

import contextlib
import sqlite3
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common import messages as m
from common.codec import encode
from common.errors import ConfigurationError, DeliveryFailed
from common.io.sqlite import OUTBOX_TRACE, Database
from common.processor import Output, Position
from common.topics import EXECUTIONS, HEDGE_RATIOS, RISK_SIGNALS, TICKS, Topic
from common.trace import NO_TRACE, Trace

STAMP = {"environment": "paper", "venue": "simulator", "account": "paper"}
ORDERS = "CREATE TABLE orders (id TEXT PRIMARY KEY, quantity TEXT NOT NULL) STRICT"
COLUMN = "ALTER TABLE orders ADD COLUMN note TEXT NOT NULL DEFAULT ''"


class Interrupted(BaseException):
    """What ends a transaction half-way, whatever it is."""


class FakeProducer:
    """Keeps what was sent; fails when a test says so."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, bytes, int | None, Trace]] = []
        self.fail_after: int | None = None
        self.lost = False

    def send(self, topic: Topic, key: str, value: bytes, *, partition: int | None = None, trace: Trace = NO_TRACE) -> None:
        if self.fail_after is not None and len(self.sent) >= self.fail_after:
            raise DeliveryFailed("queue")
        self.sent.append((topic.name, key, value, partition, trace))

    def flush(self) -> None:
        if self.lost:
            raise DeliveryFailed("not acknowledged")

    def acknowledged(self) -> bool:
        return not self.lost

    def close(self) -> None:
        """Nothing."""


def open_database(folder: Path, *migrations: str, stamp: dict[str, str] | None = None) -> Database:
    return Database(folder / "ledger.db", holder="test", migrations=migrations or (ORDERS, OUTBOX_TRACE), stamp=stamp or STAMP, synchronous="OFF")


def progress(seq: int) -> Output:
    return Output(EXECUTIONS, "ETHUSDT-BTCUSDT", m.Progress(decided={"ETHUSDT-BTCUSDT": seq}))


def enqueue(database: Database, *seqs: int, trace: Trace = NO_TRACE) -> None:
    with database.transaction():
        database.enqueue([progress(seq) for seq in seqs], trace=trace)


def sent_seqs(producer: FakeProducer) -> list[int]:
    return [next(iter(msgspec.json.decode(value)["decided"].values())) for _, _, value, _, _ in producer.sent]


def test_durable_settings(tmp_path: Path) -> None:
    """By default every commit is on disk: WAL with full synchronisation."""
    database = Database(tmp_path / "ledger.db", holder="test", migrations=(ORDERS,), stamp=STAMP)
    assert database.query("PRAGMA journal_mode") == [("wal",)]
    assert database.query("PRAGMA synchronous") == [(2,)]
    database.close()


def test_transaction_is_all_or_nothing(tmp_path: Path) -> None:
    """What fails within a transaction leaves nothing behind, and the next one works."""
    database = open_database(tmp_path)
    with contextlib.suppress(Interrupted), database.transaction() as connection:
        connection.execute("INSERT INTO orders VALUES ('a', '1')")
        database.enqueue([progress(1)])
        raise Interrupted
    assert database.query("SELECT * FROM orders") == []
    assert database.publish(FakeProducer()) == 0
    with database.transaction() as connection:
        connection.execute("INSERT INTO orders VALUES ('a', '1')")
    assert database.query("SELECT id FROM orders WHERE quantity = ?", ["1"]) == [("a",)]


def test_restart_keeps_what_was_committed(tmp_path: Path) -> None:
    """A new object over the same file sees committed rows and positions; a later position replaces an earlier one."""
    database = open_database(tmp_path)
    with database.transaction() as connection:
        connection.execute("INSERT INTO orders VALUES ('a', '1')")
        database.set_positions([Position(HEDGE_RATIOS, 0, 5), Position(RISK_SIGNALS, 3, 7)])
    with database.transaction():
        database.set_positions([Position(HEDGE_RATIOS, 0, 6)])
    database.close()
    again = open_database(tmp_path)
    assert again.query("SELECT id FROM orders") == [("a",)]
    assert sorted(again.positions(), key=str) == [Position(HEDGE_RATIOS, 0, 6), Position(RISK_SIGNALS, 3, 7)]


@pytest.mark.parametrize("name", STAMP)
def test_foreign_stamp_is_refused(tmp_path: Path, name: str) -> None:
    """A file of another environment, venue or account is refused by name, and stays as it was."""
    open_database(tmp_path).close()
    with pytest.raises(ConfigurationError) as caught:
        open_database(tmp_path, stamp={**STAMP, name: "live"})
    assert f"{name} is '{STAMP[name]}', not 'live'" in caught.value.problems[0]
    assert "DATA_DIR" in caught.value.problems[0]
    open_database(tmp_path).close()


def test_migrations_run_once_and_in_order(tmp_path: Path) -> None:
    """A file of an older schema is brought up to date with its rows; opening it again changes nothing."""
    old = open_database(tmp_path, ORDERS)
    with old.transaction() as connection:
        connection.execute("INSERT INTO orders VALUES ('a', '1')")
    old.close()
    for _ in range(2):
        new = open_database(tmp_path, ORDERS, COLUMN)
        assert new.query("SELECT id, note FROM orders") == [("a", "")]
        new.close()


def test_failed_migration_changes_nothing(tmp_path: Path) -> None:
    """A script that fails half-way is undone whole, and its file is named."""
    open_database(tmp_path, ORDERS).close()
    with pytest.raises(ConfigurationError, match=r"ledger\.db: cannot be used as a database"):
        open_database(tmp_path, ORDERS, f"{COLUMN}; CREATE TABLE orders (id TEXT) STRICT")
    database = open_database(tmp_path, ORDERS, COLUMN)
    assert database.query("SELECT count(*) FROM pragma_table_info('orders')") == [(3,)]


def test_newer_file_is_refused(tmp_path: Path) -> None:
    """A file written by a newer program is not touched."""
    open_database(tmp_path, ORDERS, COLUMN).close()
    with pytest.raises(ConfigurationError, match="start the newer program"):
        open_database(tmp_path, ORDERS)


@pytest.mark.parametrize("content", [b"this is no database, but a text of some length" * 100, b"SQLite format 3\x00" + b"\x00" * 4000])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    """A file that is no database is refused by name and kept."""
    (tmp_path / "ledger.db").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"ledger\.db: cannot be used as a database"):
        open_database(tmp_path)
    assert (tmp_path / "ledger.db").read_bytes()[:10] == content[:10]


def test_missing_folder_is_refused(tmp_path: Path) -> None:
    """A folder that does not exist is a clear problem, not a traceback."""
    with pytest.raises(ConfigurationError, match="cannot be used as a database"):
        open_database(tmp_path / "none")


def test_outbox_is_published_once_in_order(tmp_path: Path) -> None:
    """Messages go out in the order of their commits with key, partition and trace, once while the program lives."""
    database, producer = open_database(tmp_path), FakeProducer()
    enqueue(database, 1, 2, trace=Trace.begin(77))
    with database.transaction():
        database.enqueue([Output(TICKS, "", m.WriterEpoch(epoch=4), partition=3)])
    assert database.publish(producer) == 3
    assert producer.sent[0] == ("executions", "ETHUSDT-BTCUSDT", encode(progress(1).message), None, Trace.begin(77))
    assert producer.sent[2] == ("ticks", "", encode(m.WriterEpoch(epoch=4)), 3, NO_TRACE)
    assert database.publish(producer) == 0
    assert database.clear_published(producer)
    assert database.query("SELECT count(*) FROM outbox") == [(0,)]
    enqueue(database, 3)
    assert database.publish(producer) == 1


def test_an_outbox_of_before_the_traces_is_still_published(tmp_path: Path) -> None:
    """A file of the older schema opens, and what waits in it goes out without a trace."""
    older = open_database(tmp_path, ORDERS)
    with older.transaction() as connection:
        row = ("executions", "ETHUSDT-BTCUSDT", encode(progress(1).message), 77)
        connection.execute("INSERT INTO outbox (topic, key, value, read_at_ns) VALUES (?, ?, ?, ?)", row)
    older.close()
    database, producer = open_database(tmp_path), FakeProducer()
    enqueue(database, 2, trace=Trace.begin(5))
    assert database.publish(producer) == 2
    assert [trace for *_, trace in producer.sent] == [NO_TRACE, Trace.begin(5)]


def test_crash_before_the_acknowledgement_publishes_again(tmp_path: Path) -> None:
    """What was sent but not acknowledged when the program died is sent again, in order."""
    database = open_database(tmp_path)
    enqueue(database, 1, 2)
    lossy = FakeProducer()
    database.publish(lossy)
    lossy.lost = True
    assert not database.clear_published(lossy)
    again, producer = open_database(tmp_path), FakeProducer()
    assert again.publish(producer) == 2
    assert sent_seqs(producer) == [1, 2]


def test_half_published_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """A producer that refuses in between keeps the rest for later; only what was handed over is cleared."""
    database, producer = open_database(tmp_path), FakeProducer()
    enqueue(database, 1, 2, 3)
    producer.fail_after = 2
    with pytest.raises(DeliveryFailed):
        database.publish(producer)
    producer.fail_after = None
    database.clear_published(producer)
    assert database.query("SELECT count(*) FROM outbox") == [(1,)]
    assert database.publish(producer) == 1
    assert sent_seqs(producer) == [1, 2, 3]


def test_what_is_committed_while_waiting_is_not_cleared(tmp_path: Path) -> None:
    """Clearing forgets only what was published."""
    database, producer = open_database(tmp_path), FakeProducer()
    enqueue(database, 1)
    database.publish(producer)
    enqueue(database, 2)
    database.clear_published(producer)
    again, second = open_database(tmp_path), FakeProducer()
    again.publish(second)
    assert sent_seqs(second) == [2]


@settings(max_examples=25, deadline=None)
@given(steps=st.lists(st.sampled_from(["commit", "publish", "clear", "crash", "fail"]), max_size=25))
def test_no_schedule_loses_or_reorders(tmp_path_factory: pytest.TempPathFactory, steps: list[str]) -> None:
    """Under any order of commits, failures and crashes everything committed is sent, first times in order."""
    folder = tmp_path_factory.mktemp("outbox")
    database, producer = open_database(folder), FakeProducer()
    committed = 0
    for step in [*steps, "crash", "publish"]:
        match step:
            case "commit":
                committed += 1
                enqueue(database, committed)
            case "fail":
                with contextlib.suppress(Interrupted), database.transaction():
                    database.enqueue([progress(10**6)])
                    raise Interrupted
            case "publish":
                database.publish(producer)
            case "clear":
                database.clear_published(producer)
            case _:
                database.close()
                database = open_database(folder)
    database.close()
    assert list(dict.fromkeys(sent_seqs(producer))) == list(range(1, committed + 1))


def test_two_writers_wait_for_each_other(tmp_path: Path) -> None:
    """A second connection cannot write within another's transaction."""
    first = open_database(tmp_path)
    second = sqlite3.connect(tmp_path / "ledger.db", timeout=0, isolation_level=None)
    with first.transaction(), pytest.raises(sqlite3.OperationalError, match="locked"):
        second.execute("BEGIN IMMEDIATE")
    second.execute("BEGIN IMMEDIATE")
    second.close()
