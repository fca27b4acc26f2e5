"""What a step changed, as metrics and log lines."""

from collections import defaultdict
from collections.abc import Sequence

from common.messages import RiskSignal, RuleResult, Verdict
from common.processor import Observer
from services.risk_manager.portfolio import Portfolio
from services.risk_manager.rules import PAIR_RULES, loss_ratio
from services.risk_manager.state import RiskState
from services.risk_manager.views import last_signal
from services.risk_manager.whiteness import Whiteness


class Reporter:
    """Tells of every step, and of the state as it stands."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._whiteness: defaultdict[str, Whiteness] = defaultdict(Whiteness)

    def step(self, before: RiskState, after: RiskState, signals: Sequence[RiskSignal], trace_id: str = "") -> None:
        """Count the signals of a step and the detector's actions; where bars were closed, tell of halts and missing marks.

        `trace_id` names what the step answers.
        """
        observer = self._observer
        for signal in signals:
            pair = signal.pair
            observer.count("crypto_bot_risk_signals_total", pair=pair, verdict=signal.verdict.value)
            observer.log("DEBUG", "risk signal", pair=pair, bar=signal.bar, verdict=signal.verdict.value, trace_id=trace_id)
            if after.memories[pair].changepoint_actions > before.memories[pair].changepoint_actions:
                observer.count("crypto_bot_changepoint_actions_total", pair=pair, action=signal.changepoint.action.value)
            self._whiteness[pair] = self._whiteness[pair].after(signal.thresholds.standardised_innovation)
        if after.portfolio is not before.portfolio:
            _report_halts(observer, before.portfolio, after.portfolio)
            for pair in after.portfolio.missing:
                observer.count("crypto_bot_risk_marks_missing_total", pair=pair)

    def state(self, state: RiskState) -> None:
        """Set the gauges and cache each pair's last signal; once a second is enough."""
        observer, portfolio = self._observer, state.portfolio
        observer.gauge("crypto_bot_risk_halts", len(portfolio.halts))
        if portfolio.closed:
            observer.gauge("crypto_bot_risk_last_closed_bar", portfolio.closed.bar)
            observer.gauge("crypto_bot_risk_equity_usd", float(portfolio.equity_usd))
            observer.gauge("crypto_bot_risk_high_water_mark_usd", float(portfolio.high_water_mark_usd))
            observer.gauge("crypto_bot_risk_drawdown_ratio", float(loss_ratio(portfolio.high_water_mark_usd, portfolio.equity_usd)))
            observer.gauge("crypto_bot_risk_gross_exposure_usd", float(portfolio.gross_exposure_usd))
        for memory in state.memories.values():
            if memory.signal:
                self._signal(memory.signal)

    def _signal(self, signal: RiskSignal) -> None:
        observer, pair, whiteness = self._observer, signal.pair, self._whiteness[signal.pair]
        observer.gauge("crypto_bot_risk_verdict", signal.verdict.strictness, pair=pair)
        observer.gauge("crypto_bot_risk_budget_usd", float(signal.budget_usd), pair=pair)
        for result in signal.reasons:
            self._rule(pair, result)
        healthy = all(result.verdict is Verdict.ACTIVE for result in signal.reasons if result.rule in PAIR_RULES)
        observer.gauge("crypto_bot_pair_healthy", healthy, pair=pair)
        observer.gauge("crypto_bot_changepoint_recent_mass_ratio", signal.changepoint.recent_mass, pair=pair)
        observer.gauge("crypto_bot_changepoint_run_length_bars", signal.changepoint.expected_run_length, pair=pair)
        observer.gauge("crypto_bot_surprise_deviation", whiteness.deviation, pair=pair)
        observer.gauge("crypto_bot_surprise_autocorrelation", whiteness.autocorrelation, pair=pair)
        observer.pair_state(pair, last_signal(signal))

    def _rule(self, pair: str, result: RuleResult) -> None:
        self._observer.gauge("crypto_bot_risk_rule_value", result.value, pair=pair, rule=result.rule)
        self._observer.gauge("crypto_bot_risk_rule_limit", result.limit, pair=pair, rule=result.rule)


def _report_halts(observer: Observer, before: Portfolio, after: Portfolio) -> None:
    for halt in after.halts:
        if halt not in before.halts:
            observer.log("WARNING", "halt", target=halt.target, rule=halt.rule, verdict=halt.verdict.value, who=halt.who, why=halt.why, bar=halt.bar)
    for halt in before.halts:
        if halt not in after.halts:
            observer.log("WARNING", "halt lifted", target=halt.target, rule=halt.rule, verdict=halt.verdict.value)
