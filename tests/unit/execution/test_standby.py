"""Two replicas over one ledger: one writes, the other waits, shows what is written, and takes over."""

from pathlib import Path

import fastapi
import pytest
from fastapi.testclient import TestClient

from common.errors import LeaseLost, TransportError
from common.io.memory import MemoryTransport
from common.topics import EXECUTIONS
from services.execution.edge import ExecutionService
from services.execution.ledger import Ledger
from services.execution.routes import routes
from tests.unit.execution.builders import PAIR, rules
from tests.unit.execution.test_service import OTHER, STAMP, SYMBOLS, World, late_signals, reference, run_dry, scenario, send_all
from tests.unit.lease_locks import Machine, MachineLocks


class Replicas:
    """An active service and a standby, each in a process of its own as far as locks go."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        machine = Machine()
        monkeypatch.setattr("common.io.sqlite.FileLocks", lambda _path: MachineLocks(machine))
        self.world = World(folder)
        self.active = self.world.build(late_signals())
        self.active.start()
        self.ledger = Ledger(self.world.ledger.path, stamp=STAMP, synchronous="OFF", standby=True) if self.world.ledger else None
        assert self.ledger is not None
        venue = {symbol: rules(symbol) for symbol in SYMBOLS}
        transport = MemoryTransport(self.world.broker)
        self.standby = ExecutionService(self.world.settings, transport, self.world.observer, self.world.clock, venue, self.ledger)
        self.standby.start()


@pytest.fixture
def replicas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Replicas:
    return Replicas(tmp_path, monkeypatch)


def client_of(service: ExecutionService, replicas: Replicas) -> TestClient:
    application = fastapi.FastAPI()
    application.include_router(routes(service, replicas.world.settings))
    return TestClient(application)


@pytest.mark.parametrize("turns", [0, 5, 12, 19, 26])
def test_a_standby_goes_on_where_the_active_died(turns: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever the active is killed, the two have said together what one would have said alone."""
    (tmp_path / "pair").mkdir()
    replicas = Replicas(tmp_path / "pair", monkeypatch)
    send_all(replicas.world, scenario())
    for _ in range(turns):
        replicas.active.turn(0)
        assert replicas.standby.turn(0) == 0
    replicas.world.kill()
    replicas.standby.turn(0)
    assert replicas.standby.health().role == "active"
    run_dry(replicas.standby)
    assert {pair: replicas.world.executions(pair) for pair in (PAIR, OTHER)} == reference(tmp_path, scenario())
    (line,) = [line for line in replicas.world.observer.events("took the ledger") if line.level == "WARNING"]
    assert line.fields["epoch"] == 2
    assert line.fields["holder_before"].startswith("execution-service, process ")


def test_a_standby_is_ready_says_who_writes_and_shows_the_ledger(replicas: Replicas) -> None:
    """It answers what the active has committed, read anew each second, and handles no record itself."""
    health = replicas.standby.health()
    assert (health.ready, health.role) == (True, "standby")
    assert health.reason.startswith("waiting for the ledger, which execution-service, process ")
    assert health.details["ledger"]["epoch"] == 1
    client = client_of(replicas.standby, replicas)
    assert client.get("/orders").json()["known"] == 0
    send_all(replicas.world, scenario())
    run_dry(replicas.active)
    for _ in range(40):
        replicas.active.turn(0)
    replicas.standby.turn(0)
    assert replicas.standby.health().details["last_seqs"] == {PAIR: -1, OTHER: -1}
    replicas.world.clock.now_ns += 10**9
    replicas.active.turn(0)
    replicas.standby.turn(0)
    assert replicas.standby.health().details["last_seqs"] == replicas.active.health().details["last_seqs"]
    for path in ("/positions", "/orders", "/pnl", f"/pairs/{PAIR}/explain"):
        told, active = (each.json() for each in (client.get(path), client_of(replicas.active, replicas).get(path)))
        assert [each.pop("role", path) for each in (told, active)] == ([path] * 2 if path == "/orders" else ["standby", "active"])
        assert told == active
    assert client.get("/orders").json()["known"] > 0


def away(*_: object) -> None:
    raise TransportError("away")


def test_a_standby_takes_nothing_while_the_broker_is_away(replicas: Replicas, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Kafka it could do no better than the one that died; once Kafka answers it takes over."""
    replicas.world.kill()

    with monkeypatch.context() as without:
        without.setattr(MemoryTransport, "end_offsets", away)
        with pytest.raises(TransportError):
            replicas.standby.turn(0)
    assert replicas.standby.health().role == "standby"
    replicas.standby.turn(0)
    assert replicas.standby.health().role == "active"


def test_a_take_over_that_fails_half_way_is_tried_again(replicas: Replicas, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kafka goes away while it recovers: it is not ready, keeps the ledger, and ends up active."""
    replicas.world.kill()

    with monkeypatch.context() as without:
        without.setattr(MemoryTransport, "oldest_offsets", away)
        with pytest.raises(TransportError):
            replicas.standby.turn(0)
    assert not replicas.standby.health().ready
    replicas.standby.turn(0)
    assert (replicas.standby.health().role, replicas.standby.health().details["ledger"]["epoch"]) == ("active", 2)


def depose(world: World) -> ExecutionService:
    """A successor in the same process, where locks keep nobody away: as if the active had hung."""
    ledger = Ledger(world.folder / "trading.db", stamp=STAMP, synchronous="OFF", standby=True)
    venue = {symbol: rules(symbol) for symbol in SYMBOLS}
    successor = ExecutionService(world.settings, MemoryTransport(world.broker), world.observer, world.clock, venue, ledger)
    successor.start()
    return successor


@pytest.mark.parametrize("turns", [0, 5, 12, 19, 26])
def test_one_that_wakes_after_it_was_replaced_changes_nothing(turns: int, tmp_path: Path) -> None:
    """It commits nothing and says nothing new: what the two have said is what one would have said alone."""
    (tmp_path / "pair").mkdir()
    world = World(tmp_path / "pair")
    first = world.start(late_signals())
    send_all(world, scenario())
    for _ in range(turns):
        first.turn(0)
    successor = depose(world)
    run_dry(successor)
    committed = world.broker.records(EXECUTIONS)
    with pytest.raises(LeaseLost, match="by now, no longer by execution-service"):
        turn_for_ever(first)
    assert world.broker.records(EXECUTIONS) == committed
    assert {pair: world.executions(pair) for pair in (PAIR, OTHER)} == reference(tmp_path, scenario())
    successor.stop()


def turn_for_ever(service: ExecutionService) -> None:
    while True:
        service.turn(0)
