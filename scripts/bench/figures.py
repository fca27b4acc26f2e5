"""What the figures of a bench mean: percentiles of counts, medians of runs, budgets, tables."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, NamedTuple

from services.execution.latency import percentile

FLAT_OUT = "max"
EVERY_TICK, CONFLATED = "every-tick", "conflated"
MODES = (EVERY_TICK, CONFLATED)
#: Percentiles by their names in the report.
SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}

#: How long a bar takes to play, s.
BAR_WALL_S = 2.0
#: A tick counts as held when the wait for its risk signal alone takes as long as p99 may. The first tick of every bar waits
#: some milliseconds by design: its frame is what closes the bar that the signal is of.
HELD_MS = 8.0

Counts = Mapping[int, int]


def counted_between(before: Counts, after: Counts) -> dict[int, int]:
    """What was added to a digest between two looks at its counts."""
    return {bucket: grown for bucket, count in after.items() if (grown := count - before.get(bucket, 0))}


def percentiles(counts: Counts) -> dict[str, float]:
    """The report's percentiles, ms."""
    return {name: round(percentile(counts, share), 3) for name, share in SHARES.items()}


@dataclass(frozen=True, slots=True)
class Measured:
    """One run of the pipeline: what happened within the window that counts."""

    seconds: float
    frames: int
    ticks: int
    bars: int
    #: Ticks that execution had in hand for longer than HELD_MS, and all that waited for a risk signal.
    held_ticks: int
    waited_ticks: int
    skipped_bars: int
    #: To enter or leave, since the start.
    decisions: int
    end_to_end_ms: Mapping[str, float]
    hops_ms: Mapping[str, Mapping[str, float]]
    cpu_percent: Mapping[str, float]
    rss_mb: Mapping[str, float]
    #: Records there and not yet read, at both ends of the window.
    lag_before: Mapping[str, int]
    lag_after: Mapping[str, int]
    #: Mean size of a record between two services, bytes.
    record_bytes: int


class Case(NamedTuple):
    """What is run: how fast, and whether every tick is decided on."""

    speed: str
    mode: str

    @property
    def bar_s(self) -> int:
        """Length of a bar, s of event time: BAR_WALL_S of a clock's, and the default where nobody knows how fast it goes."""
        return 60 if self.speed == FLAT_OUT else max(1, round(BAR_WALL_S * float(self.speed)))

    def __str__(self) -> str:
        return f"{'flat out' if self.speed == FLAT_OUT else self.speed + 'x'}, {self.mode}"


def middle(rows: Sequence[Mapping[str, float]], digits: int = 3) -> dict[str, float]:
    """The median of each figure over several runs."""
    return {name: round(median(row[name] for row in rows), digits) for name in rows[0]} if rows else {}


def report_of(case: Case, runs: Sequence[Measured], relays: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """One entry of the report: medians over the runs of a case, beside those of the relay."""
    pipeline, relay = middle([run.end_to_end_ms for run in runs]), middle(relays)
    return {
        "speed": case.speed if case.speed == FLAT_OUT else float(case.speed),
        "mode": case.mode,
        "frames_per_s": round(median(run.frames / run.seconds for run in runs), 1),
        "pipeline_ms": pipeline,
        "relay_ms": relay,
        "ratio": {name: round(pipeline[name] / relay[name], 2) if relay.get(name) else None for name in ("p50", "p99")},
        "held_ticks": sum(run.held_ticks for run in runs),
        "skipped_bars": sum(run.skipped_bars for run in runs),
        "decisions": min(run.decisions for run in runs),
        "cpu_percent": middle([run.cpu_percent for run in runs], 1),
        "rss_mb": {name: max(run.rss_mb[name] for run in runs) for name in runs[0].rss_mb},
        "hops_ms": {hop: middle([run.hops_ms[hop] for run in runs]) for hop in runs[0].hops_ms},
        "waited_ticks": sum(run.waited_ticks for run in runs),
        "ticks": sum(run.ticks for run in runs),
        "ticks_per_s": round(median(run.ticks / run.seconds for run in runs), 1),
        "bars": sum(run.bars for run in runs),
        "lag_growth": {name: round(median(run.lag_after[name] - run.lag_before[name] for run in runs)) for name in runs[0].lag_after},
        "record_bytes": round(median(run.record_bytes for run in runs)),
        "repeats": len(runs),
        "seconds": round(sum(run.seconds for run in runs), 1),
        "runs_ms": [dict(run.end_to_end_ms) for run in runs],
    }


# --- budgets ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Budget:
    """Most that a case may take; None where nothing is promised."""

    p99_ms: float
    p50_ms: float | None = None
    ratios: Mapping[str, float] = field(default_factory=dict)
    rare: bool = False


BUDGETS: Mapping[tuple[str, str], Budget] = {
    ("1", EVERY_TICK): Budget(8, 1.5, {"p50": 2.0, "p99": 3.0}, rare=True),
    ("1", CONFLATED): Budget(5, 1.2, {"p50": 1.6, "p99": 2.0}, rare=True),
    **{("5", mode): Budget(10) for mode in MODES},
    **{("10", mode): Budget(20) for mode in MODES},
    # What is decided on is no older than this, however fast frames come.
    **{(FLAT_OUT, mode): Budget(100) for mode in MODES},
}
MEMORY_MB = {
    "ingestion-service": 150,
    "kalman-filter-service": 150,
    "garch-volatility-service": 450,
    "risk-manager-service": 450,
    "execution-service": 250,
}
#: Held ticks and skipped bars, as a share of all.
MOST_RARE = 0.001
#: A lag that has grown by less than what comes in this time has not grown, seconds.
LAG_NOISE_S = 0.25


def missed(run: Mapping[str, Any]) -> list[str]:
    """Which budgets an entry of the report misses, in words."""
    case = Case(run["speed"] if run["speed"] == FLAT_OUT else f"{run['speed']:g}", run["mode"])
    budget = BUDGETS.get(case)
    found = list(_over_memory(run["rss_mb"]))
    if not run["decisions"]:
        found.append(f"{case}: nothing was traded in one of the runs, so the models may not have been ready; give it a longer --warm-up")
    if budget:
        found += [*_over(budget, run), *_too_often(budget, run)]
    if case.speed != FLAT_OUT:
        most = LAG_NOISE_S * run["ticks_per_s"] + 10
        found += [f"the lag of {name} has grown by {grown} records" for name, grown in run["lag_growth"].items() if grown > most]
    return [f"{case}: {text}" for text in found]


def _over(budget: Budget, run: Mapping[str, Any]) -> Iterable[str]:
    for name, most in (("p50", budget.p50_ms), ("p99", budget.p99_ms)):
        if most is not None and not run["pipeline_ms"][name] <= most:
            yield f"{name} {run['pipeline_ms'][name]} ms is over {most:g} ms"
    for name, most in budget.ratios.items():
        ratio = run["ratio"][name]
        if ratio is not None and ratio > most:
            yield f"{name} is {ratio} times the relay's, over {most:g}"


def _too_often(budget: Budget, run: Mapping[str, Any]) -> Iterable[str]:
    for count, whole, what in (
        ("held_ticks", "ticks", "ticks were held for longer than 8 ms"),
        ("skipped_bars", "bars", "bars went on without their risk signal"),
    ):
        if budget.rare and run[count] > MOST_RARE * run[whole]:
            yield f"{run[count]} of {run[whole]} {what}, over {MOST_RARE:.1%}"


def _over_memory(rss_mb: Mapping[str, float]) -> Iterable[str]:
    for name, most in MEMORY_MB.items():
        if rss_mb.get(name, 0) > most:
            yield f"{name} takes {rss_mb[name]:g} MB, over {most} MB"


# --- tables ----------------------------------------------------------------------------------------------------------


def speed_text(speed: Any) -> str:
    """A speed as people say it."""
    return "flat out" if speed == FLAT_OUT else f"{speed:g}x"


def _short(value: float | None) -> str:
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


_COLUMNS: Sequence[tuple[str, Callable[[Mapping[str, Any]], str]]] = (
    ("speed", lambda run: speed_text(run["speed"])),
    ("mode", lambda run: str(run["mode"])),
    ("frames/s", lambda run: f"{run['frames_per_s']:.0f}"),
    ("ticks/s", lambda run: f"{run['ticks_per_s']:.0f}"),
    *((name, lambda run, name=name: _short(run["pipeline_ms"].get(name))) for name in SHARES),
    *((f"relay {name}", lambda run, name=name: _short(run["relay_ms"].get(name))) for name in ("p50", "p99", "p999")),
    *((f"ratio {name}", lambda run, name=name: _short(run["ratio"][name])) for name in ("p50", "p99")),
    ("held", lambda run: f"{run['held_ticks']} of {run['ticks']}"),
    ("waited", lambda run: str(run["waited_ticks"])),
    ("skipped", lambda run: f"{run['skipped_bars']} of {run['bars']}"),
)


def latency_rows(runs: Iterable[Mapping[str, Any]]) -> list[list[str]]:
    """From the socket to the decision, ms: a heading and a row a case."""
    return [[name for name, _ in _COLUMNS], *([cell(run) for _, cell in _COLUMNS] for run in runs)]


def hop_rows(runs: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Where the time goes, p50 / p99 ms: a heading and a row a case."""
    hops = list(runs[0]["hops_ms"]) if runs else []
    heading = ["speed", "mode", *hops]
    return [heading, *([speed_text(run["speed"]), run["mode"], *(_both(run["hops_ms"][hop]) for hop in hops)] for run in runs)]


def _both(figures: Mapping[str, float]) -> str:
    return f"{_short(figures['p50'])} / {_short(figures['p99'])}"


def process_rows(runs: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """CPU of one core and memory per process: a heading and a row a case."""
    names = list(runs[0]["cpu_percent"]) if runs else []
    heading = ["speed", "mode", *names]
    return [
        heading,
        *([speed_text(run["speed"]), run["mode"], *(f"{run['cpu_percent'][name]:.0f} % {run['rss_mb'][name]:.0f} MB" for name in names)] for run in runs),
    ]


def plain(rows: Sequence[Sequence[str]]) -> str:
    """A table for a terminal."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table for a page."""
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
