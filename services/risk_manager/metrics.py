"""The metrics of risk-manager."""

import math

from common.messages import ChangepointAction, CommandKind, Verdict
from common.metrics import COMMON_REFUSALS, Flow, Metric, MetricKind, catalogue
from services.risk_manager.rules import RULES

_RULE_NAMES = tuple(rule.name for rule in RULES)

METRICS = (
    Metric(
        "crypto_bot_risk_signals_total",
        MetricKind.COUNTER,
        "risk signals by verdict",
        ("pair", "verdict"),
        values={"verdict": tuple(verdict.value for verdict in Verdict)},
    ),
    Metric("crypto_bot_risk_verdict", MetricKind.GAUGE, "verdict of the last signal: 0 ACTIVE, 1 REDUCE_ONLY, 2 HALTED, 3 FLATTEN", ("pair",)),
    Metric("crypto_bot_risk_budget_usd", MetricKind.GAUGE, "gross notional that the pair may hold, by the last signal", ("pair",)),
    Metric(
        "crypto_bot_risk_rule_value",
        MetricKind.GAUGE,
        "what a rule measured at the last bar, in the rule's unit",
        ("pair", "rule"),
        values={"rule": _RULE_NAMES},
    ),
    Metric(
        "crypto_bot_risk_rule_limit",
        MetricKind.GAUGE,
        "what a rule allows, in the rule's unit",
        ("pair", "rule"),
        values={"rule": _RULE_NAMES},
    ),
    Metric("crypto_bot_risk_drawdown_ratio", MetricKind.GAUGE, "loss of all pairs since the high-water mark, a fraction of it", starts_at=math.nan),
    Metric("crypto_bot_risk_equity_usd", MetricKind.GAUGE, "equity of all pairs at the last closed bar, USD", starts_at=math.nan),
    Metric("crypto_bot_risk_high_water_mark_usd", MetricKind.GAUGE, "highest equity at a bar close, USD", starts_at=math.nan),
    Metric("crypto_bot_risk_gross_exposure_usd", MetricKind.GAUGE, "gross notional of all pairs at the last closed bar, USD", starts_at=math.nan),
    Metric("crypto_bot_risk_last_closed_bar", MetricKind.GAUGE, "number of the last closed bar", starts_at=math.nan),
    Metric("crypto_bot_risk_halts", MetricKind.GAUGE, "halts in force"),
    Metric("crypto_bot_risk_marks_missing_total", MetricKind.COUNTER, "marks that a bar was closed without", ("pair",)),
    Metric(
        "crypto_bot_risk_commands_total",
        MetricKind.COUNTER,
        "commands of operators",
        ("kind",),
        values={"kind": tuple(kind.value for kind in CommandKind)},
    ),
    Metric("crypto_bot_pair_healthy", MetricKind.GAUGE, "1 while no rule about the pair's own data and models finds anything", ("pair",)),
    Metric("crypto_bot_changepoint_recent_mass_ratio", MetricKind.GAUGE, "probability of a recent change of regime", ("pair",)),
    Metric("crypto_bot_changepoint_run_length_bars", MetricKind.GAUGE, "expected bars since the last change of regime", ("pair",)),
    Metric(
        "crypto_bot_changepoint_actions_total",
        MetricKind.COUNTER,
        "times that the changepoint detector began to ask for an action",
        ("pair", "action"),
        values={"action": tuple(action.value for action in ChangepointAction if action is not ChangepointAction.NONE)},
    ),
    Metric(
        "crypto_bot_surprise_deviation",
        MetricKind.GAUGE,
        "standard deviation of the standardised surprises of about the last 200 bars: 1 where the volatility forecasts are right",
        ("pair",),
    ),
    Metric(
        "crypto_bot_surprise_autocorrelation",
        MetricKind.GAUGE,
        "correlation of neighbouring standardised surprises of about the last 200 bars: 0 where the innovations are whitened",
        ("pair",),
    ),
)

#: With the common metrics.
CATALOGUE = catalogue(
    Flow(
        consumed=("executions", "volatility-thresholds"),
        produced=("risk-signals", "commands"),
        refusals=(*COMMON_REFUSALS, "invalid-thresholds", "invalid-innovation", "bar-jump"),
        drops=("duplicate", "duplicate-or-late", "unconfigured-pair"),
    ),
    METRICS,
)
