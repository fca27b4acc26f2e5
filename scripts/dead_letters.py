"""Dead letters on a broker: list them, show one, publish them again once their cause is mended.

python -m scripts.dead_letters list --source hedge-ratios --since 2h
python -m scripts.dead_letters show 0/17
python -m scripts.dead_letters replay 0/17 --yes
"""

import argparse
import os
import sys
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

# Run as a file, it finds its neighbours too.
if __package__ in {None, ""}:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import msgspec

from common.errors import ConfigurationError, TransportError
from common.settings import Settings, load
from scripts.letters.entries import Entry, Origin, Wanted, as_dict, counts, in_full, parse_place, parse_since, refusal, table
from scripts.letters.topic import LetterTopic

_EPILOG = """\
A replay puts the payload at the end of its topic, in its partition, under its key, with a header that names the dead letter.
It is a dry run without --yes. Refused are ticks, commands, states and frames, payloads that were not kept whole, and what has
been replayed before.

exit status: 0 done, 1 not found, refused or Kafka is away, 2 wrong usage or settings"""
#: A line of progress each so many records.
_PROGRESS_RECORDS = 100_000


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m scripts.dead_letters",
        description="List, show and replay what services could not parse or apply.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    broker = argparse.ArgumentParser(add_help=False)
    broker.add_argument("--bootstrap", metavar="HOST:PORT", help="Kafka brokers (default: KAFKA_BOOTSTRAP_SERVERS)")
    broker.add_argument("--prefix", help="prefix of the topics (default: TOPIC_PREFIX)")
    broker.add_argument("--json", action="store_true", help="one JSON document instead of lines")
    chosen = argparse.ArgumentParser(add_help=False)
    chosen.add_argument("--source", default="", metavar="TOPIC", help="only what came from this topic or stream")
    chosen.add_argument("--reason", default="", help="only this reason, such as undecodable")
    chosen.add_argument("--service", default="", help="only what this service set aside")
    chosen.add_argument("--since", metavar="TIME", help="only what was set aside since then: 2026-05-01T12:00 (UTC), or 30m, 2h, 3d ago")
    commands = made.add_subparsers(dest="command", required=True, metavar="{list,show,replay}")
    listed = commands.add_parser("list", parents=[broker, chosen], help="list them, newest last, and count them by source and reason")
    listed.add_argument("--limit", type=int, default=50, metavar="N", help="show the newest N (default 50); all are counted")
    shown = commands.add_parser("show", parents=[broker], help="show one with its payload")
    shown.add_argument("place", metavar="PARTITION/OFFSET", help="its place in dead-letters, as `list` tells it")
    again = commands.add_parser("replay", parents=[broker, chosen], help="publish payloads again to the topics that they came from")
    again.add_argument("places", nargs="*", metavar="PARTITION/OFFSET", help="these only; without any, those that the filters choose")
    again.add_argument("--yes", action="store_true", help="really do it")
    return made


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run one command; returns the exit status."""
    options = parser().parse_args(arguments)
    given = {"KAFKA_BOOTSTRAP_SERVERS": options.bootstrap, "TOPIC_PREFIX": options.prefix}
    try:
        settings = load(Settings, {**environment, **{name: value for name, value in given.items() if value is not None}})
        wanted = _wanted(options)
    except (ConfigurationError, ValueError) as error:
        return _complain(str(error), 2)
    try:
        topic = LetterTopic(settings, _progress)
        try:
            return _COMMANDS[options.command](options, topic, wanted)
        finally:
            topic.close()
    except (ConfigurationError, TransportError) as error:
        return _complain(str(error), 1)


def _wanted(options: argparse.Namespace) -> Wanted:
    """Raises ValueError for a place or time that is none, and for a replay of everything."""
    if options.command == "show":
        return Wanted(places=frozenset({parse_place(options.place)}))
    since = parse_since(options.since, datetime.now(UTC)) if options.since else None
    places = frozenset(map(parse_place, getattr(options, "places", ())))
    if options.command == "replay" and not (places or options.source or options.reason or options.service or since):
        raise ValueError("say which: give places, or a filter such as --source")
    if options.command == "list" and options.limit < 0:
        raise ValueError(f"--limit {options.limit}: must not be negative")
    return Wanted(options.source, options.reason, options.service, since, places)


def _list(options: argparse.Namespace, topic: LetterTopic, wanted: Wanted) -> int:
    newest: deque[Entry] = deque(maxlen=options.limit)
    reasons: Counter[tuple[str, str]] = Counter()
    for entry in topic.entries():
        if wanted.takes(entry):
            reasons[entry.letter.source, entry.letter.reason] += 1
            newest.append(entry)
    shown = sorted(newest, key=lambda entry: entry.time)
    if options.json:
        by_reason = [{"source": source, "reason": reason, "count": amount} for (source, reason), amount in reasons.most_common()]
        letters = [as_dict(entry, topic.replayed) for entry in shown]
        return _say_json({"count": reasons.total(), "strange": topic.strange, "counts": by_reason, "dead_letters": letters})
    lines = [*table(shown, topic.replayed), ""] if shown else []
    total = f"{reasons.total():>8}  dead letters" + (f", the newest {len(shown)} shown" if len(shown) < reasons.total() else "")
    strange = [f"{topic.strange:>8}  records in the topic that are no dead letters"] if topic.strange else []
    return _say([*lines, *counts(reasons), total, *strange])


def _show(options: argparse.Namespace, topic: LetterTopic, wanted: Wanted) -> int:
    found = [entry for entry in topic.entries() if wanted.takes(entry)]
    if not found:
        return _complain(f"there is no dead letter at {options.place}; see `list`", 1)
    if options.json:
        return _say_json(as_dict(found[0], topic.replayed) | {"payload_base64": found[0].letter.payload, "replay": refusal(found[0], topic.replayed)})
    return _say(in_full(found[0], topic.replayed))


def _replay(options: argparse.Namespace, topic: LetterTopic, wanted: Wanted) -> int:
    chosen = [entry for entry in topic.entries() if wanted.takes(entry)]
    missing = sorted(wanted.places - {entry.place for entry in chosen})
    results = [{"place": place, "result": "refused", "why": "there is no such dead letter, or the filters exclude it"} for place in missing]
    done: dict[Origin, str] = {}
    for entry in chosen:
        result, why = _replay_one(entry, topic, done, really=options.yes)
        results.append({"place": entry.place, "result": result, "why": why})
    amounts = Counter(result["result"] for result in results)
    if options.json:
        _say_json({"dry_run": not options.yes, "counts": amounts, "results": results})
    else:
        total = ", ".join(f"{amount} {result}" for result, amount in amounts.items()) or "no dead letter fits"
        _say([*(f"{result['place']}: {result['result']}: {result['why']}" for result in results), total + ("" if options.yes else "; --yes does it")])
    return 1 if amounts["refused"] or not results else 0


def _replay_one(entry: Entry, topic: LetterTopic, done: dict[Origin, str], *, really: bool) -> tuple[str, str]:
    """What is done about one dead letter, and why or where."""
    if entry.origin in done:
        return "skipped", f"the same record as {done[entry.origin]}, set aside by another service"
    if why := refusal(entry, topic.replayed):
        return "refused", why
    done[entry.origin] = entry.place
    if really:
        topic.publish_again(entry)
    return "replayed" if really else "would be replayed", f"to {entry.letter.source}/{entry.letter.partition}"


_COMMANDS: Mapping[str, Callable[[argparse.Namespace, LetterTopic, Wanted], int]] = {"list": _list, "show": _show, "replay": _replay}


def _progress(read: int, total: int) -> None:
    if total >= _PROGRESS_RECORDS and (read % _PROGRESS_RECORDS < 1000 or read == total):
        sys.stderr.write(f"dead_letters: read {read} of {total}\n")


def _say(lines: Sequence[str]) -> int:
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _say_json(document: Any) -> int:
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n")
    return 0


def _complain(problem: str, status: int) -> int:
    sys.stderr.write("".join(f"dead_letters: {line}\n" for line in problem.splitlines()))
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
