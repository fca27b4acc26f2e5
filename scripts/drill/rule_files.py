"""The rule files, read by their layout: no parser of YAML is among our packages, and promtool proves that they are YAML."""

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

from scripts.embedded.options import ROOT

PROMETHEUS = ROOT / "monitoring" / "prometheus"
_FOR = re.compile(r"^ {6}- alert: (\w+)$|^ {8}for: (\w+)$", re.MULTILINE)
_FIELD = re.compile(r"^ {8}(\w+): ?(.*)$")
_ANNOTATION = re.compile(r"^ {10}(\w+): (.*)$")


class Rule(NamedTuple):
    """One rule; a recording rule has no labels and annotations."""

    kind: str
    name: str
    expression: str
    labels: dict[str, str]
    annotations: dict[str, str]


def rules_of(group: str) -> list[Rule]:
    """The rules of one file, in order."""
    return list(_rules((PROMETHEUS / "rules" / f"{group}.yml").read_text(encoding="utf-8")))


def groups() -> list[str]:
    """The names of the files."""
    return sorted(path.stem for path in (PROMETHEUS / "rules").glob("*.yml"))


def _rules(text: str) -> Iterator[Rule]:
    for entry in re.split(r"^ {6}- (?=alert|record)", text, flags=re.MULTILINE)[1:]:
        head, *lines = entry.splitlines()
        kind, _, name = head.partition(": ")
        fields = {found[1]: found[2] for line in lines if (found := _FIELD.match(line))}
        annotations = {found[1]: _plain(found[2]) for line in lines if (found := _ANNOTATION.match(line))}
        expression = fields["expr"] if fields["expr"] != ">-" else " ".join(line.strip() for line in _block(lines))
        labels = dict(re.findall(r"(\w+): (\"[^\"]*\"|[\w-]+)", fields.get("labels", "")))
        yield Rule(kind, name, expression, {label: _plain(value) for label, value in labels.items()}, annotations if kind == "alert" else {})


def _block(lines: list[str]) -> Iterator[str]:
    """The lines of a folded expression."""
    start = lines.index("        expr: >-") + 1
    for line in lines[start:]:
        if not line.startswith(" " * 10):
            return
        yield line


def _plain(value: str) -> str:
    text: str = json.loads(value) if value.startswith('"') else value
    return text


def waits() -> dict[str, str]:
    """`for` of every alert as its rule has it; empty where it has none."""
    found: dict[str, str] = {}
    for group in groups():
        for alert, wait in _FOR.findall((PROMETHEUS / "rules" / f"{group}.yml").read_text(encoding="utf-8")):
            if alert:
                found[alert] = ""
            elif found:
                found[list(found)[-1]] = wait
    return found
