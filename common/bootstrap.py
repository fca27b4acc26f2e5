"""From a command line to a running service and back: the one way in which every service starts and stops.

Exit status: 0 after a clean stop, 1 after a failure (a supervisor restarts it), 2 when settings, files or usage are wrong.
"""

import multiprocessing
import os
import queue
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TypeVar

import fastapi
import msgspec

from common.errors import ConfigurationError, TransportError
from common.health import CONSUMED, PRODUCED, HealthMonitor, Limits
from common.io import logs, machine
from common.io.http import HttpServer, common_routes, create_application, listen
from common.io.kafka import KafkaTransport
from common.io.kafka_security import security_settings
from common.io.metrics import PrometheusObserver
from common.io.registry import Registry, redis_client
from common.metrics import COMMON_METRICS, Metric
from common.processor import Observer, Service, Transport, WallClock
from common.runtime import GarbageCollection, Runtime
from common.settings import Settings, load
from common.settings_help import settings_text
from common.topics import ALL_TOPICS
from common.version import VERSION

S = TypeVar("S", bound=Settings)
Routes = Callable[[Service, S], fastapi.APIRouter]
Build = Callable[[S, "Context"], Service]

#: Each service's port when HTTP_PORT is 0.
USUAL_PORTS = {
    "ingestion-service": 8000,
    "kalman-filter-service": 8001,
    "garch-volatility-service": 8002,
    "execution-service": 8003,
    "risk-manager-service": 8004,
}

#: From the request to stop to the end of the process, seconds; what is not done by then is cut off.
STOP_TIMEOUT_S = 5.0

#: Topics that are being made show within this time, seconds.
TOPICS_PATIENCE_S = 5.0

#: Longest time that one thread keeps the interpreter from another; Python's default of 5 ms would show in the latency.
SWITCH_INTERVAL_S = 0.0005

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, slots=True)
class Context:
    """What a service is built with besides its settings."""

    transport: Transport
    observer: Observer
    clock: WallClock


def run(name: str, settings_type: type[S], build: Build[S], *, metrics: Sequence[Metric] = COMMON_METRICS, routes: Routes[S] | None = None) -> NoReturn:
    """Run a service until it is told to stop; never returns.

    Parameters
    ----------
    name
        The service's name, such as `execution-service`.
    settings_type
        Its settings class, read from the environment.
    build
        Makes the service; raises ConfigurationError or TransportError when that cannot be.
    metrics
        What it reports: `common.metrics.catalogue` of its own ones.
    routes
        Makes its own HTTP routes.

    """
    _show_usage(name, settings_type, sys.argv[1:])
    try:
        settings = load(settings_type, os.environ)
        status = Process(name, settings, metrics, StopSignal()).serve(build, routes)
    except ConfigurationError as error:
        status = _complain(name, error.problems)
    except TransportError as error:
        _say(f"{name}: {error}")
        status = 1
    sys.exit(status)


def _show_usage(name: str, settings_type: type[Settings], arguments: Sequence[str]) -> None:
    if not arguments:
        return
    if any(argument in {"-h", "--help"} for argument in arguments):
        text = settings_text(settings_type, {"HTTP_PORT": str(USUAL_PORTS.get(name, 0))})
        sys.stdout.write(f"{name} {VERSION}\n\nIt takes no arguments; it is set up by environment variables:\n\n{text}\n")
        sys.exit(0)
    _say(f"{name}: takes no arguments, but got {' '.join(arguments)}; --help lists its settings")
    sys.exit(2)


def _complain(name: str, problems: Sequence[str]) -> int:
    _say(f"{name}: configuration: {len(problems)} problem{'s' if len(problems) > 1 else ''}", *(f"  {problem}" for problem in problems))
    return 2


def _say(*lines: str) -> None:
    sys.stderr.write("".join(f"{line}\n" for line in lines))


class StopSignal:
    """SIGTERM, SIGINT or the end of the loop. Until `begin_waiting`, a signal ends the program where it stands."""

    def __init__(self) -> None:
        self._waiting = False
        # Unlike threading.Event, SimpleQueue.put may be called by a signal handler that interrupts `get`.
        self._queue: queue.SimpleQueue[None] = queue.SimpleQueue()
        for number in _SIGNALS:
            signal.signal(number, self._handle)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if not self._waiting:
            raise SystemExit(0)
        self._queue.put(None)

    def begin_waiting(self) -> None:
        """From now on a signal is only remembered."""
        self._waiting = True

    def set(self) -> None:
        """Stop, whatever the reason."""
        self._queue.put(None)

    def wait(self, timeout_s: float) -> bool:
        """Wait; returns whether it is time to stop."""
        try:
            self._queue.get(timeout=timeout_s)
        except queue.Empty:
            return False
        return True


class Process:
    """One service in one process: its log, port, broker, registry, loop and HTTP server."""

    def __init__(self, name: str, settings: Settings, metrics: Sequence[Metric], stop: StopSignal) -> None:
        self._name, self._settings, self._stop = name, settings, stop
        self._port = settings.http_port or USUAL_PORTS.get(name, 0)
        self._instance = settings.instance or f"{socket.gethostname()}-{self._port or os.getpid()}"
        self._failed = False
        self._started_at = datetime.now(UTC).isoformat(timespec="seconds")
        self._logger = logs.configure(name, settings.log_level, self._instance)
        redis = redis_client(settings.redis_url, settings.redis_password, settings.redis_ca_file)
        self._registry = Registry(redis, settings.redis_url, name, self._instance)
        known = {"pair": [str(pair) for pair in settings.trading_pairs()], "symbol": settings.symbols}
        self._observer = PrometheusObserver(metrics, self._logger, self._registry.pair_state, known)
        self._observer.gauge("crypto_bot_build_info", 1, service=name, version=VERSION, profile=settings.profile_in_use.value)
        self._observer.gauge("crypto_bot_memory_limit_bytes", machine.memory_limit_bytes())
        self._observer.gauge("crypto_bot_cpu_limit_cores", machine.cpu_limit_cores())

    def serve(self, build: Build[Any], routes: Routes[Any] | None) -> int:
        """Run to the end; returns the exit status of a clean end and does not return from any other."""
        status = self._serve(build, routes)
        if self._failed:
            end_at_once(status)
        return status

    def _serve(self, build: Build[Any], routes: Routes[Any] | None) -> int:
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        with ExitStack() as cleanup:
            listener = cleanup.enter_context(listen(self._settings.http_host, self._port))
            self._port = listener.getsockname()[1]
            self._observer.log(
                "INFO", "connecting", kafka=self._settings.kafka_bootstrap_servers, topic_prefix=self._settings.topic_prefix, http_port=self._port
            )
            transport = connect(self._settings, self._name, self._instance)
            cleanup.callback(self._close, transport)
            cleanup.callback(cut_off_late_exit, self._logger)
            service = build(self._settings, Context(transport, self._observer, time.time_ns))
            limits = limits_of(self._settings)
            runtime = Runtime(service, self._observer, limits, housekeeping=GarbageCollection(), on_end=self._stop.set)
            monitor = HealthMonitor(service, runtime.pulse, self._observer.total, limits, time.monotonic, transport.problem)
            exposition = partial(self._exposition, getattr(service, "measure", None), transport)
            self._show(cleanup, listener, monitor, exposition, routes(service, self._settings) if routes else fastapi.APIRouter())
            return self._drive(runtime, monitor)

    def _show(self, cleanup: ExitStack, listener: socket.socket, monitor: HealthMonitor, exposition: Callable[[], bytes], router: fastapi.APIRouter) -> None:
        identity = {"service": self._name, "version": VERSION, "instance": self._instance}
        server = HttpServer(create_application(common_routes(identity, monitor.report, exposition, self._info), router), listener)
        server.start()
        cleanup.callback(server.stop)
        self._registry.start(self._observer, lambda: self._announcement(monitor))
        cleanup.callback(self._registry.stop)

    def _exposition(self, measure: Callable[[Observer], None] | None, transport: Transport) -> bytes:
        """All metrics; what costs something to know is measured only now that somebody asks."""
        free, size = machine.disk_bytes(Path(self._settings.data_dir))
        self._observer.gauge("crypto_bot_memory_used_bytes", machine.memory_used_bytes())
        self._observer.gauge("crypto_bot_disk_free_bytes", free)
        self._observer.gauge("crypto_bot_disk_size_bytes", size)
        self._observer.gauge("crypto_bot_producer_queue_ratio", transport.queue_fill())
        if measure:
            measure(self._observer)
        return self._observer.exposition()

    def _info(self) -> Mapping[str, Any]:
        return {"started_at": self._started_at, "pid": os.getpid(), "activity": self._activity(), "settings": msgspec.structs.asdict(self._settings)}

    def _activity(self) -> Mapping[str, float]:
        """What the service has handled since its start, for those who have no Prometheus at hand."""
        steps, step_s = self._observer.distribution("crypto_bot_step_seconds")
        ages, age_s = self._observer.distribution("crypto_bot_input_age_seconds")
        return {
            "consumed": self._observer.total(CONSUMED),
            "produced": self._observer.total(PRODUCED),
            "lag": self._observer.level("crypto_bot_consumer_lag_records"),
            "steps": steps,
            "step_seconds": step_s,
            "inputs_timed": ages,
            "input_age_seconds": age_s,
        }

    def _announcement(self, monitor: HealthMonitor) -> Mapping[str, Any]:
        report = monitor.report()
        return {
            "name": self._name,
            "instance": self._instance,
            "host": socket.gethostname() if self._settings.http_host in {"0.0.0.0", "::"} else self._settings.http_host,  # noqa: S104  # compared, not bound
            "port": self._port,
            "started_at": self._started_at,
            "status": "ready" if report.ready else "unready",
            "reason": report.reason,
            "role": report.role,
            "version": VERSION,
            "profile": self._settings.profile_in_use.value,
        }

    def _drive(self, runtime: Runtime, monitor: HealthMonitor) -> int:
        self._stop.begin_waiting()
        runtime.start()
        while not self._stop.wait(1.0):
            monitor.sample()
            runtime.watch()
            report = monitor.report()
            self._observer.gauge("crypto_bot_ready", float(report.ready))
            for name, check in report.checks.items():
                self._observer.gauge("crypto_bot_check_passed", float(check.passed), check=name)
        self._observer.gauge("crypto_bot_ready", 0)
        cut_off_late_exit(self._logger)
        self._observer.log("INFO", "stopping", after=runtime.pulse.phase.value)
        runtime.request_stop()
        self._failed = not runtime.join(STOP_TIMEOUT_S) or runtime.exit_status != 0
        if runtime.problems:
            return _complain(self._name, runtime.problems)
        return 1 if runtime.exit_status is None else runtime.exit_status

    def _close(self, transport: Transport) -> None:
        # Closing a group's member lets it snapshot and commit, which is for clean stops only.
        if not self._failed:
            transport.close()


def limits_of(settings: Settings) -> Limits:
    """Translate settings into limits; an output may be due only once a bar, so a stall shows after two bars more."""
    return Limits(
        step_budget_s=settings.step_budget_ms / 1e3,
        dead_letter_limit=settings.dead_letter_limit,
        dead_letter_memory_s=settings.dead_letter_memory_seconds,
        progress_within_s=Limits().progress_within_s + 2 * settings.bar_interval_seconds,
    )


def connect(settings: Settings, name: str, instance: str) -> Transport:
    """Reach Kafka; raises TransportError when that takes too long, ConfigurationError when it lacks topics or one of us refuses the other."""
    transport = KafkaTransport(
        settings.kafka_bootstrap_servers,
        fetch_wait_max_ms=settings.kafka_fetch_wait_max_ms,
        client_id=f"{name}-{instance}",
        instance=instance,
        alone=settings.kafka_alone,
        topic_prefix=settings.topic_prefix,
        security=security_settings(settings),
    )
    _reach(transport, settings.kafka_startup_timeout_seconds)
    return transport


def _reach(transport: KafkaTransport, timeout_s: float) -> None:
    """Wait for the cluster and its topics; one that goes away between the two is waited for again."""
    give_up_at = time.monotonic() + timeout_s
    while True:
        transport.connect(max(1.0, give_up_at - time.monotonic()))
        try:
            return transport.require_topics(ALL_TOPICS, TOPICS_PATIENCE_S)
        except TransportError:
            if time.monotonic() >= give_up_at:
                raise


def cut_off_late_exit(logger: logs.JsonLogger) -> None:
    """End the process, with status 1, when it does not end by itself in time."""

    def cut_off() -> None:
        logger.log("CRITICAL", "not stopped in time, cut off", seconds=STOP_TIMEOUT_S)
        end_at_once(1)

    timer = threading.Timer(STOP_TIMEOUT_S, cut_off)
    timer.daemon = True
    timer.start()


def end_at_once(status: int) -> NoReturn:
    """End the process as a crash would, so that nothing is stored or committed on the way; child processes end with it."""
    for child in multiprocessing.active_children():
        child.kill()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
