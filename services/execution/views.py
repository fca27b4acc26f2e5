"""What people and other programs are shown of the pairs; exact amounts as strings, beside them to the cent."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, localcontext
from typing import Any

import msgspec

from common.costs import MONEY, to_cents
from common.market import Leg
from common.messages import OrderEvent, Tick
from services.execution import strategy
from services.execution.account import ZERO, equity_usd, value
from services.execution.state import PairState, Params

_AMOUNTS = ("starting_usd", "gross_usd", "fees_usd", "funding_usd", "net_usd", "unrealised_usd", "equity_usd")


def positions(params: Mapping[str, Params], states: Mapping[str, PairState]) -> dict[str, Any]:
    """Every pair's position."""
    return {"positions": [_position(params[pair], state) for pair, state in states.items()]}


def profit(states: Mapping[str, PairState]) -> dict[str, Any]:
    """Every pair's profit and the total: net = gross + fees + funding."""
    pairs = {pair: _profit(state) for pair, state in states.items()}
    with localcontext(MONEY):
        total = {name: sum((each[name] for each in pairs.values()), ZERO) for name in _AMOUNTS}
    return {"pairs": {pair: _shown(amounts) for pair, amounts in pairs.items()}, "total": _shown(total)}


def orders(events: Sequence[OrderEvent], limit: int) -> dict[str, Any]:
    """The newest orders, newest first."""
    return {"orders": [msgspec.to_builtins(event) for event in reversed(events[-limit:])], "known": len(events)}


def explain(params: Params, state: PairState) -> dict[str, Any]:
    """Why a pair does what it does: every gate of an entry at the last tick, and which one blocks."""
    shown: dict[str, Any] = {"pair": str(params.pair), "state": state.position.state, "verdict": state.verdict, "bar": state.bar, "last_seq": state.last_seq}
    if state.hedge is None:
        return {**shown, "gates": [], "blocking_gate": "", "z": None, "distance_to_entry": None, "note": "no tick yet in this session"}
    at = strategy.look(params, state, state.hedge, strategy.standardise(state.hedge, state.risk))
    entry_z = state.risk.thresholds.entry_z if state.risk else None
    z = at.signal.z if at.signal else None
    return {
        **shown,
        "z": z,
        "entry_z": entry_z,
        "distance_to_entry": None if z is None or entry_z is None else max(0.0, entry_z - abs(z)),
        "blocking_gate": strategy.first_block(at),
        "gates": [
            {"name": gate.name, "value": gate.value, "limit": gate.limit, "passed": gate.passed, "advisory": gate.advisory} for gate in strategy.gates(at)
        ],
        "note": "" if state.position.terms is None else "a position is open: the gates tell what a new entry would meet",
    }


def summary(params: Params, state: PairState) -> dict[str, Any]:
    """The last state of a pair, for caches and tables."""
    thresholds = state.risk.thresholds if state.risk else None
    amounts = _profit(state)
    return {
        **_position(params, state),
        "verdict": state.verdict,
        "bar": state.bar,
        "z": state.z,
        "entry_z": thresholds.entry_z if thresholds else None,
        "exit_z": thresholds.exit_z if thresholds else None,
        "stop_z": thresholds.stop_z if thresholds else None,
        "volatility_model": thresholds.volatility_model if thresholds else None,
        "blocking_gate": state.blocking_gate,
        "net_usd": str(to_cents(amounts["net_usd"])),
        "unrealised_usd": str(to_cents(amounts["unrealised_usd"])),
        "equity_usd": str(to_cents(amounts["equity_usd"])),
        **{name: getattr(state.counts, name) for name in state.counts.__struct_fields__},
    }


def totals(states: Iterable[PairState]) -> dict[str, int]:
    """Counts over all pairs."""
    listed = list(states)
    names = listed[0].counts.__struct_fields__ if listed else ()
    return {name: sum(getattr(state.counts, name) for state in listed) for name in names}


def _position(params: Params, state: PairState) -> dict[str, Any]:
    position, account, terms = state.position, state.account, state.position.terms
    return {
        "pair": str(params.pair),
        "state": position.state,
        "direction": terms.direction if terms else None,
        "opened_bar": terms.bar if terms else None,
        "beta": terms.beta if terms else None,
        "legs": {leg: {"symbol": params.pair.symbol(leg), "quantity": str(account.holding(leg).quantity)} for leg in Leg},
        **_prices(state.hedge.tick if state.hedge else None),
        "working_orders": [order.client_id for order in position.orders],
    }


def _prices(tick: Tick | None) -> dict[str, Any]:
    return {f"{leg}_price": strategy.mid(tick.quote(leg)) if tick else None for leg in Leg}


def _profit(state: PairState) -> dict[str, Decimal]:
    account = state.account
    worth = value(account, state.hedge.tick if state.hedge else None)
    with localcontext(MONEY):
        net = account.realised_usd + account.fees_usd + account.funding_usd
        amounts = (account.starting_usd, account.realised_usd, account.fees_usd, account.funding_usd, net, worth.unrealised_usd, equity_usd(account, worth))
    return dict(zip(_AMOUNTS, amounts, strict=True))


def _shown(amounts: Mapping[str, Decimal]) -> dict[str, dict[str, str]]:
    return {name: {"usd": str(to_cents(amount)), "exact": f"{amount:f}"} for name, amount in amounts.items()}
