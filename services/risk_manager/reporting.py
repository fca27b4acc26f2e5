"""What a step changed, as metrics and log lines."""

from collections.abc import Sequence

from common.messages import RiskSignal
from common.processor import Observer
from services.risk_manager.portfolio import Portfolio
from services.risk_manager.state import RiskState
from services.risk_manager.views import last_signal


def report_step(observer: Observer, before: RiskState, after: RiskState, signals: Sequence[RiskSignal]) -> None:
    """Count the signals of a step and the detector's actions; where bars were closed, tell of halts and missing marks."""
    for signal in signals:
        observer.count("crypto_bot_risk_signals_total", pair=signal.pair, verdict=signal.verdict.value)
        if after.memories[signal.pair].changepoint_actions > before.memories[signal.pair].changepoint_actions:
            observer.count("crypto_bot_changepoint_actions_total", pair=signal.pair, action=signal.changepoint.action.value)
    if after.portfolio is not before.portfolio:
        _report_halts(observer, before.portfolio, after.portfolio)
        for pair in after.portfolio.missing:
            observer.count("crypto_bot_risk_marks_missing_total", pair=pair)


def report_state(observer: Observer, state: RiskState) -> None:
    """Set the gauges and cache each pair's last signal; once a second is enough."""
    portfolio = state.portfolio
    observer.gauge("crypto_bot_risk_equity_usd", float(portfolio.equity_usd))
    observer.gauge("crypto_bot_risk_high_water_mark_usd", float(portfolio.high_water_mark_usd))
    observer.gauge("crypto_bot_risk_gross_exposure_usd", float(portfolio.gross_exposure_usd))
    observer.gauge("crypto_bot_risk_halts", len(portfolio.halts))
    if portfolio.closed:
        observer.gauge("crypto_bot_risk_last_closed_bar", portfolio.closed.bar)
    for memory in state.memories.values():
        if memory.signal:
            _report_signal(observer, memory.signal)


def _report_signal(observer: Observer, signal: RiskSignal) -> None:
    pair = signal.pair
    observer.gauge("crypto_bot_risk_verdict", signal.verdict.strictness, pair=pair)
    for result in signal.reasons:
        observer.gauge("crypto_bot_risk_rule_value", result.value, pair=pair, rule=result.rule)
    observer.gauge("crypto_bot_changepoint_recent_mass_ratio", signal.changepoint.recent_mass, pair=pair)
    observer.pair_state(pair, last_signal(signal))


def _report_halts(observer: Observer, before: Portfolio, after: Portfolio) -> None:
    for halt in after.halts:
        if halt not in before.halts:
            observer.log("WARNING", "halt", target=halt.target, rule=halt.rule, verdict=halt.verdict.value, who=halt.who, why=halt.why, bar=halt.bar)
    for halt in before.halts:
        if halt not in after.halts:
            observer.log("WARNING", "halt lifted", target=halt.target, rule=halt.rule, verdict=halt.verdict.value)
