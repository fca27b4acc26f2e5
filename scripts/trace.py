"""One frame's way through all services, by the id that decisions, orders and log lines carry as `trace_id`.

scripts/trace.py 18cb5d1f2a3b4c5d
scripts/trace.py 18cb5d1f2a --pair ETHUSDT-BTCUSDT --json
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# Run as a file, it finds its neighbours, and none of them is taken for a module of Python's.
if __package__ in {None, ""}:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import msgspec

from common.errors import ConfigurationError, TransportError
from common.settings import Settings, load
from scripts.traces.ids import Span, span_of, time_text
from scripts.traces.shown import lines
from scripts.traces.topics import Search, TraceTopics
from scripts.traces.way import document, ways

_DEFAULT_BROKER = "127.0.0.1:9092"
_EPILOG = """\
The times are in the headers of the records in Kafka: a service's two are when it had a record in hand and when it sent what came
of it (execution-service: when it began to commit). The clocks are those of the machines that the services run on.

Where to find an id: `trace_id` in the log lines of decisions, orders and fills (scripts/deploy.sh logs), in execution-service's
/orders and /pairs/PAIR/explain, and in the columns trace_id of its ledger.

exit status: 0 found, 1 not found, ambiguous or Kafka is away, 2 wrong usage or settings"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="scripts/trace.py",
        description="Show one tick's way through all services, with times, and what was decided on it.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("id", metavar="ID", help="the trace's 16 hexadecimal digits, or as many of the first as only it begins with")
    made.add_argument("--pair", default="", help="this pair alone; a frame counts for every pair that has its symbol")
    made.add_argument("--within", type=float, default=60.0, metavar="SECONDS", help="how long after the read to look for what came of it (default 60)")
    made.add_argument("--bootstrap", metavar="HOST:PORT", help=f"Kafka brokers (default: KAFKA_BOOTSTRAP_SERVERS, else {_DEFAULT_BROKER})")
    made.add_argument("--prefix", help="prefix of the topics (default: TOPIC_PREFIX)")
    made.add_argument("--json", action="store_true", help="one JSON document instead of lines")
    return made


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Look for a trace and show it; returns the exit status."""
    options = parser().parse_args(arguments)
    given = {"KAFKA_BOOTSTRAP_SERVERS": options.bootstrap, "TOPIC_PREFIX": options.prefix}
    try:
        span = span_of(options.id)
        chosen = {"KAFKA_BOOTSTRAP_SERVERS": _DEFAULT_BROKER, **environment, **{name: value for name, value in given.items() if value is not None}}
        settings = load(Settings, chosen)
    except (ConfigurationError, ValueError) as error:
        return _complain(str(error), 2)
    try:
        topics = TraceTopics(settings)
        try:
            return _show(options, span, topics.search(span, options.within))
        finally:
            topics.close()
    except (ConfigurationError, TransportError) as error:
        return _complain(str(error), 1)


def _show(options: argparse.Namespace, span: Span, search: Search) -> int:
    if len(search.ids) != 1:
        return _complain(_none(options.id, span, search) if not search.ids else _several(options.id, search.ids), 1)
    found = [way for way in ways(search.own, search.executions) if options.pair in {"", way.pair}]
    if not found:
        pairs = sorted({way.pair for way in ways(search.own, search.executions)})
        return _complain(f"trace {search.ids[0]} is of {', '.join(pairs)}, not of {options.pair}", 1)
    shown = document(search.own[0].trace, found)
    return _say_json(shown) if options.json else _say(lines(shown))


def _none(written: str, span: Span, search: Search) -> str:
    """Why nothing was found, as far as that can be told."""
    read_at = f"a frame read at {time_text(span.first_ns)}" if span.last_ns == span.first_ns else f"frames read from {time_text(span.first_ns)} on"
    if search.oldest_tick_ms is None:
        return f"no trace {written}: the topics are empty"
    oldest = time_text(search.oldest_tick_ms * 1_000_000)
    if span.last_ns < search.oldest_tick_ms * 1_000_000:
        return f"no trace {written}: that names {read_at}, and retention has left ticks from {oldest} on only"
    return f"no trace {written}: that names {read_at}, of which no record is there (ticks are kept from {oldest} on); is it an id of this system?"


def _several(written: str, ids: Sequence[str]) -> str:
    return f"{written} is ambiguous, say more digits; among others there are {', '.join(ids)}"


def _say(shown: Any) -> int:
    sys.stdout.writelines(f"{line}\n" for line in shown)
    return 0


def _say_json(shown: Any) -> int:
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(shown), indent=2).decode() + "\n")
    return 0


def _complain(problem: str, status: int) -> int:
    sys.stderr.write("".join(f"trace: {line}\n" for line in problem.splitlines()))
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
