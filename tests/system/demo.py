"""The embedded run as a user starts it, and what is left of it afterwards."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from scripts.embedded.monitor import ask
from scripts.embedded.options import ROOT
from scripts.embedded.plan import SERVICES, SIMULATOR_PORT_OFFSET
from scripts.sessions.ledgers import Rows, ledger
from tests.conftest import is_free
from tests.replay.schedules import QUICK as SHORT

QUICK = {**SHORT, "MAX_ORDERS_PER_MINUTE": "600"}
QUICK_TICKS = {**QUICK, "TAKER_FEE_BPS": "0"}

TRACEBACK = "Traceback (most recent call last)"

#: What of the caller's environment a run needs; settings come from the test alone.
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
#: Generous, for machines that do other things besides.
PATIENCE_S = 180.0


class Result(NamedTuple):
    """How a run ended."""

    status: int
    output: str
    errors: str


class Demo:
    """One `python -m scripts.embedded` with a folder and ports of its own."""

    def __init__(self, folder: Path, arguments: Sequence[str], settings: Mapping[str, str], base_port: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.data = folder / "demo"
        self.base_port = base_port or free_base_port()
        self._output, self._errors = folder / "stdout", folder / "stderr"
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        environment = {**inherited, **_ONE_THREAD, "DEMO_FOLDER": str(self.data), "DEMO_CALLER_DIR": str(folder), **settings}
        with self._output.open("wb") as output, self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "scripts.embedded", "--base-port", str(self.base_port), *arguments],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Whatever the test found: nothing of it stays."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pid in self.running():
            os.kill(pid, signal.SIGKILL)

    @property
    def ledger(self) -> Path:
        """Execution's ledger."""
        return self.data / "data" / "trading.db"

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self._output.read_text(encoding="utf-8")

    def port(self, service: str) -> int:
        """HTTP port of a service or of the simulator."""
        return self.base_port + (SERVICES[service][1] if service in SERVICES else SIMULATOR_PORT_OFFSET)

    def wait_until(self, condition: Callable[[], Any], what: str) -> None:
        """Wait while the run goes on; fails when it ends, or takes for ever, before the condition holds."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert self.process.poll() is None, f"the run ended before {what}:\n{self.output}"
            assert time.monotonic() < deadline, f"never came: {what}\n{self.output}"
            time.sleep(0.02)

    def result(self, timeout_s: float = PATIENCE_S) -> Result:
        """Wait for the end."""
        status = self.process.wait(timeout_s)
        return Result(status, self.output, self._errors.read_text(encoding="utf-8"))

    def kill(self, service: str) -> None:
        """As `kill -9` does."""
        if service in SERVICES:
            status, info = ask(self.port(service), "/info")
            assert status == 200, f"{service} does not answer"
            os.kill(int(info["pid"]), signal.SIGKILL)
        else:
            (pid,) = (pid for pid in self.running() if service.replace("-", "_") in _command_of(pid))
            os.kill(pid, signal.SIGKILL)

    def running(self) -> list[int]:
        """Processes of this run that are alive, the run itself among them."""
        return processes_with(f"DEMO_FOLDER={self.data}")


def processes_with(variable: str) -> list[int]:
    """Ids of the processes that have this in their environment, but for those that are only waited for."""
    if not Path("/proc/self/environ").exists():
        listed = subprocess.run(["ps", "axeww", "-o", "pid=,command="], capture_output=True, text=True, check=True).stdout.splitlines()
        return [int(line.split()[0]) for line in listed if f" {variable} " in f"{line} "]
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if variable.encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def _command_of(pid: int) -> str:
    """How a process was started."""
    file = Path(f"/proc/{pid}/cmdline")
    if file.exists():
        return file.read_bytes().replace(b"\0", b" ").decode()
    return subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=True).stdout


def free_base_port() -> int:
    """A base port below the range for outgoing connections, with all the ports of a run free; parallel workers draw from ranges of their own."""
    lowest = 20_000 + 1000 * (int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 10)
    while True:
        base = random.randrange(lowest, lowest + 1000 - SIMULATOR_PORT_OFFSET)
        if all(map(is_free, (*range(base, base + len(SERVICES)), base + SIMULATOR_PORT_OFFSET))):
            return base


class ShortTicks(NamedTuple):
    """A minute of ticks, every fourth frame of it, and what the services decide on it in memory."""

    recording: Path
    ledger: dict[str, Rows]


class Played(NamedTuple):
    """An undisturbed run and all that it left."""

    recording: Path
    result: Result
    summary: dict[str, Any]
    ledger: dict[str, Rows]
    left_running: list[int]


def play(folder: Path, recording: Path, settings: dict[str, str], *arguments: str) -> Played:
    """A run to its end."""
    with Demo(folder, ["--recording", str(recording), "--summary", "summary.json", *arguments], settings) as demo:
        result = demo.result()
        assert TRACEBACK not in result.output + result.errors
        summary = folder / "summary.json"
        assert summary.exists(), result
        return Played(recording, result, json.loads(summary.read_text(encoding="utf-8")), ledger(demo.ledger), demo.running())


def require_refusal(demo: Demo, *words: str, status: int = 2, timeout_s: float = 120) -> None:
    """One line that says what is wrong, a status that says so too, no traceback, nothing left."""
    result = demo.result(timeout_s)
    assert TRACEBACK not in result.output + result.errors, result.errors
    said = [line for line in (result.output + result.errors).splitlines() if all(word in line for word in words)]
    assert len(said) == 1, result
    assert result.status == status, result
    assert demo.running() == []
