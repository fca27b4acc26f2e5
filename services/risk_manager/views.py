"""What risk-manager shows to people: plain values made of the state."""

from collections.abc import Iterable
from typing import Any

import msgspec

from common.messages import Command, RiskSignal, Verdict
from services.risk_manager.rules import daily_loss, drawdown
from services.risk_manager.state import Memory, Params, RiskState


def describe(params: Params, state: RiskState, commands: Iterable[Command]) -> dict[str, Any]:
    """Give the answer of `/state`; money is text, exact."""
    portfolio = state.portfolio
    return {
        "last_closed": portfolio.closed and portfolio.closed._asdict(),
        **_money(params, state),
        "pairs": {pair: _pair(memory) for pair, memory in state.memories.items()},
        "marks_missing": list(portfolio.missing),
        "waiting_for": waiting_for(state),
        "halts": [msgspec.to_builtins(halt) for halt in portfolio.halts],
        "commands_through": portfolio.commands_through,
        "commands": [_command(command, portfolio.commands_through) for command in commands],
    }


def summarise(params: Params, state: RiskState) -> dict[str, Any]:
    """Give the details of the health pages."""
    portfolio = state.portfolio
    return {
        "last_closed": portfolio.closed and portfolio.closed._asdict(),
        "verdicts": {pair: memory.signal.verdict.value for pair, memory in state.memories.items() if memory.signal},
        "waiting_for": waiting_for(state),
        "halts": [f"{halt.target}: {halt.verdict} by {halt.rule} ({halt.who}: {halt.why})" for halt in portfolio.halts],
        "commands_through": portfolio.commands_through,
        "commands_pending": len(state.commands),
        "changepoint_actions": {pair: memory.changepoint_actions for pair, memory in state.memories.items()},
        **_money(params, state),
    }


def waiting_for(state: RiskState) -> dict[str, list[str]]:
    """Name the pairs whose mark or thresholds hold up a bar that others have reached."""
    without = [pair for pair, inbox in state.inboxes.items() if not inbox.marks]
    some_are_there = len(without) < len(state.inboxes)
    unanswered = {pair for close in state.closes for pair in close.waiting}
    return {"marks": without if some_are_there else [], "thresholds": sorted(unanswered)}


def last_signal(signal: RiskSignal) -> dict[str, Any]:
    """Show a signal without its thresholds, the rules by name."""
    return {
        "session": signal.session,
        "bar": signal.bar,
        "verdict": signal.verdict.value,
        "because_of": [result.rule for result in signal.reasons if result.verdict is signal.verdict is not Verdict.ACTIVE],
        "budget_usd": str(signal.budget_usd),
        "orders_allowed": signal.orders_allowed,
        "rules": {result.rule: {"value": result.value, "limit": result.limit, "verdict": result.verdict.value} for result in signal.reasons},
        "changepoint": msgspec.to_builtins(signal.changepoint),
    }


def _money(params: Params, state: RiskState) -> dict[str, Any]:
    portfolio = state.portfolio
    known = portfolio.closed is not None
    return {
        "equity_usd": str(portfolio.equity_usd),
        "high_water_mark_usd": str(portfolio.high_water_mark_usd),
        "drawdown": drawdown(params.limits, portfolio.evidence).value if known else 0.0,
        "day_start_usd": str(portfolio.day_start_usd),
        "daily_loss": daily_loss(params.limits, portfolio.evidence).value if known else 0.0,
        "limits": {"drawdown": float(params.limits.max_drawdown), "daily_loss": float(params.limits.daily_loss_limit)},
        "gross_exposure_usd": str(portfolio.gross_exposure_usd),
    }


def _pair(memory: Memory) -> dict[str, Any] | None:
    return last_signal(memory.signal) if memory.signal else None


def _command(command: Command, through: int) -> dict[str, Any]:
    fields = {name: value for name, value in msgspec.to_builtins(command).items() if name not in {"type", "version"}}
    return fields | {"applied": command.id <= through}
