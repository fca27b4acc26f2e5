"""Whether the pipeline stays as it is over a long run: memory, open files, lag.

python -m scripts.bench.soak --minutes 10 --speed 2 --json soak.json
python -m scripts.bench.soak --hours 8
python -m scripts.bench.soak --table soak.json --page docs/performance.md      put a report of before into the page

The exchange simulator plays a recording, again and again, as a live feed to the five services on a real broker.
Exit status: 0 steady, 1 something grows or the run failed, 2 wrong usage. The last line is the verdict.
"""

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__" and not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from common.errors import ConfigurationError, CryptoBotError
from scripts.bench.figures import EVERY_TICK, Case, markdown, percentiles, plain
from scripts.bench.looped import looped
from scripts.bench.page import put
from scripts.bench.pipeline import Pipeline, Plan
from scripts.bench.places import add_places
from scripts.bench.resources import commit, machine
from scripts.bench.servers import broker
from scripts.bench.steady import LEAST_SAMPLES, Sample, rows_of, trend_of, verdict
from scripts.embedded.options import ROOT

#: How often what has been sampled is told, and how far apart samples are: many in a short run, not too many in a long one.
_TELL_S = 60.0
_SAMPLES = 200
_SHORTEST_S, _LONGEST_S = 1.0, 30.0

Samples = dict[str, list[Sample]]


def soak(pipeline: Pipeline, warm_up_s: float, seconds: float, say: Callable[[str], None]) -> Samples:
    """Play, and sample every process from the end of the warm-up on."""
    pipeline.play()
    time.sleep(warm_up_s)
    samples: Samples = {}
    began_s = told_s = time.monotonic()
    step_s = min(_LONGEST_S, max(_SHORTEST_S, seconds / _SAMPLES))
    while (at_s := time.monotonic() - began_s) < seconds:
        pipeline.require_playing()
        _take(pipeline, at_s, samples)
        if time.monotonic() - told_s >= _TELL_S:
            told_s = time.monotonic()
            say(", ".join(f"{name.partition('-')[0]} {rows[-1].rss_mb:.0f} MB lag {rows[-1].lag}" for name, rows in samples.items()))
        time.sleep(max(0.0, began_s + at_s + step_s - time.monotonic()))
    return samples


def _take(pipeline: Pipeline, at_s: float, samples: Samples) -> None:
    lag = pipeline.lag()
    for name, usage in pipeline.usage().items():
        samples.setdefault(name, []).append(Sample(at_s, usage.rss_mb, usage.files, lag.get(name, 0)))


def run(options: argparse.Namespace, say: Callable[[str], None]) -> dict[str, Any]:
    """Soak, and make the report."""
    seconds = options.hours * 3600 + options.minutes * 60
    recording = looped(options.recording, options.folder / "recordings", (seconds + options.warm_up + 30) * options.speed, say)
    about = machine()
    with broker(options.bootstrap) as bootstrap:
        plan = Plan(bootstrap, recording, Case(f"{options.speed:g}", EVERY_TICK), options.folder, options.base_port)
        with Pipeline(plan, say) as pipeline:
            samples = soak(pipeline, options.warm_up, seconds, say)
            latency_ms = percentiles(pipeline.latency()["end_to_end"])
    if (found := min(map(len, samples.values()), default=0)) < LEAST_SAMPLES:
        raise CryptoBotError(f"only {found} samples: soak for longer")
    trends = {name: trend_of(rows) for name, rows in samples.items()}
    line, problems = verdict(trends)
    processes = {name: trend._asdict() for name, trend in trends.items()}
    return {
        "verdict": line,
        "problems": problems,
        "processes": processes,
        "latency_ms": latency_ms,
        "speed": options.speed,
        "seconds": seconds,
        "samples": found,
        "machine": about,
    }


def shown(report: Mapping[str, Any], *, as_markdown: bool) -> str:
    """The report for people."""
    about = report["machine"]
    head = (
        f"{about['cpu']}, {about['cores']} cores, load before {about['load_before']}; commit {report['commit'] or 'unknown'}, {report['at']}; "
        f"{report['command']}: {report['seconds'] / 60:g} minutes at {report['speed']:g}x, {report['samples']} samples"
    )
    latency = ", ".join(f"{name} {value:g}" for name, value in report["latency_ms"].items())
    draw = markdown if as_markdown else plain
    return "\n\n".join([head, draw(rows_of(report["processes"])), f"From the socket to the decision, warm-up included: {latency} ms"])


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m scripts.bench.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = made.add_argument
    add_places(made, base_port=18250)
    add("--hours", type=float, default=0.0)
    add("--minutes", type=float, default=0.0, help="added to the hours")
    add("--speed", type=float, default=2.0, help="times real time (default 2)")
    add("--warm-up", type=float, default=60.0, metavar="SECONDS", help="before the first sample (default 60)")
    add("--json", type=Path, metavar="FILE", help="write the report there")
    add("--table", type=Path, metavar="FILE", help="run nothing, show this report")
    add("--markdown", action="store_true", help="the table in Markdown")
    add("--page", type=Path, metavar="FILE", help="put the table and the verdict into this page, such as docs/performance.md")
    return made


def main(arguments: Sequence[str]) -> int:
    """Soak or show; returns the exit status."""
    made = parser()
    options = made.parse_args(arguments)
    if not options.table and (options.hours + options.minutes <= 0 or options.speed <= 0 or options.warm_up < 0):
        made.error("give --hours or --minutes above 0, and a --speed above 0")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    began_s = time.monotonic()
    try:
        report = _old(options.table) if options.table else run(options, lambda text: _say(began_s, text)) | _origin(arguments)
    except ConfigurationError as error:
        sys.stderr.write("".join(f"{problem}\n" for problem in error.problems))
        return 2
    except (CryptoBotError, OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if options.page:
        put(options.page, "soak", "\n\n".join([shown(report, as_markdown=True), *report["problems"], report["verdict"]]))
    sys.stdout.write("\n".join([shown(report, as_markdown=options.markdown), *report["problems"], report["verdict"], ""]))
    return 1 if report["problems"] else 0


def _old(path: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return report


def _say(began_s: float, text: str) -> None:
    sys.stderr.write(f"{time.monotonic() - began_s:6.0f} s  {text}\n")


def _origin(arguments: Sequence[str]) -> dict[str, str]:
    return {
        "commit": commit(ROOT),
        "at": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "command": " ".join(["python -m scripts.bench.soak", *arguments]),
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
