"""When to enter and when to leave: pure functions of a pair's state and a tick.

z = e / sqrt(x'Px + h), with h forecast at the close of the previous bar. A pair is sold (y sold, x bought) when z is high
and bought when it is low. Every condition of an entry is a gate; the first that fails blocks, and all can be shown.

A position is left on z as the model sees it now: inside the exit threshold the model expects nothing more of it. It is
stopped on its own z, in units frozen at the entry, because the model's z comes back by itself when alpha and beta follow
the prices, and its scale grows with the very volatility that a stop guards against.

References
----------
Palomar, Portfolio Optimization, 2025, chapter 15: gross exposure normalised by 1 + |beta|.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from common.market import Leg, Side
from common.messages import Action, Gate, HedgeRatio, ModelStatus, Quote, Tick, Verdict, strictest
from common.rules import refusal, round_quantity
from services.execution.account import ZERO
from services.execution.state import Hold, PairState, Params, Risk, Terms

#: Orders of an entry: one a leg.
ENTRY_ORDERS = 2
#: A position is cut once it is worth this many times MAX_POSITION_SIZE: prices move after an entry, and cutting every
#: position that gains a little notional would pay fees for nothing.
GROWTH_MARGIN = 1.25
#: A gate's limit that asks for more than nothing.
ABOVE_ZERO = "> 0"
#: Share of the gross that is kept back where a step of x matters: prices that moved before the hedge shall not cost it one.
ROOM_FOR_MOVES = Decimal("0.005")


class Signal(NamedTuple):
    """A tick as the model sees it."""

    z: float
    scale: float
    beta: float


class Size(NamedTuple):
    """Quantities of an entry, base currency."""

    y: Decimal
    x: Decimal

    def of(self, leg: Leg) -> Decimal:
        """The quantity of one leg."""
        return self.y if leg is Leg.Y else self.x


class Measured(NamedTuple):
    """What a gate found; turned into text only where it is shown."""

    passed: bool
    value: object
    limit: object


@dataclass(frozen=True, slots=True)
class Look:
    """All that a gate may look at."""

    params: Params
    state: PairState
    tick: Tick
    #: Whether the filter's answer may be acted upon.
    filter_status: ModelStatus
    signal: Signal | None
    #: The risk signal in use.
    risk: Risk | None


class Leave(NamedTuple):
    """A decision to leave a position."""

    action: Action
    reason: str


def standardise(hedge: HedgeRatio, risk: Risk | None) -> Signal | None:
    """z, its scale (log price) and beta at a tick; None while the models give none.

    Parameters
    ----------
    hedge
        The filter's answer to the tick, taken before any update with it.
    risk
        Carries h, the variance of the innovation beyond x'Px, forecast before the tick's bar.
    """
    estimate = hedge.estimate
    if estimate is None or risk is None or risk.thresholds.forecast_variance <= 0:
        return None
    variance = estimate.parameter_variance + risk.thresholds.forecast_variance
    if not 0 < variance < math.inf:
        return None
    scale = math.sqrt(variance)
    return Signal(estimate.innovation / scale, scale, estimate.beta)


def look(params: Params, state: PairState, hedge: HedgeRatio, signal: Signal | None) -> Look:
    """What the gates look at."""
    return Look(params, state, hedge.tick, hedge.status, signal, state.risk)


def first_block(at: Look) -> str:
    """The first gate that blocks an entry; empty when none does."""
    advisory = at.params.advisory_gates
    for name, gate in GATES:
        if not gate(at).passed and name not in advisory:
            return name
    return ""


def gates(at: Look) -> tuple[Gate, ...]:
    """Every gate with what it found."""
    advisory = at.params.advisory_gates
    return tuple(
        Gate(name=name, value=as_text(found.value), limit=as_text(found.limit), passed=found.passed, advisory=name in advisory)
        for name, gate in GATES
        for found in (gate(at),)
    )


def as_text(value: object) -> str:
    """What a gate found or asks for, as it is shown."""
    if isinstance(value, tuple):
        return ", ".join(map(as_text, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def direction_of(z: float) -> Action:
    """A high z says that y is dear: sell the pair."""
    return Action.ENTER_SHORT if z > 0 else Action.ENTER_LONG


def sides(direction: Action) -> tuple[Side, Side]:
    """Sides of y and x that open a position."""
    return (Side.SELL, Side.BUY) if direction is Action.ENTER_SHORT else (Side.BUY, Side.SELL)


def gross_usd(params: Params, risk: Risk | None) -> Decimal:
    """What a position may be worth: the pair's limit or its budget, whichever is less."""
    return min(params.max_position_usd, risk.budget_usd) if risk else ZERO


def size(at: Look) -> Size:
    """Quantities that spread the gross over both legs: 1 part of y to |beta| parts of x, at the asks and rounded towards less.

    Where x's steps are so coarse that too much would stay without a hedge, y is made smaller, to fit a whole number of them.
    """
    if at.signal is None or not at.signal.beta:
        return Size(ZERO, ZERO)
    beta, params, tick = abs(at.signal.beta), at.params, at.tick
    gross = gross_usd(params, at.risk)
    kept = gross * (1 - ROOM_FOR_MOVES)
    y_usd = float(gross) / (1 + beta)
    if hedge_error(_hedged(at, beta, y_usd, kept), beta, tick) > params.max_hedge_error:
        x = round_quantity(beta * float(kept) / (1 + beta) / float(tick.x.ask), params.x_rules)
        y_usd = min(y_usd, float(x) * mid(tick.x) / beta)
    return _hedged(at, beta, y_usd, gross)


def _hedged(at: Look, beta: float, y_usd: float, gross: Decimal) -> Size:
    """So much of y, and the hedge that it would get at these books."""
    ask = at.tick.y.ask
    y = round_quantity(y_usd / float(ask), at.params.y_rules)
    return Size(y, _hedge_of(at.params, beta, gross, y * ask, at.tick.x))


def hedge_error(quantities: Size, beta: float, tick: Tick) -> float:
    """Share of the gross notional that has no hedge: |beta y - x| / (y + x) at mid prices."""
    y_usd, x_usd = float(quantities.y) * mid(tick.y), float(quantities.x) * mid(tick.x)
    gross = y_usd + x_usd
    return abs(beta * y_usd - x_usd) / gross if gross else 0.0


def hedge_quantity(params: Params, frozen: Terms, y_cost_usd: Decimal, quote: Quote) -> Decimal:
    """Quantity of x for what y cost."""
    return _hedge_of(params, frozen.beta, frozen.notional_usd, y_cost_usd, quote)


def _hedge_of(params: Params, beta: float, notional_usd: Decimal, y_cost_usd: Decimal, quote: Quote) -> Decimal:
    """Beta times y's notional, and no more than the entry's gross leaves; where a step less leaves too much bare, the nearest step."""
    wanted = beta * float(y_cost_usd) / mid(quote)
    affordable = max(0.0, float(notional_usd - y_cost_usd) / float(quote.ask))
    less = round_quantity(min(wanted, affordable), params.x_rules)
    bare_usd = (wanted - float(less)) * mid(quote)
    if bare_usd <= params.max_hedge_error * float(y_cost_usd) * (1 + beta):
        return less
    return round_quantity(min(wanted + float(params.x_rules.quantity_step) / 2, affordable), params.x_rules)


def terms(at: Look, signal: Signal, risk: Risk) -> Terms:
    """The terms of an entry at this tick."""
    thresholds, tick = risk.thresholds, at.tick
    return Terms(
        direction=direction_of(signal.z),
        seq=tick.seq,
        bar=tick.bar,
        event_time_ns=tick.event_time_ns,
        notional_usd=gross_usd(at.params, risk),
        beta=signal.beta,
        z=signal.z,
        scale=signal.scale,
        spread=spread(tick, signal.beta),
        exit_z=thresholds.exit_z,
        stop_z=thresholds.stop_z,
        last_bar=tick.bar + longest_bars(at.params, thresholds.half_life_bars),
    )


def longest_bars(params: Params, half_life_bars: float) -> int:
    """The time stop: some half-lives where the half-life is known, else a fixed number of bars."""
    if 0 < half_life_bars < math.inf:
        return max(1, math.ceil(params.time_stop_half_lives * half_life_bars))
    return params.time_stop_bars


def leave(params: Params, state: PairState, frozen: Terms, tick: Tick, signal: Signal | None) -> Leave | None:
    """Whether an open position is left at this tick, and why.

    `frozen` are the position's terms. z now is the model's; the position's own where the model has none.
    """
    if state.verdict is Verdict.FLATTEN:
        return Leave(Action.FLATTEN, "the verdict is FLATTEN")
    if stop := stop_reason(frozen, tick):
        return Leave(Action.STOP, stop)
    gross, limit = _held_usd(state, tick), GROWTH_MARGIN * float(params.max_position_usd)
    if gross > limit:
        return Leave(Action.EXIT, f"the gross notional is {gross:.2f} USD, the limit {limit:.2f} USD")
    now = _towards_loss(frozen, signal.z if signal else position_z(frozen, tick))
    if now <= frozen.exit_z:
        return Leave(Action.EXIT, f"z towards the loss is {now:.4g}, the exit {frozen.exit_z:.4g}")
    if tick.bar >= frozen.last_bar:
        return Leave(Action.TIME_STOP, f"open for {tick.bar - frozen.bar} bars")
    return None


def stop_reason(frozen: Terms, tick: Tick) -> str:
    """Why a position of these terms is stopped at this tick; empty when it is not."""
    own = _towards_loss(frozen, position_z(frozen, tick))
    return f"the position's own z is {own:.4g}, the stop {frozen.stop_z:.4g}" if own >= frozen.stop_z else ""


def position_z(frozen: Terms, tick: Tick) -> float:
    """A position's own z, in units frozen at its entry: z0 + (s - s0) / scale0 with s = log y - beta0 log x."""
    return frozen.z + (spread(tick, frozen.beta) - frozen.spread) / frozen.scale


def spread(tick: Tick, beta: float) -> float:
    """The spread log y - beta log x of mid prices."""
    return math.log(mid(tick.y)) - beta * math.log(mid(tick.x))


def mid(quote: Quote) -> float:
    """Mid price as a statistic."""
    return (float(quote.bid) + float(quote.ask)) / 2


def _held_usd(state: PairState, tick: Tick) -> float:
    """Gross notional of what is held, at mid prices."""
    return sum(abs(float(state.account.holding(leg).quantity)) * mid(tick.quote(leg)) for leg in Leg)


def _towards_loss(frozen: Terms, z: float) -> float:
    """Give z the sign that grows as the position loses."""
    return z if frozen.direction is Action.ENTER_SHORT else -z


def _trading(at: Look) -> Measured:
    verdict = strictest(at.risk.verdict if at.risk else Verdict.ACTIVE, at.state.own_verdict)
    return Measured(verdict is Verdict.ACTIVE, verdict, Verdict.ACTIVE)


def _first_bar(at: Look) -> Measured:
    first = at.state.hold is Hold.FIRST_BAR
    return Measured(not first, "first" if first else "later", "later")


def _hold(at: Look) -> Measured:
    hold = at.state.hold
    return Measured(hold not in {Hold.MISSING, Hold.EXPIRED}, hold or "signal in time", "signal of the previous bar")


def _sequence(at: Look) -> Measured:
    """A record of this bar is missing, whatever it held."""
    gap = at.state.gap_bar == at.tick.bar
    return Measured(not gap, "a gap in this bar" if gap else "gapless", "gapless")


def _dead_letters(at: Look) -> Measured:
    """Records that cannot be used are too many to trust the rest."""
    return Measured(not at.state.exposure_stop, at.state.exposure_stop or "few", "few")


def _data_age(at: Look) -> Measured:
    """Live: time since the tick was read from the socket."""
    return Measured(not at.state.old_data, at.state.old_data or "young", "young")


def _thresholds(at: Look) -> Measured:
    """Status of the filter and of the volatility model."""
    volatility = at.risk.thresholds.status if at.risk else ModelStatus.WARMING
    ready = at.filter_status is ModelStatus.READY and volatility is ModelStatus.READY and at.signal is not None
    return Measured(ready, (at.filter_status, volatility), (ModelStatus.READY, ModelStatus.READY))


def _leg_age(at: Look) -> Measured:
    """Age of the older book, ms."""
    age_ns = at.tick.oldest_leg_age_ns()
    return Measured(age_ns <= at.params.max_leg_age_ns, age_ns / 1e6, at.params.max_leg_age_ns / 1e6)


def _entry_z(at: Look) -> Measured:
    if at.signal is None or at.risk is None:
        return _NO_SIGNAL
    size_of_z = abs(at.signal.z)
    limit = at.risk.thresholds.entry_z
    return Measured(size_of_z >= limit > 0, size_of_z, limit)


def _stop_z(at: Look) -> Measured:
    if at.signal is None or at.risk is None:
        return _NO_SIGNAL
    return Measured(abs(at.signal.z) < at.risk.thresholds.stop_z, abs(at.signal.z), at.risk.thresholds.stop_z)


def _beta(at: Look) -> Measured:
    if at.signal is None:
        return _NO_SIGNAL
    return Measured(0 < at.signal.beta < math.inf, at.signal.beta, ABOVE_ZERO)


def _cost(at: Look) -> Measured:
    """Edge of this tick: what is earned if z goes to the exit threshold, bps of y's notional."""
    if at.signal is None or at.risk is None:
        return _NO_SIGNAL
    edge_bps = (abs(at.signal.z) - at.risk.thresholds.exit_z) * at.signal.scale * 1e4
    limit_bps = at.params.cost_margin * at.risk.thresholds.cost_bps
    return Measured(edge_bps >= limit_bps, edge_bps, limit_bps)


def _budget(at: Look) -> Measured:
    gross = gross_usd(at.params, at.risk)
    return Measured(gross > 0, gross, ABOVE_ZERO)


def _orders_allowed(at: Look) -> Measured:
    allowed = at.risk.orders_allowed if at.risk else 0
    needed = at.state.orders_in_bar + ENTRY_ORDERS
    return Measured(needed <= allowed, needed, allowed)


def _cool_down(at: Look) -> Measured:
    return Measured(at.tick.bar >= at.state.cool_until_bar, at.tick.bar, at.state.cool_until_bar)


def _minimums(at: Look) -> Measured:
    """Both legs are checked before the first is sent."""
    if at.signal is None:
        return _NO_SIGNAL
    params = at.params
    if not params.shorts_allowed:
        short = Leg.Y if direction_of(at.signal.z) is Action.ENTER_SHORT else Leg.X
        return Measured(passed=False, value=f"{params.pair.symbol(short)}: a spot account cannot sell short", limit="both legs accepted")
    quantities = size(at)
    found = refusal(quantities.y, at.tick.y.bid, params.y_rules) or refusal(quantities.x, at.tick.x.bid, params.x_rules)
    return Measured(found is None, found or f"y {quantities.y}, x {quantities.x}", "both legs accepted")


def _hedge_error(at: Look) -> Measured:
    """What the steps of both symbols leave without a hedge, as a share of the gross."""
    if at.signal is None:
        return _NO_SIGNAL
    error = hedge_error(size(at), abs(at.signal.beta), at.tick)
    return Measured(error <= at.params.max_hedge_error, error, at.params.max_hedge_error)


_NO_SIGNAL = Measured(passed=False, value="none", limit="a model's answer")

#: Every condition of an entry, in the order in which they are asked: what is cheap and what says most comes first.
GATES: tuple[tuple[str, Callable[[Look], Measured]], ...] = (
    ("trading", _trading),
    ("first-bar", _first_bar),
    ("hold", _hold),
    ("sequence", _sequence),
    ("dead-letters", _dead_letters),
    ("data-age", _data_age),
    ("thresholds", _thresholds),
    ("leg-age", _leg_age),
    ("entry-z", _entry_z),
    ("stop-z", _stop_z),
    ("beta", _beta),
    ("cost", _cost),
    ("budget", _budget),
    ("orders-allowed", _orders_allowed),
    ("cool-down", _cool_down),
    ("minimums", _minimums),
    ("hedge-error", _hedge_error),
)
