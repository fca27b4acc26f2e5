"""Each gate alone, sizing, and the ways to leave."""

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from common.market import Leg, Side
from common.messages import Action, ModelStatus, Verdict
from services.execution import strategy
from services.execution.account import Deal, apply_fill
from services.execution.state import Hold, PairState, Params, Terms, initial_state, risk_of
from tests.unit.execution.builders import FIRST_BAR, GROSS_USD, SCALE, at_ns, hedge, params, quote, rules, signal, tick

BAR = FIRST_BAR + 1


@dataclass
class Case:
    """What differs from a tick at which an entry is made."""

    books: dict[str, Any] = field(default_factory=dict)
    risk: dict[str, Any] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)


def look_at(case: Case) -> strategy.Look:
    given: Params = params(**case.params)
    risk = risk_of(signal(BAR - 1, **case.risk))
    state = replace(initial_state(given), session=1, bar=BAR, risk=risk, **case.state)
    message = hedge(5, BAR, 1, **{"z": 3, **case.books})
    return strategy.look(given, state, message, strategy.standardise(message, risk))


def with_thresholds(**changes: Any) -> dict[str, Any]:
    return {"changed_thresholds": changes}


SINGLE_BLOCKERS = [
    pytest.param("trading", Case(risk={"verdict": Verdict.REDUCE_ONLY}), id="reduce only"),
    pytest.param("trading", Case(risk={"verdict": Verdict.HALTED}), id="halted by signal"),
    pytest.param("trading", Case(state={"own_verdict": Verdict.HALTED}), id="halted by command"),
    pytest.param("first-bar", Case(state={"hold": Hold.FIRST_BAR}), id="first bar"),
    pytest.param("hold", Case(state={"hold": Hold.MISSING}), id="signal missing"),
    pytest.param("hold", Case(state={"hold": Hold.EXPIRED}), id="signal late"),
    pytest.param("sequence", Case(state={"gap_bar": BAR}), id="a record of this bar is missing"),
    pytest.param("dead-letters", Case(state={"exposure_stop": "5 of the last 20 records"}), id="too many dead letters"),
    pytest.param("data-age", Case(state={"old_data": "read 900 ms ago"}), id="read too long ago"),
    pytest.param("thresholds", Case(books={"status": ModelStatus.DEGRADED}), id="filter degraded"),
    pytest.param("thresholds", Case(risk=with_thresholds(status=ModelStatus.WARMING)), id="volatility warming"),
    pytest.param("leg-age", Case(books={"x_age_s": 2.001}), id="x stale"),
    pytest.param("leg-age", Case(books={"y_age_s": 2.001}), id="y stale"),
    pytest.param("entry-z", Case(books={"z": 1.99}), id="z too small"),
    pytest.param("entry-z", Case(books={"z": -1.99}), id="-z too small"),
    pytest.param("stop-z", Case(books={"z": 5.01}), id="z beyond the stop"),
    pytest.param("beta", Case(books={"beta": -0.5}), id="beta negative"),
    pytest.param("cost", Case(risk=with_thresholds(cost_bps=167.0)), id="cost above the edge"),
    pytest.param("budget", Case(risk={"budget_usd": Decimal(0)}), id="no budget"),
    pytest.param("orders-allowed", Case(risk={"orders_allowed": 1}), id="one order allowed"),
    pytest.param("orders-allowed", Case(state={"orders_in_bar": 9}), id="orders used up"),
    pytest.param("cool-down", Case(state={"cool_until_bar": BAR + 1}), id="cooling down"),
    pytest.param("minimums", Case(params={"x_rules": rules("BTCUSDT", minimum_notional=Decimal(6000))}), id="x below its minimum"),
    pytest.param("minimums", Case(params={"y_rules": rules("ETHUSDT", minimum_quantity=Decimal(3))}), id="y below its minimum"),
    pytest.param("minimums", Case(params={"y_rules": rules("ETHUSDT", status="BREAK")}), id="y not trading"),
    pytest.param("minimums", Case(params={"shorts_allowed": False}), id="a short on spot"),
    pytest.param("hedge-error", Case(params={"max_hedge_error": 1e-9}, books={"beta": 0.77}), id="steps too coarse"),
]


def test_an_entry_with_every_gate_open() -> None:
    """The plain case passes every gate, so each case below fails by its own difference."""
    at = look_at(Case())
    assert strategy.first_block(at) == ""
    assert [gate.name for gate in strategy.gates(at) if not gate.passed] == []


@pytest.mark.parametrize(("name", "case"), SINGLE_BLOCKERS)
def test_each_gate_is_the_single_blocker(name: str, case: Case) -> None:
    """One condition that fails shows as one gate, the one that is named."""
    at = look_at(case)
    failed = [gate for gate in strategy.gates(at) if not gate.passed]
    # A budget of nothing also buys less than the minimum.
    assert failed[0].name == name
    assert {gate.name for gate in failed} <= ({name, "minimums"} if name == "budget" else {name})
    assert strategy.first_block(at) == name


def test_every_gate_has_a_case() -> None:
    """No gate goes untested."""
    assert {str(case.values[0]) for case in SINGLE_BLOCKERS} == {name for name, _ in strategy.GATES}


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(Case(books={"z": 2.0}), id="z at the entry"),
        pytest.param(Case(books={"x_age_s": 2.0}), id="age at the limit"),
        pytest.param(Case(risk={"orders_allowed": 2}), id="just enough orders"),
        pytest.param(Case(state={"cool_until_bar": BAR}), id="cooled down"),
        # (3 - 0.5) * 0.01 * 10,000 = 250 bps = 1.5 * 166.66
        pytest.param(Case(risk=with_thresholds(cost_bps=166.6)), id="cost at the margin"),
    ],
)
def test_limits_are_inclusive(case: Case) -> None:
    """At the limit an entry is still made."""
    assert strategy.first_block(look_at(case)) == ""


def test_an_advisory_gate_is_reported_and_does_not_block() -> None:
    """Advisory means that it fails in sight."""
    at = look_at(Case(risk=with_thresholds(cost_bps=500.0), params={"advisory_gates": frozenset({"cost"})}))
    assert strategy.first_block(at) == ""
    (failed,) = [gate for gate in strategy.gates(at) if not gate.passed]
    assert (failed.name, failed.advisory) == ("cost", True)


def test_without_models_every_gate_still_answers() -> None:
    """A bar without signal and estimate is refused by the first gate, and all others can be shown."""
    given = params()
    message = replace(hedge(5, BAR, 1), estimate=None)
    state = replace(initial_state(given), hold=Hold.FIRST_BAR)
    at = strategy.look(given, state, message, strategy.standardise(message, None))
    assert strategy.first_block(at) == "first-bar"
    assert len(strategy.gates(at)) == len(strategy.GATES)


@pytest.mark.parametrize(("parameter_variance", "forecast_variance"), [(1e-6, 0.0), (-1.0, 0.5), (1e308, 1e308)])
def test_no_z_without_a_usable_variance(parameter_variance: float, forecast_variance: float) -> None:
    """A variance that is not positive and finite gives no z, never an error."""
    message = hedge(5, BAR, 1)
    assert message.estimate is not None
    message = replace(message, estimate=replace(message.estimate, parameter_variance=parameter_variance))
    assert strategy.standardise(message, risk_of(signal(BAR - 1, changed_thresholds={"forecast_variance": forecast_variance}))) is None


@pytest.mark.parametrize("beta", [0.5, 1.0, 3.0])
def test_size_spreads_the_gross_over_both_legs(beta: float) -> None:
    """Notional of x is beta times that of y, together at most the gross at the asks, and less by at most a step each."""
    found = strategy.size(look_at(Case(books={"beta": beta, "half_spread": 5})))
    y_usd, x_usd = found.y * 2005, found.x * 50_005
    assert float(y_usd) == pytest.approx(10_001 / (1 + beta), abs=2.01)
    assert float(x_usd) == pytest.approx(beta * 10_001 / (1 + beta), abs=50.01)
    assert y_usd + x_usd <= GROSS_USD


@pytest.mark.parametrize(("y_cost", "quantity"), [("5000", "0.100"), ("5001", "0.099"), ("5500", "0.090"), ("9999", "0"), ("12000", "0")])
def test_the_hedge_keeps_to_what_the_entry_leaves(y_cost: str, quantity: str) -> None:
    """A y leg that cost more than its share leaves less for x, at x's ask; one that cost too much leaves nothing."""
    _, terms = held(Action.ENTER_LONG, -3)
    assert strategy.hedge_quantity(params(), terms, Decimal(y_cost), quote(50_000, 0)) == Decimal(quantity)


@pytest.mark.parametrize(("y", "action"), [(2999, None), (3001.5, Action.EXIT)])
def test_a_position_that_has_outgrown_the_limit_is_left(y: float, action: Action | None) -> None:
    """Above 1.25 times MAX_POSITION_SIZE at mids it is closed with gross and limit in the reason, although neither z says so."""
    state, terms = held(Action.ENTER_LONG, -3)
    account, _ = apply_fill(state.account, Deal(Leg.Y, Side.BUY, Decimal("2.5"), Decimal(2000), Decimal(0)))
    account, _ = apply_fill(account, Deal(Leg.X, Side.SELL, Decimal("0.1"), Decimal(50_000), Decimal(0)))
    at = tick(9, BAR, 2, y=y, x=50_000)
    unmoved = replace(terms, spread=strategy.spread(at, terms.beta))
    decision = strategy.leave(params(), replace(state, account=account), unmoved, at, now(-3))
    assert (decision.action if decision else None) is action
    if decision:
        assert decision.reason == "the gross notional is 12503.75 USD, the limit 12501.25 USD"


def test_budget_and_position_limit_both_bind() -> None:
    """The gross is the smaller of the two."""
    assert strategy.gross_usd(params(), risk_of(signal(1, budget_usd=Decimal(300)))) == 300
    assert strategy.gross_usd(params(max_position_usd=Decimal(200)), risk_of(signal(1, budget_usd=Decimal(300)))) == 200


def held(direction: Action, z: float) -> tuple[PairState, Terms]:
    at = look_at(Case(books={"z": z}))
    assert at.signal is not None
    assert at.risk is not None
    terms = strategy.terms(at, at.signal, at.risk)
    assert terms.direction is direction
    return at.state, terms


def now(z: float) -> strategy.Signal:
    return strategy.Signal(z, SCALE, 1.0)


@pytest.mark.parametrize(
    ("entry_z", "z", "action"),
    [(3, 0.51, None), (3, 0.5, Action.EXIT), (3, -1.0, Action.EXIT), (-3, -0.51, None), (-3, -0.5, Action.EXIT), (-3, 2.0, Action.EXIT)],
)
def test_exit_within_or_beyond_the_threshold(entry_z: float, z: float, action: Action | None) -> None:
    """A position is left when z is inside the exit threshold or on its other side."""
    state, terms = held(Action.ENTER_SHORT if entry_z > 0 else Action.ENTER_LONG, entry_z)
    decision = strategy.leave(params(), state, terms, tick(9, BAR, 2), now(z))
    assert (decision.action if decision else None) is action


def test_stop_is_in_units_frozen_at_the_entry() -> None:
    """A spread 2 frozen scales beyond z = 3 stops at 5, although the model, whose scale has grown, sees z = 1."""
    state, terms = held(Action.ENTER_SHORT, 3)
    below, at = (2000 * (1 + moved) for moved in (0.0201, 0.0203))
    assert strategy.leave(params(), state, terms, tick(9, BAR, 2, y=below), now(1)) is None
    decision = strategy.leave(params(), state, terms, tick(9, BAR, 2, y=at), now(1))
    assert decision is not None
    assert decision.action is Action.STOP


def test_stop_of_a_long_is_on_the_other_side() -> None:
    """A pair that was bought is stopped when it falls."""
    state, terms = held(Action.ENTER_LONG, -3)
    assert strategy.leave(params(), state, terms, tick(9, BAR, 2, y=2000 * 1.03), now(-1)) is None
    decision = strategy.leave(params(), state, terms, tick(9, BAR, 2, y=2000 * 0.979), now(-1))
    assert decision is not None
    assert decision.action is Action.STOP


def test_position_z_starts_at_the_entry_and_knows_beta() -> None:
    """At the entry's prices it is the entry's z; when both legs move as beta says it stays."""
    _, terms = held(Action.ENTER_SHORT, 3)
    assert strategy.position_z(terms, tick(9, BAR, 2)) == pytest.approx(3)
    assert strategy.position_z(terms, tick(9, BAR, 2, y=2000 * 1.1, x=50_000 * 1.1)) == pytest.approx(3)


@pytest.mark.parametrize(("half_life", "bars"), [(10.0, 20), (0.2, 1), (0.0, 120), (float("inf"), 120)])
def test_time_stop(half_life: float, bars: int) -> None:
    """Two half-lives where known, else the setting; it acts at that bar and not before."""
    at = look_at(Case(risk=with_thresholds(half_life_bars=half_life)))
    assert at.signal is not None
    assert at.risk is not None
    terms = strategy.terms(at, at.signal, at.risk)
    assert strategy.leave(at.params, at.state, terms, tick(9, BAR + bars - 1, 2), now(2)) is None
    decision = strategy.leave(at.params, at.state, terms, tick(9, BAR + bars, 2), now(2))
    assert decision is not None
    assert decision.action is Action.TIME_STOP


def test_without_a_model_the_position_is_left_on_its_own_z() -> None:
    """A filter that gives no estimate does not lock a position in."""
    state, terms = held(Action.ENTER_SHORT, 3)
    assert strategy.leave(params(), state, terms, tick(9, BAR, 2), None) is None
    decision = strategy.leave(params(), state, terms, tick(9, BAR, 2, y=2000 * 0.974), None)
    assert decision is not None
    assert decision.action is Action.EXIT


@pytest.mark.parametrize("change", [lambda state: replace(state, own_verdict=Verdict.FLATTEN)], ids=["command"])
def test_flatten_leaves_at_once(change: Callable[[PairState], PairState]) -> None:
    """FLATTEN needs no other reason."""
    state, terms = held(Action.ENTER_SHORT, 3)
    decision = strategy.leave(params(), change(state), terms, tick(9, BAR, 2), now(2))
    assert decision is not None
    assert decision.action is Action.FLATTEN


@pytest.mark.parametrize(
    ("own", "signalled", "hold", "verdict"),
    [
        (Verdict.ACTIVE, Verdict.ACTIVE, Hold.NONE, Verdict.ACTIVE),
        (Verdict.HALTED, Verdict.ACTIVE, Hold.NONE, Verdict.HALTED),
        (Verdict.HALTED, Verdict.FLATTEN, Hold.NONE, Verdict.FLATTEN),
        (Verdict.ACTIVE, Verdict.ACTIVE, Hold.MISSING, Verdict.REDUCE_ONLY),
        (Verdict.ACTIVE, Verdict.FLATTEN, Hold.EXPIRED, Verdict.FLATTEN),
    ],
)
def test_the_strictest_verdict_holds(own: Verdict, signalled: Verdict, hold: Hold, verdict: Verdict) -> None:
    """Command, signal and hold: whichever allows least."""
    state = replace(initial_state(params()), own_verdict=own, risk=risk_of(signal(1, verdict=signalled)), hold=hold)
    assert state.verdict is verdict


def test_terms_are_those_of_the_deciding_tick() -> None:
    """Beta, scale and thresholds are frozen as they were."""
    _, terms = held(Action.ENTER_SHORT, 3)
    assert (terms.seq, terms.bar, terms.event_time_ns) == (5, BAR, at_ns(BAR, 1))
    assert (terms.beta, terms.z, terms.scale, terms.exit_z, terms.stop_z) == pytest.approx((1, 3, SCALE, 0.5, 5))
