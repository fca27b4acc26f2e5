"""How long a killed model service takes from the start of its process until it has caught up, on a real broker.

python -m scripts.bench.restart                               100 pairs, three kills of each service
python -m scripts.bench.restart --runs 5 --json restart.json --check

One replica of each; its name, host and port, is that of before, so the group gives it its partitions back at once. Both first
work through the bars that are there, with full windows at the default; then a feed of 100 pairs plays, three ticks and a close a second each. A
service is killed with SIGKILL and started again at once; it has caught up when no input older than 100 ms is unanswered.
A bar lasts a second here, so fits are put off: a hundred pairs ask for theirs at the same bar, which takes seconds to make.
Where the time went is read from its log: until it had its imports, its clients, and the states of its pairs.

Exit status: 0 measured, 1 a run failed or, with --check, a budget was missed, 2 wrong usage.
"""

import argparse
import json
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

if __name__ == "__main__" and not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from common.errors import ConfigurationError, CryptoBotError
from common.messages import BarClose
from common.processor import Position
from common.topics import HEDGE_RATIOS, VOLATILITY_THRESHOLDS
from scripts.bench.answers import Answers, Place
from scripts.bench.model_run import GARCH, KALMAN, ModelRun, Plan, model_run, pair_names, wait_until
from scripts.bench.replicas import Replica
from scripts.bench.resources import commit, machine, usage_of
from scripts.bench.servers import broker
from scripts.embedded.options import ROOT

TICKS_A_BAR = 3
#: An input that waits for longer than this is late.
LATE_NS = 100_000_000
#: Played before a kill, and watched after it, seconds.
BEFORE_S, AFTER_S = 5.0, 60.0
BUDGET_S = 3.0
BUDGET_MB = {KALMAN: 150.0, GARCH: 450.0}
OUTPUT_OF = {KALMAN: HEDGE_RATIOS, GARCH: VOLATILITY_THRESHOLDS}
#: Lines of a service's log, and what is over with each.
STAGES = {"connecting": "imports_s", "started": "connected_s", "states restored": "restored_s"}


class Restart(NamedTuple):
    """One kill: seconds from the start of the process to the end of each stage, and resident memory with child processes."""

    service: str
    imports_s: float
    connected_s: float
    restored_s: float
    caught_up_s: float
    rss_mb: float


def caught_up_ns(waits: Sequence[tuple[int, int]], began_ns: int) -> int:
    """The first moment after an answer since `began_ns` at which nothing late is unanswered; a wait is when an input was asked and answered."""
    waits = sorted(waits)
    at_ns = min(answered_ns for _, answered_ns in waits if answered_ns >= began_ns)
    for asked_ns, answered_ns in waits:
        if asked_ns + LATE_NS > at_ns:
            break
        at_ns = max(at_ns, answered_ns)
    return at_ns


def stages(log: str, began_ns: int) -> dict[str, float]:
    """Seconds from the start of the process to the stages that its log tells of."""
    found: dict[str, float] = {}
    for line in log.splitlines():
        entry = json.loads(line) if line.startswith("{") else {}
        after_s = (datetime.fromisoformat(entry["ts"]).timestamp() * 1e9 - began_ns) / 1e9 if entry else -1.0
        if after_s >= 0 and (stage := STAGES.get(entry["event"])):
            found.setdefault(stage, round(after_s, 3))
    return found


def restart(run: ModelRun, replica: Replica) -> Restart:
    """Kill and start again while the feed plays, and watch until it has caught up."""
    time.sleep(BEFORE_S)
    rss_mb = usage_of(replica.pid).rss_mb
    topic = OUTPUT_OF[replica.service]
    ends = run.transport.end_offsets(topic)
    first = max(0, len(run.feed.sent) - 2 * (TICKS_A_BAR + 1) * len(run.plan.pairs))
    replica.signal(signal.SIGKILL)
    wait_until(lambda: not replica.is_running, f"the end of {replica.service}")
    killed_ns = time.time_ns()
    began_ns = time.time_ns()
    replica.restart()
    answers, reader = Answers(topic), run.transport.reader([Position(topic, number, end) for number, end in ends.items()])
    give_up_at = time.monotonic() + AFTER_S
    caught_ns: int | None = None
    while caught_ns is None:
        for record in reader.poll(0.1):
            answers.add(record)
        caught_ns = _caught_up(dict(_asked(run, replica.service, first)), answers, killed_ns, began_ns)
        if time.monotonic() > give_up_at:
            raise CryptoBotError(f"{replica.service} had not caught up after {AFTER_S:g} s: {replica.log.splitlines()[-1]}")
    reader.close()
    seconds = stages(replica.log, began_ns)
    return Restart(replica.service, **{name: seconds.get(name, 0.0) for name in STAGES.values()}, caught_up_s=(caught_ns - began_ns) / 1e9, rss_mb=rss_mb)


def _asked(run: ModelRun, service: str, first: int) -> Iterator[tuple[Place, int]]:
    """When the inputs from a place in the feed on were written, by what their answers are known by."""
    for message in run.feed.sent[first:]:
        at_ns = run.feed.sent_at_ns[message.pair, message.seq]
        if service == KALMAN:
            yield (message.pair, message.seq), at_ns
        elif isinstance(message, BarClose):
            yield (message.pair, message.bar), at_ns


def _caught_up(asked: Mapping[Place, int], answers: Answers, killed_ns: int, began_ns: int) -> int | None:
    """When it was, once inputs from after the kill are answered; None before."""
    answered = answers.sent_at_ns
    waits = [(at_ns, answered.get(place, 2**63)) for place, at_ns in asked.items() if place in answered or at_ns > killed_ns]
    if not any(began_ns <= answered_ns < 2**63 for _, answered_ns in waits):
        return None
    at_ns = caught_up_ns(waits, began_ns)
    return at_ns if at_ns < 2**63 else None


def measure(options: argparse.Namespace, bootstrap: str) -> list[Restart]:
    """All kills, of the two services in turns."""
    plan = Plan(pair_names(options.pairs), TICKS_A_BAR, options.bars, {"GARCH_REFIT_BARS": str(options.refit_bars), "GARCH_FIT_DELAY_BARS": "30"})
    with model_run(bootstrap, plan) as run:
        replicas = [run.add(service) for service in (KALMAN, GARCH)]
        say(f"working through {options.bars} bars of {options.pairs} pairs ...")
        run.begin()
        found = []
        for number in range(1, options.runs + 1):
            for replica in replicas:
                found.append(restart(run, replica))
                say(f"run {number}: {line_of(found[-1])}")
        run.feed.stop()
        return found


def line_of(measured: Restart) -> str:
    """One restart in words."""
    service, imports, connected, restored, caught_up, rss_mb = measured
    return (
        f"{service:26}imports {imports:5.2f} s, connected {connected:5.2f} s, states {restored:5.2f} s, caught up {caught_up:5.2f} s; "
        f"{rss_mb:.0f} MB before the kill"
    )


def medians(found: Sequence[Restart]) -> list[Restart]:
    """The median restart of each service, stage by stage."""
    by_service = {service: [each[1:] for each in found if each.service == service] for service in OUTPUT_OF}
    return [Restart(service, *(median(column) for column in zip(*rows, strict=True))) for service, rows in by_service.items() if rows]


def missed(found: Sequence[Restart]) -> list[str]:
    """Budgets that medians miss; one line each."""
    slow = [f"{each.service}: caught up after {each.caught_up_s:.2f} s, {BUDGET_S:g} s are allowed" for each in found if each.caught_up_s > BUDGET_S]
    return slow + [f"{each.service}: {each.rss_mb:.0f} MB, {BUDGET_MB[each.service]:g} are allowed" for each in found if each.rss_mb > BUDGET_MB[each.service]]


def main(arguments: Sequence[str]) -> int:
    """Measure; returns the exit status."""
    options = _parser().parse_args(arguments)
    about = machine()
    say(f"{about['cpu']}, {about['cores']} cores, Python {about['python']}, load before {about['load_before']}, commit {commit(ROOT)}")
    try:
        with broker(options.bootstrap) as bootstrap:
            found = measure(options, bootstrap)
    except ConfigurationError as error:
        sys.stderr.write("".join(f"restart: {problem}\n" for problem in error.problems))
        return 2
    except CryptoBotError as error:
        sys.stderr.write(f"restart: {error}\n")
        return 1
    say(*(f"median: {line_of(each)}" for each in medians(found)), *missed(medians(found)))
    if options.json:
        _write(options.json, {"restarts": [each._asdict() for each in found], "pairs": options.pairs, "machine": about, "commit": commit(ROOT)})
    return 1 if options.check and missed(medians(found)) else 0


def say(*lines: str) -> None:
    """Write lines at once."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def _write(file: Path, report: Mapping[str, Any]) -> None:
    file.write_text(json.dumps({"at": datetime.now(UTC).isoformat(timespec="seconds"), **report}, indent=2) + "\n", encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m scripts.bench.restart", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = made.add_argument
    add("--bootstrap", default="", metavar="HOST:PORT", help="broker (default: KAFKA_BOOTSTRAP_SERVERS, else one of its own from ../shared/rehearsal)")
    add("--pairs", type=_positive, default=100, help="how many (default 100)")
    add("--bars", type=_positive, default=1050, help="there from the start (default 1050, which fills every window)")
    add("--refit-bars", type=_positive, default=5000, help="bars from one fit of a pair to the next (default 5000)")
    add("--runs", type=_positive, default=3, help="kills of each service (default 3)")
    add("--json", type=Path, metavar="FILE", help="write the figures there")
    add("--check", action="store_true", help="status 1 when a median misses its budget: 3 s, 150 MB for the filter, 450 MB for the volatility service")
    return made


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: must be at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
