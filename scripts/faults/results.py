"""What an act found, and whether that is good: pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from scripts.faults.schedule import CONSUMERS, Act, Fault, Kind
from scripts.sessions.compare import Comparison


@dataclass(slots=True)
class Done:
    """A fault that was done."""

    fault: Fault
    #: When, and how long until the victim was ready and execution decided again; seconds, None while it has not.
    done_at_s: float
    recovered_after_s: float | None = None
    #: Records in flight at the moment of it; None where that could not be told.
    in_flight: int | None = None
    #: Whether another fault fell into the recovery.
    overlapped: bool = False


@dataclass(slots=True)
class Outcome:
    """What came of an act."""

    act: Act
    done: list[Done] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    #: Records that services dropped since they had seen them, by service and reason.
    suppressed: dict[str, int] = field(default_factory=dict)
    frames: int = 0
    bars: int = 0
    #: From the first fault's act to the end of the recording, as the pipeline saw it, seconds.
    took_s: float = 0.0

    @property
    def replayed(self) -> int:
        """Records that were published again."""
        return sum(each.repeated for each in self.comparisons if not each.name.startswith("ledger"))

    @property
    def suppressed_in_all(self) -> int:
        """Records that any service dropped since it had seen them."""
        return sum(self.suppressed.values())

    @property
    def decisions(self) -> int:
        """Rows of decisions that were compared."""
        return sum(each.equal + each.differing for each in self.comparisons if each.name == "ledger decisions")


def judge(outcome: Outcome) -> list[str]:
    """Everything that is wrong with an act; empty when it is good."""
    found = list(outcome.problems)
    found += [f"{each.name}: {each.differing} differ" for each in outcome.comparisons if each.differing]
    found += [f"{each.name}: {each.pending} were never published" for each in outcome.comparisons if each.pending]
    if not outcome.comparisons and not found:
        found.append("nothing was compared")
    found += [f"{each.fault.kind} {each.fault.victim} at {each.done_at_s:.1f} s: no recovery" for each in outcome.done if each.recovered_after_s is None]
    return found


def judge_all(outcomes: Sequence[Outcome]) -> list[str]:
    """What is wrong with the whole run, beyond the single acts: kills that hit only idle moments prove nothing."""
    kills = [each for outcome in outcomes for each in outcome.done if each.fault.kind is Kind.KILL and each.fault.victim in CONSUMERS]
    found = []
    for victim in dict.fromkeys(each.fault.victim for each in kills):
        measured = [each.in_flight for each in kills if each.fault.victim == victim and each.in_flight is not None]
        if not any(measured):
            found.append(f"every kill of {victim} hit an idle moment")
    if outcomes and not sum(outcome.decisions for outcome in outcomes):
        found.append("nothing was decided, so nothing was proven")
    if kills and not sum(outcome.replayed + outcome.suppressed_in_all for outcome in outcomes):
        found.append("no record was replayed or suppressed: the kills hit nothing")
    return found


def lines_of(outcome: Outcome) -> list[str]:
    """An act as text."""
    busy = sum(1 for each in outcome.done if each.in_flight)
    done = f"{outcome.frames} frames of {outcome.act.feed}, {outcome.bars} bars, {outcome.decisions} decisions in {outcome.took_s:.1f} s"
    hit = f"{len(outcome.done)} faults, {busy} with work in flight; {outcome.replayed} records replayed, {outcome.suppressed_in_all} suppressed"
    lines = [f"act {outcome.act.number}: {done}; {hit}"]
    for each in outcome.done:
        flight = "in flight unknown" if each.in_flight is None else f"{each.in_flight} in flight"
        back = (
            "no recovery" if each.recovered_after_s is None else f"recovered after {each.recovered_after_s:.1f} s{' (overlapped)' if each.overlapped else ''}"
        )
        lines.append(f"  {each.done_at_s:5.1f} s  {each.fault.kind} {each.fault.victim}: {flight}, {back}")
    lines += [
        f"  {each.name}: {one.place}: {one.field}: {one.recorded!r} instead of {one.replayed!r}" for each in outcome.comparisons for one in each.differences[:3]
    ]
    verdict = judge(outcome)
    return [*lines, *(f"  PROBLEM {problem}" for problem in verdict), f"  {outcome.act.story}: {'no' if verdict else 'yes'}"]


def recovery_lines(outcomes: Sequence[Outcome]) -> list[str]:
    """Median and longest time to recover, by victim; first of the faults that no other one fell upon."""
    lines = []
    times = recoveries(outcomes)
    for name, found in times.items():
        alone = f"median {median(found['alone']):.1f} s, longest {max(found['alone']):.1f} s of {len(found['alone'])}" if found["alone"] else "none"
        more = f"; with other faults in between: longest {max(found['overlapped']):.1f} s of {len(found['overlapped'])}" if found["overlapped"] else ""
        lines.append(f"recovery of {name}: {alone}{more}")
    return lines


def recoveries(outcomes: Sequence[Outcome]) -> dict[str, dict[str, list[float]]]:
    """Times to recover in seconds, by kind of fault and victim."""
    times: dict[str, dict[str, list[float]]] = {}
    for each in (each for outcome in outcomes for each in outcome.done):
        found = times.setdefault(f"{each.fault.kind} {each.fault.victim}", {"alone": [], "overlapped": []})
        if each.recovered_after_s is not None:
            found["overlapped" if each.overlapped else "alone"].append(round(each.recovered_after_s, 2))
    return dict(sorted(times.items()))


def last_line(seed: int, outcomes: Sequence[Outcome], problems: Sequence[str]) -> str:
    """Seed, faults, verdict."""
    faults = Counter(f"{each.fault.kind} {each.fault.victim}" for outcome in outcomes for each in outcome.done)
    told = ", ".join(f"{count} x {name}" for name, count in sorted(faults.items()))
    verdict = "passed" if not problems else f"FAILED ({len(problems)} problems)"
    return f"chaos: seed {seed}, {faults.total()} faults ({told or 'none'}), {verdict}"


def as_json(seed: int, outcomes: Sequence[Outcome], problems: Sequence[str]) -> dict[str, Any]:
    """The result for programs."""
    acts = [_act_as_json(outcome) for outcome in outcomes]
    return {"seed": seed, "passed": not problems, "problems": list(problems), "recovery_s": recoveries(outcomes), "acts": acts}


def _act_as_json(outcome: Outcome) -> dict[str, Any]:
    act = outcome.act
    return {
        "act": act.number,
        "story": act.story,
        "feed": act.feed,
        "faults": [{**each.fault._asdict(), **asdict(each), "fault": str(each.fault).strip()} for each in outcome.done],
        "compared": [asdict(each) for each in outcome.comparisons],
        "suppressed": outcome.suppressed,
        "replayed": outcome.replayed,
        "decisions": outcome.decisions,
        "frames": outcome.frames,
        "bars": outcome.bars,
        "took_s": outcome.took_s,
        "problems": judge(outcome),
    }
