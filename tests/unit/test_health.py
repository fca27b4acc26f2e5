"""Health: what makes a service live, ready, or neither."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest

from common.health import CONSUMED, DEAD_LETTERS, PRODUCED, HealthMonitor, Limits, Phase, Pulse
from common.processor import Health


class FakeService:
    """Answers what a test puts into `answer`."""

    name = "fake-service"

    def __init__(self) -> None:
        self.answer: Health | Exception = Health(ready=True, role="active", details={"pairs": 2})

    def start(self) -> None:
        """Nothing."""

    def turn(self, timeout_s: float) -> int:
        """Nothing."""
        return int(timeout_s)

    def stop(self) -> None:
        """Nothing."""

    def health(self) -> Health:
        """What the test says."""
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class World:
    """A monitor whose clock and counters a test moves."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.totals: defaultdict[str, float] = defaultdict(float)
        self.service = FakeService()
        self.pulse = Pulse(self.now_s)
        self.transport_problem = ""
        self.pulse.advance(Phase.RUNNING)
        self.monitor = HealthMonitor(self.service, self.pulse, lambda name: self.totals[name], Limits(), lambda: self.now_s, lambda: self.transport_problem)

    def second(self, consumed: int = 0, produced: int = 0, dead_letters: int = 0) -> None:
        """A second in which the loop turns and counters move."""
        self.now_s += 1
        self.pulse.beat_s = self.now_s
        for name, amount in ((CONSUMED, consumed), (PRODUCED, produced), (DEAD_LETTERS, dead_letters)):
            self.totals[name] += amount
        self.monitor.sample()

    @property
    def ready(self) -> bool:
        return self.monitor.report().ready


def test_a_service_that_works_is_live_and_ready() -> None:
    """All checks pass and role and details are the service's own."""
    world = World()
    world.second(consumed=100, produced=100)
    report = world.monitor.report()
    assert report.live
    assert report.ready
    assert (report.role, report.reason, report.details) == ("active", "", {"pairs": 2})


@pytest.mark.parametrize(("age_s", "live"), [(10.0, True), (10.5, False)])
def test_alive_means_the_loop_turned(age_s: float, live: bool) -> None:
    """A loop that has not turned for more than ten seconds is neither live nor ready."""
    world = World()
    world.now_s = age_s
    report = world.monitor.report()
    assert report.live is live
    assert report.ready is live


def test_recovery_may_take_longer_than_a_turn() -> None:
    """While the state is recovered the service is live, not ready, and is not asked."""
    world = World()
    world.pulse.phase = Phase.STARTING
    world.service.answer = RuntimeError("not built yet")
    world.now_s = 60
    report = world.monitor.report()
    assert report.live
    assert not report.ready
    assert report.reason == "the service is starting"
    world.now_s = 121
    assert not world.monitor.report().live


@pytest.mark.parametrize("phase", [Phase.DRAINING, Phase.ENDED])
def test_a_service_that_stops_is_not_ready(phase: Phase) -> None:
    """Draining and ended services are not ready; a phase never goes back."""
    world = World()
    world.pulse.advance(phase)
    world.pulse.advance(Phase.RUNNING)
    report = world.monitor.report()
    assert not report.ready
    assert report.live is (phase is Phase.DRAINING)


def test_the_service_has_a_say() -> None:
    """The service's own reason is shown; a service that cannot tell is not ready."""
    world = World()
    world.service.answer = Health(ready=False, reason="waiting for the first event of btcusdt@bookTicker")
    assert world.monitor.report().reason == "waiting for the first event of btcusdt@bookTicker"
    world.service.answer = RuntimeError("dictionary changed size")
    assert "dictionary changed size" in world.monitor.report().reason
    assert not world.ready


def test_a_standby_is_ready() -> None:
    """A standby is ready and says its role."""
    world = World()
    world.service.answer = Health(ready=True, role="standby")
    assert world.monitor.report().role == "standby"
    assert world.ready


@pytest.mark.parametrize("where", [lambda world: world.pulse, lambda world: world], ids=["a turn fails", "nothing is acknowledged"])
def test_a_broker_that_is_away_is_named(where: Callable[[World], Any]) -> None:
    """While the broker is away the service is alive, not ready, and says so."""
    world = World()
    where(world).transport_problem = "out of reach, trying again: no route"
    report = world.monitor.report()
    assert report.live
    assert not report.ready
    assert report.reason == "out of reach, trying again: no route"
    assert [name for name, check in report.checks.items() if not check.passed] == ["transport"]


def test_an_exchange_that_is_away_is_told_from_the_broker() -> None:
    """Likewise, and the check of the broker passes."""
    world = World()
    world.pulse.exchange_problem = "out of reach, trying again: no answer"
    report = world.monitor.report()
    assert report.live
    assert report.reason == "out of reach, trying again: no answer"
    assert [name for name, check in report.checks.items() if not check.passed] == ["exchange"]


def test_dead_letters_past_the_limit_and_back() -> None:
    """Five per cent of the last thousand records set aside make the service unready, good records make it ready again."""
    world = World()
    for _ in range(20):
        world.second(consumed=100, produced=100)
    world.second(consumed=100, produced=51, dead_letters=49)
    assert world.ready
    world.second(consumed=100, produced=99, dead_letters=1)
    assert not world.ready
    assert "were set aside" in world.monitor.report().reason
    for _ in range(10):
        world.second(consumed=100, produced=100)
    assert world.ready


def test_dead_letters_are_forgiven_in_time() -> None:
    """Where few records come, a flood keeps the service unready for a minute and no longer."""
    world = World()
    for _ in range(10):
        world.second(dead_letters=100)
    assert not world.ready
    for _ in range(60):
        world.second()
    assert not world.ready
    world.second(consumed=1)
    assert world.ready


def test_few_dead_letters_at_the_start_are_no_alarm() -> None:
    """Four bad records of the first four leave the service ready, a fifth does not."""
    world = World()
    world.second(dead_letters=4)
    assert world.ready
    world.second(dead_letters=1)
    assert not world.ready


def test_what_is_remembered_is_bounded() -> None:
    """The window holds no more than the samples of a thousand records."""
    world = World()
    for _ in range(3000):
        world.second(consumed=1, produced=1)
    assert len(world.monitor._samples) <= 1002
    for _ in range(3000):
        world.second(dead_letters=1)
    assert len(world.monitor._samples) <= 1002


def test_inputs_that_move_without_outputs() -> None:
    """Inputs moving for more than thirty seconds without an output make the service unready until one comes."""
    world = World()
    for _ in range(31):
        world.second(consumed=10)
    assert world.ready
    world.second(consumed=10)
    assert not world.ready
    assert world.monitor.report().reason.startswith("inputs move, outputs do not")
    world.second(consumed=10, produced=1)
    assert world.ready


def test_a_quiet_market_is_no_fault() -> None:
    """Without inputs no outputs are due, and a stall is forgotten once the inputs have rested."""
    world = World()
    for _ in range(100):
        world.second()
    assert world.ready
    for _ in range(40):
        world.second(consumed=1)
    assert not world.ready
    for _ in range(31):
        world.second()
    assert world.ready
