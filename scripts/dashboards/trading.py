"""HFT Trading: what is earned, held and done, and what would stop it."""

from monitoring import palette
from scripts.dashboards.frame import Board, uid_of
from scripts.dashboards.panels import BPS, COUNT, NONE_IS_GOOD, NUMBER, RATIO, SECONDS, USD, Query, Row, limit, lines, stat, table, timeline
from scripts.dashboards.trading_work import AT_WORK, ORDERS

_MONEY = ((None, palette.LOSS), (0, palette.PROFIT))
_FIRING = 'ALERTS{alertstate="firing",alertname!="Watchdog"}'

_NOW = Row(
    "Now",
    4,
    (
        stat("Net profit", "Realised profit with fees and funding, of the pairs chosen.", USD, 'sum(crypto_bot_pnl_net_usd{pair=~"$pair"})', _MONEY),
        stat("Equity", "At the last bar close, of the pairs chosen.", USD, 'sum(crypto_bot_equity_usd{pair=~"$pair"})'),
        stat("Gross exposure", "Both legs added up, at the last bar close, of the pairs chosen.", USD, 'sum(crypto_bot_gross_exposure_usd{pair=~"$pair"})'),
        stat(
            "Drawdown now",
            "Loss of all pairs since the high-water mark; at the limit trading is halted.",
            RATIO,
            "max(crypto_bot_risk_drawdown_ratio)",
            ((None, palette.GOOD), (0.05, palette.WARNING), (0.1, palette.CRITICAL)),
        ),
        stat("Halts in force", "An operator lifts them, with a reason.", COUNT, "max(crypto_bot_risk_halts)", NONE_IS_GOOD),
        stat("Alerts", "But for the Watchdog, which fires always.", COUNT, f"count({_FIRING}) or vector(0)", NONE_IS_GOOD),
        stat(
            "Decision, p99",
            "One tick in a hundred takes this long or longer from the socket to its decision; the objective is 100 ms.",
            SECONDS,
            "pipeline:crypto_bot_tick_to_decision_seconds:p99_5m",
            ((None, palette.GOOD), (0.1, palette.CRITICAL)),
            link=uid_of("pipeline"),
        ),
        stat(
            "Profile",
            "Which defaults are in force: the demo's figures say nothing of what trading would earn.",
            NUMBER,
            "max by (profile) (crypto_bot_build_info)",
            name="{{profile}}",
        ),
    ),
)

_PROFIT = Row(
    "Profit and loss",
    9,
    (
        lines(
            "Profit by part",
            "What the profit of the pairs chosen is made of; costs are negative. Net is all but what is unrealised.",
            USD,
            Query('sum by (part) (crypto_bot_pnl_usd{pair=~"$pair"})', "{{part}}"),
            Query('sum(crypto_bot_pnl_net_usd{pair=~"$pair"})', "net"),
            colors=palette.PROFIT_PARTS,
            alerts=("PnlDoesNotClose",),
        ),
        lines("Net profit by pair", "Realised profit with fees and funding.", USD, Query('sum by (pair) (crypto_bot_pnl_net_usd{pair=~"$pair"})', "{{pair}}")),
        lines(
            "Equity of all pairs",
            "As execution and as risk-manager know it, which must agree, and the highest that it was at a bar close.",
            USD,
            Query("portfolio:crypto_bot_equity_usd:sum", "execution", palette.LEG_A),
            Query("max(crypto_bot_risk_equity_usd)", "risk-manager", palette.LEG_B, dashed=True),
            Query("max(crypto_bot_risk_high_water_mark_usd)", "high-water mark", palette.PROFIT),
            Query("sum(crypto_bot_starting_equity_usd)", "at the start", palette.NEUTRAL),
            alerts=("EquityDiffersFromRisk",),
        ),
    ),
)

_RISK = Row(
    "Risk and circuit breaker",
    8,
    (
        timeline(
            "Circuit breaker",
            "What risk-manager lets each pair do.",
            palette.VERDICTS,
            Query('max by (pair) (crypto_bot_risk_verdict{pair=~"$pair"})', "{{pair}}"),
            alerts=("TradingHalted",),
        ),
        timeline(
            "State of the positions",
            "Where each pair is between two positions; only IDLE and OPEN last.",
            palette.POSITION_STATES,
            Query('max by (pair) (crypto_bot_position_state{pair=~"$pair"})', "{{pair}}"),
            alerts=("PositionStuck",),
        ),
        lines(
            "Drawdown",
            "Loss of all pairs since the high-water mark, and the limit at which trading is halted.",
            RATIO,
            Query("max(crypto_bot_risk_drawdown_ratio)", "drawdown", palette.LOSS),
            limit('max(crypto_bot_risk_rule_limit{rule="drawdown"})'),
            minimum=0,
            alerts=("DrawdownHigh",),
        ),
        lines(
            "How far limits are used",
            "What each rule has measured, as a share of what it allows; at 100 % it stops new exposure, or all trading.",
            RATIO,
            Query('max by (rule) (crypto_bot_risk_rule_value{pair=~"$pair"} / (crypto_bot_risk_rule_limit{pair=~"$pair"} > 0))', "{{rule}}"),
            limits=((0.8, palette.WARNING), (1, palette.CRITICAL)),
            minimum=0,
            alerts=("RiskLimitNear",),
        ),
        lines(
            "Exposure and what is allowed",
            "Gross notional of the pairs chosen, and the budget that risk-manager gives them.",
            USD,
            Query('sum by (pair) (crypto_bot_gross_exposure_usd{pair=~"$pair"})', "{{pair}}"),
            limit('sum(crypto_bot_risk_budget_usd{pair=~"$pair"})', "budget of the pairs chosen"),
            Query("max(crypto_bot_risk_gross_exposure_usd)", "all pairs, as risk-manager knows them", palette.NEUTRAL),
            minimum=0,
        ),
    ),
)

_HELD = Row(
    "Positions and alerts",
    8,
    (
        table(
            "Positions",
            "Notional of each leg, negative for a short, and what closing at the present middle would add.",
            (
                (Query('sum by (pair) (crypto_bot_position_usd{pair=~"$pair",leg="y"})', "y leg"), USD),
                (Query('sum by (pair) (crypto_bot_position_usd{pair=~"$pair",leg="x"})', "x leg"), USD),
                (Query('sum by (pair) (crypto_bot_pnl_usd{pair=~"$pair",part="unrealised"})', "unrealised"), USD),
                (Query('sum by (pair) (crypto_bot_pnl_net_usd{pair=~"$pair"})', "net"), USD),
                (Query('max by (pair) (crypto_bot_z{pair=~"$pair"})', "z"), NUMBER),
            ),
        ),
        table(
            "Alerts that fire",
            "Each has an entry in docs/runbook.md: what it means, where to look first, how to mend it.",
            ((Query(f'max by (alertname, severity, service, pair) ({_FIRING}) or on () label_replace(vector(0), "alertname", "none", "", "")', "fires"), ""),),
            width=5,
        ),
        timeline(
            "Alerts over time",
            "Which alerts fired from when to when; what is muted by its cause shows too.",
            {"as ever": palette.NEUTRAL, "warning": palette.WARNING, "critical": palette.CRITICAL},
            Query(
                'max by (alertname, service) (ALERTS{alertstate="firing",severity="critical"} * 2 or '
                'ALERTS{alertstate="firing",severity="warning"} or ALERTS{alertstate="firing",severity="none"} * 0)',
                "{{alertname}} {{service}}",
            ),
            width=7,
        ),
    ),
)


def _threshold(name: str, color: str) -> tuple[Query, Query]:
    """A threshold of |z| on both sides."""
    level = f'crypto_bot_threshold_z{{pair=~"$pair",threshold="{name}"}}'
    return Query(level, name, color, dashed=True), Query(f"-{level}", f"-{name}", color, dashed=True)


_PAIR = Row(
    "$pair",
    9,
    (
        lines(
            "z and its thresholds",
            "Standardised innovation at the last tick; beyond entry a position is opened, within exit it is closed, beyond stop it is given up.",
            NUMBER,
            Query('crypto_bot_z{pair=~"$pair"}', "z", palette.SIGNAL),
            *_threshold("entry", palette.THRESHOLD_ENTRY),
            *_threshold("exit", palette.THRESHOLD_EXIT),
            *_threshold("stop", palette.THRESHOLD_STOP),
            width=12,
        ),
        lines(
            "Hedge ratio",
            "Notional of x that hedges one unit of notional of y, with two standard deviations to both sides, as the filter believes it.",
            NUMBER,
            Query('crypto_bot_kalman_beta{pair=~"$pair"}', "hedge ratio", palette.SIGNAL),
            Query(
                'crypto_bot_kalman_beta{pair=~"$pair"} + on (pair) 2 * crypto_bot_kalman_beta_deviation{pair=~"$pair"}',
                "upper",
                palette.NEUTRAL,
                band_to="lower",
            ),
            Query('crypto_bot_kalman_beta{pair=~"$pair"} - on (pair) 2 * crypto_bot_kalman_beta_deviation{pair=~"$pair"}', "lower", palette.NEUTRAL),
            width=12,
        ),
        lines(
            "Spread",
            "The spread as it is traded, and one forecast standard deviation to both sides.",
            BPS,
            Query('crypto_bot_kalman_spread_bps{pair=~"$pair"}', "spread", palette.SIGNAL),
            Query('crypto_bot_garch_innovation_deviation_bps{pair=~"$pair"}', "upper", palette.NEUTRAL, band_to="lower"),
            Query('-crypto_bot_garch_innovation_deviation_bps{pair=~"$pair"}', "lower", palette.NEUTRAL),
        ),
        lines(
            "Volatility, edge and cost",
            "Forecast standard deviation of the next innovation; what a round trip at the entry threshold is expected to earn, and what it costs.",
            BPS,
            Query('crypto_bot_garch_innovation_deviation_bps{pair=~"$pair"}', "volatility", palette.SIGNAL),
            Query('crypto_bot_expected_edge_bps{pair=~"$pair"}', "expected edge", palette.PROFIT),
            Query('crypto_bot_cost_bps{pair=~"$pair"}', "cost", palette.LOSS),
        ),
        lines(
            "Legs",
            "Notional of each leg at the last book's middle, negative for a short.",
            USD,
            Query('crypto_bot_position_usd{pair=~"$pair",leg="y"}', "y", palette.LEG_A),
            Query('crypto_bot_position_usd{pair=~"$pair",leg="x"}', "x", palette.LEG_B),
        ),
        timeline(
            "Gates of an entry",
            "Every gate that an entry must pass; the one that blocks is red.",
            {"blocks": palette.CRITICAL, "open": palette.GOOD},
            Query('min by (gate) (crypto_bot_gate_passed{pair=~"$pair"})', "{{gate}}"),
            width=16,
        ),
        lines(
            "Distance to an entry",
            "What |z| lacks to the entry threshold; 0 where only other gates could block.",
            NUMBER,
            Query('crypto_bot_entry_distance_z{pair=~"$pair"}', "distance", palette.THRESHOLD_ENTRY),
            minimum=0,
        ),
    ),
    repeat="pair",
)

TRADING = Board(
    "trading",
    "HFT Trading",
    "Profit, positions, signals and orders of the pairs, and what would stop them.",
    (_NOW, _PROFIT, _RISK, _HELD, ORDERS, _PAIR, AT_WORK),
)
