"""What a look at execution found: one verdict a subject, the worst of them for all, for people and as JSON."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from common.market import Leg
from common.messages import OrderEvent, OrderStatus, PositionState, Verdict
from services.execution.settings import ExecutionSettings
from services.execution.state import PairState

#: Orders in these states are over.
_FINAL = frozenset({OrderStatus.FILLED, OrderStatus.CANCELLED, OrderStatus.REJECTED})
#: An exchange refuses orders whose time is more than a second ahead of its own.
MAX_CLOCK_OFFSET_NS = 1_000_000_000
_BARRED = frozenset({Verdict.HALTED, Verdict.FLATTEN})


class State(StrEnum):
    """How a subject is, the worst last."""

    OK = "ok"
    DEGRADED = "degraded"
    FAILED = "failed"


class Finding(NamedTuple):
    """What was found of one subject."""

    subject: str
    state: State
    text: str
    details: Mapping[str, Any] = {}


def worst(findings: Sequence[Finding]) -> State:
    """The state of all together."""
    order = list(State)
    return max((finding.state for finding in findings), key=order.index, default=State.FAILED)


def as_document(findings: Sequence[Finding], **about: Any) -> dict[str, Any]:
    """For programs."""
    subjects = {finding.subject: {"state": finding.state.value, "text": finding.text, **finding.details} for finding in findings}
    return {"verdict": worst(findings).value, **about, "subjects": subjects}


def as_lines(findings: Sequence[Finding]) -> list[str]:
    """For people: a line a subject, below it what there is to list."""
    lines = []
    for finding in findings:
        lines.append(f"{finding.state.value:<10}{finding.subject:<12}{finding.text}")
        lines += [f"{'':<22}{line}" for line in finding.details.get("lines", ())]
    return [*lines, f"verdict: {worst(findings).value}"]


# --- what the ledger says --------------------------------------------------------------------------------------------


def positions_of(states: Mapping[str, PairState], pairs: Sequence[str]) -> Finding:
    """What is held; a position that nobody looks after, because its pair is not configured, is a failure."""
    orphans = [pair for pair, state in states.items() if pair not in pairs and not state.account.flat]
    held = {pair: state for pair, state in states.items() if state.position.state is not PositionState.IDLE or not state.account.flat}
    listed: dict[str, dict[str, Any]] = {
        pair: {
            "state": state.position.state.value,
            "legs": {leg.value: str(state.account.holding(leg).quantity) for leg in Leg},
            "session": state.session,
            "bar": state.bar,
            "last_seq": state.last_seq,
        }
        for pair, state in held.items()
    }
    lines = [f"{pair}: {each['state']}, y {each['legs']['y']}, x {each['legs']['x']}, bar {each['bar']}" for pair, each in listed.items()]
    text = f"{len(held)} of {len(states)} pairs hold a position"
    if orphans:
        text += f"; {', '.join(orphans)} is held but not in PAIRS: configure it until it is closed"
    return Finding("positions", State.FAILED if orphans else State.OK, text, {"positions": listed, "lines": lines})


def intents_of(orders: Sequence[OrderEvent], states: Mapping[str, PairState]) -> Finding:
    """Orders that are not over; one that works in the events and not in its pair, or the other way round, is a failure."""
    found = {order.client_id: order for order in orders if order.status not in _FINAL}
    working = {order.client_id for state in states.values() for order in state.position.orders}
    apart = sorted(found.keys() ^ working)
    listed: list[dict[str, Any]] = [
        {
            "client_id": order.client_id,
            "pair": order.pair,
            "leg": order.leg.value,
            "side": order.side.value,
            "quantity": str(order.quantity),
            "filled": str(order.filled),
            "status": order.status.value,
            "bar": order.bar,
        }
        for order in found.values()
    ]
    lines = [f"{each['client_id']}: {each['pair']} {each['side']} {each['quantity']}, {each['status']}, filled {each['filled']}" for each in listed]
    text = f"{len(found)} orders are not final"
    if apart:
        text += f"; events and pairs disagree about {', '.join(apart[:5])}: keep the file and ask before trading on"
    return Finding("intents", State.FAILED if apart else State.OK, text, {"orders": listed, "lines": lines})


def risk_of(states: Mapping[str, PairState], pairs: Sequence[str]) -> Finding:
    """The risk signal in use of each pair."""
    listed = {
        pair: {
            "verdict": state.verdict.value,
            "signal_verdict": state.risk.verdict.value if state.risk else None,
            "signal_bar": state.risk.bar if state.risk else None,
            "budget_usd": str(state.risk.budget_usd) if state.risk else None,
            "orders_allowed": state.risk.orders_allowed if state.risk else None,
            "hold": state.hold.value,
            "bar": state.bar,
        }
        for pair, state in states.items()
        if pair in pairs
    }
    barred = [pair for pair, each in listed.items() if each["verdict"] in _BARRED]
    silent = [pair for pair in pairs if pair not in listed or listed[pair]["signal_bar"] is None]
    lines = [f"{pair}: {each['verdict']}, signal of bar {each['signal_bar']}, budget {each['budget_usd']} USD" for pair, each in listed.items()]
    parts = [f"{', '.join(barred)} may not trade" if barred else "", f"no signal of {', '.join(silent)} yet" if silent else ""]
    text = "; ".join(filter(None, parts)) or "every pair has a signal, none is halted"
    return Finding("risk", State.DEGRADED if barred or silent else State.OK, text, {"pairs": listed, "lines": lines})


def decisions_of(rows: Sequence[Mapping[str, Any]]) -> Finding:
    """The newest decisions, newest first."""
    lines = [f"bar {row['bar']}: {row['pair']} {row['action']}: {row['reason']}" for row in rows]
    return Finding("decisions", State.OK, f"the last {len(rows)}" if rows else "none yet", {"decisions": [dict(row) for row in rows], "lines": lines})


# --- what needs no ledger --------------------------------------------------------------------------------------------


def limits_of(settings: ExecutionSettings) -> Finding:
    """What execution itself keeps to; risk-manager's own limits come with its signals."""
    names = ("max_position_size", "starting_equity_usd", "cost_margin", "advisory_gates", "max_leg_age_ms", "unhedged_seconds", "time_stop_bars")
    shown = {name: getattr(settings, name) for name in (*names, "max_hedge_error", "cool_down_bars", "paper_latency_ms", "max_signal_wait_ms")}
    listed = {name: list(value) if isinstance(value, tuple) else str(value) for name, value in shown.items()}
    mode = "paper" if settings.enable_paper_trading else "orders to the venue"
    text = f"{mode}, at most {settings.max_position_size} USD gross a pair"
    return Finding("limits", State.OK, text, {"mode": mode, "limits": listed})


def clock_of(offset_ns: int) -> Finding:
    """By how much the venue's clock is ahead of ours."""
    state = State.OK if abs(offset_ns) <= MAX_CLOCK_OFFSET_NS else State.DEGRADED
    text = f"the venue's clock is {offset_ns / 1e6:+.0f} ms from ours"
    if state is not State.OK:
        text += f", more than {MAX_CLOCK_OFFSET_NS / 1e6:.0f} ms: synchronise this machine's clock"
    return Finding("clock", state, text, {"offset_ms": round(offset_ns / 1e6, 1)})
