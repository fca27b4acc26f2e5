"""The embedded run's own way from a command line to an exit status."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from common.errors import ConfigurationError, CryptoBotError
from scripts.embedded import __main__ as module
from scripts.embedded.options import Options
from scripts.embedded.plan import DEMO_PROFILE
from scripts.embedded.run import Run
from scripts.embedded.tally import Tally
from tests.unit.embedded.example import PAIR, finished_run, mark


class Stage:
    """Stands in for real runs; notes the profile of each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.profiles: list[Mapping[str, str]] = []
        self.idle_runs = 0
        self.error: BaseException | None = None
        self.interrupted = False

    def run(self, options: Options, profile: Mapping[str, str], *_: object) -> Run:
        """A finished run instead of one that starts."""
        made = finished_run(self.folder)
        made.options = options._replace(pairs=made.options.pairs)
        if len(self.profiles) < self.idle_runs:
            made.tally = Tally(made.options.pairs)
            made.tally.add(mark(PAIR, 1, blocking_gate="cost"))
            made.tally.open_bars.clear()
        self.profiles.append(profile)
        made.execute = self._execute  # type: ignore[method-assign]
        made.interrupted = self.interrupted
        return made

    def _execute(self) -> None:
        if self.error:
            raise self.error


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """No process is started."""
    made = Stage(tmp_path)
    monkeypatch.setattr(module, "Run", made.run)
    return made


def test_a_run_that_trades_is_the_only_one(stage: Stage, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Default settings, status 0, and the summary in the file."""
    assert module.main(["--summary", str(tmp_path / "summary.json")]) == 0
    assert stage.profiles == [{}]
    assert json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))["profile"] == "default settings"
    assert "DEMO PROFILE" not in capsys.readouterr().out


def test_klines_without_a_trade_are_played_again_with_the_demo_profile(stage: Stage, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The label is in the file and on the screen, with every changed value, and so is the gate that blocked before."""
    stage.idle_runs = 1
    assert module.main(["--summary", str(tmp_path / "summary.json")]) == 0
    assert stage.profiles == [{}, DEMO_PROFILE]
    label = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))["profile"]
    assert label.startswith("DEMO PROFILE")
    assert all(f"{name}={value}" in label for name, value in DEMO_PROFILE.items())
    assert "default     no trade: entries were blocked, at the last tick of each bar, by: cost (1 bars)" in capsys.readouterr().out


def test_ticks_without_a_trade_say_why_and_that_is_all(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    """No second run."""
    stage.idle_runs = 1
    assert module.main(["--data", "ticks"]) == 0
    assert stage.profiles == [{}]
    assert "by: cost (1 bars)" in capsys.readouterr().out


@pytest.mark.parametrize("way", ["failed", "interrupted"])
def test_a_run_that_did_not_come_to_its_end_is_not_repeated(way: str, stage: Stage) -> None:
    """After a failure or Ctrl-C there is no second run."""
    stage.idle_runs = 1
    stage.interrupted = way == "interrupted"
    stage.error = CryptoBotError("execution-service ended with status 1") if way == "failed" else None
    assert module.main([]) == (1 if way == "failed" else 0)
    assert stage.profiles == [{}]


def test_a_failed_part_is_status_1_and_a_line(stage: Stage, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The summary is written all the same, with the failure among its problems."""
    stage.error = CryptoBotError("the simulator did not start to play (HTTP 0)")
    assert module.main(["--summary", str(tmp_path / "summary.json")]) == 1
    assert json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))["problems"] == ["the simulator did not start to play (HTTP 0)"]
    assert "problem     the simulator did not start to play (HTTP 0)" in capsys.readouterr().out


def test_a_wrong_configuration_is_status_2_and_its_lines(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    """Every problem is a line on stderr; there is no summary."""
    stage.error = ConfigurationError(["port 8003 is in use", "port 8004 is in use"])
    assert module.main([]) == 2
    said = capsys.readouterr()
    assert said.err.splitlines() == ["demo: port 8003 is in use", "demo: port 8004 is in use"]
    assert "recording" not in said.out


def test_an_unusable_recording_starts_nothing(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    """The refusal comes before any run."""
    assert module.main(["--recording", "no/such/recording"]) == 2
    assert stage.profiles == []
    assert len(capsys.readouterr().err.splitlines()) == 1
