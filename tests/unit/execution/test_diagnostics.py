"""The look at execution: each subject is broken in turn and exactly that one is told; nothing is changed and nothing secret is said."""

import json
import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fakeredis import TcpFakeServer

from common.codec import encode
from common.io.mock_broker import MockBroker
from common.messages import OrderEvent, Verdict
from services.execution import diagnostics
from services.execution.diagnosis import Finding, State, clock_of, risk_of, worst
from services.execution.ledger import Batch, Ledger
from services.execution.settings import ExecutionSettings
from services.execution.state import PairState
from tests.unit.exchange_simulator.builders import book, serve, tick_file
from tests.unit.execution.builders import FIRST_BAR, PAIR, signal
from tests.unit.execution.test_ledger import batch_of, traded

ROOT = Path(__file__).parents[3]
SUBJECTS = ("ledger", "positions", "intents", "risk", "decisions", "kafka", "redis", "venue", "clock", "limits")
OF_LEDGER = set(SUBJECTS[:5])


@dataclass
class World:
    """Everything that execution needs, on loopback, and a ledger with a position under way."""

    folder: Path
    environment: dict[str, str]
    capture: pytest.CaptureFixture[str]
    said: list[str] = field(default_factory=list)

    @property
    def path(self) -> Path:
        return self.folder / "trading.db"

    def write(self, sql: str, *parameters: Any) -> None:
        with closing(sqlite3.connect(self.path)) as connection, connection:
            connection.execute(sql, parameters)

    def look(self, **changes: str) -> tuple[int, dict[str, str]]:
        """Status of the program, and the state of each subject."""
        status = diagnostics.main(["--json"], self.environment | changes)
        self.said.append(self.capture.readouterr().out)
        document = json.loads(self.said[-1])
        assert tuple(document["subjects"]) == SUBJECTS
        assert (document["verdict"] == "ok") is (status == 0)
        return status, {subject: each["state"] for subject, each in document["subjects"].items()}

    def broken(self, **changes: str) -> set[str]:
        """The subjects that are not well."""
        status, found = self.look(**changes)
        wrong = {subject for subject, state in found.items() if state != "ok"}
        assert status == int(bool(wrong))
        return wrong

    @property
    def document(self) -> dict[str, Any]:
        return dict(json.loads(self.said[-1])["subjects"])


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A broker with all topics, a registry and a venue."""
    redis = TcpFakeServer(("127.0.0.1", 0))
    redis.daemon_threads = True
    threading.Thread(target=redis.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    with closing(MockBroker()) as kafka, serve(tick_file(tmp_path_factory.mktemp("recording"), [book(0)])) as (_, port):
        yield {
            "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "REDIS_URL": f"redis://127.0.0.1:{redis.server_address[1]}/0",
            "SIMULATOR_ADDRESS": f"127.0.0.1:{port}",
        }
    redis.shutdown()


@pytest.fixture
def world(servers: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> World:
    # Other tests share the machine: what must answer has time.
    monkeypatch.setattr(diagnostics, "ANSWER_S", 5.0)
    monkeypatch.setattr(diagnostics, "DEADLINE_S", 10.0)
    ledger = Ledger(tmp_path / "trading.db", stamp=ExecutionSettings().stamp)
    batch = batch_of(traded())
    batch.signals = [(signal(FIRST_BAR + 1), encode(signal(FIRST_BAR + 1)))]
    ledger.commit(batch)
    ledger.close()
    return World(tmp_path, {"DATA_DIR": str(tmp_path), **servers}, capsys)


def test_all_is_well(world: World) -> None:
    """With everything in place each subject is ok and told with what it holds."""
    assert world.broken() == set()
    found = world.document
    assert found["ledger"]["integrity"] == "ok"
    assert found["ledger"]["size_bytes"] > 0
    assert (found["positions"]["positions"][PAIR]["state"], len(found["intents"]["orders"])) == ("HEDGING", 1)
    assert (found["risk"]["pairs"][PAIR]["verdict"], found["decisions"]["decisions"][0]["action"]) == ("ACTIVE", "ENTER_SHORT")
    assert abs(found["clock"]["offset_ms"]) < 1000
    assert found["limits"]["limits"]["max_position_size"] == "10000"


def test_it_works_beside_the_writer_and_touches_nothing(world: World) -> None:
    """While execution holds the ledger the look succeeds, and neither the file nor its lease is other than before."""
    ledger = Ledger(world.path, stamp=ExecutionSettings().stamp)
    try:
        before = (ledger.holder(), world.path.stat().st_mtime_ns, sorted(world.folder.iterdir()))
        assert world.broken() == set()
        assert "last writer" in world.document["ledger"]["writer"]
        assert (ledger.holder(), world.path.stat().st_mtime_ns, sorted(world.folder.iterdir())) == before
        ledger.commit(Batch())
    finally:
        ledger.close()


def test_a_look_is_no_write(world: World) -> None:
    """With nobody writing, the last write is the last one that execution made, however often somebody looks."""
    os.utime(world.path, (1_700_000_000, 1_700_000_000))
    for _ in range(2):
        assert world.broken() == set()
        assert world.document["ledger"]["last_write"] == "2023-11-14T22:13:20+00:00"
    assert not list(world.folder.glob("trading.db-*"))


def test_what_is_written_meanwhile_contradicts_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs and orders are read as they were at one moment, though execution commits between the two."""
    read = diagnostics._newest_orders

    def read_late(connection: sqlite3.Connection) -> list[OrderEvent]:
        world.write("DELETE FROM order_events")
        return read(connection)

    monkeypatch.setattr(diagnostics, "_newest_orders", read_late)
    with closing(Ledger(world.path, stamp=ExecutionSettings().stamp)):
        assert world.broken() == set()
    assert len(world.document["intents"]["orders"]) == 1


def test_a_ledger_that_is_not_there(world: World) -> None:
    """Without a ledger what rests on it is not known either, and none is made."""
    assert world.broken(DATA_DIR=str(world.folder / "elsewhere")) == OF_LEDGER
    assert not (world.folder / "elsewhere").exists()


def test_a_damaged_ledger(world: World) -> None:
    """A file whose pages are spoilt is found so, whether it can still be read or not."""
    with world.path.open("r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * 8192)
    assert "ledger" in world.broken()
    world.path.write_bytes(b"no database at all" * 1000)
    assert world.broken() == OF_LEDGER


def test_a_foreign_ledger(world: World) -> None:
    """A ledger of another venue or account is told as such."""
    world.write("UPDATE stamps SET value = 'binance-spot' WHERE name = 'venue'")
    assert world.broken() == {"ledger"}
    assert "belongs to another account (venue is 'binance-spot'" in world.document["ledger"]["text"]


def test_a_position_that_nobody_looks_after(world: World) -> None:
    """What is held of a pair that is not configured is a failure; the configured pair has no signal yet."""
    assert world.broken(SYMBOLS="BTCUSDT,SOLUSDT") == {"positions", "risk"}
    assert f"{PAIR} is held but not in PAIRS" in world.document["positions"]["text"]


def test_an_order_that_events_and_pairs_disagree_about(world: World) -> None:
    """An order that is open in the events and not in its pair is no small matter."""
    with closing(sqlite3.connect(world.path)) as connection:
        state = msgspec.json.decode(connection.execute("SELECT state FROM pairs").fetchone()[0], type=PairState)
    position = msgspec.structs.replace(state.position, orders=())
    world.write("UPDATE pairs SET state = ?", msgspec.json.encode(msgspec.structs.replace(state, position=position)).decode())
    assert world.broken() == {"intents"}


def test_each_connection_that_is_away(world: World) -> None:
    """Kafka, the registry and the venue are told each by itself; with the venue goes its clock."""
    away = f"127.0.0.1:{_closed_port()}"
    assert world.broken(KAFKA_BOOTSTRAP_SERVERS=away, KAFKA_STARTUP_TIMEOUT_SECONDS="1") == {"kafka"}
    assert world.broken(REDIS_URL=f"redis://{away}/0") == {"redis"}
    assert world.broken(SIMULATOR_ADDRESS=away) == {"venue", "clock"}


def test_silent_servers_do_not_keep_it_waiting(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers that take the connection and say nothing are given up together, not one after the other."""
    monkeypatch.undo()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        found = world.broken(KAFKA_BOOTSTRAP_SERVERS=address, REDIS_URL=f"redis://{address}/0", SIMULATOR_ADDRESS=address)
        assert time.monotonic() - began < diagnostics.DEADLINE_S + 0.5
    assert found >= {"kafka", "redis", "venue", "clock"}


def test_no_secret_is_said(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords of Kafka and Redis, from the URL too, show in neither form, whether the servers answer or not."""
    monkeypatch.setattr(diagnostics, "ANSWER_S", 0.5)
    kafka = {"KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT", "KAFKA_SASL_USERNAME": "me", "KAFKA_SASL_PASSWORD": "planted-one"}
    away = f"127.0.0.1:{_closed_port()}"
    for redis in ({"REDIS_PASSWORD": "planted-two"}, {"REDIS_URL": f"redis://:planted-three@{away}/0"}):
        secrets = {**kafka, "KAFKA_BOOTSTRAP_SERVERS": away, **redis}
        world.look(**secrets)
        diagnostics.main([], world.environment | secrets)
        world.said.append(world.capture.readouterr().out)
    assert "planted" not in "".join(world.said)


@pytest.mark.parametrize(("offset_ms", "state"), [(0, State.OK), (-1000, State.OK), (1001, State.DEGRADED), (-60_000, State.DEGRADED)])
def test_a_clock_that_is_off(offset_ms: int, state: State) -> None:
    """More than a second, either way, is degraded and says what to do."""
    found = clock_of(offset_ms * 1_000_000)
    assert found.state is state
    assert ("synchronise" in found.text) is (state is State.DEGRADED)


def test_a_pair_that_may_not_trade() -> None:
    """A halted pair, and one without a signal, are degraded."""
    halted = msgspec.structs.replace(traded().state, own_verdict=Verdict.HALTED)
    assert risk_of({PAIR: halted}, [PAIR]).state is State.DEGRADED
    assert "no signal of SOLUSDT-BTCUSDT yet" in risk_of({PAIR: traded().state}, [PAIR, "SOLUSDT-BTCUSDT"]).text


def test_the_worst_state_is_the_verdict() -> None:
    """One failure outweighs everything; nothing found is no good sign."""
    states = [Finding("a", State.DEGRADED, ""), Finding("b", State.FAILED, ""), Finding("c", State.OK, "")]
    assert [worst(states), worst(states[:1]), worst(states[2:]), worst([])] == [State.FAILED, State.DEGRADED, State.OK, State.FAILED]


@pytest.mark.parametrize(
    ("arguments", "environment", "status", "words"),
    [
        (["--help"], {}, 0, "Exit status"),
        (["--everything"], {}, 2, "unrecognized arguments"),
        ([], {"MAX_POSITION_SIZE": "much"}, 2, "diagnostics: MAX_POSITION_SIZE='much'"),
    ],
)
def test_usage(arguments: list[str], environment: dict[str, str], status: int, words: str) -> None:
    """As a program it has help, and wrong usage and settings end with 2 and a line that says why."""
    command = [sys.executable, "-m", "services.execution.diagnostics", *arguments]
    result = subprocess.run(command, cwd=ROOT, env={"PATH": os.environ["PATH"], **environment}, capture_output=True, text=True, check=False)
    assert result.returncode == status
    assert words in result.stdout + result.stderr
    assert "Traceback" not in result.stderr


def test_people_get_lines(world: World) -> None:
    """Without --json each subject is a line, and the verdict is the last."""
    assert diagnostics.main([], world.environment) == 0
    lines = world.capture.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("ok")] == list(SUBJECTS)
    assert lines[-1] == "verdict: ok"


def _closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
