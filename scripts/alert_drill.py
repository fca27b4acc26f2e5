"""Raise every alert in a running system and watch it arrive: the cause is injected, the notification has to reach its receivers and to resolve.

Everything is the drill's own, on loopback, and ends with it: Kafka, a registry, the exchange simulator on a shipped recording, the
five services, Prometheus and Alertmanager with the project's rules, routes and texts, and receivers that speak Slack's webhook,
SMTP with STARTTLS and login, and PagerDuty's events. Waiting times of rules and routes are divided by 30; docs/alerts.md says how.
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
from scripts.drill.catalogue import ROUTE_SET, chosen
from scripts.drill.performing import Player
from scripts.drill.receivers import Receivers
from scripts.drill.report import as_json, listing, page, read_json, table
from scripts.drill.timescale import TimeScale
from scripts.drill.watched import Servers, Stopped
from scripts.embedded.options import ROOT
from scripts.faults.servers import OwnBroker, OwnRegistry
from scripts.faults.stage import make_folder

PASSED, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m scripts.alert_drill",
        description="Raise alerts in a running system of the drill's own, and watch each arrive at its receivers and resolve.",
        epilog="Exit status: 0 all arrived and resolved, 1 one did not or a part failed, 2 wrong usage.",
    )
    add = made.add_argument
    add("alerts", nargs="*", metavar="ALERT", help="alerts to drill (default: all, which takes most of an hour)")
    add("--list", action="store_true", help="show every alert with its cause and its receivers, and end")
    add("--route-set", action="store_true", help=f"drill what covers every route: {', '.join(ROUTE_SET)}")
    add("--folder", type=Path, default=ROOT / "var" / "drill", metavar="DIR", help="where logs and databases go (default var/drill); emptied first")
    add("--json", type=Path, metavar="FILE", help="write the result there, beside what the file holds of other alerts")
    add("--page", type=Path, metavar="FILE", help="write the page docs/alerts.md from the results of --json")
    return made


def main(arguments: Sequence[str]) -> int:
    """Exit status: 0 passed, 1 failed, 2 wrong usage."""
    made = parser()
    asked = made.parse_args(arguments)
    if asked.route_set and asked.alerts:
        made.error("--route-set names its alerts itself")
    if asked.page and not asked.json:
        made.error("--page needs the results of --json FILE")
    if asked.list:
        _say(*listing())
        return PASSED
    # That the broker is away is no news here.
    LOGGER.setLevel(logging.CRITICAL)
    stopping = Event()
    try:
        with _listening(stopping):
            return drill(asked, chosen(ROUTE_SET if asked.route_set else asked.alerts), stopping)
    except ConfigurationError as error:
        sys.stderr.write("".join(f"alert_drill: {problem}\n" for problem in error.problems))
        return USAGE
    except Stopped:
        _say("alert_drill: stopped")
        return INTERRUPTED
    except CryptoBotError as error:
        sys.stderr.write(f"alert_drill: {error}\n")
        return FAILED


def drill(asked: argparse.Namespace, wanted: Sequence[str], stopping: Event) -> int:
    """Bring everything up, raise what is wanted, write what came of it."""
    folder = asked.folder.absolute()
    make_folder(folder)
    with ExitStack() as stack:
        broker = OwnBroker(folder / "broker")
        stack.callback(broker.close)
        _say(f"starting Kafka on {broker.bootstrap}")
        broker.start()
        registry = OwnRegistry({"PYTHONPATH": str(ROOT)}, folder / "redis.log")
        stack.callback(registry.kill)
        registry.start()
        registry.wait_up(stopping)
        receivers = Receivers.start(folder)
        stack.callback(receivers.close)
        player = Player(Servers(broker, registry, receivers, folder, TimeScale(), stopping, _say), wanted)
        try:
            player.play()
        finally:
            _write(asked, player)
    _say("", *table(player.outcomes))
    return PASSED if all(outcome.passed for outcome in player.outcomes) else FAILED


def _write(asked: argparse.Namespace, player: Player) -> None:
    if asked.json:
        outcomes = read_json(asked.json) | {outcome.alert: outcome for outcome in player.outcomes}
        asked.json.write_text(json.dumps(as_json(outcomes), indent=2) + "\n", encoding="utf-8")
        if asked.page:
            asked.page.write_text(page(outcomes), encoding="utf-8")


@contextmanager
def _listening(stopping: Event) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the drill where it waits next, and everything that it has started."""
    before = {number: signal.signal(number, lambda *_: stopping.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
