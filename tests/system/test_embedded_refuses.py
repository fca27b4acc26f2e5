"""What cannot work is refused in one clear line, with a status that says so, and nothing is left running."""

import gzip
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from scripts.embedded.plan import SERVICES
from tests.levels import all_level
from tests.system.demo import Demo, require_refusal
from tests.system.recordings import cut_klines, cut_ticks

PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00\x1f\x15\xc4\x89"


class Refusal(NamedTuple):
    """A way to start a run that cannot work, and words of the line that says so."""

    arguments: Callable[[Path], list[str]]
    says: tuple[str, ...]


def _file(folder: Path, name: str, content: bytes) -> list[str]:
    (folder / name).write_bytes(content)
    return ["--recording", name]


def _cut_off_ticks(folder: Path) -> list[str]:
    recording = cut_ticks(folder / "cut-off", 5)
    file = next(iter(sorted(recording.glob("*.gz"))))
    file.write_bytes(file.read_bytes()[:-2000])
    return ["--recording", "cut-off"]


def _cut_off_klines(folder: Path) -> list[str]:
    recording = cut_klines(folder / "cut-off", 30)
    file = next(iter(sorted(recording.glob("*.feather"))))
    file.write_bytes(file.read_bytes()[:-1000])
    return ["--recording", "cut-off"]


def _pictures(folder: Path) -> list[str]:
    """Foreign files beside good ones."""
    cut_klines(folder / "mixed", 30)
    (folder / "mixed" / "picture.feather").write_bytes(PNG)
    return ["--recording", "mixed"]


def _empty_folder(folder: Path) -> list[str]:
    (folder / "empty").mkdir()
    return ["--recording", "empty"]


REFUSALS = {
    "missing recording": Refusal(lambda _: ["--recording", "nowhere"], ("nowhere", "does not exist")),
    "empty file": Refusal(lambda folder: _file(folder, "empty.gz", b""), ("empty.gz", "is empty")),
    "empty gzip": Refusal(lambda folder: _file(folder, "nothing.gz", gzip.compress(b"")), ("nothing.gz", "is empty")),
    "empty folder": Refusal(_empty_folder, ("empty", "holds no recording")),
    "truncated ticks": Refusal(_cut_off_ticks, ("cut-off", "is cut off", "fetch it again")),
    "truncated klines": Refusal(_cut_off_klines, ("cut-off", "cut off")),
    "foreign file": Refusal(lambda folder: _file(folder, "BTCUSDT_1m.feather", PNG), ("BTCUSDT_1m.feather", "is no recording")),
    "foreign file among others": Refusal(_pictures, ("picture.feather", "is no recording")),
    "unknown symbol": Refusal(lambda _: ["--pairs", "PEPEUSDT-BTCUSDT"], ("PEPEUSDT", "is not in")),
    "kind that is not there": Refusal(lambda folder: ["--data", "ticks", "--recording", str(cut_klines(folder / "k", 5))], ("--data ticks", "klines")),
    "market that is not there": Refusal(lambda folder: ["--market", "spot", "--recording", str(cut_ticks(folder / "t", 2))], ("spot", "futures")),
    "wrong speed": Refusal(lambda _: ["--speed", "fast"], ("--speed", "fast")),
    "no pair": Refusal(lambda _: ["--pairs", "ETHUSDT"], ("--pairs", "ETHUSDT")),
    "unknown option": Refusal(lambda _: ["--frobnicate"], ("--frobnicate",)),
    "summary nowhere": Refusal(lambda _: ["--summary", "no/such/folder.json"], ("--summary", "no folder")),
}


#: One of each kind; the others need TEST_LEVEL=all.
ALWAYS = {"missing recording", "truncated ticks", "foreign file", "unknown symbol", "unknown option"}


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in ALWAYS else all_level) for name in REFUSALS])
def test_what_cannot_be_played_is_refused(name: str, tmp_path: Path) -> None:
    """Wrong usage and unusable recordings end at once with one clear line, status 2 and no process started."""
    refusal = REFUSALS[name]
    arguments = refusal.arguments(tmp_path)
    with Demo(tmp_path, arguments, {}) as demo:
        require_refusal(demo, *refusal.says)
        assert not demo.data.exists(), "it began before it had checked"


@pytest.fixture
def busy() -> Iterator[int]:
    """A base port at which another program has the execution-service's port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield int(listener.getsockname()[1]) - SERVICES["execution-service"][1]


def test_a_port_in_use_is_refused(busy: int, tmp_path: Path) -> None:
    """A port that another program listens on is named, and nothing is started."""
    with Demo(tmp_path, [], {}, base_port=busy) as demo:
        require_refusal(demo, str(busy + 3), "in use", "--base-port")
        assert not (demo.data / "logs").exists()


def test_a_data_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """A file where the run's folder should be is said in one line."""
    (tmp_path / "taken").write_bytes(b"")
    with Demo(tmp_path, [], {"DEMO_FOLDER": str(tmp_path / "taken" / "demo")}) as demo:
        require_refusal(demo, "taken", "cannot be written")


@all_level
def test_a_wrong_setting_of_a_service_is_told_in_one_line(tmp_path: Path) -> None:
    """Settings that services refuse end the run before it begins, all at once: variable, value and rule are on the screen."""
    with Demo(tmp_path, [], {"KALMAN_WARM_UP_BARS": "5", "ENTRY_Z_MIN": "-1", "BAR_INTERVAL_SECONDS": "0"}) as demo:
        require_refusal(demo, "KALMAN_WARM_UP_BARS='5'")
        for variable in ("ENTRY_Z_MIN='-1'", "BAR_INTERVAL_SECONDS='0'"):
            require_refusal(demo, variable)


@all_level
def test_a_kafka_that_is_not_there_is_told_in_one_line(tmp_path: Path) -> None:
    """An unreachable Kafka is named after a bounded wait, and nothing is left."""
    with Demo(tmp_path, [], {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}) as demo:
        require_refusal(demo, "127.0.0.1:1", "Kafka", status=1)
