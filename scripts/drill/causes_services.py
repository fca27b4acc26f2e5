"""Causes in processes and what they run on: killed, starved, misled, out of room."""

import os
import resource
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.drill.acts import Act, about
from scripts.drill.stage import GARCH, KALMAN, Stage
from scripts.embedded.options import ROOT
from scripts.embedded.servers import HOST
from scripts.faults.schedule import Kind

_BARS = "bars"
_KILLS = 6


@contextmanager
def _killed(stage: Stage) -> Iterator[None]:
    stage.down(KALMAN)
    try:
        yield
    finally:
        stage.up(KALMAN)


@contextmanager
def _killed_often(stage: Stage) -> Iterator[None]:
    """As soon as Prometheus has seen that it was started."""
    began = f'process_start_time_seconds{{job="{GARCH}"}}'
    for _ in range(_KILLS):
        before = stage.value(began) or 0.0
        stage.down(GARCH)
        stage.up(GARCH, wait=False)
        stage.wait_above(began, before, "a scrape of the new process")
    yield


@contextmanager
def _redis_away(stage: Stage) -> Iterator[None]:
    registry = stage.servers.registry
    registry.kill()
    try:
        yield
    finally:
        registry.start()
        registry.wait_up(stage.servers.stopping)


@contextmanager
def _wrong_redis(stage: Stage) -> Iterator[None]:
    with stage.told(GARCH, {"REDIS_URL": f"redis://{HOST}:1/0"}):
        yield


@contextmanager
def _broker_away(stage: Stage) -> Iterator[None]:
    stage.servers.broker.take_away(Kind.KILL)
    try:
        yield
    finally:
        stage.servers.broker.start()


@contextmanager
def _few_descriptors(stage: Stage) -> Iterator[None]:
    pid = stage.processes[GARCH].pid
    assert pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    in_use = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (int(in_use * 1.1) + 1, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


@contextmanager
def _little_room(stage: Stage) -> Iterator[None]:
    """In a mount namespace of its own: limits as a small container would have them, and a small disk that is nearly full."""
    memory_bytes = int(stage.processes[KALMAN].resident_mb() * 2**20)
    stage.restart(KALMAN, module="scripts.drill.confined", arguments=(str(memory_bytes), stage.environment["DATA_DIR"], "services.kalman_filter"))
    try:
        yield
    finally:
        stage.restart(KALMAN)


@contextmanager
def _other_version(stage: Stage) -> Iterator[None]:
    copy = stage.folder / "other"
    for part in ("common", "services"):
        shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
    version = copy / "common" / "version.py"
    version.write_text(version.read_text(encoding="utf-8").replace('VERSION = "', 'VERSION = "0.0.'), encoding="utf-8")
    # Safe path: else the working directory goes before the copy.
    with stage.told(GARCH, {"PYTHONPATH": str(copy), "PYTHONSAFEPATH": "1"}):
        yield
    shutil.rmtree(copy)


@contextmanager
def _fits_hang(stage: Stage) -> Iterator[None]:
    workers = stage.children(GARCH)
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGCONT)


SERVICES = (
    Act(
        about("ServiceDown", service=KALMAN),
        _BARS,
        "kalman-filter-service is killed and stays away",
        "it is started",
        _killed,
        muted=("RiskStandsStill",),
        within_s=30,
    ),
    Act(
        about("ServiceRestarting", service=GARCH),
        _BARS,
        "garch-volatility-service is killed and started six times in a row",
        "none: the alert ends with its window",
        _killed_often,
        within_s=120,
        resolved_within_s=120,
    ),
    Act(about("RedisUnreachable"), _BARS, "Redis is killed", "it is started", _redis_away),
    Act(
        about("RedisPartlyUnreachable", service=GARCH),
        _BARS,
        "garch-volatility-service is started with a REDIS_URL where nothing listens",
        "it is started with the right one",
        _wrong_redis,
    ),
    Act(
        about("BrokerUnreachable"),
        _BARS,
        "Kafka is killed",
        "it is started",
        _broker_away,
        muted=("ServiceUnready",),
        resolved_within_s=120,
    ),
    Act(
        about("FileDescriptorsRunningOut", service=GARCH),
        _BARS,
        "garch-volatility-service may have a tenth more open files than it has",
        "the limit is raised again",
        _few_descriptors,
    ),
    Act(
        (*about("MemoryRunningOut", "CpuRunningOut", service=KALMAN), *about("DiskRunningOut")),
        _BARS,
        "kalman-filter-service runs in a mount namespace that shows limits of the memory that it takes and of a hundredth of a core, "
        "with a data disk of 16 MB that is 95 % full",
        "it runs without them",
        _little_room,
        within_s=120,
    ),
    Act(
        about("VersionsDiffer"),
        _BARS,
        "garch-volatility-service runs from a copy of the code with another version",
        "it runs from the code",
        _other_version,
        within_s=90,
    ),
    Act(
        about("LoopStuck", service=GARCH),
        "models",
        "the process that makes fits is stopped (SIGSTOP); the loop waits for a fit",
        "it goes on (SIGCONT)",
        _fits_hang,
        muted=("ServiceUnready",),
        within_s=90,
    ),
)
