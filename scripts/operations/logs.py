"""Choose log lines and show them for people: what `docker compose logs --timestamps` says, on standard input.

Behind `scripts/deploy.sh logs`; the files of a run without Docker are read in the same way:
cat LOGS/*.log | python -m scripts.operations.logs --level WARNING --pair ETHUSDT-BTCUSDT
"""

import argparse
import json
import os
import re
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TextIO

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
#: How others call them: Kafka, Redis' neighbours, Prometheus, Grafana, Caddy.
_SAME = {"TRACE": "DEBUG", "NOTICE": "INFO", "WARN": "WARNING", "ERR": "ERROR", "FATAL": "CRITICAL", "PANIC": "CRITICAL"}
#: Most lines that are put in the order of time; what is older is left out, which is said.
MOST_SORTED = 20_000

#: As Compose writes it: the container, and the time when the engine got the line.
_WRITTEN = re.compile(r"^(?P<container>\S+) +\| (?:(?P<time>\d{4}-\d\d-\d\dT[\d:.]+Z) )?(?P<text>.*)$", re.DOTALL)
#: A level in a line that is no JSON: `level=warn` or `lvl=warn` of Go programs, `[time] WARN` of Kafka.
_LEVEL_IN_TEXT = re.compile(r'(?:^|\s)(?:level|lvl)="?(?P<named>[A-Za-z]+)|^\[[^\]]*\]\s+(?P<told>[A-Z]+)\b')
_HEAD = ("ts", "level", "service", "instance", "event")


class Line(NamedTuple):
    """A line of a container; `fields` are those of a JSON object, None of any other line."""

    container: str
    time: str
    text: str
    fields: Mapping[str, Any] | None

    @property
    def level(self) -> str:
        """Its level as one of ours; empty when it tells none."""
        told = str(self.fields.get("level", "")) if self.fields is not None else _told_level(self.text)
        level = _SAME.get(told.upper(), told.upper())
        return level if level in LEVELS else ""


class Choice(NamedTuple):
    """Which lines are wanted: of at least this level, about this pair; empty takes all."""

    level: str = ""
    pair: str = ""

    def takes(self, line: Line) -> bool:
        """Whether a line is wanted; one that does not tell its level or pair is not, where that is asked for."""
        if self.level and (not line.level or LEVELS.index(line.level) < LEVELS.index(self.level)):
            return False
        return not self.pair or (line.fields is not None and self.pair in (line.fields.get("pair"), line.fields.get("target")))


def parse(written: str) -> Line:
    """A line as Compose writes it, or as it stands in a file."""
    found = _WRITTEN.match(written)
    container, time, text = (found["container"], found["time"] or "", found["text"]) if found else ("", "", written)
    fields = _object(text)
    return Line(container, time or str((fields or {}).get("ts", "")), text, fields)


def readable(line: Line) -> str:
    """A line for people: time, level, container, event and fields; texts of several lines come below. What is no event stays as it is."""
    time = f"{line.time[:23].rstrip('Z')}Z" if line.time else ""
    if line.fields is None or "event" not in line.fields:
        return "  ".join(part for part in (time, line.container, line.text) if part)
    fields = line.fields
    rest = {name: value for name, value in fields.items() if name not in _HEAD}
    below = {name: value for name, value in rest.items() if isinstance(value, str) and "\n" in value}
    shown = [f"{name}={_shown(value)}" for name, value in rest.items() if name not in below]
    head = (time, f"{line.level or fields.get('level', ''):<8}", line.container or str(fields.get("instance", "")), str(fields["event"]))
    texts = (f"    {name}: {part}" for name, value in below.items() for part in value.strip().splitlines())
    return "\n".join(["  ".join((*head, " ".join(shown))).rstrip(), *texts])


def chosen(written: Iterable[str], choice: Choice) -> Iterator[Line]:
    """The lines that are wanted."""
    return (line for each in written if choice.takes(line := parse(each.rstrip("\r\n"))))


def newest(lines: Iterable[Line], most: int | None) -> tuple[list[Line], bool]:
    """The last lines in the order of time, at most so many, and whether older ones were left out that were asked for."""
    kept: deque[Line] = deque(maxlen=MOST_SORTED)
    lost = False
    for line in lines:
        lost |= len(kept) == MOST_SORTED
        kept.append(line)
    # A line without a time follows the one before it.
    times, time = [], ""
    for line in kept:
        time = line.time or time
        times.append(time)
    ordered = [line for _, _, line in sorted(zip(times, range(len(times)), kept, strict=True))]
    return (ordered if most is None else ordered[max(0, len(ordered) - most) :]), lost and (most is None or most > MOST_SORTED)


def _object(text: str) -> Mapping[str, Any] | None:
    if not text.startswith("{"):
        return None
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _told_level(text: str) -> str:
    found = _LEVEL_IN_TEXT.search(text)
    return (found["named"] or found["told"]) if found else ""


def _shown(value: object) -> str:
    if isinstance(value, str):
        return value if value and not re.search(r'[\s"=]', value) else json.dumps(value, ensure_ascii=False)
    return json.dumps(value, ensure_ascii=False)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m scripts.operations.logs", description="Choose log lines from standard input and show them.")
    made.add_argument("--level", default="", choices=LEVELS, help="of at least this level")
    made.add_argument("--pair", default="", help="about this pair")
    made.add_argument("--tail", default="all", metavar="N", help="the last N lines, or all")
    made.add_argument("--json", action="store_true", help="as they were written")
    made.add_argument("--follow", action="store_true", help="each as it comes")
    return made


def main(arguments: Sequence[str], written: Iterable[str], output: TextIO) -> int:
    """Show what is chosen; returns the exit status."""
    options = parser().parse_args(arguments)
    lines = chosen(written, Choice(options.level, options.pair))
    lost = False
    if not options.follow:
        found, lost = newest(lines, None if options.tail == "all" else int(options.tail))
        lines = iter(found)
    for line in lines:
        output.write(f"{line.text if options.json else readable(line)}\n")
        if options.follow:
            output.flush()
    output.flush()
    if lost:
        sys.stderr.write(f"logs: older lines are left out, only the last {MOST_SORTED} are in order; narrow it by --since\n")
    return 0


if __name__ == "__main__":
    sys.stdin.reconfigure(errors="replace")  # type: ignore[union-attr]  # a text stream
    try:
        sys.exit(main(sys.argv[1:], sys.stdin, sys.stdout))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # Whoever reads it has enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
