"""How long a run goes on, and how it ends before it has begun."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.embedded import run as module
from scripts.embedded.run import Run
from tests.unit.embedded.example import finished_run, options


@pytest.mark.parametrize(
    ("changes", "profile", "decisions", "goes_on"),
    [
        ({"keep_going": True}, {}, 1, True),
        ({"keep_going": True}, {}, 0, False),
        ({"keep_going": True}, {"COST_MARGIN": "0"}, 0, True),
        ({"keep_going": True, "data": "ticks"}, {}, 0, True),
        ({"keep_going": False}, {}, 1, False),
    ],
)
def test_klines_that_were_not_traded_hand_over_to_the_demo_s_profile(
    changes: dict[str, Any], profile: dict[str, str], decisions: int, goes_on: bool, tmp_path: Path
) -> None:
    """Round after round is wanted where something is traded, or where nothing else would be tried."""
    run = Run(options(**changes), profile, tmp_path, lambda _: None, lambda _: None)
    run.tally.counts["decisions"] = decisions
    assert run._keeps_going() is goes_on


@pytest.mark.parametrize("told", [{"ended": False, "pending": 10}, {}])
def test_a_run_goes_on_until_ingestion_says_that_the_recording_is_over(told: dict[str, Any], tmp_path: Path) -> None:
    """The last bar is decided before ingestion's books are told to the end."""
    run = finished_run(tmp_path)
    assert run._has_ended()
    run.infos["ingestion-service"] = {**run.infos["ingestion-service"], "details": told}
    assert not run._has_ended()


@pytest.fixture
def ctrl_c_ignored() -> Iterator[None]:
    """As a shell leaves it to what it starts in the background."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c_ignored")
def test_ctrl_c_while_it_prepares_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is heard from the start on: no Kafka is sought any more."""
    said: list[str] = []
    monkeypatch.setattr(module, "require_free", lambda _: os.kill(os.getpid(), signal.SIGINT))
    run = Run(options(kafka="127.0.0.1:1"), {}, tmp_path, lambda _: None, said.append)
    run.execute()
    assert run.interrupted
    assert said == ["stopping"]
    assert run.processes == []
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
