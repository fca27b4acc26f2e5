"""What follows from the pairs' states for those who watch; measured when somebody asks, so that no tick pays for it."""

import math
from collections.abc import Mapping
from decimal import Decimal

from common.market import Leg
from common.messages import PositionState
from common.processor import Observer
from services.execution import strategy
from services.execution.account import value
from services.execution.explanation import MEASURED_GATES, NUMERIC_GATES, SCALES, ExplainedGate, explain_gates, first_block
from services.execution.metrics import PROFIT_PARTS, THRESHOLDS
from services.execution.state import PairState, Params

_STATES = tuple(PositionState)


def measure(observer: Observer, params: Mapping[str, Params], states: Mapping[str, PairState]) -> None:
    """Set every gauge that follows from a pair's state."""
    for pair, state in states.items():
        _money(observer, pair, state)
        _position(observer, pair, params[pair], state)
        _thresholds(observer, pair, state)
        _entry(observer, pair, params[pair], state)


def _money(observer: Observer, pair: str, state: PairState) -> None:
    account = state.account
    worth = value(account, state.hedge.tick if state.hedge else None)
    amounts = (account.realised_usd, worth.unrealised_usd, account.fees_usd, account.funding_usd)
    for part, amount in zip(PROFIT_PARTS, amounts, strict=True):
        observer.gauge("crypto_bot_pnl_usd", float(amount), pair=pair, part=part)
    observer.gauge("crypto_bot_pnl_net_usd", float(account.wallet_usd - account.starting_usd), pair=pair)
    observer.gauge("crypto_bot_starting_equity_usd", float(account.starting_usd), pair=pair)


def _position(observer: Observer, pair: str, params: Params, state: PairState) -> None:
    observer.gauge("crypto_bot_position_state", _STATES.index(state.position.state), pair=pair)
    for leg in Leg:
        quantity = float(state.account.holding(leg).quantity)
        price = strategy.mid(state.hedge.tick.quote(leg)) if state.hedge else math.nan
        observer.gauge("crypto_bot_leg_price_usd", price, pair=pair, leg=leg.value)
        observer.gauge("crypto_bot_position_usd", quantity * price if quantity else 0.0, pair=pair, leg=leg.value)
    observer.gauge("crypto_bot_open_unhedged_usd_seconds", float(state.position.unhedged_usd_seconds), pair=pair)
    budget = params.max_position_usd / 2 * Decimal(params.unhedged_ns) / 10**9
    observer.gauge("crypto_bot_unhedged_budget_usd_seconds", float(budget), pair=pair)


def _thresholds(observer: Observer, pair: str, state: PairState) -> None:
    known = state.risk.thresholds if state.risk else None
    levels = (known.entry_z, known.exit_z, known.stop_z) if known else (math.nan,) * len(THRESHOLDS)
    for threshold, level in zip(THRESHOLDS, levels, strict=True):
        observer.gauge("crypto_bot_threshold_z", level, pair=pair, threshold=threshold)
    observer.gauge("crypto_bot_expected_edge_bps", known.expected_edge_bps if known else math.nan, pair=pair)
    observer.gauge("crypto_bot_cost_bps", known.cost_bps if known else math.nan, pair=pair)


def _entry(observer: Observer, pair: str, params: Params, state: PairState) -> None:
    """Show what an entry would meet at the last tick."""
    hedge = state.hedge
    signal = strategy.standardise(hedge, state.risk) if hedge else None
    z = signal.z if signal else math.nan
    observer.gauge("crypto_bot_z", z, pair=pair)
    distance = max(0.0, state.risk.thresholds.entry_z - abs(z)) if signal and state.risk else math.nan
    observer.gauge("crypto_bot_entry_distance_z", distance, pair=pair)
    observer.gauge("crypto_bot_leg_age_seconds", hedge.tick.oldest_leg_age_ns() / 1e9 if hedge else math.nan, pair=pair)
    _gates(observer, pair, explain_gates(strategy.look(params, state, hedge, signal)) if hedge else None)


def _gates(observer: Observer, pair: str, gates: tuple[ExplainedGate, ...] | None) -> None:
    """Show the figures of `/pairs/{pair}/explain`; NaN for what no number says now, nothing for what none ever does."""
    found = {gate.name: gate for gate in gates or ()}
    blocking = first_block(gates) if gates else ""
    for name in SCALES:
        gate = found.get(name)
        observer.gauge("crypto_bot_gate_passed", float(gate.passed) if gate else math.nan, pair=pair, gate=name)
        observer.gauge("crypto_bot_gate_blocking", float(name == blocking) if gate else math.nan, pair=pair, gate=name)
        if name in MEASURED_GATES:
            observer.gauge("crypto_bot_gate_distance", _known(gate and gate.distance), pair=pair, gate=name)
        if name in NUMERIC_GATES:
            observer.gauge("crypto_bot_gate_value", _known(gate and gate.number), pair=pair, gate=name)
            observer.gauge("crypto_bot_gate_limit", _known(gate and gate.limit_number), pair=pair, gate=name)


def _known(value: float | None) -> float:
    return math.nan if value is None else value
