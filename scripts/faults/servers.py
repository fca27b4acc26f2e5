"""A broker and a registry that can be taken away and brought back."""

import os
import shutil
import socket
import subprocess
from pathlib import Path
from threading import Event

import redis

from common.errors import ConfigurationError, TransportError
from scripts.embedded.options import ROOT
from scripts.embedded.processes import Supervised
from scripts.embedded.servers import HOST
from scripts.faults.schedule import Kind

#: Starts, stops and kills a real Kafka; beside the project where it is rehearsed.
KAFKA_SCRIPT = ROOT.parent / "shared" / "rehearsal" / "kafka.sh"
_TIMEOUT_S = 120.0
STARTS = 3
#: As the Compose file has it, and for the same reason.
_PROPERTIES = "controlled.shutdown.enable=false\n"
_FIRST_PORT, _PORT_STEP, _PORT_PLACES = 21_000, 16, 500


class OwnBroker:
    """A Kafka of the run's own, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        """Raises ConfigurationError where there is none to be had."""
        if not KAFKA_SCRIPT.exists():
            raise ConfigurationError([f"no Kafka can be started here ({KAFKA_SCRIPT} is missing); a script that takes --bootstrap can use a running one"])
        self._folder = folder
        self.port = free_ports(2)
        self.bootstrap = f"{HOST}:{self.port}"

    def start(self) -> None:
        """Start it and wait until it serves; on a busy machine that may take longer than one call waits."""
        self._folder.mkdir(parents=True, exist_ok=True)
        properties = self._folder / "properties"
        properties.write_text(_PROPERTIES, encoding="utf-8")
        for attempt in range(STARTS):
            try:
                self._run("start", "--port", str(self.port), "--config", str(properties))
            except TransportError:
                if attempt == STARTS - 1:
                    raise
            else:
                return

    def take_away(self, kind: Kind) -> None:
        """Stop or kill it."""
        self._run("kill" if kind is Kind.KILL else "stop")

    def close(self) -> None:
        """End it for good; its data are of no use to anyone."""
        self._run("kill")
        shutil.rmtree(self._folder / "data", ignore_errors=True)

    def _run(self, command: str, *arguments: str) -> None:
        # Out of reach of Ctrl-C, which would leave it half started.
        ran = subprocess.run(  # noqa: S603 - our own script
            [KAFKA_SCRIPT, command, "--dir", str(self._folder), *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        if ran.returncode:
            raise TransportError(f"{KAFKA_SCRIPT.name} {command}: {ran.stderr.strip() or ran.stdout.strip()}")


class OwnRegistry(Supervised):
    """A Redis-compatible server of the run's own."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self._port = free_ports(1)
        super().__init__("redis", "scripts.faults.registry_server", environment, log, (str(self._port),))

    @property
    def url(self) -> str:
        """Where it is."""
        return f"redis://{HOST}:{self._port}/0"

    def services(self) -> int:
        """How many services have announced themselves; 0 while it is away."""
        try:
            with redis.Redis(host=HOST, port=self._port, socket_timeout=1.0) as client:
                return sum(1 for _ in client.scan_iter("crypto-bot:service:*"))
        except redis.RedisError:
            return 0

    def wait_up(self, stopping: Event) -> None:
        """Wait until it answers, or until `stopping`."""
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex((HOST, self._port)) == 0:
                    return
            if stopping.wait(0.1):
                return
        raise TransportError(f"Redis does not start; see {self.log}")


def free_ports(count: int) -> int:
    """The first of so many neighbouring ports of loopback that are free, below the range of outgoing connections."""
    for place in range(_PORT_PLACES):
        # Runs side by side look from different places on.
        first = _FIRST_PORT + _PORT_STEP * ((os.getpid() + place) % _PORT_PLACES)
        if all(map(_is_free, range(first, first + count))):
            return first
    raise ConfigurationError([f"no {count} neighbouring ports are free from {_FIRST_PORT} on"])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
