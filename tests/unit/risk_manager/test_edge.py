"""risk-manager over a broker in memory and a real risk.db."""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from common.codec import decoder_of, encode
from common.errors import ConfigurationError, LeaseLost, TransportError
from common.io.memory import Faults, MemoryBroker, MemoryTransport
from common.io.metrics import RecordingObserver
from common.market import NANOSECONDS
from common.messages import BarStatus, Command, CommandKind, DeadLetter, Feed, Mark, RiskHeartbeat, RiskSignal, Thresholds, Verdict
from common.metrics import COMMON_METRICS
from common.settings import Secret
from common.topics import COMMANDS, DEAD_LETTERS, EXECUTIONS, RISK_SIGNALS, VOLATILITY_THRESHOLDS
from common.trace import NO_TRACE, Trace
from services.risk_manager.desk import Desk, NotRecordedError, Request
from services.risk_manager.edge import RiskManagerService
from services.risk_manager.metrics import METRICS
from services.risk_manager.recovery import newest_command_id
from services.risk_manager.routes import routes
from services.risk_manager.settings import RiskSettings
from tests.unit.risk_manager.builders import PAIRS, mark, thresholds

TOKEN = {"Authorization": "Bearer opensesame"}


class World:
    """A broker, a data folder and a wall clock that outlive the service."""

    def __init__(self, folder: Path, partitions: int = 2) -> None:
        self.folder = folder
        self.broker = MemoryBroker(partitions)
        self.now_ns = NANOSECONDS
        self.observer = RecordingObserver((*COMMON_METRICS, *METRICS))
        self.transport = MemoryTransport(self.broker)

    def service(self, release: Callable[..., int] | None = None, **changes: Any) -> RiskManagerService:
        """A new instance in place of the one before, which ends as a killed process does."""
        self.transport.abandon()
        self.transport = MemoryTransport(self.broker, faults=Faults(release=release))
        given: dict[str, Any] = {"data_dir": str(self.folder), "pairs": PAIRS, "control_token": Secret("opensesame")}
        service = RiskManagerService(RiskSettings(**(given | changes)), self.transport, self.observer, lambda: self.now_ns)
        service.start()
        return service

    def write(self, *messages: Mark | Thresholds, trace: Trace = NO_TRACE) -> None:
        for message in messages:
            topic = EXECUTIONS if isinstance(message, Mark) else VOLATILITY_THRESHOLDS
            self.broker.append(topic, self.broker.partition_of(message.pair), message.pair, encode(message), trace)

    def write_bar(self, bar: int, equity: Sequence[int] = (10_000, 10_000, 10_000), **changes: Any) -> None:
        self.write(*(mark(pair, bar, equity=amount, **changes) for pair, amount in zip(PAIRS, equity, strict=True)))
        self.write(*(thresholds(pair, bar) for pair in PAIRS))

    def signals(self) -> list[RiskSignal]:
        """The signals so far, each once, ordered by bar and pair; copies of one must be equal."""
        found: dict[tuple[int, str], RiskSignal] = {}
        for record in self.broker.records(RISK_SIGNALS):
            message = decoder_of(RISK_SIGNALS).decode(record.value)
            if isinstance(message, RiskSignal):
                assert found.setdefault((message.bar, message.pair), message) == message
        return [found[key] for key in sorted(found)]

    def commands(self) -> list[Command]:
        return [decoder_of(COMMANDS).decode(record.value) for record in self.broker.records(COMMANDS)]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def settle(service: RiskManagerService) -> None:
    while service.turn(0):
        pass


@pytest.fixture
def answered(world: World) -> Iterator[tuple[RiskManagerService, TestClient]]:
    """A service whose loop turns, and a client of its routes."""
    service = world.service()
    stop = threading.Event()

    def loop() -> None:
        while not stop.is_set():
            service.turn(0.01)

    thread = threading.Thread(target=loop)
    thread.start()
    yield service, client_of(service)
    stop.set()
    thread.join()


def client_of(service: RiskManagerService, token: str = "opensesame") -> TestClient:
    application = FastAPI()
    application.include_router(routes(service, RiskSettings(pairs=PAIRS, control_token=Secret(token))))
    return TestClient(application)


# --- signals ---------------------------------------------------------------------------------------------------------


def test_a_bar_becomes_signals(world: World) -> None:
    """Every pair's signal goes out under its key with the trace of the record that completed it."""
    service = world.service()
    world.write(*(thresholds(pair, 7) for pair in PAIRS), *(mark(pair, 7) for pair in PAIRS), trace=Trace.begin(5))
    settle(service)
    records = [record for record in world.broker.records(RISK_SIGNALS) if record.key]
    assert sorted(record.key for record in records) == sorted(PAIRS)
    assert {record.trace.times_ns for record in records} == {(5, world.now_ns, world.now_ns)}
    assert [signal.verdict for signal in world.signals()] == [Verdict.ACTIVE] * 3
    assert service.health().details["last_closed"] == {"session": 1, "bar": 7}


def test_a_heartbeat_reaches_every_partition_each_second(world: World) -> None:
    """Heartbeats go by wall time, one a second into every partition, whatever the inputs do."""
    service = world.service()
    for _ in range(4):
        service.turn(0)
        world.now_ns += NANOSECONDS // 2
    beats = [record for record in world.broker.records(RISK_SIGNALS) if not record.key]
    assert [record.partition for record in beats].count(0) == [record.partition for record in beats].count(1) == 2
    assert {type(decoder_of(RISK_SIGNALS).decode(record.value)) for record in beats} == {RiskHeartbeat}


def test_a_bad_record_stops_nothing(world: World) -> None:
    """What cannot be read goes to dead letters with its reason; the bar is answered all the same."""
    service = world.service()
    world.broker.append(EXECUTIONS, 0, PAIRS[0], b"{nonsense")
    world.broker.append(VOLATILITY_THRESHOLDS, 1, PAIRS[0], b'{"type": "mark"}')
    world.write_bar(7)
    settle(service)
    letters: list[DeadLetter] = [decoder_of(DEAD_LETTERS).decode(record.value) for record in world.broker.records(DEAD_LETTERS)]
    assert sorted((letter.source, letter.reason, letter.partition, letter.offset) for letter in letters) == [
        ("executions", "undecodable", 0, 0),
        ("volatility-thresholds", "undecodable", 1, 0),
    ]
    assert len(world.signals()) == 3
    assert world.observer.total("crypto_bot_dead_letters_total") == 2


def write_history(world: World) -> None:
    """Six bars with a loss that halts, two pairs' thresholds far ahead of the marks, one's behind, and repeated records."""
    world.write(*(thresholds(pair, bar, standardised_innovation=bar / 7) for bar in range(7, 13) for pair in PAIRS[:2]))
    for bar in range(7, 13):
        world.write(*(mark(pair, bar, equity=10_000 if bar < 10 else 7_000) for pair in PAIRS))
        world.write(mark(PAIRS[0], bar))
    world.write(*(thresholds(PAIRS[2], bar, standardised_innovation=bar / 7) for bar in range(7, 13)))


def one_at_a_time(_topic: object, _partition: int, unread: int) -> int:
    return min(unread, 1)


def test_a_kill_at_every_record_changes_no_signal(tmp_path: Path) -> None:
    """However often the service dies between two records, its signals are those of a run without a death."""
    straight, killed = World(tmp_path / "straight"), World(tmp_path / "killed")
    for world in (straight, killed):
        write_history(world)
    settle(straight.service())
    for _ in range(len(killed.broker.records(EXECUTIONS)) + len(killed.broker.records(VOLATILITY_THRESHOLDS))):
        service = killed.service(release=one_at_a_time)
        service.turn(0)
        service.turn(0)
    settle(killed.service())
    assert killed.signals() == straight.signals()
    assert len(killed.signals()) == 18
    assert killed.signals()[-1].verdict is Verdict.FLATTEN


def test_what_was_committed_and_not_published_is_published_by_the_next(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A death between the commit and the broker loses no signal."""
    service = world.service()
    world.write_bar(7)
    monkeypatch.setattr(service, "_publish", lambda: None)
    service.turn(0)
    assert world.signals() == []
    world.service()
    assert len(world.signals()) == 3


def test_a_broker_that_is_away_loses_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Signals that could not be handed over go out once the broker is back."""
    service = world.service()
    world.write_bar(7)

    def refuse(*_: object) -> None:
        raise TransportError("away")

    with monkeypatch.context() as away:
        away.setattr(service, "_publish", refuse)
        with pytest.raises(TransportError):
            service.turn(0)
    world.now_ns += NANOSECONDS
    service.turn(0)
    assert len(world.signals()) == 3


def test_a_close_outlives_a_restart(world: World) -> None:
    """Thresholds that come after a restart are answered with the verdict of the bar that was closed before it."""
    service = world.service()
    for bar, equity in ((7, 10_000), (8, 1)):
        world.write(*(mark(pair, bar, equity=equity) for pair in PAIRS))
    settle(service)
    world.now_ns += NANOSECONDS
    service.turn(0)
    service = world.service()
    world.write(*(thresholds(pair, bar) for bar in (7, 8) for pair in PAIRS))
    settle(service)
    assert [signal.verdict for signal in world.signals()] == [Verdict.ACTIVE] * 3 + [Verdict.FLATTEN] * 3


def test_what_waits_is_not_stored(world: World) -> None:
    """Thresholds far ahead of the marks are read again after a restart instead of being written with every bar."""
    service = world.service()
    world.write(*(thresholds(pair, bar) for bar in range(7, 207) for pair in PAIRS))
    world.write(*(mark(pair, bar) for bar in range(7, 10) for pair in PAIRS))
    settle(service)
    service.stop()
    assert (world.folder / "risk.db").stat().st_size < 100_000
    restarted = world.service()
    world.write(*(mark(pair, 10) for pair in PAIRS))
    settle(restarted)
    assert [signal.bar for signal in world.signals()] == [7] * 3 + [8] * 3 + [9] * 3 + [10] * 3


def test_a_topic_made_anew_is_read_from_its_beginning(world: World) -> None:
    """Where a topic is shorter than before, what is in it is read."""
    world.write_bar(7)
    settle(world.service())
    world.service().stop()
    world.broker = MemoryBroker(2)
    service = world.service()
    world.write_bar(8)
    settle(service)
    assert [signal.bar for signal in world.signals()] == [8, 8, 8]


def test_a_changed_set_of_pairs_goes_on(world: World) -> None:
    """A pair that is dropped from the settings holds up nothing; one that joins hears where the portfolio stands, and starts with its first mark."""
    world.write_bar(7)
    settle(world.service())
    world.service().stop()
    service = world.service(pairs=PAIRS[1:])
    world.write(*(mark(pair, 8) for pair in PAIRS[1:]), *(thresholds(pair, 8) for pair in PAIRS))
    settle(service)
    assert [(signal.bar, signal.pair) for signal in world.signals()[3:]] == [(8, pair) for pair in PAIRS[1:]]
    assert service.health().details["drawdown"] == 0
    service.stop()
    service = world.service()
    world.write(*(mark(pair, 9) for pair in PAIRS), *(thresholds(pair, 9) for pair in PAIRS))
    settle(service)
    joined = [signal for signal in world.signals() if (signal.bar, signal.pair) == (8, PAIRS[0])]
    assert [(signal.verdict, signal.thresholds.bar_status) for signal in joined] == [(Verdict.REDUCE_ONLY, BarStatus.MISSING)]
    assert [(signal.bar, signal.verdict) for signal in world.signals()[6:]] == [(9, Verdict.ACTIVE)] * 3
    service.stop()
    settle(world.service())
    assert len(world.signals()) == 9, "and hears it once"


def test_a_bar_that_is_open_waits_for_the_marks_of_a_pair_that_came_too_early(world: World) -> None:
    """What a pair said of an open bar before the service was told of it is read by the next one, so the bar closes; of a closed bar it is not."""
    service = world.service(pairs=PAIRS[:2])
    world.write(mark(PAIRS[2], 7), mark(PAIRS[0], 7), thresholds(PAIRS[0], 7), mark(PAIRS[1], 7), thresholds(PAIRS[1], 7))
    world.write(mark(PAIRS[2], 1, session=2), mark(PAIRS[0], 1, session=2))
    settle(service)
    service.stop()
    service = world.service()
    settle(service)
    world.write(mark(PAIRS[1], 1, session=2), *(thresholds(pair, 1, session=2) for pair in PAIRS))
    settle(service)
    assert [(signal.session, signal.marks_missing) for signal in world.signals() if signal.bar == 1] == [(2, ())] * 3
    assert [signal.thresholds.bar_status for signal in world.signals() if (signal.pair, signal.bar) == (PAIRS[2], 7)] == [BarStatus.MISSING]


def test_records_that_retention_has_taken_are_gone_without(world: World) -> None:
    """Where the stored place is gone, reading goes on at the oldest record there is, loudly, and the bars between are closed as missing."""
    world.write_bar(7)
    settle(world.service())
    world.service().stop()
    for bar in (8, 9, 10):
        world.write_bar(bar)
    for topic in (EXECUTIONS, VOLATILITY_THRESHOLDS):
        partition = world.broker.partition_of(PAIRS[0])
        of_a_bar = sum(world.broker.partition_of(pair) == partition for pair in PAIRS)
        world.broker.truncate(topic, partition, 3 * of_a_bar)
    service = world.service()
    settle(service)
    errors = [(entry["topic"], entry["partition"], entry["offset"]) for level, _, entry in world.observer.logs if level == "ERROR"]
    assert errors == [(topic.name, partition, of_a_bar) for topic in (VOLATILITY_THRESHOLDS, EXECUTIONS)]
    verdicts = {(signal.bar, signal.pair): signal.verdict for signal in world.signals()}
    assert {bar for bar, pair in verdicts if pair == PAIRS[0]} == {7, 8, 9, 10}
    assert (verdicts[8, PAIRS[0]], verdicts[9, PAIRS[0]], verdicts[10, PAIRS[0]]) == (Verdict.REDUCE_ONLY, Verdict.REDUCE_ONLY, Verdict.ACTIVE)


def test_a_broker_that_is_away_is_not_taken_for_one_that_has_forgotten(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """When no place can be read at all, the start fails and is tried again; nothing is read anew."""
    world.write_bar(7)
    settle(world.service())
    world.service().stop()

    def refuse(*_: object) -> None:
        raise TransportError("away")

    with monkeypatch.context() as away:
        away.setattr(MemoryTransport, "reader", refuse)
        with pytest.raises(TransportError, match="away"):
            world.service()
    assert [entry for entry in world.observer.logs if entry[0] == "ERROR"] == []
    world.write_bar(8)
    settle(world.service())
    assert [signal.bar for signal in world.signals()] == [7] * 3 + [8] * 3


# --- live ------------------------------------------------------------------------------------------------------------


def test_a_live_bar_closes_after_its_grace(world: World) -> None:
    """Half a second after the first mark a live bar closes without the missing ones, not before, and the pair is named."""
    service = world.service()
    world.write(*(thresholds(pair, 7) for pair in PAIRS), mark(PAIRS[0], 7, feed=Feed.LIVE))
    for elapsed_ms in (0, 200, 299):
        world.now_ns += elapsed_ms * 1_000_000
        service.turn(0)
        assert world.signals() == []
    assert service.health().details["waiting_for"]["marks"] == list(PAIRS[1:])
    world.now_ns += 1_000_000
    service.turn(0)
    assert [(signal.verdict, signal.marks_missing) for signal in world.signals()] == [(Verdict.REDUCE_ONLY, PAIRS[1:])] * 3
    assert world.observer.total("crypto_bot_risk_marks_missing_total", {"pair": PAIRS[1]}) == 1


def test_no_grace_ends_while_there_is_more_to_read(world: World) -> None:
    """A service that catches up reads on before it takes a live mark for missing."""
    service = world.service()
    world.write(mark(PAIRS[0], 7, feed=Feed.LIVE), *(thresholds(pair, bar) for bar in range(7, 400) for pair in PAIRS))
    for _ in range(2):
        assert service.turn(0) == 500
        world.now_ns += NANOSECONDS
        assert world.signals() == []
    settle(service)
    assert [signal.verdict for signal in world.signals()] == [Verdict.REDUCE_ONLY] * 3


def test_a_clock_that_is_set_back_stops_nothing(world: World) -> None:
    """After the wall clock has gone back an hour, heartbeats go on and the grace begins anew."""
    world.now_ns = 7200 * NANOSECONDS
    service = world.service()
    world.write(*(thresholds(pair, 7) for pair in PAIRS), mark(PAIRS[0], 7, feed=Feed.LIVE))
    service.turn(0)
    world.now_ns -= 3600 * NANOSECONDS
    service.turn(0)
    assert len([record for record in world.broker.records(RISK_SIGNALS) if not record.key]) == 4
    world.now_ns += NANOSECONDS // 2
    service.turn(0)
    assert len(world.signals()) == 3


def test_a_recorded_bar_has_no_grace(world: World) -> None:
    """From a recording the wall clock closes nothing."""
    service = world.service()
    world.write(*(thresholds(pair, 7) for pair in PAIRS), mark(PAIRS[0], 7))
    for _ in range(5):
        world.now_ns += 60 * NANOSECONDS
        service.turn(0)
    assert world.signals() == []


# --- halts and commands ----------------------------------------------------------------------------------------------


def test_a_command_over_http_acts_at_the_next_close(answered: tuple[RiskManagerService, TestClient], world: World) -> None:
    """202 means on disk and on its way: the command is in its topic, then in the signals, and in the audit."""
    service, client = answered
    response = client.post("/halt", json={"who": "ann", "why": "drill"}, headers=TOKEN)
    assert (response.status_code, response.json()["id"]) == (202, 1)
    assert client.post("/flatten", json={"pair": PAIRS[0], "who": "ann", "why": "drill"}, headers=TOKEN).json()["id"] == 2
    world.write_bar(7)
    deadline = threading.Event()
    while len(world.signals()) < 3:
        deadline.wait(0.005)
    assert {signal.pair: (signal.verdict, signal.commands_through) for signal in world.signals()} == {
        PAIRS[0]: (Verdict.FLATTEN, 2),
        PAIRS[1]: (Verdict.HALTED, 2),
        PAIRS[2]: (Verdict.HALTED, 2),
    }
    assert sorted((command.id, command.target, command.kind) for command in world.commands()) == [
        (1, "portfolio", CommandKind.HALT),
        (2, PAIRS[0], CommandKind.FLATTEN),
    ]
    state = client.get("/state").json()
    assert [(entry["id"], entry["who"], entry["applied"]) for entry in state["commands"]] == [(1, "ann", True), (2, "ann", True)]
    assert state["pairs"][PAIRS[0]]["because_of"] == ["operator"]
    assert [halt["target"] for halt in state["halts"]] == ["portfolio", PAIRS[0]]
    assert service.health().ready


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, ["who: say who asks", "why: say for what reason"]),
        ({"who": "ann", "why": "  "}, ["why: say for what reason"]),
        ({"who": "ann", "why": "drill", "pair": "DOGEUSDT-BTCUSDT"}, ["'DOGEUSDT-BTCUSDT' is not one of portfolio", PAIRS[0]]),
        ({"who": "ann", "why": "drill", "pairs": PAIRS[0]}, ["pairs", "Extra inputs are not permitted"]),
    ],
)
def test_a_command_needs_who_and_why(world: World, body: dict[str, str], words: list[str]) -> None:
    """An incomplete or mistaken request is refused with what is wrong, and nothing is written."""
    service = world.service()
    response = client_of(service).post("/resume", json=body, headers=TOKEN)
    assert response.status_code == 422
    for word in words:
        assert word in response.text
    service.turn(0)
    assert world.commands() == []


@pytest.mark.parametrize("path", ["/halt", "/resume", "/flatten"])
def test_a_command_needs_the_token(world: World, path: str) -> None:
    """Without the token nobody commands, and without a configured token nobody at all."""
    service = world.service()
    body = {"who": "eve", "why": "fun"}
    assert client_of(service).post(path, json=body).status_code == 401
    assert client_of(service).post(path, json=body, headers={"Authorization": "Bearer guess"}).status_code == 401
    assert client_of(service, token="").post(path, json=body, headers=TOKEN).status_code == 403
    service.turn(0)
    assert world.commands() == []


def test_a_command_that_is_not_recorded_is_not_done_later(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the loop does not get to it in time the answer is 503, and the request is void."""
    monkeypatch.setattr("services.risk_manager.edge.COMMAND_TIMEOUT_S", 0.01)
    service = world.service()
    response = client_of(service).post("/halt", json={"who": "ann", "why": "drill"}, headers=TOKEN)
    assert response.status_code == 503
    service.turn(0)
    assert world.commands() == []


def test_a_disk_that_refuses_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that cannot be written is refused to its operator and ends the service; nothing is published."""
    service = world.service()

    def refuse(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(service, "_save", refuse)
    failures: list[str] = []

    def ask() -> None:
        try:
            service.command(Request(CommandKind.HALT, "portfolio", "ann", "drill"))
        except NotRecordedError as error:
            failures.append(str(error))

    asking = threading.Thread(target=ask)
    asking.start()
    with pytest.raises(OSError, match="disk full"):  # noqa: PT012 - the request may reach the desk a turn later
        while asking.is_alive():
            service.turn(0)
    asking.join()
    assert failures == ["disk full"]
    assert world.commands() == []


def obey(world: World, service: RiskManagerService, kind: CommandKind, target: str = "portfolio") -> Command:
    """Command from another thread while this one turns."""
    given: list[Command] = []
    asking = threading.Thread(target=lambda: given.append(service.command(Request(kind, target, "ann", "drill"))))
    asking.start()
    while asking.is_alive():
        service.turn(0)
    asking.join()
    assert given[0] in world.commands()
    return given[0]


def test_a_halt_outlives_restarts(world: World) -> None:
    """A halt by a rule stays through restarts and a recovery of the equity, until an operator resumes."""
    world.write_bar(7)
    world.write_bar(8, (5_000, 10_000, 10_000))
    settle(world.service())
    world.write_bar(9)
    service = world.service()
    settle(service)
    assert [signal.verdict for signal in world.signals()] == [Verdict.ACTIVE] * 3 + [Verdict.FLATTEN] * 6
    assert obey(world, service, CommandKind.RESUME).id == 1
    service = world.service()
    world.write_bar(10)
    settle(service)
    assert [(signal.verdict, signal.commands_through) for signal in world.signals()[9:]] == [(Verdict.ACTIVE, 1)] * 3
    assert obey(world, service, CommandKind.HALT).id == 2
    assert obey(world, world.service(), CommandKind.FLATTEN).id == 3
    assert [entry["applied"] for entry in service.describe()["commands"]] == [True, False]


def test_commands_of_all_targets_are_in_one_order(world: World) -> None:
    """Commands lie in one partition, whatever their target, so that nobody reads a later one first and drops the earlier."""
    world.broker = MemoryBroker(4)
    service = world.service()
    targets = ("portfolio", *PAIRS, "portfolio")
    assert len({world.broker.partition_of(target) for target in targets}) > 1
    for target in targets:
        obey(world, service, CommandKind.FLATTEN, target)
    records = world.broker.records(COMMANDS)
    assert [(record.partition, record.key) for record in records] == [(0, target) for target in targets]
    assert [command.id for command in world.commands()] == [1, 2, 3, 4, 5]


def test_a_new_file_goes_on_above_the_ids_that_were_given(world: World) -> None:
    """With risk.db moved away, ids go on above those in the topic, which execution remembers."""
    service = world.service()
    for _ in range(3):
        obey(world, service, CommandKind.HALT)
    service.stop()
    world.folder = world.folder / "new"
    service = world.service()
    assert obey(world, service, CommandKind.RESUME).id == 4
    assert obey(world, service, CommandKind.HALT).id == 5
    world.broker.truncate(COMMANDS, 0, 1000)
    assert obey(world, world.service(), CommandKind.HALT).id == 6


def test_what_is_no_command_has_no_id(world: World) -> None:
    """What cannot be read among the commands does not stop the start."""
    obey(world, world.service(), CommandKind.HALT)
    world.broker.append(COMMANDS, 0, "portfolio", b"{nonsense")
    assert newest_command_id(MemoryTransport(world.broker)) == 1


def test_a_start_waits_for_the_commands(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that cannot read the commands to their end fails, to be tried again, rather than give an id twice."""
    obey(world, world.service(), CommandKind.HALT)
    monkeypatch.setattr("services.risk_manager.recovery.COMMAND_POLLS", 2)
    with pytest.raises(TransportError, match="commands/0"):
        world.service(release=lambda topic, _partition, unread: 0 if topic == COMMANDS else unread)


def test_the_audit_is_bounded(world: World) -> None:
    """The last hundred commands are shown, also after a restart, and ids go on."""
    service = world.service()
    for _ in range(102):
        obey(world, service, CommandKind.HALT)
    shown = world.service().describe()["commands"]
    assert (len(shown), shown[0]["id"], shown[-1]["id"]) == (100, 3, 102)


# --- start -----------------------------------------------------------------------------------------------------------


def test_a_foreign_file_is_refused(world: World) -> None:
    """risk.db of another market or bar interval is not taken over."""
    world.service().stop()
    with pytest.raises(ConfigurationError, match=r"risk\.db.*bar_interval_seconds is '60', not '1'"):
        world.service(bar_interval_seconds=1)


def turn_until_done(service: RiskManagerService, asked: Future[Command]) -> None:
    while not asked.done():
        service.turn(0)


def test_one_that_was_replaced_says_nothing(world: World) -> None:
    """What wakes up after its successor has taken over decides nothing, beats no heart and takes no command; the successor does."""
    first = world.service()
    second = world.service()
    world.write_bar(7)
    with pytest.raises(LeaseLost, match=r"risk\.db: written by risk-manager-service"):
        first.turn(0)
    assert world.broker.records(RISK_SIGNALS) == []
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(first.command, Request(CommandKind.HALT, "portfolio", "ann", "drill"))
        with pytest.raises(LeaseLost):
            turn_until_done(first, asked)
        with pytest.raises(NotRecordedError, match="under epoch 2 by now"):
            asked.result()
    assert world.commands() == []
    settle(second)
    assert [signal.verdict for signal in world.signals()] == [Verdict.ACTIVE] * 3


def test_a_damaged_file_is_refused(world: World) -> None:
    """A file that is no database stops the start with its name."""
    world.folder.joinpath("risk.db").write_bytes(b"no database" * 1000)
    with pytest.raises(ConfigurationError, match=r"risk\.db"):
        world.service()


def test_each_second_shows_the_state(world: World) -> None:
    """Gauges and the cached pair states follow the last signals."""
    service = world.service()
    world.write_bar(7, (9_000, 10_000, 10_000), orders_in_bar=3)
    settle(service)
    world.now_ns += NANOSECONDS
    service.turn(0)
    gauges = world.observer.gauges
    assert gauges["crypto_bot_risk_equity_usd", ()] == 29_000
    assert gauges["crypto_bot_risk_high_water_mark_usd", ()] == 30_000
    assert gauges["crypto_bot_risk_last_closed_bar", ()] == 7
    assert gauges["crypto_bot_risk_rule_value", (("pair", PAIRS[0]), ("rule", "order-rate"))] == 9
    assert gauges["crypto_bot_risk_rule_limit", (("pair", PAIRS[0]), ("rule", "drawdown"))] == 0.1
    assert gauges["crypto_bot_risk_drawdown_ratio", ()] == pytest.approx(1_000 / 30_000)
    assert gauges["crypto_bot_risk_budget_usd", (("pair", PAIRS[1]),)] > 0
    assert gauges["crypto_bot_pair_healthy", (("pair", PAIRS[1]),)] == 1
    assert world.observer.pair_states[PAIRS[1]]["verdict"] == "ACTIVE"
    assert world.observer.total("crypto_bot_risk_signals_total", {"verdict": "ACTIVE"}) == 3


def test_health_names_what_is_waited_for(world: World) -> None:
    """The details say which pairs hold up the next bar, and nothing is waited for when nothing comes."""
    service = world.service()
    assert (service.health().ready, service.health().reason) == (True, "")
    world.write(mark(PAIRS[0], 7), mark(PAIRS[1], 7))
    settle(service)
    assert service.health().reason == f"waiting for marks of {PAIRS[2]}"
    world.write(mark(PAIRS[2], 7), thresholds(PAIRS[0], 7), thresholds(PAIRS[1], 7))
    settle(service)
    assert service.health().reason == f"waiting for thresholds of {PAIRS[2]}"
    assert json.dumps(service.health().details)


def test_a_service_that_was_not_started_says_so(world: World) -> None:
    """Neither health nor a turn pretends before the start."""
    service = RiskManagerService(RiskSettings(data_dir=str(world.folder)), world.transport, world.observer, lambda: 0)
    assert not service.health().ready
    assert service.describe() == {}
    with pytest.raises(TransportError):
        service.turn(0)


def test_a_request_that_was_given_up_is_not_taken() -> None:
    """The desk hands out only requests that somebody still waits for."""
    desk = Desk()
    with pytest.raises(NotRecordedError):
        desk.submit(Request(CommandKind.HALT, "portfolio", "ann", "drill"), timeout_s=0)
    assert desk.take() == []
