"""The pipeline as real processes on a real broker, and what they say of themselves."""

import contextlib
import http.client
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from common.errors import CryptoBotError
from common.io.kafka import KafkaTransport
from common.processor import Position
from common.settings import Market
from common.topics import ALL_TOPICS, HEDGE_RATIOS, TICKS
from scripts.bench.figures import CONFLATED, Case
from scripts.bench.resources import Usage, usage_of
from scripts.embedded.monitor import ask
from scripts.embedded.options import Options
from scripts.embedded.plan import GARCH, SERVICES, SIMULATOR, SIMULATOR_PORT_OFFSET, environment_of, processes_of
from scripts.embedded.processes import stop_all
from scripts.embedded.servers import HOST, embedded_redis, require_free
from scripts.faults.stage import LIVELY

PAIR = "ETHUSDT-BTCUSDT"
PARTITIONS = 6
READY_TIMEOUT_S = 90.0
#: Records whose size is looked at.
_SAMPLE = 200


class Plan(NamedTuple):
    """What a pipeline is started with."""

    bootstrap: str
    recording: Path
    case: Case
    folder: Path
    base_port: int
    #: Of every process, before all others.
    settings: Mapping[str, str] = {}
    #: Put before the command of every process but garch-volatility, whose refits would be in the way of the others.
    launcher: Sequence[str] = ()


class Pipeline:
    """Five services and the simulator, playing a recording as a live feed; stopped when the block ends."""

    def __init__(self, plan: Plan, say: Callable[[str], None]) -> None:
        self.plan = plan
        self._say = say
        self.prefix = f"bench-{time.time_ns()}-"
        self._stack = contextlib.ExitStack()
        self._ports = {name: plan.base_port + offset for name, (_, offset) in SERVICES.items()} | {SIMULATOR: plan.base_port + SIMULATOR_PORT_OFFSET}

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._start(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.__exit__(kind, error, trace)

    def play(self) -> None:
        """Let the recording begin."""
        if ask(self._ports[SIMULATOR], "/simulator/start", method="POST")[0] != 200:
            raise CryptoBotError(f"the simulator does not play; see {self.plan.folder / 'logs'}")

    def require_playing(self) -> None:
        """Raises CryptoBotError when a process has ended, or the recording."""
        if ended := [process.name for process in self._processes if process.pid is None]:
            raise CryptoBotError(f"{', '.join(ended)} has ended; see {self.plan.folder / 'logs'}")
        _, status = ask(self._ports[SIMULATOR], "/simulator/status")
        if status.get("state") != "playing":
            raise CryptoBotError(f"the recording is too short for this run: the simulator is {status.get('state', 'silent')}")

    def usage(self) -> dict[str, Usage]:
        """What each process takes."""
        return {process.name: usage_of(process.pid or 0) for process in self._processes}

    def metrics(self, service: str) -> "Samples":
        """The metrics of a service; takes milliseconds of its time."""
        return Samples(self.exposition(service))

    def exposition(self, service: str) -> str:
        """The metrics of a service as it tells them, with their labels."""
        return _get(self._ports[service], "/metrics").decode()

    def unready(self) -> dict[str, str]:
        """The services that are not ready, and why."""
        answers = {name: ask(port, "/health/ready") for name, port in self._ports.items() if name != SIMULATOR}
        return {name: str(body.get("reason", "silent")) for name, (status, body) in answers.items() if status != 200}

    def latency(self) -> dict[str, dict[int, int]]:
        """Execution's counts of durations: end to end, and by hop."""
        status, shown = ask(self._ports["execution-service"], "/latency")
        if status != 200:
            raise CryptoBotError("execution does not tell its latency")
        named = {"end_to_end": shown["end_to_end"], **shown["hops"]}
        return {name: {int(bucket): count for bucket, count in counts.items()} for name, counts in named.items()}

    def lag(self) -> dict[str, int]:
        """Records that are there and not yet read, by service."""
        infos = {name: ask(port, "/info")[1] for name, port in self._ports.items() if name != SIMULATOR}
        return {name: int(info.get("activity", {}).get("lag", 0)) for name, info in infos.items()}

    def record_bytes(self) -> int:
        """Mean size of the newest records between ingestion, filter and execution, bytes."""
        sizes = [len(record.value) for topic in (TICKS, HEDGE_RATIOS) for record in self._newest(topic)]
        return round(sum(sizes) / len(sizes)) if sizes else 0

    def _newest(self, topic: Any) -> Iterator[Any]:
        oldest, ends = self._transport.oldest_offsets(topic), self._transport.end_offsets(topic)
        starts = [Position(topic, number, max(oldest[number], end - _SAMPLE)) for number, end in ends.items() if end > oldest[number]]
        reader = self._transport.reader(starts)
        for _ in range(10):
            yield from reader.poll(0.1)
        reader.close()

    def _start(self, stack: contextlib.ExitStack) -> None:
        plan = self.plan
        require_free(list(self._ports.values()))
        for part in ("data", "logs"):
            shutil.rmtree(plan.folder / part, ignore_errors=True)
        redis_url = stack.enter_context(embedded_redis())
        self._transport = KafkaTransport(plan.bootstrap, client_id="bench", topic_prefix=self.prefix)
        stack.callback(self._transport.close)
        self._transport.connect(timeout_s=15)
        self._transport.ensure_topics(ALL_TOPICS, PARTITIONS)
        stack.callback(self._transport.delete_topics, ALL_TOPICS)
        options = _options_of(plan, redis_url)
        environment = {**environment_of(options, plan.bootstrap, redis_url, plan.folder, {}), **_live(plan.case), "TOPIC_PREFIX": self.prefix, **plan.settings}
        for name in ("LEAD_TICKS", "FRAME_QUEUE"):
            environment.pop(name, None)
        self._processes = processes_of(options, environment, plan.folder / "logs")
        stack.callback(lambda: [self._say(problem) for problem in stop_all(list(reversed(self._processes)))])
        for process in self._processes:
            process.launcher = () if process.name == GARCH else plan.launcher
            process.start()
        self._wait_ready()

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while waiting := [process for process in self._processes if not self._is_up(process.name)]:
            for process in waiting:
                if process.pid is None:
                    raise CryptoBotError(f"{process.name} did not start: {process.last_line()}")
            if time.monotonic() > deadline:
                raise CryptoBotError(f"not ready after {READY_TIMEOUT_S:.0f} s: {', '.join(process.name for process in waiting)}")
            time.sleep(0.2)

    def _is_up(self, name: str) -> bool:
        """Ready; for ingestion, which is so only with its first event, being connected is enough."""
        if name == "ingestion-service":
            return bool(ask(self._ports[name], "/info")[1].get("details", {}).get("connected"))
        return ask(self._ports[name], "/health/ready")[0] == 200


class Samples:
    """Metrics in Prometheus' text format."""

    def __init__(self, text: str) -> None:
        self._totals: defaultdict[str, float] = defaultdict(float)
        for line in text.splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                self._totals[name.partition("{")[0]] += float(value)

    def total(self, name: str) -> int:
        """Sum over all labels; 0 for what was never counted."""
        return int(self._totals[name])


def _options_of(plan: Plan, redis_url: str) -> Options:
    return Options(
        data="ticks",
        recording=plan.recording,
        market=Market.FUTURES,
        pairs=(PAIR,),
        speed=plan.case.speed,
        duration_s=None,
        keep_going=False,
        summary=None,
        base_port=plan.base_port,
        kafka=plan.bootstrap,
        redis_url=redis_url,
    )


def _live(case: Case) -> dict[str, str]:
    """The simulator plays what ingestion takes for the exchange itself; models that soon begin, and entries so easy that it trades."""
    conflate = "every-read" if case.mode == CONFLATED else "behind"
    return {**LIVELY, "FEED": "live", "CONFLATE": conflate, "BAR_INTERVAL_SECONDS": str(case.bar_s), "LOG_LEVEL": "WARNING"}


def _get(port: int, path: str) -> bytes:
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().read()
    except (OSError, http.client.HTTPException) as error:
        raise CryptoBotError(f"port {port} does not answer {path}: {error}") from error
    finally:
        connection.close()
