"""Halts: begun by commands and by rules that latch, lifted by operators only."""

from collections.abc import Sequence

import msgspec

from common.messages import PORTFOLIO, Command, CommandKind, Verdict
from services.risk_manager.portfolio import Portfolio
from services.risk_manager.rules import OPERATOR, Finding, Halt, Rule


def obey(portfolio: Portfolio, commands: Sequence[Command]) -> Portfolio:
    """Apply commands in order of their ids."""
    for command in commands:
        portfolio = _resume(portfolio, command) if command.kind is CommandKind.RESUME else _halt(portfolio, command)
    return portfolio


def _halt(portfolio: Portfolio, command: Command) -> Portfolio:
    assert portfolio.closed is not None
    halt = Halt(
        target=command.target,
        rule=OPERATOR,
        verdict=Verdict.FLATTEN if command.kind is CommandKind.FLATTEN else Verdict.HALTED,
        who=command.who,
        why=command.why,
        session=portfolio.closed.session,
        bar=portfolio.closed.bar,
        command_id=command.id,
    )
    known = any((held.target, held.rule, held.verdict) == (halt.target, halt.rule, halt.verdict) for held in portfolio.halts)
    halts = portfolio.halts if known else (*portfolio.halts, halt)
    return msgspec.structs.replace(portfolio, halts=halts, commands_through=command.id)


def _resume(portfolio: Portfolio, command: Command) -> Portfolio:
    """Lift the halts of the command's target.

    A loss that had halted counts from the present equity on, else it would halt again at once.
    """
    lifted = {halt.rule for halt in portfolio.halts if halt.target == command.target}
    return msgspec.structs.replace(
        portfolio,
        halts=tuple(halt for halt in portfolio.halts if halt.target != command.target),
        commands_through=command.id,
        high_water_mark_usd=portfolio.equity_usd if "drawdown" in lifted else portfolio.high_water_mark_usd,
        day_start_usd=portfolio.equity_usd if "daily-loss" in lifted else portfolio.day_start_usd,
    )


def latch(portfolio: Portfolio, trips: Sequence[tuple[Rule, Finding]]) -> Portfolio:
    """Turn what latching rules have found into halts of the portfolio."""
    assert portfolio.closed is not None
    session, bar = portfolio.closed
    halts = [
        Halt(
            target=PORTFOLIO,
            rule=rule.name,
            verdict=finding.verdict,
            who="risk-manager",
            why=f"{rule.name} {finding.value:.6g} reached {finding.limit:g}",
            session=session,
            bar=bar,
        )
        for rule, finding in trips
    ]
    return msgspec.structs.replace(portfolio, halts=(*portfolio.halts, *halts))
