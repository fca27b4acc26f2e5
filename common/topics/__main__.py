"""python -m common.topics: the broker's topics as they are defined here; see --help."""

import argparse
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

import msgspec

from common.errors import ConfigurationError, TransportError
from common.io import logs
from common.io.kafka_security import security_settings
from common.io.kafka_settings import connection_settings
from common.io.kafka_topics import TopicAdmin
from common.settings import Settings, load
from common.topics import ALL_TOPICS
from common.topics.differences import Difference, Remedy, differences
from common.topics.layout import GIGABYTE, RESERVE, Layout, TopicSpec, specs_of

_EPILOG = """\
exit status: 0 done or nothing to do, 1 topics differ (check), or differ in what is refused, or Kafka is away, 2 wrong usage or settings

Partitions are neither added nor removed and nothing is deleted. May be repeated, and run by several at once."""

#: Option to the setting whose default it replaces.
_VARIABLES = {
    "bootstrap": "KAFKA_BOOTSTRAP_SERVERS",
    "partitions": "TOPIC_PARTITIONS",
    "disk_gb": "KAFKA_DISK_GB",
    "replication": "TOPIC_REPLICATION",
    "prefix": "TOPIC_PREFIX",
}


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run one command; returns the exit status."""
    options = _parser().parse_args(arguments)
    say = _log if options.log else _tell
    given = {variable: str(value) for name, variable in _VARIABLES.items() if (value := getattr(options, name)) is not None}
    try:
        settings = load(Settings, {**environment, **given})
        specs = specs_of(ALL_TOPICS, Layout(settings.topic_partitions, settings.kafka_disk_gb, settings.topic_replication, settings.topic_prefix))
        connection = connection_settings(settings.kafka_bootstrap_servers, "topics", security_settings(settings))
    except ConfigurationError as error:
        say(error.problems, sys.stderr, "CRITICAL")
        return 2
    try:
        admin = TopicAdmin(connection)
        found = _run(options.command, admin, specs)
    except (ConfigurationError, TransportError) as error:
        say(error.problems if isinstance(error, ConfigurationError) else [str(error)], sys.stderr, "CRITICAL")
        return 1
    refused = any(each.remedy is Remedy.REFUSE for each in found)
    if options.json:
        _show_json(options.command, found, specs)
    else:
        say(_described(options.command, found, specs, settings), sys.stdout, "INFO")
    return int(refused or (options.command == "check" and bool(found)))


def _run(command: str, admin: TopicAdmin, specs: Sequence[TopicSpec]) -> list[Difference]:
    if command == "apply":
        return admin.apply(specs)
    return differences(specs, admin.found([spec.name for spec in specs]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m common.topics",
        description="Create Kafka's topics, or say in what they differ from their definition.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=("apply", "check", "plan"), help="apply: create and change; check: say what differs; plan: what apply would do")
    defaults = {field.name.upper(): field.default for field in msgspec.structs.fields(Settings)}
    for option, kind, meaning in (
        ("bootstrap", str, "brokers, host:port, comma separated"),
        ("partitions", int, "partitions of each per-pair topic"),
        ("disk-gb", float, "disk that all topics may take on a broker, GB; 20 suits production"),
        ("replication", int, "copies of each partition"),
        ("prefix", str, "put before every name"),
    ):
        variable = _VARIABLES[option.replace("-", "_")]
        parser.add_argument(f"--{option}", type=kind, metavar=variable, help=f"{meaning} (default: {variable}, else {defaults[variable]!r})")
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--json", action="store_true", help="one JSON document instead of lines")
    shown.add_argument("--log", action="store_true", help="lines of a log, each a JSON object, as services write theirs")
    return parser


def _show_json(command: str, found: Sequence[Difference], specs: Sequence[TopicSpec]) -> None:
    document = {"command": command, "differences": [_as_dict(each) for each in found], "topics": list(map(_spec_as_dict, specs))}
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")


def _described(command: str, found: Sequence[Difference], specs: Sequence[TopicSpec], settings: Settings) -> list[str]:
    lines = list(map(str, found)) if command == "check" else [line for spec in specs for line in _lines(spec, found)]
    taken_gb = sum(spec.total_bytes for spec in specs) / GIGABYTE
    verdict = {"apply": "done", "plan": "planned"}.get(command, "differences")
    what = f"{len(found)} {verdict}" if found else "as defined, nothing to do"
    kept_gb = settings.kafka_disk_gb * RESERVE
    room = f"at most {taken_gb:.2f} GB of {settings.kafka_disk_gb:g} GB, {kept_gb:.2g} GB in reserve"
    return [*lines, f"{len(specs)} topics at {settings.kafka_bootstrap_servers}: {what}; {room}"]


def _lines(spec: TopicSpec, found: Sequence[Difference]) -> list[str]:
    """What is or would be done about a topic."""
    mine = [each for each in found if each.topic == spec.name]
    if any(each.remedy is Remedy.CREATE for each in mine):
        settings = " ".join(f"{name}={value}" for name, value in sorted(spec.config.items()))
        return [f"create  {spec.name}: partitions={spec.partitions} replication={spec.replication} {settings}"]
    return [f"{each.remedy.value}  {each.topic}: {each.setting} {each.found} -> {each.expected}{each.why and f': {each.why}'}" for each in mine]


def _as_dict(difference: Difference) -> dict[str, Any]:
    return {**difference._asdict(), "remedy": difference.remedy.value}


def _spec_as_dict(spec: TopicSpec) -> dict[str, Any]:
    own = {"name": spec.name, "partitions": spec.partitions, "replication": spec.replication}
    return {**own, "partition_bytes": spec.partition_bytes, "config": dict(spec.config)}


def _tell(lines: Sequence[str], stream: TextIO, level: str) -> None:
    """Text for people; problems with the program's name before them."""
    stream.writelines(f"{'topics: ' if level == 'CRITICAL' else ''}{line}\n" for line in lines)


def _log(lines: Sequence[str], stream: TextIO, level: str) -> None:
    """Lines of a log, as the services write theirs."""
    logger = logs.configure("topics", "INFO", socket.gethostname(), stream)
    for line in lines:
        logger.log(level, line)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
