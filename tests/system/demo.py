"""The embedded run as a user starts it, on recordings cut short, and what is left of it afterwards."""

import csv
import gzip
import os
import random
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import pandas as pd

from common.rules import parse_exchange_info
from scripts.embedded.monitor import ask
from scripts.embedded.options import parse
from scripts.embedded.plan import SERVICES, SIMULATOR_PORT_OFFSET, pipeline_settings
from scripts.embedded.recordings import resolve
from scripts.offline import Offline, public_frames
from services.exchange_simulator.exchange_info import exchange_info
from services.exchange_simulator.store import Wanted, open_recording

ROOT = Path(__file__).resolve().parents[2]
KLINES = ROOT / "data/klines/usdm-20250510"
TICKS = ROOT / "data/ticks/usdm-20240808"

#: Short warm-ups and low hurdles, so that a short recording holds many decisions.
QUICK = {
    "KALMAN_WARM_UP_BARS": "20",
    "GARCH_START_BARS": "20",
    "ENTRY_Z_MIN": "0.3",
    "EXIT_Z": "0.1",
    "COST_MARGIN": "0",
    "COOL_DOWN_BARS": "1",
    "TIME_STOP_BARS": "6",
    "TIME_STOP_HALF_LIVES": "0.1",
    "MAX_ORDERS_PER_MINUTE": "600",
}
QUICK_TICKS = {**QUICK, "TAKER_FEE_BPS": "0"}

#: What of the caller's environment a run needs; settings come from the test alone.
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_TABLES = ("decisions", "orders", "order_events", "fills", "funding", "round_trips", "marks", "holds", "commands")
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
        return self.data / "data" / "execution.db"

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
        return _processes_with(f"DEMO_FOLDER={self.data}")


def _processes_with(variable: str) -> list[int]:
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
    """A base port below the range for outgoing connections, with all the ports of a run free."""
    while True:
        base = random.randrange(20_000, 30_000)
        if all(map(_is_free, (*range(base, base + len(SERVICES)), base + SIMULATOR_PORT_OFFSET))):
            return base


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


# --- recordings ------------------------------------------------------------------------------------------------------


def cut_ticks(folder: Path, seconds: float, every: int = 1) -> Path:
    """The first seconds of the shipped futures ticks, both symbols, and of these every so many frames."""
    folder.mkdir(parents=True, exist_ok=True)
    begin = min(int(next(lines).split()[0]) for lines in map(_lines, TICKS.glob("*.gz")))
    for file in TICKS.glob("*.gz"):
        kept = [line for line in _lines(file) if int(line.split(maxsplit=1)[0]) < begin + seconds * 1e9]
        with gzip.open(folder / file.name, "wb") as target:
            target.writelines(kept[::every])
    shutil.copy(TICKS / "rules.json", folder)
    return folder


def add_nonsense(recording: Path) -> int:
    """Put frames that mean nothing among those of the first file; returns how many."""
    file = min(recording.glob("*.gz"))
    kept = list(_lines(file))
    sound = [number for number, line in enumerate(kept) if b"@bookTicker" in line]
    for number, spoil in zip(sound[100::50], NONSENSE, strict=False):
        # At the same moment as a sound frame, so that order and bars stay as they were.
        kept[number] += spoil(kept[number].strip()) + b"\n"
    with gzip.open(file, "wb") as target:
        target.writelines(kept)
    return len(NONSENSE)


def _with(field: str, value: str) -> Callable[[bytes], bytes]:
    pattern = re.compile(rf'"{field}":("[^"]*"|\d+)'.encode())
    return lambda line: pattern.sub(f'"{field}":{value}'.encode(), line, count=1)


#: What the exchange would never send, made of a sound book frame.
NONSENSE: tuple[Callable[[bytes], bytes], ...] = (
    lambda line: line.replace(b'"b":', b'"b"'),
    lambda line: line.replace(b'"b":', b'"bid":'),
    _with("b", '"NaN"'),
    _with("a", '"Infinity"'),
    _with("b", '"0"'),
    _with("a", '"-61000.10"'),
    _with("b", '"99999999.00"'),
    _with("A", "[]"),
    _with("s", '"PEPEUSDT"'),
    # Long before all others, and not a repetition.
    lambda line: _with("E", "1723161000000")(_with("u", "9000000000000")(line)),
    _with("A", '"' + "1" * 2**20 + '"'),
)


def _lines(file: Path) -> Iterator[bytes]:
    with gzip.open(file) as source:
        yield from source


def cut_klines(folder: Path, bars: int, coins: Sequence[str] = ("BTC", "ETH", "LTC")) -> Path:
    """The first minutes of some of the shipped futures klines, as feather."""
    folder.mkdir(parents=True, exist_ok=True)
    for coin in coins:
        name = f"{coin}_USDT_USDT-1m-futures.feather"
        pd.read_feather(KLINES / name).head(bars).to_feather(folder / name)
    shutil.copy(KLINES / "rules.json", folder)
    return folder


def csv_klines(folder: Path, bars: int, coins: Sequence[str] = ("BTC", "ETH", "LTC")) -> Path:
    """The same in the exchange's twelve CSV columns."""
    folder.mkdir(parents=True, exist_ok=True)
    for coin in coins:
        table = pd.read_feather(KLINES / f"{coin}_USDT_USDT-1m-futures.feather").head(bars)
        opened = table["date"].dt.as_unit("ms").astype("int64")
        with (folder / f"{coin}USDT_1m.csv").open("w", encoding="utf-8", newline="") as target:
            writer = csv.writer(target)
            for time_ms, close in zip(opened, table["close"], strict=True):
                writer.writerow([time_ms, close, close, close, close, 1, time_ms + 59_999, close, 1, 1, close, 0])
    shutil.copy(KLINES / "rules.json", folder)
    return folder


# --- ledgers ---------------------------------------------------------------------------------------------------------

Rows = list[dict[str, Any]]


def in_memory(folder: Path, recording: Path, settings: Mapping[str, str], pairs: str = "") -> dict[str, Rows]:
    """The same recording and settings through the services in this process; returns the ledger."""
    options = resolve(parse(["--recording", str(recording), *(["--pairs", pairs] if pairs else [])], {}))
    opened = open_recording(recording, Wanted(options.market, options.symbols))
    rules = parse_exchange_info(exchange_info(options.market, opened.rules.values(), 0), options.market)
    folder.mkdir(parents=True, exist_ok=True)
    offline = Offline({**pipeline_settings(options), **settings}, public_frames(opened.frames(), options.market), rules, folder)
    offline.run()
    offline.stop()
    return ledger(folder / "execution.db")


def ledger(path: Path) -> dict[str, Rows]:
    """What was decided and done: every row of every table, in each pair's own order."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    connection.row_factory = sqlite3.Row
    try:
        return {table: [_shown(row) for row in connection.execute(f"SELECT * FROM {table} ORDER BY pair, rowid")] for table in _TABLES}
    finally:
        connection.close()


def marks_so_far(path: Path) -> int:
    """How many bars a run has marked by now."""
    if not path.exists():
        return 0
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return int(connection.execute("SELECT count(*) FROM marks").fetchone()[0])
    except sqlite3.OperationalError:
        return 0
    finally:
        connection.close()


def _shown(row: sqlite3.Row) -> dict[str, Any]:
    # A row's number tells how the pairs took turns, which is not part of any decision.
    return {name: row[name] for name in row.keys() if name != "id"}  # noqa: SIM118 - a Row iterates over values
