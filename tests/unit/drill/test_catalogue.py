"""Every alert has a drill, with a cause, a remedy and somebody who hears of it."""

import re
from collections import Counter

import pytest

from common.errors import ConfigurationError
from scripts.drill.acts import own_services
from scripts.drill.catalogue import ACTS, ROUTE_SET, SCENES, chosen, names
from scripts.drill.heard import EMAIL, HEARTBEAT, PAGERDUTY, SLACK, receivers_of, severities
from scripts.drill.report import catalogue
from scripts.embedded.options import ROOT


def test_every_alert_of_the_rules_is_drilled_once() -> None:
    """Whoever adds an alert says how it is raised."""
    assert Counter(names()) == Counter(severities().keys())


@pytest.mark.parametrize("name", names())
def test_an_alert_has_cause_remedy_scene_and_receivers(name: str) -> None:
    """Nothing is left empty, and critical ones reach all three."""
    known = catalogue()[name]
    assert known.cause
    assert known.remedy
    assert known.scene in {scene.name for scene in SCENES}
    severity = severities()[name]
    assert receivers_of(name, severity) == {"critical": (SLACK, EMAIL, PAGERDUTY), "warning": (SLACK,), "none": (HEARTBEAT,)}[severity]


def test_the_service_that_a_notification_names_is_known() -> None:
    """Where a rule takes it from its series, the act says which one it will be; where an act says it, the rule agrees."""
    named = own_services()
    for act in ACTS:
        for expected in act.alerts:
            assert expected.service or expected.alert in named, expected.alert
            assert expected.service in {"", named.get(expected.alert, expected.service)}, expected.alert


def test_at_most_five_are_injected_at_their_source_each_with_its_reason() -> None:
    """All others have a cause that is made."""
    at_source = [act for act in ACTS if act.at_source]
    assert sum(len(act.alerts) for act in at_source) <= 5
    assert all(len(act.at_source) > 40 for act in at_source)


def test_the_route_set_covers_every_receiver_and_a_cause_that_mutes() -> None:
    """That is what CI drills."""
    severity = severities()
    assert {receiver for name in ROUTE_SET for receiver in receivers_of(name, severity[name])} == {SLACK, EMAIL, PAGERDUTY, HEARTBEAT}
    assert "warning" in {severity[name] for name in ROUTE_SET}
    assert any(act.muted for act in ACTS for expected in act.alerts if expected.alert in ROUTE_SET)


def test_the_page_has_every_alert_once() -> None:
    """As proven, or as not."""
    text = (ROOT / "docs" / "alerts.md").read_text(encoding="utf-8")
    proven = re.findall(r"^\| \[(\w+)\]\(runbook\.md#\w+\) \|", text, flags=re.MULTILINE)
    left = re.findall(r"^- (\w+): ", text.partition("## Not proven by a drill")[2], flags=re.MULTILINE)
    assert Counter(proven + left) == Counter(names())


def test_what_is_asked_for_is_checked() -> None:
    """Nothing is everything; an unknown name is told the nearest."""
    assert chosen([]) == names()
    assert chosen(["RedisUnreachable", "Watchdog"]) == ["Watchdog", "RedisUnreachable"]
    with pytest.raises(ConfigurationError) as caught:
        chosen(["servicedwn", "Watchdog"])
    assert caught.value.problems[0] == "servicedwn: no such alert; the nearest is ServiceDown"
