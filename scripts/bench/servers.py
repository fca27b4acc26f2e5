"""The broker that a bench runs on, and the bare relay beside it."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from common.errors import ConfigurationError, CryptoBotError
from common.io.kafka_settings import producer_settings, reader_settings
from scripts.embedded.options import ROOT

REHEARSAL = ROOT.parent / "shared" / "rehearsal"
_OWN_PORT = 19392
#: Starts a program, and all that it starts, in the scheduling class SCHED_RR with the lowest priority of it (Linux, sched(7)).
SCHED_RR = ("chrt", "--rr", "1")
#: It has no model to warm.
RELAY_WARM_UP_S = 5.0
#: What the relay sets itself, or cannot be told on a command line.
_NOT_FOR_RELAY = frozenset({"bootstrap.servers", "client.id", "group.id", "auto.offset.reset", "delivery.report.only.error"})


@contextlib.contextmanager
def broker(bootstrap: str, launcher: Sequence[str] = ()) -> Iterator[str]:
    """The given broker, else that of KAFKA_BOOTSTRAP_SERVERS, else one of our own for as long as this lasts. Raises ConfigurationError."""
    given = bootstrap or os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "")
    if given:
        yield given
        return
    script = REHEARSAL / "kafka.sh"
    if not script.exists():
        raise ConfigurationError(["no broker: give --bootstrap HOST:PORT or set KAFKA_BOOTSTRAP_SERVERS"])
    with tempfile.TemporaryDirectory(prefix="bench-kafka-") as folder:
        try:
            yield _run(*launcher, script, "start", "--port", str(_OWN_PORT), "--dir", folder).strip().splitlines()[-1]
        finally:
            _run(script, "stop", "--dir", folder)


def require_sched_rr() -> None:
    """Raises ConfigurationError where programs may not be started in that class."""
    try:
        _run(*SCHED_RR, "true")
    except (CryptoBotError, OSError) as error:
        raise ConfigurationError([f"--sched-rr needs Linux, chrt (util-linux) and root, CAP_SYS_NICE or `ulimit -r 1`: {error}"]) from error


def _run(*command: Any) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)  # noqa: S603 - our own scripts
    if done.returncode:
        raise CryptoBotError(f"{Path(command[0]).name} {command[1]} failed: {done.stderr.strip()[-500:]}")
    return done.stdout


def relay_script() -> Path | None:
    """The bare relay, where there is one."""
    script = REHEARSAL / "relay.py"
    return script if script.exists() else None


def client_settings() -> tuple[list[str], list[str]]:
    """The pipeline's own settings of producer and consumer, as the relay takes them."""
    connection = {"bootstrap.servers": "", "client.id": ""}
    return _as_options(producer_settings(connection)), _as_options(reader_settings(connection, fetch_wait_max_ms=500))


def _as_options(settings: Mapping[str, Any]) -> list[str]:
    return [f"{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in settings.items() if name not in _NOT_FOR_RELAY]


def run_relay(  # noqa: PLR0913 - how it is started, and what it is to do
    script: Path, bootstrap: str, *, rate: float, record_bytes: int, seconds: float, launcher: Sequence[str] = ()
) -> dict[str, float]:
    """Percentiles of two bare hops, ms, at this rate and size; raises CryptoBotError when the relay fails."""
    producer, consumer = client_settings()
    with tempfile.TemporaryDirectory(prefix="bench-relay-") as folder:
        report = Path(folder) / "relay.json"
        options = {"--rate": rate, "--size": record_bytes, "--seconds": seconds, "--warm-up": RELAY_WARM_UP_S, "--json": report}
        flags = [str(part) for option in options.items() for part in option]
        _run(*launcher, sys.executable, script, "--bootstrap", bootstrap, *flags, "--producer", *producer, "--consumer", *consumer)
        figures = json.loads(report.read_text(encoding="utf-8"))
    return {name: float(figures[name]) for name in ("p50", "p90", "p99", "p999")}
