"""What people and other programs are shown of the pairs; exact amounts as strings, beside them to the cent."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, localcontext
from types import MappingProxyType
from typing import Any

import msgspec

from common.costs import MONEY, to_cents
from common.market import Leg
from common.messages import ModelStatus, OrderEvent, Tick
from services.execution import strategy
from services.execution.account import ZERO, equity_usd, value
from services.execution.explanation import explain_gates, first_block
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


def orders(events: Sequence[OrderEvent], limit: int, trace_ids: Mapping[str, str] = MappingProxyType({})) -> dict[str, Any]:
    """The newest orders, newest first; `trace_ids` by client id."""
    newest = reversed(events[-limit:])
    return {"orders": [{**msgspec.to_builtins(event), "trace_id": trace_ids.get(event.client_id, "")} for event in newest], "known": len(events)}


def explain(params: Params, state: PairState) -> dict[str, Any]:
    """Why a pair does what it does: every gate of an entry at the last tick, and which one blocks; before that, what is missing."""
    position = state.position
    standing = {"pair": str(params.pair), "state": position.state, "verdict": state.verdict, "bar": state.bar, "last_seq": state.last_seq}
    missing = _missing(state)
    if state.hedge is None:
        return {**standing, **_unexplained(missing)}
    at = strategy.look(params, state, state.hedge, strategy.standardise(state.hedge, state.risk))
    gates = explain_gates(at)
    entry_z = state.risk.thresholds.entry_z if state.risk else None
    z = at.signal.z if at.signal else None
    return {
        **standing,
        "z": z,
        "entry_z": entry_z,
        "distance_to_entry": None if z is None or entry_z is None else max(0.0, entry_z - abs(z)),
        "blocking_gate": first_block(gates),
        "gates": [gate._asdict() for gate in gates],
        "missing": missing,
        "note": "" if position.terms is None else "a position is open: the gates tell what a new entry would meet",
    }


def recovering(pair: str) -> dict[str, Any]:
    """The same of a pair before execution has read its ledger."""
    missing = ["execution is recovering: its ledger is not read yet; /health tells what it waits for"]
    return {"pair": pair, "state": None, "verdict": None, "bar": -1, "last_seq": -1, **_unexplained(missing)}


def _unexplained(missing: list[str]) -> dict[str, Any]:
    return {"z": None, "entry_z": None, "distance_to_entry": None, "blocking_gate": "", "gates": [], "missing": missing, "note": "; ".join(missing)}


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


def _missing(state: PairState) -> list[str]:
    """What a pair still waits for before an entry can be judged, in the order in which it comes."""
    missing = []
    if state.hedge is None:
        missing.append("no tick yet in this session: ingestion-service reads the feed and kalman-filter-service answers; their /health tell what they wait for")
    if state.risk is None:
        missing.append("no risk signal yet: risk-manager-service sends the first at a bar's close, once garch-volatility-service has answered that bar")
    elif state.risk.thresholds.status is not ModelStatus.READY:
        thresholds = state.risk.thresholds
        missing.append(f"the volatility model is {thresholds.status}" + (f": {thresholds.reason}" if thresholds.reason else ""))
    return missing


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
