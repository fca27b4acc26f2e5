"""Durations of rules and routes on the drill's clock."""

import re

import pytest

from scripts.drill.rule_files import PROMETHEUS, groups
from scripts.drill.timescale import TimeScale

RULE = """      - alert: Stuck
        expr: increase(stuck_total[15m]) > 0 and rate(x[20s]) > 0 and rate(x[6h]) > 0
        for: 10m
        annotations:
          description: for 10 minutes
"""


def test_waits_and_windows_are_divided_within_bounds() -> None:
    """`for` gets five seconds more, a window is never shorter than five scrapes or longer than a minute; texts stay."""
    scaled = TimeScale(divisor=30).rules(RULE)
    assert re.findall(r"\[(\w+)\]", scaled) == ["30000ms", "10000ms", "60000ms"]
    assert "        for: 25000ms\n" in scaled
    assert "description: for 10 minutes" in scaled


def test_windows_can_be_left() -> None:
    """On back-filled data a window of hours is one."""
    scaled = TimeScale(windows=False).rules(RULE)
    assert re.findall(r"\[(\w+)\]", scaled) == ["15m", "20s", "6h"]
    assert "for: 25000ms" in scaled


@pytest.mark.parametrize("group", groups())
def test_every_wait_of_the_rules_is_found(group: str) -> None:
    """A spelling that is not known would be waited for in full."""
    scaled = TimeScale().rules((PROMETHEUS / "rules" / f"{group}.yml").read_text(encoding="utf-8"))
    assert all(wait.endswith("ms") for wait in re.findall(r"^ *for: (\S+)$", scaled, flags=re.MULTILINE))
    assert all(window.endswith("ms") for window in re.findall(r"\[([^]]*)\]", re.sub(r"^ *(#|labels|description).*$", "", scaled, flags=re.MULTILINE)))


def test_order_is_kept() -> None:
    """What fires before another in production does so in a drill, for one may mute the other."""
    scale = TimeScale()
    waits = [scale.for_s(given_s) for given_s in (15, 30, 60, 120, 300, 600, 900)]
    assert waits == sorted(set(waits))


def test_routes_wait_less_and_those_that_do_not_wait_still_do_not() -> None:
    """Alertmanager refuses an interval of nothing."""
    text = "      group_wait: 0s\n  group_wait: 10s\n  group_interval: 1m\n  repeat_interval: 4h\n"
    assert re.findall(r": (\w+)", TimeScale().routes(text)) == ["0s", "1000ms", "2000ms", "480000ms"]
