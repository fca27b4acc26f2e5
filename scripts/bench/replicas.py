"""Replicas of the model services as processes that come and go."""

import os
import random
import signal
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from scripts.embedded.monitor import ask
from scripts.embedded.options import ROOT
from scripts.embedded.processes import Supervised, stop_all
from scripts.embedded.servers import HOST

MODULES = {"kalman-filter-service": "services.kalman_filter", "garch-volatility-service": "services.garch_volatility"}

_PORTS = (11_000, 20_000)


class Replica:
    """One process of a service."""

    def __init__(self, service: str, settings: Mapping[str, str], log: Path) -> None:
        self.service = service
        self._port = _free_port()
        self._process = Supervised(service, MODULES[service], {**settings, "HTTP_HOST": HOST, "HTTP_PORT": str(self._port)}, log)
        self._process.start()

    @property
    def info(self) -> Mapping[str, Any]:
        """What `/info` says; empty while it does not answer."""
        return ask(self._port, "/info")[1]

    @property
    def pairs(self) -> list[str]:
        """The pairs that it lists as its own; none while it is not ready."""
        info = self.info
        return list(info["details"].get("pairs", ())) if info.get("ready") else []

    @property
    def is_running(self) -> bool:
        """Whether the process is there."""
        return self._process.pid is not None

    @property
    def resident_mb(self) -> float:
        """Resident memory, MB, without child processes."""
        return self._process.resident_mb()

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self._process.log.read_text(encoding="utf-8", errors="replace")

    @property
    def pid(self) -> int:
        """Process id; raises ProcessLookupError once it has ended."""
        if (pid := self._process.pid) is None:
            raise ProcessLookupError(f"{self.service} has ended: {self._process.last_line()}")
        return pid

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def restart(self) -> None:
        """Start the process again after its end."""
        self._process.start()

    def stop(self) -> list[str]:
        """Ask it to stop and wait; returns what went wrong."""
        return stop_all([self._process])


class Replicas:
    """All replicas of a run; whatever happens, none outlives it."""

    def __init__(self, settings: Mapping[str, str], folder: Path) -> None:
        self._settings = {**settings, "REDIS_URL": "redis://127.0.0.1:1/0", "PYTHONPATH": str(ROOT), "DATA_DIR": str(folder)}
        self._folder = folder
        self._made: list[Replica] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for replica in self._made:
            if replica.is_running:
                replica.signal(signal.SIGKILL)
            replica.stop()

    def start(self, service: str, *, instance: str = "") -> Replica:
        """One more; a static member of its group when it has an instance name."""
        log = self._folder / f"{service}-{len(self._made)}.log"
        self._made.append(Replica(service, {**self._settings, "INSTANCE": instance}, log))
        return self._made[-1]


def share(replicas: Sequence[Replica], pairs: Sequence[str]) -> bool:
    """Whether each replica has a pair and all pairs have exactly one replica."""
    owned = [replica.pairs for replica in replicas]
    return all(owned) and sorted(pair for mine in owned for pair in mine) == sorted(pairs)


def _free_port() -> int:
    """A port below those that connections going out are given."""
    while True:
        port = random.randrange(*_PORTS)  # noqa: S311 - no secret
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
