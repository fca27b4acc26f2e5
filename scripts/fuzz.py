"""Throw random records at every topic of a running pipeline on a real broker, and count what becomes of them.

Five services and the exchange simulator run as processes. Every record thrown must end as a dead letter of each of its readers, or
be counted as one of a pair that is not traded; no service may end, all must be ready again soon after, and must still decide.
"""

import argparse
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path

# Run as a file, it finds its neighbours too.
if __package__ in {None, ""}:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import confluent_kafka

from common.errors import ConfigurationError, CryptoBotError
from common.io.kafka_settings import connection_settings, producer_settings
from scripts.bench.figures import EVERY_TICK, Case
from scripts.bench.looped import looped
from scripts.bench.pipeline import PARTITIONS, Pipeline, Plan
from scripts.bench.servers import broker
from scripts.embedded.options import ROOT
from scripts.embedded.plan import SERVICES
from scripts.poison.garbage import STRANGERS_DROPPED, expected, garbage

_RECORDING = ROOT / "data/ticks/usdm-20240808"
#: Longest wait for the next dead letter, for readiness beyond its memory, and for a decision.
_PATIENCE_S = 60.0
_LOOK_S = 1.0
_PROGRESS_RECORDS = 50_000
_COUNTER = re.compile(r"^(crypto_bot_dead_letters_total|crypto_bot_records_dropped_total)\{([^}]*)\} (\S+)$", re.MULTILINE)
_TOPIC = re.compile(r'(?:source|topic)="([^"]*)"')
_STRANGER = f'reason="{STRANGERS_DROPPED}"'

#: By service and topic.
Amounts = Counter[tuple[str, str]]


@dataclass
class Outcome:
    """What became of the records; `wrong` lists service, topic, expected and found."""

    records: int
    seed: int
    flood_s: float = 0.0
    handled_s: float = 0.0
    ready_again_s: float = 0.0
    dead_letters: int = 0
    dropped: int = 0
    unready: dict[str, str] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    decided_after: int = 0

    @property
    def passed(self) -> bool:
        """Whether all went as it must."""
        return not self.wrong and self.decided_after > 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m scripts.fuzz",
        description="Throw random records at every topic of a running pipeline, and count what becomes of them.",
        epilog="Exit status: 0 every record is accounted for and all services go on, 1 not so, 2 wrong usage.",
    )
    add = made.add_argument
    add("--records", type=int, default=20_000, metavar="N", help="records to throw (default 20000)")
    add("--seed", type=int, default=1, help="the same seed throws the same records (default 1)")
    add("--bootstrap", default="", metavar="HOST:PORT", help="Kafka brokers (default: KAFKA_BOOTSTRAP_SERVERS, else one of its own)")
    add("--base-port", type=int, default=18_500, help="first HTTP port of the services (default 18500)")
    add("--recording", type=Path, default=_RECORDING, help="folder of futures tick files of BTCUSDT and ETHUSDT, played meanwhile")
    add("--folder", type=Path, default=ROOT / "var/fuzz", help="for ledgers, logs and the lengthened recording (default var/fuzz)")
    add("--memory", type=int, default=60, metavar="SECONDS", help="DEAD_LETTER_MEMORY_SECONDS of the services (default 60)")
    add("--json", type=Path, metavar="FILE", help="write the outcome there")
    return made


def main(arguments: Sequence[str]) -> int:
    """Run it; returns the exit status."""
    options = parser().parse_args(arguments)
    if options.records < 1 or options.memory < 1:
        _say("--records and --memory must be at least 1")
        return 2
    try:
        with broker(options.bootstrap) as bootstrap:
            outcome = run(options, bootstrap)
    except ConfigurationError as error:
        _say(*error.problems)
        return 2
    except CryptoBotError as error:
        _say(str(error))
        return 1
    if options.json:
        options.json.write_text(json.dumps({**asdict(outcome), "passed": outcome.passed}, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write("\n".join(_report(outcome)) + "\n")
    return 0 if outcome.passed else 1


def run(options: argparse.Namespace, bootstrap: str) -> Outcome:
    """Start the pipeline, throw, count, wait until all is well; raises CryptoBotError when a process ends."""
    # Long enough for the slowest machine: the flood, its handling and what follows.
    seconds = 300 + options.records / 2000
    recording = looped(options.recording, options.folder / "recordings", seconds, _say)
    plan = Plan(bootstrap, recording, Case("1", EVERY_TICK), options.folder, options.base_port)
    outcome = Outcome(options.records, options.seed)
    with _pipeline(plan, options.memory) as pipeline:
        pipeline.play()
        _await("no decision on a tick", lambda: _decided(pipeline) > 0)
        before = _refused(pipeline)
        _throw(options, bootstrap, pipeline, outcome)
        _count(options, pipeline, before, outcome)
        _recover(options, pipeline, outcome)
    return outcome


def _pipeline(plan: Plan, memory_s: int) -> AbstractContextManager[Pipeline]:
    return Pipeline(plan._replace(settings={"DEAD_LETTER_MEMORY_SECONDS": str(memory_s)}), _say)


def _throw(options: argparse.Namespace, bootstrap: str, pipeline: Pipeline, outcome: Outcome) -> None:
    """As fast as the broker takes them."""
    settings = producer_settings(connection_settings(bootstrap, "fuzz")) | {"linger.ms": 5}
    producer = confluent_kafka.Producer(settings)
    began_s = time.monotonic()
    for number, record in enumerate(garbage(options.records, options.seed, PARTITIONS), start=1):
        _produce(producer, pipeline.prefix + record.topic.name, record.value, record.key, record.partition)
        if number % _PROGRESS_RECORDS == 0:
            pipeline.require_playing()
            _say(f"{number} of {options.records} records thrown, {time.monotonic() - began_s:.0f} s")
    if producer.flush(_PATIENCE_S):
        raise CryptoBotError("the broker does not take all records")
    outcome.flood_s = round(time.monotonic() - began_s, 1)


def _produce(producer: confluent_kafka.Producer, topic: str, value: bytes, key: str, partition: int) -> None:
    while True:
        try:
            producer.produce(topic, value, key.encode(), partition)
        except BufferError:
            producer.poll(0.1)
        else:
            producer.poll(0)
            return


def _count(options: argparse.Namespace, pipeline: Pipeline, before: tuple[Amounts, Amounts], outcome: Outcome) -> None:
    """Wait until as many records are set aside or dropped as must be, or no more are."""
    wanted = expected(options.records, options.seed, PARTITIONS)
    began_s = moved_s = time.monotonic()
    found: Amounts = Counter()
    while found != wanted and time.monotonic() - moved_s < _PATIENCE_S:
        _look(pipeline, outcome)
        letters, dropped = (now - earlier for now, earlier in zip(_refused(pipeline), before, strict=True))
        if letters + dropped != found:
            found, moved_s = letters + dropped, time.monotonic()
        outcome.dead_letters, outcome.dropped = letters.total(), dropped.total()
    outcome.handled_s = round(time.monotonic() - began_s, 1)
    # Services look at their counters once a second.
    for _ in range(2):
        _look(pipeline, outcome)
    places = sorted(wanted.keys() | found.keys())
    outcome.wrong = [
        f"{service}: {wanted[service, topic]} records of {topic}, {found[service, topic]} accounted for"
        for service, topic in places
        if wanted[service, topic] != found[service, topic]
    ]


def _look(pipeline: Pipeline, outcome: Outcome) -> None:
    time.sleep(_LOOK_S)
    pipeline.require_playing()
    outcome.unready |= pipeline.unready()


def _recover(options: argparse.Namespace, pipeline: Pipeline, outcome: Outcome) -> None:
    """All must be ready again, none ended, and ticks decided on."""
    began_s = time.monotonic()
    _await(lambda: f"not ready again: {pipeline.unready()}", lambda: not pipeline.unready(), options.memory + _PATIENCE_S)
    outcome.ready_again_s = round(time.monotonic() - began_s, 1)
    pipeline.require_playing()
    decided = _decided(pipeline)
    _await("no decision after the flood", lambda: _decided(pipeline) > decided)
    outcome.decided_after = _decided(pipeline) - decided


def _await(problem: str | Callable[[], str], condition: Callable[[], bool], patience_s: float = _PATIENCE_S) -> None:
    give_up_s = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > give_up_s:
            raise CryptoBotError(problem if isinstance(problem, str) else problem())
        time.sleep(_LOOK_S / 4)


def _decided(pipeline: Pipeline) -> int:
    """Ticks that execution has decided on since its start, as its histogram counts them."""
    return pipeline.metrics("execution-service").total("crypto_bot_tick_to_decision_seconds_count")


def _refused(pipeline: Pipeline) -> tuple[Amounts, Amounts]:
    """What was set aside so far, and what was dropped as a stranger's."""
    letters: Amounts = Counter()
    dropped: Amounts = Counter()
    for service in SERVICES:
        for name, labels, amount in _COUNTER.findall(pipeline.exposition(service)):
            into = letters if name == "crypto_bot_dead_letters_total" else dropped if _STRANGER in labels else None
            if into is not None and (match := _TOPIC.search(labels)):
                into[service, match[1]] += int(float(amount))
    return letters, dropped


def _report(outcome: Outcome) -> list[str]:
    unready: Mapping[str, str] = outcome.unready
    lines = [
        f"seed {outcome.seed}: {outcome.records} records thrown in {outcome.flood_s} s",
        f"{outcome.dead_letters} dead letters and {outcome.dropped} dropped, all counted {outcome.handled_s} s after the last record",
        *(f"unready meanwhile: {name}: {reason}" for name, reason in sorted(unready.items())),
        f"all ready again {outcome.ready_again_s} s later, {outcome.decided_after} ticks decided since",
        *(f"WRONG: {problem}" for problem in outcome.wrong),
    ]
    return [*lines, "fuzz: passed" if outcome.passed else "fuzz: FAILED"]


def _say(*lines: str) -> None:
    sys.stderr.write("".join(f"fuzz: {line}\n" for line in lines))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
