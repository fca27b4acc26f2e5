"""A real Kafka of a test's own, which may be stopped, killed and started again."""

import subprocess
from pathlib import Path

from common.io.kafka import KafkaTransport
from tests.conftest import KAFKA_SCRIPT, two_free_ports

#: Compacts at once instead of every 15 s; stops as the Compose file's broker does.
_PROPERTIES = "log.cleaner.backoff.ms=200\ncontrolled.shutdown.enable=false\n"
_PATIENCE_S = 60.0


class OwnKafka:
    """Its data outlive a stop and a kill."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = two_free_ports()
        self.bootstrap_servers = f"127.0.0.1:{self._port}"
        (folder / "properties").write_text(_PROPERTIES)

    def start(self) -> None:
        started = self._try("start", "--port", str(self._port), "--config", str(self._folder / "properties"))
        # On a busy machine it takes longer than the script waits.
        assert started.returncode == 0 or self._try("status").returncode == 0, started.stderr
        transport = KafkaTransport(self.bootstrap_servers)
        transport.connect(_PATIENCE_S)
        transport.close()

    def stop(self) -> None:
        self._run("stop")

    def kill(self) -> None:
        self._run("kill")

    def _run(self, command: str) -> None:
        done = self._try(command)
        assert done.returncode == 0, done.stderr

    def _try(self, command: str, *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([KAFKA_SCRIPT, command, "--dir", self._folder / "broker", *options], capture_output=True, text=True, check=False)
