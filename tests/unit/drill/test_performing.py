"""How an act is judged: who has to hear, and from when an all-clear counts."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from common.errors import CryptoBotError
from scripts.drill.acts import Act, Expected
from scripts.drill.heard import EMAIL, PAGERDUTY, SLACK, Notification
from scripts.drill.outcome import Outcome
from scripts.drill.performing import Player
from scripts.drill.timescale import TimeScale

ALERT, PAIR = "PositionStuck", "ETHUSDT-BTCUSDT"
ALL = (SLACK, EMAIL, PAGERDUTY)


def wait(condition: Callable[[], bool], _timeout_s: float, what: str) -> None:
    """Nothing comes by waiting."""
    if not condition():
        raise CryptoBotError(what)


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[Notification]:
    """What the receivers have, to be added to."""
    found: list[Notification] = []
    monkeypatch.setattr("scripts.drill.performing.notifications", lambda _: list(found))
    return found


def tell(heard: list[Notification], *receivers: str, firing: bool, pair: str = PAIR, problem: str = "") -> None:
    """Some receivers hear now."""
    text, now_s = f"Stuck.\r\nPair: {pair}\r\nValue: 1", time.monotonic()
    heard += [Notification(now_s, receiver, ALERT, firing, "execution-service", text, problem) for receiver in receivers]


def player(*wanted: str) -> Player:
    """One that has no servers."""
    servers: Any = SimpleNamespace(receivers=None, scale=TimeScale(), say=lambda *_: None)
    return Player(servers, wanted)


def drilled(cause: Callable[[], None], remedy: Callable[[], None], muted: tuple[str, ...] = (), waits: Callable[..., None] = wait) -> Outcome:
    """One act with this cause and remedy; what it mutes is there and muted."""

    @contextmanager
    def inject(_stage: object) -> Iterator[None]:
        cause()
        yield
        remedy()

    calm: Any = SimpleNamespace(firing=set, holds=lambda _: False, is_muted=lambda _: True)
    stage: Any = SimpleNamespace(wait=waits, prometheus=calm, alertmanager=calm)
    act = Act((Expected(ALERT, pair=PAIR),), "bars", "a cause", "a remedy", inject, muted)
    (outcome,) = player(ALERT)._drill(act, stage)
    return outcome


def test_an_alert_that_all_have_heard_and_seen_end_has_passed(heard: list[Notification]) -> None:
    """The end may come while the remedy still goes on, as when a service is stopped to be started again."""
    outcome = drilled(lambda: tell(heard, *ALL, firing=True), lambda: tell(heard, *ALL, firing=False))
    assert outcome.problems == []
    assert outcome.notified_after_s is not None
    assert outcome.resolved_after_s is not None
    assert outcome.for_s == 25.0


@pytest.mark.parametrize(
    ("cause", "problem"),
    [
        ({"receivers": (SLACK, EMAIL)}, "not heard of by slack, email, pagerduty within 60 s"),
        ({"pair": "SOLUSDT-BTCUSDT"}, "not heard of by slack, email, pagerduty within 60 s"),
        ({"problem": "lacks Value: "}, "slack: lacks Value: "),
    ],
    ids=["one receiver less", "another pair", "a field less"],
)
def test_what_is_not_as_it_must_be_fails(cause: dict[str, Any], problem: str, heard: list[Notification]) -> None:
    """One receiver that has not heard is enough."""
    receivers = cause.pop("receivers", ALL)
    outcome = drilled(lambda: tell(heard, *receivers, firing=True, **cause), lambda: tell(heard, *ALL, firing=False))
    assert problem in outcome.problems


def test_an_end_that_one_has_not_heard_of_fails(heard: list[Notification]) -> None:
    """An incident would stay open."""
    outcome = drilled(lambda: tell(heard, *ALL, firing=True), lambda: tell(heard, SLACK, EMAIL, firing=False))
    assert "no all-clear within 90 s" in outcome.problems


def test_an_alert_that_ends_by_itself_has_passed_and_one_that_comes_back_has_not(heard: list[Notification]) -> None:
    """What counts is the last word."""

    def flap() -> None:
        tell(heard, *ALL, firing=True)
        tell(heard, *ALL, firing=False)

    assert drilled(flap, lambda: None).resolved_after_s == 0
    assert not drilled(flap, lambda: tell(heard, *ALL, firing=True)).passed


def test_what_was_heard_before_the_cause_is_no_answer_to_it(heard: list[Notification]) -> None:
    """It belongs to an earlier act."""
    tell(heard, *ALL, firing=True)
    assert not drilled(lambda: None, lambda: None).passed


@pytest.mark.parametrize(("told", "passed"), [(True, False), (False, True)])
def test_a_symptom_that_is_told_while_its_cause_lasts_fails(told: bool, passed: bool, heard: list[Notification]) -> None:
    """Also when it comes after it was seen to be muted."""

    def later(condition: Callable[[], bool], timeout_s: float, what: str) -> None:
        if "told by now" not in what:
            wait(condition, timeout_s, what)
        elif told:
            heard.append(Notification(time.monotonic(), SLACK, "ServiceUnready", True, "execution-service", "", ""))

    outcome = drilled(lambda: tell(heard, *ALL, firing=True), lambda: tell(heard, *ALL, firing=False), ("ServiceUnready",), later)
    assert outcome.passed is passed


def test_heartbeats_come_as_often_as_they_are_promised() -> None:
    """Once a minute; the drill's clock is thirty times as fast."""
    assert player()._pace_problems([10.0, 12.1, 14.0, 16.2]) == []
    assert player()._pace_problems([10.0, 14.0, 18.0]) == ["heartbeats come every 4.0 s, not every 2.0 s"]
