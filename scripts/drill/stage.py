"""A running system to raise alarms in: broker, registry, simulator, feed, five services, Prometheus and Alertmanager."""

import json
import os
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event
from typing import Any

from common.errors import CryptoBotError
from common.io.kafka import KafkaTransport
from common.io.machine import family
from common.processor import Position, Record
from common.topics import ALL_TOPICS, Topic
from scripts.drill.exposition import Exposition, changed
from scripts.drill.feed import Feed
from scripts.drill.watched import Scene, Servers, Watched
from scripts.embedded.monitor import ask
from scripts.embedded.options import parse
from scripts.embedded.plan import SERVICES, SIMULATOR, SIMULATOR_PORT_OFFSET, environment_of, processes_of
from scripts.embedded.processes import Supervised, stop_all
from scripts.embedded.recordings import resolve
from scripts.embedded.servers import HOST
from scripts.faults.servers import free_ports

INGESTION, KALMAN, GARCH, EXECUTION, RISK = SERVICES
TOKEN = "a token of the drill"  # noqa: S105 - of a run on loopback
_READY_S, _RESTART_S = 120.0, 60.0
_PARTITIONS, _DISK_GB = 3, 1
#: Beyond the services and the simulator: feed, Prometheus, Alertmanager, and two for another replica.
_MORE_PORTS = 5
_ASK_S = 10.0


class Stage(Watched):
    """One scene, up and running between `with` and its end."""

    def __init__(self, scene: Scene, servers: Servers) -> None:
        super().__init__(scene, servers)
        first = free_ports(SIMULATOR_PORT_OFFSET + 1 + _MORE_PORTS)
        self._feed_port, self._prometheus_port, self._alertmanager_port, self.spare_port, _ = range(first + SIMULATOR_PORT_OFFSET + 1, first + 16)
        self._base_port = first
        self._usual: dict[str, Supervised] = {}
        self.processes: dict[str, Supervised] = {}

    # Up and down

    def build(self, stack: ExitStack) -> None:
        """Bring everything up; what the stack is told is undone at the end."""
        servers, prefix = self.servers, f"drill-{time.time_ns()}-"
        self.transport = KafkaTransport(servers.broker.bootstrap, client_id="drill", topic_prefix=prefix)
        stack.callback(self.transport.close)
        self.transport.connect(timeout_s=60)
        self.transport.ensure_topics(ALL_TOPICS, _PARTITIONS, disk_gb=_DISK_GB)
        options = resolve(
            parse([*self.scene.arguments, "--base-port", str(self._base_port)], {"KAFKA_BOOTSTRAP_SERVERS": "own", "REDIS_URL": servers.registry.url})
        )
        environment = environment_of(options, servers.broker.bootstrap, servers.registry.url, self.folder, {})
        own = {"TOPIC_PREFIX": prefix, "BINANCE_WS_URL": f"ws://{HOST}:{self._feed_port}", "CONTROL_TOKEN": TOKEN, "DEAD_LETTER_MEMORY_SECONDS": "10"}
        self.environment = environment | own | dict(self.scene.settings)
        self.data = Path(self.environment["DATA_DIR"])
        self.pairs = options.pairs
        self.feed = Feed(self._feed_port, self.port(SIMULATOR))
        self.processes = {process.name: process for process in processes_of(options, self.environment, self.folder / "logs")}
        self._usual = dict(self.processes)
        stack.callback(self._end_services)
        self.feed.start()
        stack.callback(self.feed.stop)
        self.make_monitors(stack, (self._prometheus_port, self._alertmanager_port), servers.scale)
        self._start()

    def _start(self) -> None:
        for process in self.processes.values():
            process.start()
        self.wait(lambda: all(map(self.is_up, self.processes)), _READY_S, "the services to be ready")
        self.post(self.port(SIMULATOR), "/simulator/start")
        for name in SERVICES:
            self.prometheus.target(name, self.port(name))
        self.start_alertmanager()
        self.start_prometheus()
        self.wait(lambda: len(self.prometheus.values('up{job=~".+-service"} == 1')) == len(SERVICES), _RESTART_S, "Prometheus to see all services")

    def _end_services(self) -> None:
        for process in self.processes.values():
            _signal(process, signal.SIGCONT)
        stop_all(list(reversed(self.processes.values())))

    # Looking

    def tend(self) -> None:
        """Start again what has ended by itself, as a container's restart policy does."""
        for process in tuple(self.processes.values()):
            process.watch()

    def port(self, name: str) -> int:
        """HTTP port of a process."""
        return self._base_port + (SIMULATOR_PORT_OFFSET if name == SIMULATOR else SERVICES[name][1])

    def is_up(self, name: str) -> bool:
        """Ready; ingestion is ready only with its first event, so being connected is enough for it."""
        if name == INGESTION:
            return bool(ask(self.port(name), "/info")[1].get("details", {}).get("connected"))
        return ask(self.port(name), "/health/ready")[0] == 200

    def value(self, expression: str) -> float | None:
        """The first value of an expression; None without one."""
        return next(iter(self.prometheus.values(expression)), None)

    def wait_above(self, expression: str, value: float, what: str) -> None:
        """Wait until Prometheus has seen more than a value."""
        self.wait(lambda: (self.value(expression) or 0.0) > value, _RESTART_S, what)

    def positions(self) -> list[Mapping[str, Any]]:
        """What execution says of its positions."""
        return list(ask(self.port(EXECUTION), "/positions")[1].get("positions", ()))

    # Services

    def down(self, name: str) -> None:
        """Kill a process and leave it dead."""
        self.processes[name].kill()

    def up(self, name: str, *, wait: bool = True) -> None:
        """Start what was killed."""
        self.processes[name].start()
        if wait:
            self.wait(lambda: self.is_up(name), _RESTART_S, f"{name} to be ready")

    def restart(self, name: str, settings: Mapping[str, str] = {}, module: str = "", arguments: Sequence[str] = (), *, wait: bool = True) -> None:
        """Stop a service and start it with other settings or another way; without them as it always was."""
        process = self.processes[name]
        process.ask_to_stop()
        process.wait_stopped(time.monotonic() + 8)
        usual = self._usual[name]
        module = module or SERVICES[name][0]
        self.processes[name] = Supervised(name, module, {**usual.environment, **settings}, usual.log, arguments) if settings or arguments else usual
        self.up(name, wait=wait)

    @contextmanager
    def told(self, name: str, settings: Mapping[str, str]) -> Iterator[None]:
        """A service runs with other settings for a while."""
        self.restart(name, settings)
        try:
            yield
        finally:
            self.restart(name)

    def another(self, name: str, label: str, settings: Mapping[str, str]) -> None:
        """Start one more replica, on the spare port."""
        usual = self._usual[name]
        environment = {**usual.environment, "HTTP_PORT": str(self.spare_port), "INSTANCE": label, **settings}
        self.processes[label] = Supervised(label, SERVICES[name][0], environment, self.folder / "logs" / f"{label}.log")
        self.processes[label].start()

    def without(self, label: str) -> None:
        """End that replica."""
        self.processes.pop(label).kill()

    @contextmanager
    def scraped_at(self, name: str, *ports: int) -> Iterator[None]:
        """Prometheus is told of other replicas of a service for a while."""
        self.prometheus.target(name, *ports)
        try:
            yield
        finally:
            self.prometheus.target(name, self.port(name))

    @contextmanager
    def throttled(self, name: str, stopped_s: float, running_s: float) -> Iterator[None]:
        """A service gets the processor only now and then."""
        over = Event()

        def throttle() -> None:
            while not over.is_set():
                _signal(self.processes[name], signal.SIGSTOP)
                over.wait(stopped_s)
                _signal(self.processes[name], signal.SIGCONT)
                over.wait(running_s)

        thread = threading.Thread(target=throttle, name=f"throttle {name}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def children(self, name: str) -> list[int]:
        """Process ids of what a service has started, and what these have."""
        _, *others = family(str(self.processes[name].pid))
        return [int(process) for process in others]

    # Records and requests

    def send(self, topic: Topic, records: Sequence[tuple[str, bytes, int]]) -> None:
        """Publish records as they are: key, value, partition."""
        producer = self.transport.producer()
        for key, value, partition in records:
            producer.send(topic, key, value, partition=partition)
        producer.flush()
        producer.close()

    def newest(self, topic: Topic, count: int) -> list[Record]:
        """The newest records of each partition of a topic."""
        positions = [Position(topic, number, max(0, end - count)) for number, end in self.transport.end_offsets(topic).items()]
        reader = self.transport.reader(positions)
        found: list[Record] = []
        while records := reader.poll(2.0):
            found += records
            if len(found) >= count * len(positions):
                break
        reader.close()
        return found

    def post(self, port: int, path: str, body: Mapping[str, str] | None = None) -> None:
        """Ask for something; raises CryptoBotError when it is refused."""
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"}
        request = urllib.request.Request(f"http://{HOST}:{port}{path}", json.dumps(body or {}).encode(), headers, method="POST")
        try:
            urllib.request.urlopen(request, timeout=_ASK_S).close()  # noqa: S310 - as above
        except urllib.error.HTTPError as error:
            raise CryptoBotError(f"{path}: HTTP {error.code}: {error.read().decode(errors='replace')}") from error

    @contextmanager
    def showing(self, name: str, samples: Mapping[str, float]) -> Iterator[None]:
        """A service's `/metrics` show other values for a while."""
        exposition = Exposition(lambda: changed(self.port(name), samples))
        self.prometheus.target(name, exposition.port, seen_as=f"{HOST}:{self.port(name)}")
        try:
            yield
        finally:
            self.prometheus.target(name, self.port(name))
            exposition.close()


def _signal(process: Supervised, number: signal.Signals) -> None:
    if (pid := process.pid) is not None:
        os.kill(pid, number)
