"""What an act is: one cause, the alerts that it must raise, and how it is taken away again."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from scripts.drill.rule_files import groups, rules_of


class Expected(NamedTuple):
    """One alert that must be heard of; its service is the rule's own where the rule names one."""

    alert: str
    service: str = ""
    #: A pair that the notification must name.
    pair: str = ""


class Act(NamedTuple):
    """One cause."""

    alerts: tuple[Expected, ...]
    scene: str
    cause: str
    remedy: str
    #: Does it to the scene's stage, and takes it back at its end.
    inject: Callable[[Any], AbstractContextManager[None]]
    #: Alerts that it raises too and that must not be heard, since the cause mutes them.
    muted: tuple[str, ...] = ()
    #: From the cause to the last notification, and from the remedy to the last all-clear.
    within_s: float = 60.0
    resolved_within_s: float = 90.0
    #: Why the value goes into the metric at its source; empty where the cause is made.
    at_source: str = ""


def about(*alerts: str, service: str = "", pair: str = "") -> tuple[Expected, ...]:
    """Several alerts of one service."""
    return tuple(Expected(alert, service, pair) for alert in alerts)


def own_services() -> dict[str, str]:
    """The service that each alert names, where its rule does."""
    found = {rule.name: rule.labels["service"] for group in groups() for rule in rules_of(group) if rule.kind == "alert"}
    return {name: service for name, service in found.items() if "{{" not in service}
