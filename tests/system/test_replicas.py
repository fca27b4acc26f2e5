"""Two processes over one file: who writes, who waits, who is refused, and what a killed or paused one leaves."""

import signal
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from common.io.kafka import KafkaTransport
from common.io.mock_broker import FETCH_WAIT_MAX_MS, MockBroker
from common.topics import ALL_TOPICS
from scripts.faults.schedule import Kind
from scripts.faults.servers import KAFKA_SCRIPT, OwnBroker
from scripts.sessions.ledgers import ledger
from services.execution.ledger import LEDGER_FILE
from tests.levels import all_level
from tests.replay.schedules import klines
from tests.system.demo import TRACEBACK
from tests.system.ledgers import marks_so_far, require_equal
from tests.system.replicas import Replica, Session, all_said, feeding, recorded, venue

BARS = 80
SCENARIO = klines(("ETHUSDT-BTCUSDT", "SOLUSDT-BTCUSDT"), BARS)
Says = Callable[[str, object], None]
#: From kill -9 to an active successor.
TAKE_OVER_S = 10.0


class Broker(NamedTuple):
    """A broker with topics of a test's own, and the settings that lead there."""

    transport: KafkaTransport
    settings: dict[str, str]


def _broker(bootstrap_servers: str, fetch_wait_max_ms: int, prefix: str = "") -> Broker:
    settings = {"KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers, "KAFKA_FETCH_WAIT_MAX_MS": str(fetch_wait_max_ms), "TOPIC_PREFIX": prefix}
    return Broker(KafkaTransport(bootstrap_servers, fetch_wait_max_ms=fetch_wait_max_ms, client_id="test", topic_prefix=prefix), settings)


@pytest.fixture(params=["mock", "kafka"])
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """librdkafka's own always, a real one with TEST_LEVEL=all."""
    if request.param == "mock":
        mock = MockBroker()
        made = _broker(mock.bootstrap_servers, FETCH_WAIT_MAX_MS)
    else:
        made = _broker(request.getfixturevalue("kafka_bootstrap_servers"), 500, f"replicas-{uuid.uuid4().hex[:8]}-")
        made.transport.ensure_topics(ALL_TOPICS, 4)
    yield made
    made.transport.close()
    if request.param == "mock":
        mock.close()


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    return recorded(SCENARIO, tmp_path_factory.mktemp("undisturbed"))


@pytest.fixture
def start(broker: Broker, tmp_path: Path) -> Iterator[Callable[[], Replica]]:
    """Starts one more execution-service over the same folder."""
    started: list[Replica] = []
    with venue(SCENARIO.settings["SYMBOLS"].split(",")) as rest_url:

        def one_more() -> Replica:
            started.append(Replica("services.execution", tmp_path, {**SCENARIO.settings, **broker.settings, "BINANCE_REST_URL": rest_url}))
            return started[-1]

        yield one_more
        for replica in started:
            replica.__exit__()


def two_of(start: Callable[[], Replica]) -> tuple[Replica, Replica]:
    """One at work, and one that waits for its place."""
    active = start()
    active.wait_for("active")
    standby = start()
    standby.wait_for("standby")
    return active, standby


def wait_for_half(active: Replica, folder: Path) -> None:
    """Until half of the recording's bars are marked."""
    active.wait_until(lambda: marks_so_far(folder / "data" / LEDGER_FILE) > BARS // 2, "half of the marks")


def require_undisturbed(broker: Broker, session: Session, last: Replica, folder: Path) -> None:
    """The ledger is that of one service left alone, and `executions` says nothing else, however often."""
    last.wait_until(lambda: last.info().get("details", {}).get("ended"), "the end of the recording")
    last.signal(signal.SIGTERM)
    assert last.status() == 0, last.said()
    require_equal(ledger(folder / "data" / LEDGER_FILE), dict(session.ledger))
    assert frozenset(all_said(broker.transport)) == session.said


def test_a_standby_takes_over_within_seconds_of_a_kill(
    broker: Broker, session: Session, start: Callable[[], Replica], tmp_path: Path, record_property: Says
) -> None:
    """`kill -9` of the active in the middle of a recording: the standby is active within 10 s, and nothing is lost, doubled or decided otherwise."""
    active, standby = two_of(start)
    with feeding(broker.transport, session, 0.02) as hurry:
        wait_for_half(active, tmp_path)
        active.signal(signal.SIGKILL)
        taken_s = standby.wait_for("active")
        record_property("says", f"take-over after kill -9: {taken_s:.2f} s")
        assert taken_s < TAKE_OVER_S
        hurry()
    require_undisturbed(broker, session, standby, tmp_path)


def test_a_paused_one_that_wakes_has_lost_its_place_and_writes_nothing(
    broker: Broker, session: Session, start: Callable[[], Replica], tmp_path: Path, record_property: Says
) -> None:
    """SIGSTOP of the active: the standby takes over; SIGCONT: the old one ends with a status, the next one stands by, and the ledger is one service's."""
    active, standby = two_of(start)
    with feeding(broker.transport, session, 0.02) as hurry:
        wait_for_half(active, tmp_path)
        active.signal(signal.SIGSTOP)
        record_property("says", f"take-over after SIGSTOP: {standby.wait_for('active'):.2f} s")
        active.signal(signal.SIGCONT)
        # Killed by its successor when it was stopped within a transaction, else by itself.
        status = active.status()
        assert status in {1, -signal.SIGKILL}, active.said()
        assert status != 1 or "the lease is lost" in active.said()
        assert TRACEBACK not in active.said()
        again = start()
        again.wait_for("standby")
        assert again.info()["details"]["ledger"] == {"holder": standby.info()["details"]["ledger"]["holder"], "epoch": 2}
        hurry()
    require_undisturbed(broker, session, standby, tmp_path)
    again.wait_for("active")


@all_level
@pytest.mark.skipif(not KAFKA_SCRIPT.exists(), reason=f"needs a Kafka that it may kill: {KAFKA_SCRIPT.name} is not beside the project")
def test_a_broker_that_is_killed_deposes_nobody(session: Session, tmp_path: Path) -> None:
    """For as long as Kafka is away a standby could do no better: the active keeps its place, and says that nothing is acknowledged."""
    with own_kafka(tmp_path / "broker") as (kafka, broker), venue(SCENARIO.settings["SYMBOLS"].split(",")) as rest_url, ExitStack() as replicas:
        settings = {**SCENARIO.settings, **broker.settings, "BINANCE_REST_URL": rest_url}
        active, standby = two_of(lambda: replicas.enter_context(Replica("services.execution", tmp_path, settings)))
        with feeding(broker.transport, session, 0.02) as hurry:
            wait_for_half(active, tmp_path)
            kafka.take_away(Kind.KILL)
            active.wait_until(lambda: not active.info().get("ready", True), "word of the broker")
            kafka.start()
            hurry()
        require_undisturbed(broker, session, active, tmp_path)
        standby.wait_for("active")
        assert standby.info()["details"]["ledger"]["epoch"] == 2


@contextmanager
def own_kafka(folder: Path) -> Iterator[tuple[OwnBroker, Broker]]:
    """A Kafka that a test may kill."""
    kafka = OwnBroker(folder)
    with ExitStack() as cleanup:
        cleanup.callback(kafka.close)
        kafka.start()
        broker = _broker(kafka.bootstrap, 500)
        cleanup.callback(broker.transport.close)
        broker.transport.ensure_topics(ALL_TOPICS, 4)
        yield kafka, broker


@all_level
def test_a_second_risk_manager_is_refused_and_a_restart_is_not(broker: Broker, tmp_path: Path, record_property: Says) -> None:
    """While the first works another ends with status 2 and its name; after kill -9 a restart goes on, and after SIGSTOP too, which the first then learns."""
    settings = {**SCENARIO.settings, **broker.settings}
    with Replica("services.risk_manager", tmp_path, settings) as first:
        first.wait_for("active")
        with Replica("services.risk_manager", tmp_path, settings) as second:
            assert second.status() == 2, second.said()
            assert f"in use by risk-manager-service, process {first.process.pid} on" in second.said()
            assert TRACEBACK not in second.said()
        first.signal(signal.SIGKILL)
    with Replica("services.risk_manager", tmp_path, settings) as third:
        record_property("says", f"restart after kill -9: {third.wait_for('active'):.2f} s from the start of the process")
        third.signal(signal.SIGSTOP)
        with Replica("services.risk_manager", tmp_path, settings) as fourth:
            record_property("says", f"restart after SIGSTOP: {fourth.wait_for('active'):.2f} s from the start of the process")
            third.signal(signal.SIGCONT)
            status = third.status()
            assert status in {1, -signal.SIGKILL}, third.said()
            fourth.signal(signal.SIGTERM)
            assert fourth.status() == 0, fourth.said()
