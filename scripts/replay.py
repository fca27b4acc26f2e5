"""Run a recorded session again from Kafka and compare: every message, and the ledger, must come out the same.

It reads `ticks`, and what is no function of them (commands, holds that expired, the marks that a live bar was closed on), runs
kalman-filter, garch-volatility, risk-manager and execution over them in memory, and compares what they say with what was
recorded. Settings come from the environment, as for the services, or from a file.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

# Run as a file, it finds its neighbours too.
if __package__ in {None, ""}:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.errors import ConfigurationError, TransportError
from common.io.exchange import ExchangeClient
from common.io.kafka import KafkaTransport
from common.io.kafka_security import security_settings
from common.processor import Transport
from common.rules import SymbolRules
from common.settings import load
from scripts.offline import Offline
from scripts.sessions.compare import Comparison, compare_ledgers, compare_messages, table_of
from scripts.sessions.ledgers import ledger
from scripts.sessions.progress import Progress
from scripts.sessions.recorded import OUTPUTS, Session, lasting, read_session, rules_of_recording
from scripts.sessions.rerun import rerun
from services.execution.ledger import LEDGER_FILE
from services.execution.settings import ExecutionSettings

EQUAL, DIFFERS, USAGE = 0, 1, 2
_CONNECT_TIMEOUT_S = 15.0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m scripts.replay",
        description="Run a recorded session again from Kafka and compare every message, and the ledger, with what was recorded.",
        epilog="Settings are the services' own, from the environment or --env; they must be those of the session. "
        "Exit status: 0 equal, 1 something differs, 2 wrong usage or nothing that can be compared.",
    )
    add = made.add_argument
    add("--bootstrap", metavar="HOST:PORT", help="Kafka brokers (default: KAFKA_BOOTSTRAP_SERVERS)")
    add("--prefix", help="prefix of the session's topics (default: TOPIC_PREFIX)")
    add("--env", type=Path, metavar="FILE", help="settings of the session, a line NAME=value each; they win over the environment")
    add("--ledger", type=Path, metavar="FILE", help="execution's ledger, compared table by table")
    add("--recording", type=Path, metavar="PATH", help="recording that was played: its symbols' rules are used; else the venue is asked for them")
    add("--json", type=Path, metavar="FILE", help="write the result there")
    add("--differences", type=int, default=5, metavar="N", help="differences shown of each topic and table (default 5)")
    return made


def main(arguments: Sequence[str]) -> int:
    """Exit status: 0 equal, 1 something differs, 2 wrong usage or nothing that can be compared."""
    asked = parser().parse_args(arguments)
    try:
        environment = settings_of(asked, os.environ)
        comparisons = replay(asked, environment)
    except ConfigurationError as error:
        sys.stderr.write("".join(f"replay: {problem}\n" for problem in error.problems))
        return USAGE
    except TransportError as error:
        sys.stderr.write(f"replay: {error}\n")
        return USAGE
    except KeyboardInterrupt:
        return 130
    sys.stdout.write("".join(f"{line}\n" for line in report(comparisons, asked.differences)))
    if asked.json:
        asked.json.write_text(json.dumps(as_json(comparisons), indent=2, default=str) + "\n", encoding="utf-8")
    return EQUAL if is_equal(comparisons) else DIFFERS


def settings_of(asked: argparse.Namespace, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment, then the file, then the command line; raises ConfigurationError for a file that cannot be read."""
    given = {"KAFKA_BOOTSTRAP_SERVERS": asked.bootstrap, "TOPIC_PREFIX": asked.prefix}
    return {**environment, **(read_environment(asked.env) if asked.env else {}), **{name: value for name, value in given.items() if value is not None}}


def read_environment(path: Path) -> dict[str, str]:
    """Read lines of NAME=value; empty ones and those that begin with # say nothing."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError([f"--env {path}: cannot be read ({error})"]) from error
    said = [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip() and not line.lstrip().startswith("#")]
    if wrong := [number for number, line in said if "=" not in line]:
        raise ConfigurationError([f"--env {path}: line {number} is not NAME=value" for number in wrong])
    return {name.strip(): value.strip() for name, _, value in (line.partition("=") for _, line in said)}


def replay(asked: argparse.Namespace, environment: Mapping[str, str]) -> list[Comparison]:
    """Read, run and compare."""
    settings = load(ExecutionSettings, environment)
    if asked.ledger and not asked.ledger.exists():
        raise ConfigurationError([f"--ledger {asked.ledger}: does not exist"])
    rules = _rules(asked.recording, settings)
    transport = KafkaTransport(settings.kafka_bootstrap_servers, client_id="replay", topic_prefix=settings.topic_prefix, security=security_settings(settings))
    progress = Progress("replay")
    try:
        transport.connect(_CONNECT_TIMEOUT_S)
        return replay_from(transport, environment, rules, asked.ledger, progress)
    finally:
        progress.end()
        transport.close()


def replay_from(
    transport: Transport, environment: Mapping[str, str], rules: Mapping[str, SymbolRules], ledger_file: Path | None, progress: Progress | None = None
) -> list[Comparison]:
    """Replay the session that a broker holds; raises ConfigurationError when there is none."""
    tell = progress or Progress("replay", silent=True)
    session = read_session(transport, tell.tell)
    recorded_ledger = ledger(ledger_file) if ledger_file else None
    with tempfile.TemporaryDirectory(prefix="replay-") as folder:
        again = rerun(session, environment, rules, Path(folder), lambda handled: tell.tell(f"running again: {handled} records handled"))
        again.stop()
        comparisons = compare_session(session, again)
        if recorded_ledger is not None:
            comparisons += compare_ledgers(recorded_ledger, ledger(Path(folder) / LEDGER_FILE))
    return comparisons


def compare_session(session: Session, again: Offline) -> list[Comparison]:
    """Compare topic by topic."""
    found = []
    for topic in OUTPUTS:
        comparison = compare_messages(topic.name, session.outputs[topic], lasting(again.messages(topic)), shortened=topic in session.shortened)
        comparison.differing += session.unreadable[topic.name]
        found.append(comparison)
    return found


def is_equal(comparisons: Sequence[Comparison]) -> bool:
    """Whether nothing differs, and something was compared."""
    return all(each.same for each in comparisons) and any(each.equal for each in comparisons)


def report(comparisons: Sequence[Comparison], most: int) -> list[str]:
    """What was compared, the first differences, the verdict."""
    lines = table_of(comparisons)
    for each in comparisons:
        lines += [f"{each.name}: {one.place}: {one.field}: recorded {one.recorded!r}, replayed {one.replayed!r}" for one in each.differences[:most]]
    differing = sum(each.differing for each in comparisons)
    compared = sum(each.equal for each in comparisons) + differing
    return [*lines, f"replay: {'equal' if is_equal(comparisons) else 'DIFFERENT'}, {compared} compared, {differing} differ"]


def as_json(comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """The result for programs."""
    return {"equal": is_equal(comparisons), "compared": {each.name: asdict(each) for each in comparisons}}


def _rules(recording: Path | None, settings: ExecutionSettings) -> Mapping[str, SymbolRules]:
    symbols = tuple(sorted({symbol for pair in settings.trading_pairs() for symbol in (pair.y, pair.x)}))
    if recording:
        return rules_of_recording(recording, settings.binance_market, symbols)
    client = ExchangeClient(settings.binance_market, settings.rest_url)
    try:
        return client.rules(symbols)
    finally:
        client.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
