"""What a run of faults is worth."""

import json
from typing import Any

from scripts.faults.results import Done, Outcome, as_json, judge, judge_all, last_line, lines_of, recovery_lines
from scripts.faults.schedule import CONSUMERS, Act, Fault, Feed, Kind, Story
from scripts.sessions.compare import Comparison, Difference

KALMAN = CONSUMERS[0]


def done(victim: str = KALMAN, in_flight: int | None = 5, recovered: float | None = 1.5, *, overlapped: bool = False) -> Done:
    return Done(Fault(1.0, Kind.KILL, victim), 1.1, recovered, in_flight, overlapped)


def outcome(*faults: Done, **changes: Any) -> Outcome:
    act = Act(1, Story.UNDISTURBED, Feed.KLINES, 15.0, tuple(each.fault for each in faults))
    good = [Comparison("hedge-ratios", equal=90, repeated=4), Comparison("ledger decisions", equal=7)]
    return Outcome(act, list(faults), **{"comparisons": good, "suppressed": {"execution-service: repeated": 3}, "frames": 100, "took_s": 20.0, **changes})


def test_a_good_act_has_nothing_against_it() -> None:
    """Equal, recovered, and hit while it worked."""
    good = outcome(done(), done(in_flight=0))
    assert judge(good) == []
    assert judge_all([good]) == []
    assert "4 records replayed, 3 suppressed" in lines_of(good)[0]
    assert lines_of(good)[-1] == "  equal to an undisturbed run: yes"


def test_what_differs_is_missing_or_never_came_back_is_a_problem() -> None:
    """Each is named."""
    difference = Difference("A-B bar 1", "beta", 1.0, 2.0)
    comparisons = [
        Comparison("hedge-ratios", equal=1, differing=2, differences=[difference]),
        Comparison("executions", equal=1, pending=3),
        Comparison("ledger decisions", equal=1),
    ]
    bad = outcome(done(recovered=None), comparisons=comparisons, problems=["garch-volatility-service ended by itself with status 1"])
    assert judge(bad) == [
        "garch-volatility-service ended by itself with status 1",
        "hedge-ratios: 2 differ",
        "executions: 3 were never published",
        f"kill -9 {KALMAN} at 1.1 s: no recovery",
    ]
    assert any("A-B bar 1: beta: 1.0 instead of 2.0" in line for line in lines_of(bad))
    assert lines_of(bad)[-1].endswith("no")


def test_a_run_without_decisions_or_an_act_without_comparison_proves_nothing() -> None:
    """Equality of nothing is no proof."""
    idle = outcome(done(), comparisons=[Comparison("hedge-ratios", equal=1, repeated=1), Comparison("ledger decisions")])
    assert judge_all([idle]) == ["nothing was decided, so nothing was proven"]
    assert judge_all([idle, outcome(done())]) == []
    assert judge(outcome(done(), comparisons=[])) == ["nothing was compared"]


def test_kills_that_hit_only_idle_moments_prove_nothing() -> None:
    """A victim needs one kill with work in flight, in whatever act; what could not be measured is none."""
    idle = outcome(done(in_flight=0), done(in_flight=None), done(CONSUMERS[1]))
    assert judge_all([idle]) == [f"every kill of {KALMAN} hit an idle moment"]
    assert judge_all([idle, outcome(done())]) == []
    silent = outcome(done(), comparisons=[Comparison("ledger decisions", equal=1)], suppressed={})
    assert judge_all([silent]) == ["no record was replayed or suppressed: the kills hit nothing"]


def test_recovery_is_told_by_victim() -> None:
    """Times that another fault fell into stand apart."""
    lines = recovery_lines([outcome(done(recovered=1.0), done(recovered=3.0), done(recovered=9.0, overlapped=True))])
    assert lines == [f"recovery of kill -9 {KALMAN}: median 2.0 s, longest 3.0 s of 2; with other faults in between: longest 9.0 s of 1"]


def test_the_last_line_names_seed_faults_and_verdict() -> None:
    """One line for those who read nothing else."""
    assert last_line(7, [outcome(done(), done(), done("redis"))], []) == f"chaos: seed 7, 3 faults (2 x kill -9 {KALMAN}, 1 x kill -9 redis), passed"
    assert last_line(7, [], ["no"]) == "chaos: seed 7, 0 faults (none), FAILED (1 problems)"


def test_the_result_is_json() -> None:
    """Programs get seed, verdict, times and everything that was counted."""
    found = json.loads(json.dumps(as_json(7, [outcome(done())], [])))
    assert (found["seed"], found["passed"], found["recovery_s"]) == (7, True, {f"kill -9 {KALMAN}": {"alone": [1.5], "overlapped": []}})
    (fault,) = found["acts"][0]["faults"]
    assert (fault["victim"], fault["in_flight"], fault["fault"]) == (KALMAN, 5, f"1.0 s  kill -9 {KALMAN}")
    assert found["acts"][0]["replayed"] == 4
