"""The lease: one writer at a time, whoever dies, hangs or wakes up."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from common.errors import ConfigurationError, LeaseLost, TransportError
from common.io.lease import LEASE_TIMEOUT_S, RENEW_INTERVAL_S
from common.io.sqlite import Database
from tests.unit.lease_holder import SCHEMA
from tests.unit.lease_locks import Machine, MachineLocks

ROOT = Path(__file__).parents[2]


class Clock:
    """Monotonic seconds that a test moves."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def successor(path: Path, clock: Clock) -> Database:
    """One that waits, and never for a lock."""
    database = Database(path, holder="second", migrations=(SCHEMA,), stamp={}, standby=True, monotonic=clock)
    database._connection.execute("PRAGMA busy_timeout=0")
    return database


# --- real processes, real locks --------------------------------------------------------------------------------------


class Holder:
    """A process that has the file."""

    def __init__(self, path: Path) -> None:
        command = [sys.executable, "-m", "tests.unit.lease_holder", str(path)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.read() == "taken"

    def read(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def order(self, line: str) -> str:
        assert self.process.stdin
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return self.read()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def holder(path: Path) -> Iterator[Holder]:
    made = Holder(path)
    yield made
    made.process.kill()
    with suppress(BrokenPipeError), made.process:
        pass


def notes(path: Path) -> list[str]:
    with sqlite3.connect(path) as connection:
        return [text for (text,) in connection.execute("SELECT text FROM notes")]


def test_one_that_renews_is_never_deposed(path: Path, holder: Holder) -> None:
    """However long it is watched, a holder that shows life keeps the file; the watcher may read and learns who it is."""
    clock = Clock()
    waiting = successor(path, clock)
    for _ in range(6):
        assert not waiting.try_take()
        clock.now_s += LEASE_TIMEOUT_S - 0.1
        with sqlite3.connect(path) as other:
            other.execute("UPDATE lease SET renewals = renewals + 1")
    assert waiting.holder().holder.startswith(f"first, process {holder.process.pid} on ")
    assert waiting.query("SELECT count(*) FROM notes") == [(0,)]
    with pytest.raises(LeaseLost), waiting.transaction():
        pass


def test_a_second_that_will_not_wait_is_refused_by_name(path: Path, holder: Holder) -> None:
    """While the first renews, another start ends with a clear problem that names it; once it lets go the next may come."""
    assert holder.order("renew") == "done"
    looks = iter(range(1000))

    def now_s() -> float:
        # Time passes with every look; the holder shows life at one of them.
        if next(looks) == 5:
            with sqlite3.connect(path) as other:
                other.execute("UPDATE lease SET renewals = renewals + 1")
        return 0.0

    with pytest.raises(ConfigurationError, match=f"in use by first, process {holder.process.pid} on .*; only one may write"):
        Database(path, holder="second", migrations=(SCHEMA,), stamp={}, monotonic=now_s)
    assert holder.process.stdin
    holder.process.stdin.close()
    holder.process.wait(10)
    Database(path, holder="second", migrations=(SCHEMA,), stamp={}).close()


def test_a_killed_holder_is_followed_at_once(path: Path, holder: Holder) -> None:
    """After kill -9 no time needs to pass, and what was committed is there."""
    clock = Clock()
    waiting = successor(path, clock)
    assert holder.order("before") == "done"
    assert not waiting.try_take()
    holder.process.kill()
    holder.process.wait(10)
    assert waiting.try_take()
    assert (waiting.epoch, waiting.holder().epoch) == (2, 2)
    assert notes(path) == ["before"]


def test_one_that_was_paused_writes_nothing_after_it_wakes(path: Path, holder: Holder) -> None:
    """SIGSTOP, take-over after the time-out and not before, SIGCONT: every write of the first fails, and says who writes now."""
    clock = Clock()
    waiting = successor(path, clock)
    assert holder.order("before") == "done"
    os.kill(holder.process.pid, signal.SIGSTOP)
    assert not waiting.try_take()
    clock.now_s += LEASE_TIMEOUT_S - 0.1
    assert not waiting.try_take()
    clock.now_s += 0.1
    assert waiting.try_take()
    os.kill(holder.process.pid, signal.SIGCONT)
    assert f"written by second, process {os.getpid()} on" in holder.order("too late")
    assert "it writes nothing more and ends" in holder.order("renew")
    assert notes(path) == ["before"]


def test_one_that_hangs_within_a_transaction_is_ended(path: Path, holder: Holder) -> None:
    """It would keep everybody from writing: the system names the process, and it is killed; half a transaction leaves nothing."""
    clock = Clock()
    waiting = successor(path, clock)
    assert holder.order("hang") == "hanging"
    assert not waiting.try_take()
    assert holder.process.poll() is None
    clock.now_s += LEASE_TIMEOUT_S
    assert not waiting.try_take()
    assert holder.process.wait(10) == -signal.SIGKILL
    assert waiting.try_take()
    assert notes(path) == []


# --- in one process, step by step ------------------------------------------------------------------------------------


def test_silence_counts_only_while_the_successor_could_do_better(path: Path) -> None:
    """While the broker is away nobody is deposed, and the time-out begins anew when it is back; a dead holder's place stays free too."""
    clock, machine = Clock(), Machine()

    def away() -> None:
        raise TransportError("away")

    first = Database(path, holder="first", migrations=(), stamp={}, locks=MachineLocks(machine), monotonic=clock)
    waiting = Database(path, holder="second", migrations=(), stamp={}, standby=True, locks=MachineLocks(machine), monotonic=clock)
    assert not waiting.try_take(away)
    for _ in range(5):
        clock.now_s += LEASE_TIMEOUT_S
        with pytest.raises(TransportError):
            waiting.try_take(away)
    assert not waiting.try_take()
    clock.now_s += LEASE_TIMEOUT_S - 0.1
    assert not waiting.try_take()
    first.close()
    with pytest.raises(TransportError):
        waiting.try_take(away)
    assert waiting.try_take()


def test_one_that_wakes_while_it_is_judged_keeps_it(path: Path) -> None:
    """Between the look that finds it silent and the take-over it renews: nothing is taken."""
    clock, machine = Clock(), Machine()
    first = Database(path, holder="first", migrations=(), stamp={}, locks=MachineLocks(machine), monotonic=clock)
    waiting = Database(path, holder="second", migrations=(), stamp={}, standby=True, locks=MachineLocks(machine), monotonic=clock)
    assert not waiting.try_take()
    clock.now_s += LEASE_TIMEOUT_S
    assert not waiting.try_take(first.renew)
    with first.transaction():
        pass


def test_a_renewal_costs_no_wait_for_the_disk(path: Path) -> None:
    """At most one a second, without synchronisation, and transactions are as durable as before."""
    clock = Clock()
    database = Database(path, holder="first", migrations=(), stamp={}, monotonic=clock)
    said: list[str] = []
    database._connection.set_trace_callback(said.append)
    for _ in range(25):
        database.renew()
        clock.now_s += RENEW_INTERVAL_S / 10
    assert database.holder().renewals == 2
    assert [line for line in said if "synchronous" in line] == ["PRAGMA synchronous=1", "PRAGMA synchronous=2"] * 2
    assert database.query("PRAGMA synchronous") == [(2,)]


class Replica:
    """A process that writes while it may."""

    def __init__(self, path: Path, machine: Machine, clock: Clock, name: str) -> None:
        self.name, self.locks = name, MachineLocks(machine)
        schema = "CREATE TABLE writes (epoch INTEGER, who TEXT) STRICT"
        self.database = Database(path, holder=name, migrations=(schema,), stamp={}, standby=True, locks=self.locks, monotonic=clock, synchronous="OFF")
        self.database._connection.execute("PRAGMA busy_timeout=0")
        self.paused = self.about_to_write = False
        self.showed_life_s = clock()
        self.unfit_s = 0.0
        #: The transaction that it was paused in.
        self.open: AbstractContextManager[sqlite3.Connection] | None = None

    def begin(self) -> None:
        self.open = self.database.transaction()
        self.open.__enter__().execute("INSERT INTO writes VALUES (?, ?)", (self.database.epoch, self.name))

    def finish(self) -> None:
        transaction, self.open = self.open, None
        if transaction:
            transaction.__exit__(None, None, None)

    def die(self) -> None:
        self.open = None
        self.database.close()


class Replicas(RuleBasedStateMachine):
    """Three replicas that turn, hang, wake and die in any order, over a broker that comes and goes."""

    numbers = st.integers(0, 2)

    @initialize()
    def begin(self) -> None:
        self.folder = TemporaryDirectory()
        self.path = Path(self.folder.name) / "ledger.db"
        self.clock, self.machine = Clock(), Machine()
        self.machine.end = self.kill_owner  # type: ignore[method-assign]
        self.broker_away, self.lives = False, 0
        self.replicas = [self.born() for _ in range(3)]

    def born(self) -> Replica:
        self.lives += 1
        return Replica(self.path, self.machine, self.clock, f"life {self.lives}")

    def kill_owner(self, owner: object) -> None:
        (number,) = (number for number, replica in enumerate(self.replicas) if replica.locks is owner)
        assert self.replicas[number].paused, "only one that hangs is ended"
        self.kill(number)

    def require_fit(self) -> None:
        if self.broker_away:
            raise TransportError("away")

    @rule(number=numbers)
    def turn(self, number: int) -> None:
        replica = self.replicas[number]
        if replica.paused:
            return
        with self.ending(number):
            if replica.database.epoch:
                self.show_life(replica)
                replica.begin()
                replica.finish()
            else:
                self.stand_by(replica, self.require_fit)

    @rule(number=numbers)
    def turn_while_the_holder_turns(self, number: int) -> None:
        """What one has seen is no longer so when it comes to take."""
        replica = self.replicas[number]
        if replica.paused or replica.database.epoch:
            return

        def meanwhile() -> None:
            self.require_fit()
            for holder in self.holders():
                self.turn(holder)

        with self.ending(number):
            self.stand_by(replica, meanwhile)

    @rule(seconds=st.integers(1, 8))
    def live_on(self, seconds: int) -> None:
        """Everyone who does not hang takes turns."""
        for _ in range(seconds):
            for number in range(3):
                self.turn(number)
            self.clock.now_s += 1

    def holders(self) -> list[int]:
        """Those that are awake and think that they hold it."""
        return [number for number, replica in enumerate(self.replicas) if replica.database.epoch and not replica.paused]

    @contextmanager
    def ending(self, number: int) -> Iterator[None]:
        """A process ends when it is deposed or cannot write, and comes back."""
        try:
            yield
        except (LeaseLost, sqlite3.OperationalError):
            self.kill(number)

    def show_life(self, replica: Replica) -> None:
        replica.database.renew()
        replica.showed_life_s = self.clock()

    def stand_by(self, replica: Replica, require_fit: Callable[[], None]) -> None:
        before = next((each for each in self.replicas if each.database.epoch and each.database.epoch == replica.database.holder().epoch), None)
        try:
            if replica.database.try_take(require_fit):
                replica.showed_life_s = self.clock()
                silent_since_s = max(before.showed_life_s, replica.unfit_s) if before else 0.0
                assert self.clock() - silent_since_s >= LEASE_TIMEOUT_S - 1e-6, "deposed one that works"
        except TransportError:
            replica.unfit_s = self.clock()

    @rule(where=st.sampled_from(["between turns", "before a transaction", "within one"]))
    def pause(self, where: str) -> None:
        """A holder hangs."""
        for number in self.holders():
            replica = self.replicas[number]
            with self.ending(number):
                self.show_life(replica)
                if where == "within one":
                    replica.begin()
                replica.about_to_write = where == "before a transaction"
                replica.paused = True

    @rule(number=numbers)
    def wake(self, number: int) -> None:
        replica = self.replicas[number]
        replica.paused = False
        with self.ending(number):
            if replica.about_to_write:
                replica.about_to_write = False
                replica.begin()
            replica.finish()

    @rule(number=numbers)
    def kill(self, number: int) -> None:
        self.replicas[number].die()
        self.replicas[number] = self.born()

    @rule(seconds=st.sampled_from([0.1, 1.0, 3.0, 6.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.now_s += seconds

    @rule()
    def broker_goes_or_comes(self) -> None:
        self.broker_away = not self.broker_away

    @invariant()
    def writes_are_in_the_order_of_epochs_and_each_epoch_has_one_writer(self) -> None:
        with sqlite3.connect(self.path) as connection:
            try:
                written = connection.execute("SELECT epoch, who FROM writes ORDER BY rowid").fetchall()
            except sqlite3.OperationalError:
                return
        epochs = [epoch for epoch, _ in written]
        assert epochs == sorted(epochs)
        assert len(set(written)) == len(set(epochs))

    def teardown(self) -> None:
        """Whatever has happened: once the broker is there and nobody hangs, one of them writes."""
        self.broker_away = False
        for number in range(3):
            self.wake(number)
        self.live_on(8)
        newest = self.replicas[0].database.holder().epoch
        assert sum(replica.database.epoch == newest for replica in self.replicas) == 1
        for replica in self.replicas:
            replica.die()
        self.folder.cleanup()


Replicas.TestCase.settings = settings(max_examples=80, stateful_step_count=25, deadline=None)
TestReplicas = Replicas.TestCase
