"""Causes in records and in the ledger: garbage, gaps, floods, a file that somebody else holds."""

import random
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from threading import Event

import msgspec

from common.codec import decoder_of, encode
from common.errors import InvalidRecord
from common.io.lease import FileLocks, Lease
from common.messages import HedgeRatio
from common.topics import HEDGE_RATIO_CLOSES, HEDGE_RATIOS, TICKS
from scripts.drill.acts import Act, about
from scripts.drill.stage import EXECUTION, GARCH, KALMAN, RISK, Stage

_BARS = "bars"
_LEDGER = "trading.db"
_AHEAD = 5
_FLOOD = 60_000
_GARBAGE_A_ROUND = 40


@contextmanager
def _garbage(stage: Stage) -> Iterator[None]:
    """Until the alarm is over, in a thread: about as much garbage as there is sense."""
    over, chance = Event(), random.Random(1)  # noqa: S311 - repeatable, guards nothing

    def publish() -> None:
        while not over.is_set():
            for topic in (HEDGE_RATIOS, HEDGE_RATIO_CLOSES):
                stage.send(topic, [("", chance.randbytes(100), number % 3) for number in range(_GARBAGE_A_ROUND)])
            over.wait(1.0)

    thread = threading.Thread(target=publish, name="garbage", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def _lost_records(stage: Stage) -> Iterator[None]:
    """One that is ahead of its stream: those between are missing, as if they had been lost."""
    decoder = decoder_of(HEDGE_RATIOS)
    for record in reversed(stage.newest(HEDGE_RATIOS, 100)):
        try:
            message = decoder.decode(record.value)
        except InvalidRecord:  # Garbage of another act.
            continue
        if isinstance(message, HedgeRatio):
            ahead = msgspec.structs.replace(message, tick=msgspec.structs.replace(message.tick, seq=message.tick.seq + _AHEAD))
            stage.send(HEDGE_RATIOS, [(record.key, encode(ahead), record.partition)])
            break
    yield


@contextmanager
def _flood(stage: Stage) -> Iterator[None]:
    """A topic that somebody publishes again by mistake, to a reader that is short of processor time."""
    record = stage.newest(TICKS, 1)[0]
    with stage.throttled(KALMAN, 0.95, 0.05):
        stage.send(TICKS, [(record.key, record.value, record.partition)] * _FLOOD)
        yield


@contextmanager
def _ledger_taken(stage: Stage) -> Iterator[None]:
    """Somebody else holds the ledger's lease and renews it, so execution stands by."""
    path = stage.data / _LEDGER
    stage.down(EXECUTION)
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as connection:
        connection.execute("PRAGMA busy_timeout=5000")
        locks = FileLocks(path.with_name(f"{path.name}.lock"))
        lease = Lease(connection, path, "the drill", locks)
        stage.wait(lease.try_take, 20, "the ledger's lease")
        over = Event()

        def renew() -> None:
            while not over.wait(0.5):
                lease.renew()

        thread = threading.Thread(target=renew, name="lease", daemon=True)
        thread.start()
        try:
            stage.up(EXECUTION, wait=False)
            yield
        finally:
            over.set()
            thread.join()
            lease.release()


@contextmanager
def _ledger_busy(stage: Stage) -> Iterator[None]:
    """Somebody else writes the ledger's file most of the time, so every commit waits for him."""
    over = Event()

    def write() -> None:
        with closing(sqlite3.connect(stage.data / _LEDGER, isolation_level=None)) as connection:
            connection.execute("PRAGMA busy_timeout=5000")
            while not over.is_set():
                connection.execute("BEGIN IMMEDIATE")
                over.wait(0.3)
                connection.execute("ROLLBACK")
                over.wait(0.2)

    thread = threading.Thread(target=write, name="busy ledger", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def _second_ledger(stage: Stage) -> Iterator[None]:
    """A replica that was given a volume of its own: both take themselves for the writer."""
    stage.another(EXECUTION, "another execution", {"DATA_DIR": str(stage.folder / "other-data")})
    with stage.scraped_at(EXECUTION, stage.port(EXECUTION), stage.spare_port):
        try:
            yield
        finally:
            stage.without("another execution")


@contextmanager
def _full_queue(stage: Stage) -> Iterator[None]:
    with stage.showing(RISK, {"crypto_bot_producer_queue_ratio": 0.9}):
        yield


RECORDS = (
    Act(
        (
            *about("ErrorRateHigh", "ErrorsLogged", service=EXECUTION),
            *about("ServiceUnready", service=GARCH),
            *about("ErrorBudgetBurnsFast", "NewExposureStopped"),
        ),
        _BARS,
        "as much garbage as sense is published to `hedge-ratios` and `hedge-ratio-closes`",
        "no garbage is published",
        _garbage,
        within_s=120,
        resolved_within_s=150,
    ),
    Act(
        about("SequenceGaps", service=EXECUTION),
        _BARS,
        "a record of `hedge-ratios` is five ahead of its stream, as if those between were lost",
        "none: the alert ends with its window",
        _lost_records,
    ),
    Act(
        about("ConsumerLagging", service=KALMAN),
        _BARS,
        "60,000 old records are published to `ticks` again, and kalman-filter-service gets the processor for a twentieth of the time",
        "it gets all of it and reads them",
        _flood,
        within_s=90,
    ),
    Act(
        about("LedgerWriteFailing"),
        _BARS,
        "the ledger's lease is held, and renewed, by somebody else when execution-service starts",
        "he lets go of it",
        _ledger_taken,
    ),
    Act(
        (*about("LedgerSlow", "LatencyHigh", "LatencyBudgetBurnsFast"), *about("SlowSteps", service=EXECUTION)),
        _BARS,
        "somebody else writes the ledger's file for 0.3 of every 0.5 s",
        "he ends",
        _ledger_busy,
        within_s=120,
        resolved_within_s=150,
    ),
    Act(
        about("LedgerWithTwoWriters"),
        _BARS,
        "a second execution-service runs with a volume, and so a ledger, of its own",
        "it is ended",
        _second_ledger,
        within_s=90,
    ),
    Act(
        about("ProducerQueueFilling", service=RISK),
        _BARS,
        "crypto_bot_producer_queue_ratio is 0.9",
        "it is what it is",
        _full_queue,
        at_source="100,000 records would have to wait while the broker still acknowledges: one that does not is BrokerUnreachable, which mutes this",
    ),
)
