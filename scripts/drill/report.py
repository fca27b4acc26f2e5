"""What a drill says of itself: a list of causes, a table, JSON, and the page `docs/alerts.md`."""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from scripts.drill.catalogue import ACTS, SCENES, WATCHDOG_TEXT
from scripts.drill.heard import WATCHDOG, receivers_of, severities
from scripts.drill.outcome import Outcome
from scripts.drill.rule_files import waits
from scripts.drill.timescale import TimeScale

_HEAD = """# Alerts, drilled

Every alert of `monitoring/prometheus/rules/` is proven twice: by series in promtool's unit tests (it fires on its cause and spares a
near miss, `tests/monitoring/alert_cases.py`), and by a drill: the cause is made in a running system, and the notification has to reach
its receivers, say what people need and resolve when the cause is gone. What to do when one comes is in the [runbook](runbook.md).

    .venv/bin/python -m scripts.alert_drill                  # all of them, most of an hour
    .venv/bin/python -m scripts.alert_drill ServiceDown      # one, or some
    .venv/bin/python -m scripts.alert_drill --route-set      # what CI drills: every receiver, the heartbeat, a cause that mutes
    .venv/bin/python -m scripts.alert_drill --list           # causes and receivers, and nothing is started

`--json FILE` keeps the results, `--page docs/alerts.md` makes this page of them.

## How

- **The system is the drill's own**, on loopback, and ends with it: a real Kafka, a Redis-compatible registry, the exchange simulator
  playing a shipped recording, the five services as processes, a real Prometheus and a real Alertmanager with the project's own rules,
  routes, texts and secret files. Between simulator and ingestion stands a proxy that cuts, garbles, moves and drops what passes.
- **Receivers are local** and speak Slack's webhook, SMTP with STARTTLS and login, PagerDuty's events and the heartbeat's webhook. Every
  notification is checked: severity, service and pair, value and limit, links to runbook and dashboard, keys and login. An alert counts
  as heard when *all* its receivers have heard it, and as resolved when the last word to all is that it is over.
- **Time is scaled.** A drill that waited as production does would take a day. Rule files are generated from the real ones with every
  duration divided by {divisor:g}: `for` and {extra:g} s more, at most {most:g} s; windows at least {least_window:g} s and at most
  {most_window:g} s. Routes wait a thirtieth as well, and scrapes come every 2 s, evaluations every second. Thresholds, expressions, labels
  and texts are the real ones. In production an alert takes its `for`, the time that its window needs to fill, and 10 s of grouping.
- **Windows of hours** are computed as they are, over back-filled data (`promtool tsdb create-blocks-from openmetrics`).
- **An all-clear that is muted is not sent.** Alertmanager drops the end of an alert whose cause mutes it at that moment: what was told
  before ServiceDown came stays open at Slack and PagerDuty when it ends meanwhile. Close it there.
- **At its source** the value is put into the metric where nobody can make the cause, {at_source} of {total} alerts: the service's `/metrics` are passed on
  but for one line; from the scrape on all is real.

The figures were taken on a machine with 2 cores that also ran everything else of the drill: they say that alerts arrive and how the
waiting times add up, not how fast Prometheus is.

"""


class Known(NamedTuple):
    """What the catalogue says of an alert."""

    cause: str
    remedy: str
    scene: str
    at_source: str = ""
    muted: tuple[str, ...] = ()


def catalogue() -> dict[str, Known]:
    """Every alert that can be drilled."""
    found = {WATCHDOG: Known(*WATCHDOG_TEXT, SCENES[0].name)}
    return found | {each.alert: Known(act.cause, act.remedy, act.scene, act.at_source, act.muted) for act in ACTS for each in act.alerts}


def listing() -> list[str]:
    """One line an alert."""
    severity = severities()
    return [f"{name:28} {', '.join(receivers_of(name, severity[name])):24} {known.cause}" for name, known in catalogue().items()]


def table(outcomes: Iterable[Outcome]) -> list[str]:
    """One line an outcome, and how many passed."""
    found = list(outcomes)
    lines = [f"{'alert':28} {'receivers':24} {'notified':>9} {'resolved':>9}  cause"]
    for each in found:
        verdict = "" if each.passed else f"  FAILED: {'; '.join(each.problems)}"
        times = f"{shown(each.notified_after_s):>9} {shown(each.resolved_after_s):>9}"
        lines.append(f"{each.alert:28} {', '.join(each.receivers):24} {times}  {each.cause}{verdict}")
    return [*lines, f"{sum(each.passed for each in found)} of {len(found)} alerts arrived and resolved"]


def shown(value_s: float | None) -> str:
    """Seconds for people."""
    return "-" if value_s is None else f"{value_s:.1f} s"


def as_json(outcomes: Mapping[str, Outcome]) -> dict[str, Any]:
    """The results by alert."""
    return {name: dataclasses.asdict(outcome) for name, outcome in outcomes.items()}


def read_json(file: Path) -> dict[str, Outcome]:
    """The results that a file holds; none where there is no file."""
    if not file.exists():
        return {}
    return {name: Outcome(**fields) for name, fields in json.loads(file.read_text(encoding="utf-8")).items()}


def page(outcomes: Mapping[str, Outcome]) -> str:
    """The page, with the results that there are; an alert without one, or with a failed one, is listed as not proven."""
    known, scale = catalogue(), TimeScale()
    at_source = sum(bool(each.at_source) for each in known.values())
    head = _HEAD.format(
        divisor=scale.divisor,
        extra=scale.for_extra_s,
        most=scale.most_for_s,
        least_window=scale.least_window_s,
        most_window=scale.most_window_s,
        at_source=at_source,
        total=len(known),
    )
    proven = {name: outcome for name, outcome in outcomes.items() if name in known and outcome.passed}
    open_names = [name for name in known if name not in proven]
    return head + "".join(f"{line}\n" for line in (*_result_lines(proven), *_muting_lines(proven), *_source_lines(known), *_open_lines(open_names, outcomes)))


def _result_lines(proven: Mapping[str, Outcome]) -> list[str]:
    wait_of = waits()
    lines = [
        f"## Results: {len(proven)} alerts arrived and resolved",
        "",
        "| alert | cause injected | taken away | receivers | `for` | notified after | resolved after |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in sorted(proven):
        each = proven[name]
        waited = f"{wait_of[name]}, here {each.for_s:.1f} s" if wait_of[name] and each.for_s is not None else wait_of[name] or "none"
        cells = (f"[{name}](runbook.md#{name.lower()})", each.cause, each.remedy, ", ".join(each.receivers), waited)
        lines.append(f"| {' | '.join(cells)} | {shown(each.notified_after_s)} | {shown(each.resolved_after_s)} |")
    return [*lines, "", "Watchdog: after it is stopped, how long heartbeats still came, and how soon they came again.", ""]


def _muting_lines(proven: Mapping[str, Outcome]) -> list[str]:
    pairs = [(name, muted) for name, each in sorted(proven.items()) for muted in each.muted]
    lines = [f"- {name} mutes {muted}: it was there, shown as inhibited, and nobody was told." for name, muted in pairs]
    return ["## Muted by their cause", "", *lines, ""]


def _source_lines(known: Mapping[str, Known]) -> list[str]:
    return ["## Injected at the source", "", *(f"- {name}: {each.at_source}." for name, each in sorted(known.items()) if each.at_source), ""]


def _open_lines(names: Iterable[str], outcomes: Mapping[str, Outcome]) -> list[str]:
    lines = [f"- {name}: {'; '.join(outcomes[name].problems) if name in outcomes else 'not drilled'}." for name in sorted(names)]
    return ["## Not proven by a drill", "", *(lines or ["None."])]
