"""The loop: recovery, turns, a broker that goes away, failures, stops and turns that do not end."""

import gc
from collections.abc import Callable, Iterator

import pytest

from common.errors import ConfigurationError, DeliveryFailed, ExchangeAway, InvariantBroken, LeaseLost, TransportError
from common.health import Limits, Phase
from common.io.metrics import RecordingObserver
from common.metrics import COMMON_METRICS
from common.processor import Health
from common.runtime import POLL_S, GarbageCollection, Runtime

Step = Callable[[], int]


class Clock:
    """Monotonic seconds that a test moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class ScriptedService:
    """Does at each turn what the script says; asks the runtime to stop when it ends."""

    name = "scripted-service"

    def __init__(self, turns: Iterator[Step], starts: Iterator[Step]) -> None:
        self._turns, self._starts = turns, starts
        self.calls: list[str] = []
        self.runtime: Runtime

    def start(self) -> None:
        """Next step of the script of starts."""
        self.calls.append("start")
        next(self._starts, lambda: 0)()

    def turn(self, timeout_s: float) -> int:
        """Next step of the script of turns."""
        assert timeout_s == POLL_S
        self.calls.append("turn")
        step = next(self._turns, None)
        if step is None:
            self.runtime.request_stop()
            return 0
        return step()

    def stop(self) -> None:
        """Remember that it was called."""
        self.calls.append("stop")

    def health(self) -> Health:
        """Always ready."""
        return Health(ready=True)


def make(turns: list[Step], starts: list[Step] | None = None) -> tuple[Runtime, ScriptedService, RecordingObserver, Clock]:
    clock, observer = Clock(), RecordingObserver(COMMON_METRICS)
    service = ScriptedService(iter(turns), iter(starts or []))
    runtime = Runtime(service, observer, Limits(step_budget_s=0.1), monotonic=clock)
    service.runtime = runtime
    return runtime, service, observer, clock


def failing(error: BaseException) -> Step:
    def step() -> int:
        raise error

    return step


def test_clean_life() -> None:
    """A service is started once, turned until asked to stop, then stopped; the status is 0."""
    runtime, service, observer, _ = make([lambda: 3, lambda: 0])
    runtime.run()
    assert service.calls == ["start", "turn", "turn", "turn", "stop"]
    assert runtime.exit_status == 0
    assert runtime.pulse.phase is Phase.ENDED
    assert len(observer.observations["crypto_bot_step_seconds", ()]) == 1  # Only the turn that handled records.


def test_turns_run_in_a_thread_of_their_own() -> None:
    """`start` returns at once, `join` says whether the loop has ended."""
    ended = []
    runtime, service, _, _ = make([])
    runtime._on_end = lambda: ended.append(True)
    runtime.start()
    assert runtime.join(5)
    assert service.calls[-1] == "stop"
    assert ended == [True]


@pytest.mark.parametrize("where", ["start", "turn"])
def test_broker_away_is_waited_for(where: str) -> None:
    """A transport error is tried again until it works, and logged once when it begins and once when it ends."""
    trouble = [failing(TransportError("no broker")), failing(TransportError("no broker"))]
    runtime, service, observer, _ = make(turns=trouble if where == "turn" else [], starts=trouble if where == "start" else [])
    runtime.run()
    assert service.calls.count(where) == 3
    assert runtime.exit_status == 0
    assert [line.level for line in observer.logs if "reach" in line.event] == ["WARNING", "INFO"]
    assert runtime.pulse.transport_problem == ""


def test_broker_away_is_shown() -> None:
    """While the broker is away the pulse names the problem and the loop counts as alive."""
    runtime, service, _, clock = make([])
    seen = []

    def away() -> int:
        clock.now_s += 7
        raise TransportError("no route")

    def look() -> int:
        seen.append((runtime.pulse.transport_problem, runtime.pulse.beat_s))
        return 0

    service._turns = iter([away, look])
    runtime.run()
    assert seen == [("out of reach, trying again: no route", 1007.0)]


def test_an_exchange_that_is_away_is_not_taken_for_the_broker() -> None:
    """The pulse says which of the two it is, also when one follows the other, and forgets both."""
    runtime, service, _, _ = make([])
    seen = []

    def look(error: Exception | None = None) -> int:
        seen.append((runtime.pulse.transport_problem, runtime.pulse.exchange_problem))
        if error:
            raise error
        return 0

    service._turns = iter([lambda: look(ExchangeAway("a")), lambda: look(TransportError("b")), look, look])
    runtime.run()
    assert seen == [("", ""), ("", "out of reach, trying again: a"), ("out of reach, trying again: b", ""), ("", "")]


@pytest.mark.parametrize("error", [DeliveryFailed("lost"), InvariantBroken("impossible"), ZeroDivisionError()])
@pytest.mark.parametrize("where", ["start", "turn"])
def test_failure_ends_without_snapshot(error: Exception, where: str) -> None:
    """Lost deliveries, broken invariants and bugs end the loop with status 1, a traceback and no call of `stop`."""
    trouble = [failing(error)]
    runtime, service, observer, _ = make(turns=trouble if where == "turn" else [], starts=trouble if where == "start" else [])
    runtime.run()
    assert "stop" not in service.calls
    assert runtime.exit_status == 1
    assert observer.logs[-1].level == "CRITICAL"
    assert observer.logs[-1].fields["exc_info"] is True


def test_unusable_files_end_with_their_problems() -> None:
    """A configuration error while recovering ends with status 2 and every problem."""
    runtime, service, _, _ = make([], starts=[failing(ConfigurationError(["DATA_DIR: not writable", "PAIRS: unknown"]))])
    runtime.run()
    assert runtime.exit_status == 2
    assert runtime.problems == ("DATA_DIR: not writable", "PAIRS: unknown")
    assert service.calls == ["start"]


def test_a_lost_lease_ends_with_one_line() -> None:
    """One that has been replaced ends with status 1 and a line that says by whom, without a traceback and without `stop`."""
    runtime, service, observer, _ = make([failing(LeaseLost("ledger.db: written by second"))])
    runtime.run()
    assert service.calls == ["start", "turn"]
    assert runtime.exit_status == 1
    assert (observer.logs[-1].level, observer.logs[-1].fields) == ("CRITICAL", {"error": "ledger.db: written by second"})


def test_stop_before_recovery_stops_nothing() -> None:
    """Asked to stop while the broker is away at the start, the loop ends cleanly without stopping what never started."""
    runtime, service, _, _ = make([])

    def away() -> int:
        runtime.request_stop()
        raise TransportError("no broker")

    service._starts = iter([away])
    runtime.run()
    assert service.calls == ["start"]
    assert runtime.exit_status == 0


@pytest.mark.parametrize(("elapsed_s", "records", "slow"), [(POLL_S + 0.09, 5, False), (POLL_S + 0.11, 5, True), (60.0, 0, False)])
def test_slow_turn_is_logged(elapsed_s: float, records: int, slow: bool) -> None:
    """A turn over its budget, not counting the wait for its first record, writes one SLOW line and is counted."""
    runtime, service, observer, clock = make([])

    def step() -> int:
        clock.now_s += elapsed_s
        return records

    service._turns = iter([step])
    runtime.run()
    assert observer.total("crypto_bot_slow_steps_total") == int(slow)
    assert [line.fields["records"] for line in observer.events("SLOW")] == ([records] if slow else [])
    if slow:
        assert observer.events("SLOW")[0].fields["duration_ms"] == pytest.approx(110)


def test_computation_counts_even_without_a_wait() -> None:
    """A turn that computes for longer than its budget is slow even when it ends within the polling time."""
    runtime, service, observer, _ = make([])

    def step() -> int:
        runtime._measure(records=1, elapsed_s=0.099, cpu_s=0.11)
        return 0

    service._turns = iter([step])
    runtime.run()
    assert len(observer.events("SLOW")) == 1


def test_stuck_turn_shows_all_stacks_once() -> None:
    """A turn that does not end has the stacks of all threads logged once; the next one may again."""
    runtime, service, observer, clock = make([])

    def stuck() -> int:
        runtime.watch()
        clock.now_s += 31
        runtime.watch()
        runtime.watch()
        return 0

    service._turns = iter([stuck, stuck])
    runtime.run()
    runtime.watch()
    assert len(observer.events("STUCK")) == 2
    assert any("in stuck" in stack for stack in observer.events("STUCK")[0].fields["stacks"].values())


def test_garbage_is_collected_between_turns() -> None:
    """Automatic collection is off; an idle turn collects after a second, a busy one after ten."""
    clock, collected = Clock(), []
    housekeeping = GarbageCollection(clock)

    def note(phase: str, _info: dict[str, int]) -> None:
        if phase == "start":
            collected.append(clock.now_s)

    try:
        housekeeping.begin()
        assert not gc.isenabled()
        gc.callbacks.append(note)
        for idle, now_s in [(True, 1000.5), (True, 1001.0), (False, 1010.0), (False, 1011.0), (True, 1011.5), (True, 1012.0)]:
            clock.now_s = now_s
            housekeeping.between_turns(idle=idle)
    finally:
        gc.callbacks.remove(note)
        gc.unfreeze()
        gc.enable()
    assert collected == [1001.0, 1011.0, 1012.0]
