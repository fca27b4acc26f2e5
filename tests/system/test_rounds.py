"""A recording that loops, in real processes."""

import signal
from functools import partial
from pathlib import Path

from scripts.sessions.ledgers import ledger
from tests.levels import all_level
from tests.system.demo import QUICK, TRACEBACK, Demo
from tests.system.ledgers import in_memory, marks_so_far, require_equal, through_session
from tests.system.recordings import cut_klines

BARS, PAIRS = 100, 2


def has_marked(demo: Demo, marks: int) -> bool:
    return marks_so_far(demo.ledger) >= marks


@all_level
def test_a_run_that_keeps_going_plays_round_after_round(tmp_path: Path) -> None:
    """With kills of the four consumers on the way, each round is the session that it is in memory; Ctrl-C ends the run well."""
    recording = cut_klines(tmp_path / "recording", BARS)
    with Demo(tmp_path / "run", ["--recording", str(recording), "--keep-going"], QUICK) as demo:
        for round_number, service in enumerate(("kalman-filter-service", "garch-volatility-service", "risk-manager-service", "execution-service")):
            demo.wait_until(partial(has_marked, demo, (2 * round_number + 1) * BARS // 2 * PAIRS), f"the middle of round {round_number + 1}")
            demo.kill(service)
        demo.wait_until(partial(has_marked, demo, 5 * BARS * PAIRS), "the end of the fifth round")
        demo.process.send_signal(signal.SIGINT)
        result = demo.result()
        assert demo.running() == []
    assert TRACEBACK not in result.output + result.errors
    # The restarts are its only problems.
    problems = [line for line in result.output.splitlines() if line.startswith("problem ")]
    assert len(problems) == 4, result
    assert all("was restarted 1 times" in line for line in problems), result
    expected = in_memory(tmp_path / "memory", recording, QUICK, rounds=5)
    require_equal(through_session(ledger(demo.ledger), 4), through_session(expected, 4))
