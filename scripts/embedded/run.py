"""The embedded run from the first port check to the last process stopped."""

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from common.errors import CryptoBotError
from common.io.kafka import KafkaTransport
from common.io.kafka_security import security_settings
from common.io.mock_broker import MockBroker
from common.settings import Settings, load, require_writable
from common.topics import ALL_TOPICS
from scripts.embedded.interruption import Interrupted, Interruption
from scripts.embedded.monitor import TopicWatch, ask, serves_pages
from scripts.embedded.options import Options
from scripts.embedded.plan import (
    DASHBOARD,
    DASHBOARD_PORT_OFFSET,
    INGESTION,
    SERVICES,
    SIMULATOR,
    SIMULATOR_PORT_OFFSET,
    WATCH_FETCH_WAIT_MS,
    dashboard_of,
    environment_of,
    processes_of,
)
from scripts.embedded.processes import Supervised, stop_all
from scripts.embedded.servers import HOST, embedded_redis, require_free, require_streamlit
from scripts.embedded.settings_check import require_settings
from scripts.embedded.tally import Tally

READY_TIMEOUT_S = 90.0
REFRESH_S = 0.5
#: The last answers make the summary, so they are waited for.
LAST_LOOK_TIMEOUT_S = 10.0
#: After the simulator has sent its last frame the pipeline must come to its end within this time without progress.
STALLED_AFTER_S = 60.0
#: What a recording that broke off has sent is worked off by then; its end never comes.
BROKEN_OFF_AFTER_S = 5.0


class Run:
    """One embedded run; `show` is called a few times a second."""

    def __init__(self, options: Options, profile: Mapping[str, str], folder: Path, show: Callable[["Run"], None], say: Callable[[str], None]) -> None:
        self.options = options
        self.profile = profile
        self.folder = folder
        self.tally = Tally(options.pairs)
        self.problems: list[str] = []
        self.infos: dict[str, Mapping[str, Any]] = {}
        self.resident_mb: dict[str, float] = {}
        self.simulator: Mapping[str, Any] = {}
        self.positions: Mapping[str, Mapping[str, Any]] = {}
        self.processes: list[Supervised] = []
        self._dashboard: Supervised | None = None
        self.started_at = time.monotonic()
        self.interrupted = False
        self._interruption = Interruption()
        self._show = show
        self._say = say

    def execute(self) -> None:
        """Do it all; problems are collected, only a wrong configuration raises."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._interruption.listening())
            self._prepare()
            try:
                self._execute(stack)
            except Interrupted:
                self.interrupted = True
                self._say("stopping")
            self._look(timeout_s=2.0 if self.interrupted else LAST_LOOK_TIMEOUT_S)

    def _prepare(self) -> None:
        ports = [self.options.base_port + offset for _, offset in SERVICES.values()]
        if not self.options.live:
            ports.append(self.port(SIMULATOR))
        if self.options.ui:
            require_streamlit()
            ports.append(self.port(DASHBOARD))
        require_free(ports)
        for part in ("data", "logs"):
            shutil.rmtree(self.folder / part, ignore_errors=True)
        require_writable(self.folder)
        self._require_settings()

    def _execute(self, stack: contextlib.ExitStack) -> None:
        transport, environment = self._servers(stack)
        watch = TopicWatch(transport, self.tally)
        stack.callback(watch.close)
        if self.options.kafka:
            stack.callback(transport.delete_topics, ALL_TOPICS)
        self.processes = processes_of(self.options, environment, self.folder / "logs")
        if self.options.ui:
            self._dashboard = dashboard_of(self.options, self.profile, self.folder / "logs")
        stack.callback(self._stop)
        self._play(watch)

    def _require_settings(self) -> None:
        """As the processes will be given them, but for the servers' addresses, which are known once those are up."""
        environment = environment_of(self.options, self.options.kafka or f"{HOST}:9092", self.options.redis_url, self.folder, self.profile)
        require_settings(processes_of(self.options, environment, self.folder / "logs"))

    def port(self, name: str) -> int:
        """HTTP port of a process."""
        offsets = {SIMULATOR: SIMULATOR_PORT_OFFSET, DASHBOARD: DASHBOARD_PORT_OFFSET}
        return self.options.base_port + (offsets[name] if name in offsets else SERVICES[name][1])

    def _servers(self, stack: contextlib.ExitStack) -> tuple[KafkaTransport, dict[str, str]]:
        bootstrap = self.options.kafka or stack.enter_context(contextlib.closing(MockBroker())).bootstrap_servers
        redis_url = self.options.redis_url or stack.enter_context(embedded_redis())
        prefix = f"demo-{time.time_ns()}-" if self.options.kafka else ""
        own = load(Settings, os.environ) if self.options.kafka else None
        transport = KafkaTransport(
            bootstrap,
            fetch_wait_max_ms=500 if self.options.kafka else WATCH_FETCH_WAIT_MS,
            client_id="embedded",
            topic_prefix=prefix,
            security=security_settings(own) if own else None,
        )
        stack.callback(transport.close)
        with self._interruption.may_break_in():
            transport.connect(timeout_s=15)
        if own:
            transport.ensure_topics(ALL_TOPICS, own.topic_partitions)
        return transport, environment_of(self.options, bootstrap, redis_url, self.folder, self.profile) | {"TOPIC_PREFIX": prefix}

    def _play(self, watch: TopicWatch) -> None:
        for process in (*self.processes, *self._beside()):
            process.start()
        self._wait_ready()
        if self._dashboard:
            self._say(f"pages: http://localhost:{self.port(DASHBOARD)}")
        if not self.options.live:
            status, _ = ask(self.port(SIMULATOR), "/simulator/start", method="POST")
            if status != 200:
                raise CryptoBotError(f"the simulator did not start to play (HTTP {status})")
        self.started_at = time.monotonic()
        self._say("playing")
        self._follow(watch)

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while waiting := [process.name for process in (*self.processes, *self._beside()) if not self._is_up(process.name)]:
            self._watch_processes()
            if time.monotonic() > deadline:
                raise CryptoBotError(f"not ready after {READY_TIMEOUT_S:.0f} s: {', '.join(waiting)}; see {self.folder / 'logs'}")
            with self._interruption.may_break_in():
                time.sleep(0.1)

    def _is_up(self, name: str) -> bool:
        """Ready; ingestion is ready only with its first event, so being connected is enough for it."""
        if name == DASHBOARD:
            return serves_pages(self.port(name))
        if name == INGESTION:
            _, info = ask(self.port(name), "/info")
            return bool(info.get("details", {}).get("connected"))
        return ask(self.port(name), "/health/ready")[0] == 200

    def _follow(self, watch: TopicWatch) -> None:
        deadline = self.started_at + self.options.duration_s if self.options.duration_s else None
        last_bars, moved_at, ended = -1, time.monotonic(), False
        while True:
            self._watch_processes()
            self._look()
            with watch.lock:
                bars, ended, sessions = self.tally.counts["bars"], self._has_ended(), self.tally.sessions
                self._show(self)
            if watch.problem:
                raise CryptoBotError(watch.problem)
            now = time.monotonic()
            if bars != last_bars:
                last_bars, moved_at = bars, now
            if deadline and now >= deadline:
                deadline = None
                if self.options.live:
                    return
                ask(self.port(SIMULATOR), "/simulator/stop", method="POST")
            if (sessions if self.options.keep_going else ended) and not self._keeps_going():
                return
            if self.simulator.get("state") == "failed" and now - moved_at > BROKEN_OFF_AFTER_S:
                return
            if not ended and self.simulator.get("state") == "ended" and now - moved_at > STALLED_AFTER_S:
                raise CryptoBotError(f"the recording is over but the pipeline stands still since {STALLED_AFTER_S:.0f} s; see {self.folder / 'logs'}")
            with self._interruption.may_break_in():
                time.sleep(REFRESH_S)

    def _has_ended(self) -> bool:
        """Whether every pair's last bar is decided and ingestion, whose /info lags behind what it sends, says that the recording is over."""
        return self.tally.ended and bool(self.infos.get(INGESTION, {}).get("details", {}).get("ended"))

    def _keeps_going(self) -> bool:
        """Whether more rounds are wanted: not of klines that the default settings did not trade, for another profile comes then."""
        hopeless = not (self.profile or self.options.data != "klines" or self.tally.counts["decisions"])
        return self.options.keep_going and not hopeless

    def _beside(self) -> list[Supervised]:
        """What is not part of the pipeline."""
        return [self._dashboard] if self._dashboard else []

    def _watch_processes(self) -> None:
        for process in (*self.processes, *self._beside()):
            process.watch()
            if process.given_up:
                raise CryptoBotError(process.given_up)
            if process.name == SIMULATOR and process.restarts:
                raise CryptoBotError(f"the simulator crashed and has lost its place in the recording; see {process.log}")

    def _look(self, timeout_s: float = 2.0) -> None:
        for process in self.processes:
            if process.name == SIMULATOR:
                self.simulator = ask(self.port(SIMULATOR), "/simulator/status")[1] or self.simulator
            else:
                self.infos[process.name] = ask(self.port(process.name), "/info", timeout_s=timeout_s)[1] or self.infos.get(process.name, {})
            if process.name == "execution-service":
                found = ask(self.port(process.name), "/positions")[1].get("positions", ())
                self.positions = {position["pair"]: position for position in found} or self.positions
            self.resident_mb[process.name] = process.resident_mb() or self.resident_mb.get(process.name, 0.0)

    def _stop(self) -> None:
        self.problems += stop_all([*self._beside(), *reversed(self.processes)])
