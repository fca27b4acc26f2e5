"""What a restart's figures mean."""

import json

import pytest

from scripts.bench.model_run import GARCH, KALMAN
from scripts.bench.restart import LATE_NS, Restart, caught_up_ns, main, medians, missed, stages

MS = 1_000_000


@pytest.mark.parametrize(
    ("waits_ms", "caught_up_ms"),
    [
        ([(100, 900), (500, 901), (850, 905), (890, 906)], 901),
        ([(100, 900), (500, 1200), (1090, 1250), (1200, 1201)], 1250),
        ([(100, 900), (500, 950), (2000, 2200)], 950),
        ([(0, 50), (900, 901)], 901),
    ],
    ids=["all late ones answered", "late while catching up", "late again later", "nothing late"],
)
def test_it_has_caught_up_when_nothing_late_is_unanswered(waits_ms: list[tuple[int, int]], caught_up_ms: int) -> None:
    """From the first answer on, the moment after which no input older than 100 ms waits; what is late again later is another matter."""
    assert LATE_NS == 100 * MS
    assert caught_up_ns([(asked * MS, answered * MS) for asked, answered in waits_ms], 800 * MS) == caught_up_ms * MS


def test_stages_are_read_from_the_log_of_the_new_process() -> None:
    """Seconds since its start; lines of the process before it, and what is no JSON, count for nothing."""
    lines = [("2026-01-01T00:00:00.000000Z", "started"), ("2026-01-01T00:00:02.500000Z", "connecting"), ("2026-01-01T00:00:03.000000Z", "states restored")]
    log = "\n".join(["no JSON", *(json.dumps({"ts": at, "event": event}) for at, event in lines)])
    assert stages(log, 1_767_225_602 * 10**9) == {"imports_s": 0.5, "restored_s": 1.0}


def test_medians_are_held_against_the_budgets() -> None:
    """Stage by stage, by service; what is over its budget is one line."""
    found = [Restart(KALMAN, 1, 2, 2.5, caught_up, 80) for caught_up in (2.0, 9.0, 3.5)] + [Restart(GARCH, 1, 2, 2.5, 2.9, 500)]
    assert medians(found) == [Restart(KALMAN, 1, 2, 2.5, 3.5, 80), Restart(GARCH, 1, 2, 2.5, 2.9, 500)]
    assert missed(medians(found)) == [f"{KALMAN}: caught up after 3.50 s, 3 s are allowed", f"{GARCH}: 500 MB, 450 are allowed"]


@pytest.mark.parametrize(("arguments", "status"), [(["--help"], 0), (["--runs", "0"], 2), (["--pears", "3"], 2)])
def test_usage(arguments: list[str], status: int) -> None:
    """--help ends well, wrong usage with 2."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == status
