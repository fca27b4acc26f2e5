"""Plays acts in a scene: injects the cause, waits for every receiver, takes the cause away, waits for the all-clear."""

import signal
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from common.errors import CryptoBotError
from scripts.drill.acts import Act, Expected, own_services
from scripts.drill.catalogue import ACTS, SCENES, WATCHDOG_TEXT
from scripts.drill.heard import HEARTBEAT, WATCHDOG, Notification, notifications, receivers_of, severities
from scripts.drill.history import HISTORY_SCENE, HistoryStage
from scripts.drill.outcome import Outcome
from scripts.drill.rule_files import waits
from scripts.drill.stage import Stage
from scripts.drill.watched import Scene, Servers, Stopped, Watched

_CALM_S = 120.0
_BEAT_S, _SILENT_S, _SILENCE_WITHIN_S = 60.0, 6.0, 90.0
_QUIET_BEFORE_S = 45.0
#: Longer than a group's waiting times are here.
_TOLD_WITHIN_S = 5.0
#: A heartbeat a minute is promised; so many are timed, and on a busy machine they may be half as far apart again.
_BEAT_EVERY_S, _BEATS, _LATE = 60.0, 5, 1.5


class Player:
    """Plays what is wanted, scene by scene."""

    def __init__(self, servers: Servers, wanted: Collection[str]) -> None:
        self.servers, self.wanted = servers, set(wanted)
        self.outcomes: list[Outcome] = []
        self._severities, self._services, self._waits = severities(), own_services(), waits()

    def play(self) -> None:
        """All scenes that have something to show."""
        for scene in SCENES:
            acts = [act for act in ACTS if act.scene == scene.name and self._wanted_of(act)]
            watchdog = WATCHDOG in self.wanted and scene is SCENES[0]
            if acts or watchdog:
                self._play_scene(scene, acts, watchdog=watchdog)

    def _wanted_of(self, act: Act) -> list[Expected]:
        return [expected for expected in act.alerts if expected.alert in self.wanted]

    def _play_scene(self, scene: Scene, acts: Sequence[Act], *, watchdog: bool) -> None:
        self.servers.say(f"scene {scene.name}: {scene.what}")
        began_s = time.monotonic()
        try:
            with HistoryStage(scene, self.servers) if scene is HISTORY_SCENE else Stage(scene, self.servers) as stage:
                self.servers.say(f"  up after {time.monotonic() - began_s:.0f} s")
                if watchdog:
                    self._report([self._drill_watchdog(stage)])
                for act in acts:
                    self._report(self._drill(act, stage))
        except CryptoBotError as error:
            done = {outcome.alert for outcome in self.outcomes}
            lost = [self._outcome(act, expected) for act in acts for expected in self._wanted_of(act) if expected.alert not in done]
            for outcome in lost:
                outcome.problems.append(f"the scene broke: {error}")
            self._report(lost)

    def _report(self, outcomes: Sequence[Outcome]) -> None:
        self.outcomes += outcomes
        for outcome in outcomes:
            times = f"notified after {_seconds(outcome.notified_after_s)}, resolved after {_seconds(outcome.resolved_after_s)}"
            self.servers.say(f"  {'ok  ' if outcome.passed else 'FAIL'} {outcome.alert}: {times}{''.join(f'; {problem}' for problem in outcome.problems)}")

    def _outcome(self, act: Act, expected: Expected) -> Outcome:
        receivers = receivers_of(expected.alert, self._severities[expected.alert])
        return Outcome(expected.alert, act.scene, act.cause, act.remedy, receivers, act.at_source, self.servers.scale.wait_s(self._waits[expected.alert]))

    # One act

    def _drill(self, act: Act, stage: Watched) -> list[Outcome]:
        expected = self._wanted_of(act)
        outcomes = [self._outcome(act, each) for each in expected]
        self.servers.say(f"  {', '.join(each.alert for each in expected)}: {act.cause}")
        try:
            self._await_calm(act, stage)
            with self._caused(act, stage) as began_s:
                self._until(lambda: self._hear(expected, outcomes, began_s), act.within_s, stage)
                self._await_muted(act, outcomes, stage)
                # The remedy begins here: a service that is restarted for it may end the alert before it is back.
                ended_s = time.monotonic()
            self._look_for_muted(act, outcomes, began_s, ended_s)
            self._until(lambda: self._hear_end(expected, outcomes, began_s, ended_s), act.resolved_within_s, stage)
        except Stopped:
            raise
        except Exception as error:  # noqa: BLE001 - whatever breaks in one act, the others are played
            outcomes[0].problems.append(f"{type(error).__name__}: {error}")
        for outcome in outcomes:
            outcome.problems += _missing(outcome, act)
        return outcomes

    @contextmanager
    def _caused(self, act: Act, stage: Watched) -> Iterator[float]:
        """The time counts from the call: what a cause needs to be made belongs to it."""
        began_s = time.monotonic()
        with act.inject(stage):
            yield began_s

    def _await_calm(self, act: Act, stage: Watched) -> None:
        """What still fires from before would be no answer to the cause."""
        names = {each.alert for each in act.alerts} | set(act.muted)
        stage.wait(
            lambda: not names & stage.prometheus.firing() and not any(map(stage.alertmanager.holds, names)), _CALM_S, f"{', '.join(sorted(names))} to be over"
        )

    def _until(self, is_done: Callable[[], bool], within_s: float, stage: Watched) -> None:
        """Wait, and leave it at that when the time is over: what is missing is found by looking."""
        give_up_at = time.monotonic() + within_s
        stage.wait(lambda: is_done() or time.monotonic() > give_up_at, within_s + 30, "an answer")

    def _of(self, expected: Expected, since_s: float, *, firing: bool) -> list[Notification]:
        service = expected.service or self._services.get(expected.alert, "")
        return [
            each
            for each in notifications(self.servers.receivers)
            if each.alert == expected.alert and each.firing == firing and each.at_s >= since_s and service in {"", each.service}
        ]

    def _hear(self, expected: Sequence[Expected], outcomes: Sequence[Outcome], since_s: float) -> bool:
        for each, outcome in zip(expected, outcomes, strict=True):
            if outcome.notified_after_s is None:
                heard = self._of(each, since_s, firing=True)
                if each.pair:
                    heard = [one for one in heard if f"Pair: {each.pair}" in one.text.splitlines()]
                if (at_s := _last_first(heard, outcome.receivers)) is not None:
                    outcome.notified_after_s = at_s - since_s
                    outcome.problems += [f"{one.receiver}: {one.problem}" for one in heard if one.problem]
        return all(outcome.notified_after_s is not None for outcome in outcomes)

    def _hear_end(self, expected: Sequence[Expected], outcomes: Sequence[Outcome], since_s: float, ended_s: float) -> bool:
        """The last word to every receiver is an all-clear; one that came before the remedy was of an alert that ends by itself."""
        for each, outcome in zip(expected, outcomes, strict=True):
            if outcome.notified_after_s is not None and outcome.resolved_after_s is None:
                heard = [*self._of(each, since_s, firing=True), *self._of(each, since_s, firing=False)]
                last = {one.receiver: one for one in sorted(heard, key=lambda one: one.at_s)}
                if not any(one.firing for one in last.values()):
                    outcome.resolved_after_s = max(*(one.at_s for one in last.values()), ended_s) - ended_s
                    outcome.problems += [f"{one.receiver}: {one.problem}" for one in last.values() if one.problem]
        return all(outcome.resolved_after_s is not None or outcome.notified_after_s is None for outcome in outcomes)

    def _await_muted(self, act: Act, outcomes: Sequence[Outcome], stage: Watched) -> None:
        """The symptom is there, and muted; then a group's time passes, in which it would be told of if it were not."""
        for name in act.muted:
            try:
                stage.wait(partial(stage.alertmanager.is_muted, name), _QUIET_BEFORE_S, f"{name} to be there and muted")
            except CryptoBotError as error:
                outcomes[0].problems.append(str(error))
        if act.muted:
            heard_until = time.monotonic() + _TOLD_WITHIN_S
            stage.wait(lambda: time.monotonic() > heard_until, _TOLD_WITHIN_S + 30, "what would be told by now")

    def _look_for_muted(self, act: Act, outcomes: Sequence[Outcome], since_s: float, until_s: float) -> None:
        """Nobody was told of a symptom as long as its cause lasted; when that ends, what still fires is rightly told."""
        for name in act.muted:
            if any(each.alert == name and each.firing and since_s <= each.at_s <= until_s for each in notifications(self.servers.receivers)):
                outcomes[0].problems.append(f"{name} was heard of, though {act.alerts[0].alert} mutes it")
        outcomes[0].muted = act.muted

    # The one that always fires

    def _drill_watchdog(self, stage: Watched) -> Outcome:
        cause, remedy = WATCHDOG_TEXT
        outcome = Outcome(WATCHDOG, stage.scene.name, cause, remedy, (HEARTBEAT,))
        self.servers.say(f"  {WATCHDOG}: {cause}")
        try:
            began_s = time.monotonic()
            stage.wait(lambda: len(self._beats_since(began_s)) >= _BEATS, _BEAT_S, "heartbeats")
            outcome.problems += self._pace_problems(self._beats_since(began_s))
            stage.prometheus.signal(signal.SIGSTOP)
            try:
                stopped_s = time.monotonic()
                stage.wait(lambda: time.monotonic() - max(self._last_beat_s(), stopped_s) > _SILENT_S, _SILENCE_WITHIN_S, "the heartbeats to end")
                outcome.notified_after_s = max(self._last_beat_s() - stopped_s, 0.0)
            finally:
                stage.prometheus.signal(signal.SIGCONT)
            again_s = time.monotonic()
            stage.wait(lambda: self._last_beat_s() > again_s, _BEAT_S, "heartbeats again")
            outcome.resolved_after_s = self._last_beat_s() - again_s
        except CryptoBotError as error:
            outcome.problems.append(str(error))
        return outcome

    def _beats_since(self, since_s: float) -> list[float]:
        return sorted(each.at_s for each in notifications(self.servers.receivers) if each.alert == WATCHDOG and each.at_s >= since_s)

    def _pace_problems(self, beats: Sequence[float]) -> list[str]:
        apart_s = (beats[-1] - beats[0]) / (len(beats) - 1)
        promised_s = _BEAT_EVERY_S / self.servers.scale.divisor
        return [f"heartbeats come every {apart_s:.1f} s, not every {promised_s:.1f} s"] if apart_s > promised_s * _LATE else []

    def _last_beat_s(self) -> float:
        return max(self._beats_since(0.0), default=0.0)


def _last_first(heard: Sequence[Notification], receivers: Sequence[str]) -> float | None:
    """When the last of the receivers heard for the first time; None while one has not."""
    firsts = [min((each.at_s for each in heard if each.receiver == receiver), default=None) for receiver in receivers]
    return None if None in firsts else max(at_s for at_s in firsts if at_s is not None)


def _missing(outcome: Outcome, act: Act) -> list[str]:
    if outcome.notified_after_s is None:
        return [f"not heard of by {', '.join(outcome.receivers)} within {act.within_s:.0f} s"]
    if outcome.resolved_after_s is None:
        return [f"no all-clear within {act.resolved_within_s:.0f} s"]
    return []


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} s"
