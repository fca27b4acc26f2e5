"""The summary of a run."""

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from scripts.embedded.options import ROOT
from scripts.embedded.plan import SERVICES
from scripts.embedded.run import Run
from scripts.embedded.summary import lines_of, shown_path, summarise, what_it_did, why_no_trade
from tests.unit.embedded.example import PAIR, SUMMARY_KEYS, dead_letter, finished_run, mark


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run in which all went well."""
    return finished_run(tmp_path)


def test_the_keys_are_those_that_were_promised(run: Run) -> None:
    """Exactly these, for each service and for the latency, too."""
    summary = summarise(run, "default settings")
    assert list(summary) == SUMMARY_KEYS
    assert set(summary["tick_to_decision_ms"]) == {"p50", "p99", "max"}
    assert set(summary["services"]) >= set(SERVICES)
    assert all(set(service) == {"restarts", "rss_mb", "messages"} for service in summary["services"].values())


def test_a_run_that_has_seen_nothing_has_every_key_too(tmp_path: Path) -> None:
    """Whatever failed, the file keeps its shape and is JSON."""
    failed = finished_run(tmp_path)
    empty = Run(failed.options, {}, tmp_path, lambda _: None, lambda _: None)
    empty.problems.append("the simulator did not start to play (HTTP 0)")
    summary = summarise(empty, "default settings")
    assert list(summary) == SUMMARY_KEYS
    assert json.loads(json.dumps(summary)) == summary
    assert summary["problems"] == ["the simulator did not start to play (HTTP 0)"]
    assert lines_of(summary, empty)


def test_a_good_run_has_no_problem_and_says_what_it_did(run: Run) -> None:
    """Counts come from the messages, the books from ingestion, the latency from execution."""
    summary = summarise(run, "default settings")
    assert summary["problems"] == []
    assert (summary["frames"], summary["ticks"], summary["dead_letters"], summary["ignored"], summary["conflated"]) == (10, 6, 1, 3, 0)
    assert (summary["bars"], summary["bars_by_model"], summary["bars_without_signal"]) == (4, {"EWMA": 4}, 0)
    assert (summary["decisions"], summary["orders"], summary["fills"], summary["round_trips"], summary["rejected"]) == (1, 1, 1, 1, 0)
    assert summary["tick_to_decision_ms"] == {"p50": 1.5, "p99": 7.0, "max": 9.0}
    assert summary["services"]["kalman-filter-service"] == {"restarts": 0, "rss_mb": 70.5, "messages": 100}
    assert summary["frames"] == summary["ticks"] + summary["conflated"] + summary["dead_letters"] + summary["ignored"]


def test_net_is_the_sum_of_what_is_shown(run: Run) -> None:
    """Amounts are rounded to the cent before they are added, so a reader can check the sum."""
    summary = summarise(run, "default settings")
    parts = [Decimal(str(summary[name])) for name in ("gross_pnl_usd", "fees_usd", "funding_usd")]
    assert sum(parts) == Decimal(str(summary["net_pnl_usd"]))
    assert summary["fees_usd"] == -2.0
    assert summary["funding_usd"] == -0.5


def amend_books(run: Run, **changes: int) -> None:
    """Let ingestion say something else."""
    info = run.infos["ingestion-service"]
    run.infos["ingestion-service"] = {**info, "details": {**info["details"], **changes}}


def restarted(run: Run) -> None:
    """A service crashed once."""
    run.processes[3].restarts = 1


def unbalanced(run: Run) -> None:
    """A frame went missing."""
    amend_books(run, frames=11)


def without_signal(run: Run) -> None:
    """risk-manager owes an answer."""
    run.tally.add(mark(PAIR, 3))


def broken_recording(run: Run) -> None:
    """The recording was damaged further on."""
    run.simulator = {**run.simulator, "problem": "RECORDING=x: is cut off after line 7"}


def set_aside(run: Run) -> None:
    """A record could not be applied further on."""
    run.tally.add(dead_letter(service="garch-volatility-service"))


def failed(run: Run) -> None:
    """Something on the way raised."""
    run.problems.append("not ready after 90 s: garch-volatility-service")


@pytest.mark.parametrize(
    ("goes_wrong", "says"),
    [
        (restarted, "garch-volatility-service was restarted 1 time"),
        (unbalanced, "11 frames, 10 accounted for"),
        (without_signal, "1 bars got no risk signal"),
        (broken_recording, "is cut off after line 7"),
        (set_aside, "garch-volatility-service"),
        (failed, "not ready after 90 s"),
    ],
)
def test_what_went_wrong_is_one_problem_and_one_line(goes_wrong: Callable[[Run], None], says: str, run: Run) -> None:
    """The file and the screen both say it."""
    goes_wrong(run)
    summary = summarise(run, "default settings")
    assert len(summary["problems"]) == 1
    assert says in summary["problems"][0]
    assert sum(says in line for line in lines_of(summary, run)) == 1


def test_the_books_are_those_of_the_frames(run: Run) -> None:
    """A frame of two pairs is set aside for both though its dead letter is one; a later service's is no frame."""
    amend_books(run, frames=11, dead_letters=2)
    set_aside(run)
    summary = summarise(run, "default settings")
    assert summary["dead_letters"] == 2
    assert summary["frames"] == summary["ticks"] + summary["conflated"] + summary["dead_letters"] + summary["ignored"]


def test_a_run_that_was_ended_by_its_user_owes_nothing(run: Run) -> None:
    """Ctrl-C in the middle of a bar, with frames in hand, is no failure."""
    run.interrupted = True
    without_signal(run)
    amend_books(run, frames=13, pending=3)
    assert summarise(run, "default settings")["problems"] == []


def test_the_screen_names_the_profile_and_the_money(run: Run) -> None:
    """A reader sees which settings made which profit."""
    text = "\n".join(lines_of(summarise(run, "DEMO PROFILE (COST_MARGIN=0)"), run))
    assert "DEMO PROFILE (COST_MARGIN=0)" in text
    assert "fees -2.00" in text
    assert "1 round trips" in text
    assert "no trades" not in text


def test_a_run_without_a_round_trip_says_which_gate_blocked(tmp_path: Path) -> None:
    """The most frequent gate comes first."""
    idle = Run(finished_run(tmp_path).options, {}, tmp_path, lambda _: None, lambda _: None)
    assert why_no_trade(idle) == "no bar came far enough to be judged"
    for bar, gate in enumerate(("cost", "entry-z", "cost"), start=1):
        idle.tally.add(mark(PAIR, bar, blocking_gate=gate))
    assert why_no_trade(idle).endswith("cost (2 bars), entry-z (1 bars)")
    assert what_it_did(idle) == f"no trade: {why_no_trade(idle)}"
    assert any(line.startswith("no trades") and "cost (2 bars)" in line for line in lines_of(summarise(idle, "default settings"), idle))


def test_paths_of_the_project_are_shown_relative() -> None:
    """The same summary on every machine for what ships."""
    assert shown_path(ROOT / "data/klines/usdm-20250510") == "data/klines/usdm-20250510"
    assert shown_path(Path("/elsewhere/ticks")) == "/elsewhere/ticks"
