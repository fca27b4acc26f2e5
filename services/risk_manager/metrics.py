"""The metrics of risk-manager."""

from common.metrics import Metric, MetricKind

METRICS = (
    Metric("crypto_bot_risk_signals_total", MetricKind.COUNTER, "risk signals by verdict", ("pair", "verdict")),
    Metric("crypto_bot_risk_verdict", MetricKind.GAUGE, "verdict of the last signal: 0 ACTIVE, 1 REDUCE_ONLY, 2 HALTED, 3 FLATTEN", ("pair",)),
    Metric("crypto_bot_risk_rule_value", MetricKind.GAUGE, "what a rule measured at the last bar, in the rule's unit", ("pair", "rule")),
    Metric("crypto_bot_risk_equity_usd", MetricKind.GAUGE, "equity of all pairs at the last closed bar, USD"),
    Metric("crypto_bot_risk_high_water_mark_usd", MetricKind.GAUGE, "highest equity at a bar close, USD"),
    Metric("crypto_bot_risk_gross_exposure_usd", MetricKind.GAUGE, "gross notional of all pairs at the last closed bar, USD"),
    Metric("crypto_bot_risk_last_closed_bar", MetricKind.GAUGE, "number of the last closed bar"),
    Metric("crypto_bot_risk_halts", MetricKind.GAUGE, "halts in force"),
    Metric("crypto_bot_risk_marks_missing_total", MetricKind.COUNTER, "marks that a bar was closed without", ("pair",)),
    Metric("crypto_bot_risk_commands_total", MetricKind.COUNTER, "commands of operators", ("kind",)),
    Metric("crypto_bot_changepoint_recent_mass_ratio", MetricKind.GAUGE, "probability of a recent change of regime", ("pair",)),
    Metric("crypto_bot_changepoint_actions_total", MetricKind.COUNTER, "times that the changepoint detector began to ask for an action", ("pair", "action")),
)
