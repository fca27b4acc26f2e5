"""How long the pipeline takes from the socket to the decision, on a real broker, beside a bare relay at the same rate and size.

python -m scripts.bench.latency                                       all speeds and modes, three runs each, about 70 minutes
python -m scripts.bench.latency --speeds 1 --modes every-tick --json latency.json --check
python -m scripts.bench.latency --table latency.json --page docs/performance.md      put a report of before into the page

The exchange simulator plays a recording as a live feed to the five services, each a process of its own.
Exit status: 0 measured, 1 a run failed or, with --check, a budget was missed, 2 wrong usage.
"""

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__" and not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from common.errors import ConfigurationError, CryptoBotError
from scripts.bench.figures import (
    FLAT_OUT,
    HELD_MS,
    MODES,
    Case,
    Measured,
    counted_between,
    hop_rows,
    latency_rows,
    markdown,
    missed,
    percentiles,
    plain,
    process_rows,
    report_of,
)
from scripts.bench.looped import looped
from scripts.bench.page import put
from scripts.bench.pipeline import Pipeline, Plan
from scripts.bench.places import add_places
from scripts.bench.resources import commit, machine
from scripts.bench.servers import SCHED_RR, broker, relay_script, require_sched_rr, run_relay
from scripts.embedded.options import ROOT
from services.execution.latency import longer_than

SPEEDS = ("1", "5", "10", FLAT_OUT)
#: Played per second of a run: times real time at a given speed; flat out, more than any machine here has reached.
_FLAT_OUT_SPEED = 100.0
#: More single sends a second than this no relay here can make.
_RELAY_MOST_PER_S = 5000.0


def measure(pipeline: Pipeline, warm_up: float, seconds: float) -> Measured:
    """Play, and measure what happens after the warm-up."""
    pipeline.play()
    time.sleep(warm_up)
    ingestion, execution, lag_before = pipeline.metrics("ingestion-service"), pipeline.metrics("execution-service"), pipeline.lag()
    usage, began_s = pipeline.usage(), time.monotonic()
    latency = pipeline.latency()
    time.sleep(seconds)
    latency_after, lasted_s = pipeline.latency(), time.monotonic() - began_s
    usage_after = pipeline.usage()
    pipeline.require_playing()
    lag_after, ingestion_after, execution_after = pipeline.lag(), pipeline.metrics("ingestion-service"), pipeline.metrics("execution-service")
    shown = {name: percentiles(counted_between(latency[name], counts)) for name, counts in latency_after.items()}
    return Measured(
        seconds=lasted_s,
        frames=ingestion_after.total("crypto_bot_frames_total") - ingestion.total("crypto_bot_frames_total"),
        ticks=sum(counted_between(latency["end_to_end"], latency_after["end_to_end"]).values()),
        bars=ingestion_after.total("crypto_bot_bars_closed_total") - ingestion.total("crypto_bot_bars_closed_total"),
        held_ticks=longer_than(counted_between(latency["execution"], latency_after["execution"]), HELD_MS),
        waited_ticks=execution_after.total("crypto_bot_records_held_total") - execution.total("crypto_bot_records_held_total"),
        decisions=execution_after.total("crypto_bot_decisions_total"),
        skipped_bars=execution_after.total("crypto_bot_holds_expired_total") - execution.total("crypto_bot_holds_expired_total"),
        end_to_end_ms=shown.pop("end_to_end"),
        hops_ms=shown,
        cpu_percent={name: 100 * (after.cpu_s - usage[name].cpu_s) / lasted_s for name, after in usage_after.items()},
        rss_mb={name: round(after.rss_mb, 1) for name, after in usage_after.items()},
        lag_before=lag_before,
        lag_after=lag_after,
        record_bytes=pipeline.record_bytes(),
    )


def run_case(case: Case, options: argparse.Namespace, bootstrap: str, say: Callable[[str], None]) -> dict[str, Any]:
    """Pipeline and relay in turns; the report's entry of the case."""
    played_s = (options.warm_up + options.seconds + 10) * (_FLAT_OUT_SPEED if case.speed == FLAT_OUT else float(case.speed))
    recording = looped(options.recording, options.folder / "recordings", played_s, say)
    script, launcher = None if options.no_relay else relay_script(), _launcher(options)
    runs, relays = [], []
    for number in range(1, options.runs + 1):
        with Pipeline(Plan(bootstrap, recording, case, options.folder, options.base_port, launcher=launcher), say) as pipeline:
            run = measure(pipeline, options.warm_up, options.seconds)
        runs.append(run)
        say(f"{case}, run {number}: " + _in_words(run.end_to_end_ms) + f", {run.frames / run.seconds:.0f} frames/s, {run.ticks / run.seconds:.0f} ticks/s")
        if script:
            rate = min(_RELAY_MOST_PER_S, max(1.0, run.ticks / run.seconds))
            relays.append(run_relay(script, bootstrap, rate=rate, record_bytes=run.record_bytes, seconds=options.seconds, launcher=launcher))
            say(f"{case}, relay {number}: " + _in_words(relays[-1]))
    return report_of(case, runs, relays)


def _launcher(options: argparse.Namespace) -> Sequence[str]:
    return SCHED_RR if options.sched_rr else ()


def _in_words(figures: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in figures.items()) + " ms"


def run_all(options: argparse.Namespace, say: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """All cases, one after the other."""
    with broker(options.bootstrap, _launcher(options)) as bootstrap:
        for speed in options.speeds:
            for mode in options.modes:
                yield run_case(Case(speed, mode), options, bootstrap, say)


def tables(report: Mapping[str, Any], *, as_markdown: bool) -> str:
    """The report for people."""
    runs, draw = report["runs"], markdown if as_markdown else plain
    about = report["machine"]
    head = (
        f"{about['cpu']}, {about['cores']} cores, {about['memory_gb']} GB, {about['system']}, Python {about['python']}, load before {about['load_before']}; "
        f"commit {report['commit'] or 'unknown'}, {report['at']}; {report['command']}"
    )
    titles = ("From the socket to the decision, ms", "Where it goes, p50 / p99 ms", "CPU of one core and resident memory")
    parts = [f"{title}:\n\n{draw(rows(runs))}" for title, rows in zip(titles, (latency_rows, hop_rows, process_rows), strict=True)]
    return "\n\n".join([head, *parts])


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m scripts.bench.latency", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = made.add_argument
    add_places(made, base_port=18200)
    add("--speeds", type=_listed(SPEEDS), default=SPEEDS, help=f"comma separated, default {','.join(SPEEDS)}")
    add("--modes", type=_listed(MODES), default=MODES, help=f"comma separated, default {','.join(MODES)}")
    add("--seconds", type=float, default=30.0, help="that count, a run (default 30)")
    add("--warm-up", type=float, default=90.0, metavar="SECONDS", help="before them: models begin after 40 bars of two seconds (default 90)")
    add("--runs", type=int, default=3, help="of each case; the report has their medians (default 3)")
    add("--sched-rr", action="store_true", help="all but garch-volatility in the scheduling class SCHED_RR; a broker that is given is left as it is")
    add("--no-relay", action="store_true", help="leave the relay out, and so the ratios")
    add("--json", type=Path, metavar="FILE", help="write the report there")
    add("--check", action="store_true", help="status 1 when a budget is missed")
    add("--table", type=Path, metavar="FILE", help="run nothing, show this report")
    add("--markdown", action="store_true", help="tables in Markdown")
    add("--page", type=Path, metavar="FILE", help="put the tables into this page, such as docs/performance.md")
    return made


def _listed(known: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    def parse(text: str) -> tuple[str, ...]:
        found = tuple(part.strip() for part in text.split(","))
        if unknown := [part for part in found if part not in known]:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: choose from {', '.join(known)}")
        return found

    return parse


def main(arguments: Sequence[str]) -> int:
    """Measure or show; returns the exit status."""
    made = parser()
    options = made.parse_args(arguments)
    if options.runs < 1 or options.seconds <= 0 or options.warm_up < 0:
        made.error("--runs and --seconds must be above 0, --warm-up not below")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        report = json.loads(options.table.read_text(encoding="utf-8")) if options.table else _measured(options, arguments)
    except ConfigurationError as error:
        sys.stderr.write("".join(f"{problem}\n" for problem in error.problems))
        return 2
    except (CryptoBotError, OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if options.page:
        put(options.page, "latency-sched-rr" if options.sched_rr else "latency", tables(report, as_markdown=True))
    sys.stdout.write(tables(report, as_markdown=options.markdown) + "\n")
    problems = [problem for run in report["runs"] for problem in missed(run)]
    sys.stdout.write("".join(f"missed: {problem}\n" for problem in problems) or "all budgets are met\n")
    return 1 if options.check and problems else 0


def _measured(options: argparse.Namespace, arguments: Sequence[str]) -> dict[str, Any]:
    """Measure, and write the report after each case, so that a run that is broken off has left something."""
    if options.sched_rr:
        require_sched_rr()
    began_s = time.monotonic()

    def say(text: str) -> None:
        sys.stderr.write(f"{time.monotonic() - began_s:6.0f} s  {text}\n")

    report: dict[str, Any] = {
        "runs": [],
        "machine": machine(),
        "commit": commit(ROOT),
        "at": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "command": " ".join(["python -m scripts.bench.latency", *arguments]),
    }
    for entry in run_all(options, say):
        report["runs"].append(entry)
        if options.json:
            options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    report["machine"]["load_after"] = round(os.getloadavg()[0], 2)
    return report


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
