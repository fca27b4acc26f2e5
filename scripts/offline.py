"""The five services in one process over the in-memory broker: the same services, messages and stores, no network.

It serves the tests that prove that timing changes nothing, the look at the default settings before a demo, and backtests.
"""

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from common.bootstrap import Context
from common.codec import decoder_of
from common.io.memory import Faults, MemoryBroker, MemoryTransport
from common.io.metrics import RecordingObserver
from common.keyed_service import KeyedService
from common.messages import Message
from common.pair_gauges import PairGauges
from common.processor import Observer, Position, Service
from common.rules import SymbolRules
from common.settings import Market, load
from common.topics import EXECUTIONS, GARCH_STATE, HEDGE_RATIO_CLOSES, RISK_SIGNALS, VOLATILITY_THRESHOLDS, Topic
from services.exchange_simulator.recording import Frame as RecordedFrame
from services.exchange_simulator.rounds import Rounds
from services.execution.committed import Committed
from services.execution.edge import ExecutionService
from services.execution.ledger import LEDGER_FILE, Ledger
from services.execution.settings import ExecutionSettings
from services.garch_volatility import worker
from services.garch_volatility.metrics import GAUGES
from services.garch_volatility.processor import GarchModel
from services.garch_volatility.settings import GarchSettings
from services.ingestion.processor import IngestionService
from services.ingestion.settings import IngestionSettings
from services.ingestion.source import Channel, Frame, ListSource
from services.kalman_filter.edge import build as build_kalman
from services.kalman_filter.settings import KalmanSettings
from services.risk_manager.edge import RiskManagerService
from services.risk_manager.recorded import Recorded
from services.risk_manager.settings import RiskSettings

INGESTION, KALMAN, GARCH, RISK, EXECUTION = "ingestion", "kalman-filter", "garch-volatility", "risk-manager", "execution"
NAMES = (INGESTION, KALMAN, GARCH, RISK, EXECUTION)

_SESSION = re.compile(rb'"session":\d+')
#: Turns without a record after which a run that has not ended stands still.
_STANDSTILL_TURNS = 3000


#: Rounds without a record after which nothing more comes: a record passes through all services in one.
_IDLE_ROUNDS = 10


class Facts(NamedTuple):
    """What a replay takes from the record of a session, since it is no function of `ticks`."""

    committed: Committed | None
    #: None where bars closed as they do by themselves: from a recording, without commands.
    recorded: Recorded | None


def public_frames(recorded: Iterable[RecordedFrame], market: Market) -> list[Frame]:
    """The frames of a recording as ingestion reads them: on futures trades and mark prices come on a channel of their own."""
    made = []
    for frame in recorded:
        kind = frame.stream.partition("@")[2]
        if kind.startswith(("bookTicker", "trade", "aggTrade", "markPrice")):
            books = market is Market.SPOT or kind == "bookTicker"
            made.append(Frame(0, Channel.PUBLIC if books else Channel.MARKET, frame.combined))
    return made


def looped_frames(recorded: Sequence[RecordedFrame], rounds: Rounds, count: int, market: Market) -> list[Frame]:
    """So many rounds of a recording as ingestion reads them: each on connections of its own, which tell its begin and its end."""
    made: list[Frame] = []
    for number in range(count):
        begins_ns = rounds.begins_ns(number)
        frames = public_frames((rounds.shifted(frame, number) for frame in recorded), market)
        made += [frame._replace(connection=number + 1, session_begins_ns=begins_ns) for frame in frames]
        if number < count - 1:  # The list's own end is that of the last round.
            ends = (Frame(0, channel, b"", number + 1, ended=True, session_begins_ns=begins_ns) for channel in Channel)
            made += [end for end in ends if any(frame.channel is end.channel for frame in frames)]
    return made


class Offline:
    """The services by name; any of them can be killed and replaced at any time."""

    def __init__(  # noqa: PLR0913 - what a run in memory may be given
        self,
        environment: Mapping[str, str],
        frames: Iterable[Frame],
        rules: Mapping[str, SymbolRules],
        folder: Path,
        *,
        partitions: int = 4,
        place: Callable[[str], int] | None = None,
        facts: Facts | None = None,
        ends: int = 1,
        faults: Faults | None = None,
        clock: Callable[[], int] = time.time_ns,
        observer: Observer | None = None,
        synchronous: str = "OFF",
    ) -> None:
        self.environment = {**environment, "DATA_DIR": str(folder), "REDIS_URL": ""}
        self.broker = MemoryBroker(partitions, place)
        self.observer = observer or RecordingObserver()
        self.services: dict[str, Service] = {}
        self._source = ListSource(frames)
        self._rules = rules
        self._folder = folder
        self._facts = facts or Facts(None, None)
        self._faults = faults or Faults()
        self._clock = clock
        self._synchronous = synchronous
        self._transports: dict[str, MemoryTransport] = {}
        self._ends = ends
        self._ended: dict[tuple[Topic, str], set[bytes]] = {}
        positions = [Position(topic, partition, 0) for topic in (EXECUTIONS, RISK_SIGNALS) for partition in range(partitions)]
        self._watch = MemoryTransport(self.broker).reader(positions)
        self.pairs = tuple(map(str, load(IngestionSettings, self.environment).trading_pairs()))

    def start(self, name: str) -> None:
        """Start a service anew, in the place of the one before."""
        transport = MemoryTransport(self.broker, faults=self._faults)
        self._transports[name] = transport
        self.services[name] = self._build(name, Context(transport, self.observer, self._clock))
        self.services[name].start()

    def change(self, **settings: str) -> None:
        """Give the services that are started from now on other settings."""
        self.environment |= settings
        self.pairs = tuple(map(str, load(IngestionSettings, self.environment).trading_pairs()))

    def kill(self, name: str) -> None:
        """End a service as `kill -9` does: nothing is flushed, nothing is said."""
        self._transports.pop(name).abandon()
        del self.services[name]

    def run(self, order: Callable[[], str] | None = None, names: Sequence[str] = NAMES) -> None:
        """Turn the services until the recording's end has gone through all of them.

        `order` names the next service each time; by default they take turns. Raises RuntimeError when they stand still.
        """
        idle = turn = 0
        for name in names:
            if name not in self.services:
                self.start(name)
        while not self.ended():
            name = order() if order else names[turn % len(names)]
            turn += 1
            idle = 0 if self.services[name].turn(0) else idle + 1
            if idle > _STANDSTILL_TURNS:
                raise RuntimeError(f"the services stand still: {self.state_of_play()}")

    def run_dry(self, names: Sequence[str], heard: Callable[[int], None] = lambda _: None) -> None:
        """Turn these services until none has anything left to do; `heard` is told how many records were handled."""
        for name in names:
            if name not in self.services:
                self.start(name)
        handled, idle_rounds = 0, 0
        while idle_rounds < _IDLE_ROUNDS:
            now = sum(self.services[name].turn(0) for name in names)
            handled += now
            idle_rounds = 0 if now else idle_rounds + 1
            heard(handled)

    def stop(self) -> None:
        """Stop all services in the order of the data."""
        for name in NAMES:
            if name in self.services:
                self.services[name].stop()

    def ended(self) -> bool:
        """Whether every pair's last bar, of as many sessions as there are, has been marked, and judged by risk-manager."""
        for record in self._watch.poll(0, max_records=100_000):
            if b'"end":true' in record.value and (session := _SESSION.search(record.value)):
                self._ended.setdefault((record.topic, record.key), set()).add(session[0])
        return len(self._ended) == 2 * len(self.pairs) and all(len(sessions) >= self._ends for sessions in self._ended.values())

    def messages(self, topic: Topic) -> list[Message]:
        """Everything on a topic, partition by partition."""
        decoder = decoder_of(topic)
        return [decoder.decode(record.value) for record in self.broker.records(topic)]

    def state_of_play(self) -> dict[str, Any]:
        """What each service says of itself."""
        return {name: service.health() for name, service in self.services.items()}

    def _build(self, name: str, context: Context) -> Service:
        match name:
            case "ingestion":
                return IngestionService(load(IngestionSettings, self.environment), context.transport, context.observer, context.clock, self._source)
            case "kalman-filter":
                return build_kalman(load(KalmanSettings, self.environment), context)
            case "garch-volatility":
                return self._garch(context)
            case "risk-manager":
                settings = load(RiskSettings, self.environment)
                return RiskManagerService(
                    settings, context.transport, context.observer, context.clock, synchronous=self._synchronous, recorded=self._facts.recorded
                )
            case _:
                ledger = Ledger(self._folder / LEDGER_FILE, stamp={"environment": "offline"}, synchronous=self._synchronous)
                own = load(ExecutionSettings, self.environment)
                return ExecutionService(own, context.transport, context.observer, context.clock, self._rules, ledger, self._facts.committed)

    def _garch(self, context: Context) -> Service:
        """As the service itself is built, but with fits in this process: their results are the same."""
        worker.use_one_thread()
        from services.garch_volatility.arch_fit import InlineFits  # noqa: PLC0415 - only now, since it loads the numerics

        settings = load(GarchSettings, self.environment)
        model = GarchModel(settings.parameters, settings.bar_interval_ns, InlineFits())
        observer = PairGauges(context.observer, GAUGES)
        return KeyedService(GARCH, model, self.pairs, HEDGE_RATIO_CLOSES, VOLATILITY_THRESHOLDS, GARCH_STATE, context.transport, observer, context.clock)
