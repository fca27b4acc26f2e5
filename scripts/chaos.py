"""Real processes on a real Kafka under faults drawn from a seed, and the proof that none of them changed a decision.

Each act plays a recording through the whole pipeline while services are killed, the broker and Redis go and come back and the
exchange hangs up. An act that leaves ingestion alone must leave what an undisturbed run in memory gives; one that does not must
leave what a replay of its `ticks` gives, every message and every row of the ledger.
"""

import argparse
import json
import logging
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event

# Run as a file, it finds its neighbours too.
if __package__ in {None, ""}:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.errors import ConfigurationError, CryptoBotError
from common.io.kafka_settings import LOGGER
from scripts.embedded.options import ROOT
from scripts.embedded.plan import SIMULATOR_PORT_OFFSET
from scripts.faults.act import ActRun, Stopped
from scripts.faults.results import Outcome, as_json, judge, judge_all, last_line, lines_of, recovery_lines
from scripts.faults.schedule import Act, draw
from scripts.faults.servers import OwnBroker, OwnRegistry, free_ports
from scripts.faults.stage import Stage, make_folder

PASSED, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m scripts.chaos",
        description="Run the pipeline in real processes on a real Kafka under faults drawn from a seed, and compare what comes of it.",
        epilog="Exit status: 0 passed, 1 a difference, an idle schedule or a part that failed, 2 wrong usage.",
    )
    add = made.add_argument
    add("--minutes", type=_positive, default=1.0, metavar="N", help="minutes of faults (default 1); starts, ends and proofs come on top")
    add("--seed", type=int, default=1, metavar="S", help="seed of the schedule (default 1)")
    add("--bootstrap", metavar="HOST:PORT", help="a running Kafka; it is then left alone (default: one of its own, which is stopped and killed too)")
    add("--folder", type=Path, default=ROOT / "var" / "chaos", metavar="DIR", help="where logs and databases go (default var/chaos); emptied first")
    add("--json", type=Path, metavar="FILE", help="write the result there")
    add("--plan", action="store_true", help="print the schedule and end")
    return made


def main(arguments: Sequence[str]) -> int:
    """Exit status: 0 passed, 1 failed, 2 wrong usage."""
    asked = parser().parse_args(arguments)
    acts = draw(asked.seed, asked.minutes, with_broker=not asked.bootstrap)
    _say(f"chaos: seed {asked.seed}, {asked.minutes:g} minutes")
    for act in acts:
        _say(str(act), *(f"  {fault}" for fault in act.faults))
    if asked.plan:
        return PASSED
    stopping = Event()
    # That the broker is away is no news here.
    LOGGER.setLevel(logging.CRITICAL)
    try:
        with _listening(stopping):
            outcomes = perform(acts, asked, stopping)
    except ConfigurationError as error:
        sys.stderr.write("".join(f"chaos: {problem}\n" for problem in error.problems))
        return USAGE
    except Stopped:
        _say("chaos: stopped")
        return INTERRUPTED
    except CryptoBotError as error:
        sys.stderr.write(f"chaos: {error}\n")
        return FAILED
    return conclude(asked.seed, outcomes, asked.json)


def perform(acts: Sequence[Act], asked: argparse.Namespace, stopping: Event) -> list[Outcome]:
    """Play all acts; raises Stopped when the user ends it."""
    folder = asked.folder.absolute()
    make_folder(folder)
    with ExitStack() as stack:
        broker = None if asked.bootstrap else _own_broker(folder, stack)
        registry = OwnRegistry({"PYTHONPATH": str(ROOT)}, folder / "redis.log")
        stack.callback(registry.kill)
        registry.start()
        registry.wait_up(stopping)
        stage = Stage(
            bootstrap=broker.bootstrap if broker else asked.bootstrap,
            broker=broker,
            registry=registry,
            folder=folder,
            base_port=free_ports(SIMULATOR_PORT_OFFSET + 1),
            stopping=stopping,
            say=_say,
        )
        outcomes = []
        for act in acts:
            _say(f"act {act.number} begins")
            outcomes.append(ActRun(act, stage).play())
            _say(*lines_of(outcomes[-1]))
        return outcomes


def conclude(seed: int, outcomes: Sequence[Outcome], file: Path | None) -> int:
    """Say what it was worth; returns the exit status."""
    problems = [f"act {outcome.act.number}: {problem}" for outcome in outcomes for problem in judge(outcome)]
    overall = judge_all(outcomes)
    _say(*recovery_lines(outcomes), *(f"PROBLEM {problem}" for problem in overall))
    problems += overall
    if file:
        file.write_text(json.dumps(as_json(seed, outcomes, problems), indent=2, default=str) + "\n", encoding="utf-8")
    _say(last_line(seed, outcomes, problems))
    return FAILED if problems else PASSED


def _own_broker(folder: Path, stack: ExitStack) -> OwnBroker:
    broker = OwnBroker(folder / "broker")
    stack.callback(broker.close)
    _say(f"starting Kafka on {broker.bootstrap}")
    broker.start()
    return broker


@contextmanager
def _listening(stopping: Event) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the run where it waits next, and everything that it has started."""
    before = {number: signal.signal(number, lambda *_: stopping.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value <= 24 * 60:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1440")
    return value


def _say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
