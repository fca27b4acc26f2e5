"""What `/pairs/{pair}/explain` and the dashboards show of the gates: each alone, by its real cause, is the one that blocks."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest

from common.io.metrics import RecordingObserver
from common.messages import Command, CommandKind, ModelStatus, PositionState, StopCause, Verdict
from services.execution import processor, strategy
from services.execution.explanation import MEASURED_GATES, NUMERIC_GATES, SCALES
from services.execution.gauges import measure
from services.execution.metrics import METRICS
from services.execution.views import explain, recovering
from tests.unit.execution.builders import FIRST_BAR, PAIR, Desk, params, rules, signal

BAR = FIRST_BAR + 1
#: So long after the warm bar that a position may have been closed in between.
LATER = BAR + 3


def shown(desk: Desk) -> dict[str, Any]:
    return explain(desk.params, desk.state)


def gate_of(answer: dict[str, Any], name: str) -> dict[str, Any]:
    (gate,) = [each for each in answer["gates"] if each["name"] == name]
    return dict(gate)


def halt(desk: Desk) -> None:
    command = Command(id=1, target=PAIR, kind=CommandKind.HALT, who="me", why="test", issued_at_ns=0)
    desk.state, _ = processor.obey(desk.params, desk.state, command)


def stop(cause: StopCause) -> Callable[[Desk], None]:
    def apply(desk: Desk) -> None:
        desk.state, _ = processor.limit_exposure(desk.params, desk.state, stopped=True, reason="too many", cause=cause)

    return apply


def lose_a_record(desk: Desk) -> None:
    desk.seq += 1


def close_a_position(desk: Desk) -> None:
    """Enter, fill both legs, leave and fill again: all within the bar before the last."""
    for second, z in enumerate((3, 3, 3, 3, 0, 0, 0)):
        desk.tick(LATER - 1, 1 + second, z=z)
    assert desk.state.position.state is PositionState.IDLE
    assert desk.state.counts.round_trips == 1


@dataclass
class Cause:
    """What differs from a pair that may enter."""

    tick: dict[str, Any] = field(default_factory=dict)
    risk: dict[str, Any] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    #: Done in the bar before, and between it and the tick.
    before: Callable[[Desk], None] = lambda _desk: None
    between: Callable[[Desk], None] = lambda _desk: None
    signalled: bool = True
    distance: float | None = None
    #: Gates that cannot be open while this one is shut.
    besides: set[str] = field(default_factory=set)


def desk_after(cause: Cause) -> Desk:
    """Two bars later, at a tick with z = 3 that enters unless something blocks."""
    desk = Desk(params(**cause.params))
    desk.warm()
    for bar in range(BAR, LATER):
        desk.tick(bar, 0.5, risk=signal(bar - 1))
        if bar == LATER - 1:
            cause.before(desk)
        desk.close(bar)
    cause.between(desk)
    desk.tick(LATER, 1, risk=signal(LATER - 1, **cause.risk) if cause.signalled else None, **{"z": 3, **cause.tick})
    return desk


WITHOUT_RISK = {"thresholds", "entry-z", "stop-z", "beta", "cost", "budget", "orders-allowed", "minimums", "hedge-error"}

CAUSES = [
    pytest.param("trading", Cause(risk={"verdict": Verdict.HALTED}, distance=2), id="risk says halted"),
    pytest.param("trading", Cause(before=halt, risk={"commands_through": 0}, distance=2), id="an operator's command"),
    pytest.param("hold", Cause(signalled=False, distance=1), id="no signal of the bar before"),
    pytest.param("sequence", Cause(between=lose_a_record, distance=1), id="a lost record"),
    pytest.param("dead-letters", Cause(before=stop(StopCause.DEAD_LETTERS)), id="too many dead letters"),
    pytest.param("data-age", Cause(before=stop(StopCause.OLD_DATA)), id="old data"),
    pytest.param("thresholds", Cause(tick={"status": ModelStatus.DEGRADED}, distance=1), id="filter degraded"),
    pytest.param("thresholds", Cause(risk={"changed_thresholds": {"status": ModelStatus.WARMING}}, distance=1), id="volatility warming"),
    pytest.param("leg-age", Cause(tick={"x_age_s": 3}, distance=1000), id="x stale"),
    pytest.param("entry-z", Cause(tick={"z": -1.5}, distance=0.5), id="z too small"),
    pytest.param("stop-z", Cause(tick={"z": 6}, distance=1), id="z beyond the stop"),
    pytest.param("beta", Cause(tick={"beta": -0.5}, distance=0.5), id="beta negative"),
    pytest.param("cost", Cause(params={"cost_margin": 10.0}, distance=50), id="COST_MARGIN"),
    pytest.param("budget", Cause(risk={"budget_usd": Decimal(0)}, distance=50, besides={"minimums"}), id="no budget"),
    pytest.param("orders-allowed", Cause(risk={"orders_allowed": 1}, distance=1), id="one order allowed"),
    pytest.param("cool-down", Cause(before=close_a_position, distance=4), id="COOL_DOWN_BARS after a position"),
    pytest.param("minimums", Cause(params={"x_rules": rules("BTCUSDT", minimum_notional=Decimal(6000))}, distance=1000), id="x below the smallest notional"),
    pytest.param("minimums", Cause(params={"y_rules": rules("ETHUSDT", status="BREAK")}), id="y not trading"),
    pytest.param("minimums", Cause(params={"shorts_allowed": False}), id="a short on spot"),
    pytest.param("hedge-error", Cause(params={"max_hedge_error": 1e-9}, tick={"beta": 0.77}, distance=0), id="MAX_HEDGE_ERROR"),
]


def test_nothing_blocks_where_every_gate_is_open() -> None:
    """The pair enters at that tick, and every gate passes at distance 0; so each cause below blocks by itself."""
    desk = desk_after(Cause())
    answer = shown(desk)
    assert desk.state.position.state is PositionState.ENTERING
    assert (answer["blocking_gate"], answer["missing"]) == ("", [])
    assert {(gate["verdict"], gate["distance"]) for gate in answer["gates"]} == {("pass", 0.0)}
    assert [gate["name"] for gate in answer["gates"]] == [name for name, _ in strategy.GATES] == list(SCALES)


@pytest.mark.parametrize(("name", "cause"), CAUSES)
def test_each_gate_alone_is_the_one_that_blocks(name: str, cause: Cause) -> None:
    """By its own cause it blocks first and alone, the pair does not enter, and the distance is what it lacks."""
    desk = desk_after(cause)
    answer = shown(desk)
    assert (answer["blocking_gate"], desk.state.position.state) == (name, PositionState.IDLE)
    assert {gate["name"] for gate in answer["gates"] if gate["verdict"] == "block"} == {name} | cause.besides
    gate = gate_of(answer, name)
    if cause.distance is None:
        assert gate["distance"] is None
    else:
        assert gate["distance"] == pytest.approx(cause.distance, abs=1e-3, rel=0.01)
        assert gate["unit"]


def test_the_first_bar_blocks_by_itself() -> None:
    """In the first bar of a session there is no signal, so it blocks before all that follows from one."""
    desk = Desk()
    desk.tick(FIRST_BAR, 1, z=3)
    answer = shown(desk)
    assert (answer["blocking_gate"], gate_of(answer, "first-bar")["distance"]) == ("first-bar", 1)
    assert {gate["name"] for gate in answer["gates"] if not gate["passed"]} <= {"first-bar"} | WITHOUT_RISK


def test_every_gate_has_a_cause() -> None:
    """No gate is added without one."""
    assert {str(case.values[0]) for case in CAUSES} | {"first-bar"} == {name for name, _ in strategy.GATES}


def test_an_advisory_gate_advises() -> None:
    """It shows what it lacks and does not block."""
    answer = shown(desk_after(Cause(params={"cost_margin": 10.0, "advisory_gates": frozenset({"cost"})})))
    assert (answer["blocking_gate"], gate_of(answer, "cost")["verdict"]) == ("", "advise")
    assert gate_of(answer, "cost")["distance"] == pytest.approx(50)


@pytest.mark.parametrize(("name", "cause"), CAUSES)
def test_dashboards_show_the_same_figures(name: str, cause: Cause) -> None:
    """Verdict, value, limit and distance of each gate are gauges; exactly the blocking one is marked."""
    desk = desk_after(cause)
    observer = RecordingObserver(METRICS)
    measure(observer, {PAIR: desk.params}, {PAIR: desk.state})
    for gate in shown(desk)["gates"]:
        labels = (("gate", gate["name"]), ("pair", PAIR))
        assert observer.gauges["crypto_bot_gate_passed", labels] == gate["passed"]
        assert observer.gauges["crypto_bot_gate_blocking", labels] == (gate["name"] == name)
        figures = {"distance": MEASURED_GATES, "number": NUMERIC_GATES, "limit_number": NUMERIC_GATES}
        for figure, (field_name, gates) in zip(("distance", "value", "limit"), figures.items(), strict=True):
            found = observer.gauges.get((f"crypto_bot_gate_{figure}", labels))
            if gate["name"] not in gates:
                assert found is None
            elif gate[field_name] is None:
                assert found is not None
                assert math.isnan(found)
            else:
                assert found == gate[field_name]


def test_before_execution_has_read_its_ledger() -> None:
    """There is an answer of the same shape, which says what is missing."""
    answer = recovering(PAIR)
    assert answer.keys() == shown(Desk()).keys() == shown(desk_after(Cause())).keys()
    assert (answer["gates"], answer["blocking_gate"]) == ([], "")
    assert "execution is recovering" in answer["note"]


def test_before_the_first_tick_and_before_the_first_signal() -> None:
    """It says which service has not answered yet; while the volatility model warms up it says why."""
    desk = Desk()
    (tick, risk_signal) = shown(desk)["missing"]
    assert tick.startswith("no tick yet in this session: ingestion-service")
    assert risk_signal.startswith("no risk signal yet: risk-manager-service")
    desk.warm()
    assert shown(desk)["missing"] == [risk_signal]
    desk.tick(BAR, 1, risk=signal(FIRST_BAR, changed_thresholds={"status": ModelStatus.WARMING, "reason": "20 of 60 bars"}))
    assert shown(desk)["missing"] == ["the volatility model is WARMING: 20 of 60 bars"]
