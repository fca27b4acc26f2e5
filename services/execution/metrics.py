"""Metrics of execution."""

from common.market import Leg
from common.messages import Action, OrderStatus, StopCause
from common.metrics import COMMON_REFUSALS, END_TO_END_BUCKETS, Flow, Metric, MetricKind, catalogue
from services.execution.explanation import MEASURED_GATES, NUMERIC_GATES
from services.execution.latency import HOPS
from services.execution.strategy import GATES

#: Slippage in bps; a fill may be better than the price that it was decided at.
SLIPPAGE_BUCKETS = (-10.0, -5.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
#: Of a leg's book, event time.
AGE_BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)

#: What a pair's profit is made of: the parts add up to what its equity has gained.
PROFIT_PARTS = ("realised", "unrealised", "fees", "funding")
THRESHOLDS = ("entry", "exit", "stop")
_GATE_NAMES = tuple(name for name, _ in GATES)
_LEGS = tuple(leg.value for leg in Leg)

LATENCY = (
    Metric(
        "crypto_bot_tick_to_decision_seconds", MetricKind.HISTOGRAM, "from reading a frame off the socket to the decision on its tick", (), END_TO_END_BUCKETS
    ),
    Metric(
        "crypto_bot_hop_seconds",
        MetricKind.HISTOGRAM,
        "where the time from the socket to the decision goes, in a service or on the way between two; of the last tick of each turn",
        ("hop",),
        END_TO_END_BUCKETS,
        values={"hop": HOPS},
    ),
    Metric(
        "crypto_bot_decision_data_age_seconds",
        MetricKind.HISTOGRAM,
        "age of the older leg's book when a decision to act was taken, event time",
        ("pair",),
        AGE_BUCKETS,
    ),
)

TRADING = (
    Metric(
        "crypto_bot_decisions_total",
        MetricKind.COUNTER,
        "decisions to act: to enter, or the reason to leave",
        ("pair", "action"),
        values={"action": tuple(action.value for action in Action)},
    ),
    Metric(
        "crypto_bot_entries_blocked_total",
        MetricKind.COUNTER,
        "bars at whose last tick an entry was blocked, by the first gate that did",
        ("pair", "gate"),
        values={"gate": _GATE_NAMES},
    ),
    Metric(
        "crypto_bot_orders_total",
        MetricKind.COUNTER,
        "order events",
        ("pair", "status"),
        values={"status": tuple(status.value for status in OrderStatus)},
    ),
    Metric("crypto_bot_fills_total", MetricKind.COUNTER, "fills", ("pair",)),
    Metric("crypto_bot_traded_usd_total", MetricKind.COUNTER, "notional of all fills", ("pair",)),
    Metric(
        "crypto_bot_slippage_bps",
        MetricKind.HISTOGRAM,
        "how much worse a fill was than the middle of the book at its order's decision; negative when better",
        ("pair",),
        SLIPPAGE_BUCKETS,
    ),
    Metric("crypto_bot_round_trips_total", MetricKind.COUNTER, "positions opened and closed again", ("pair",)),
    Metric("crypto_bot_unhedged_usd_seconds_total", MetricKind.COUNTER, "notional without its hedge times event time, of closed positions", ("pair",)),
    Metric("crypto_bot_holds_expired_total", MetricKind.COUNTER, "live bars that went on without their risk signal", ("pair",)),
    Metric(
        "crypto_bot_exposure_stops_total",
        MetricKind.COUNTER,
        "times new exposure was stopped: records that cannot be used, ticks too old",
        ("pair", "cause"),
        values={"cause": tuple(cause.value for cause in StopCause)},
    ),
)

MONEY = (
    Metric(
        "crypto_bot_pnl_usd",
        MetricKind.GAUGE,
        "profit of a pair by part, costs negative; the parts add up to what its equity has gained",
        ("pair", "part"),
        values={"part": PROFIT_PARTS},
    ),
    Metric("crypto_bot_pnl_net_usd", MetricKind.GAUGE, "realised + fees + funding: what a pair's wallet has gained", ("pair",)),
    Metric("crypto_bot_starting_equity_usd", MetricKind.GAUGE, "money that a pair began with", ("pair",)),
    Metric("crypto_bot_equity_usd", MetricKind.GAUGE, "equity of a pair at the last bar close", ("pair",)),
    Metric("crypto_bot_gross_exposure_usd", MetricKind.GAUGE, "gross exposure of a pair at the last bar close", ("pair",)),
    Metric(
        "crypto_bot_position_usd",
        MetricKind.GAUGE,
        "notional of a leg at the last book's middle, negative for a short",
        ("pair", "leg"),
        values={"leg": _LEGS},
    ),
    Metric(
        "crypto_bot_leg_price_usd", MetricKind.GAUGE, "middle of a leg's book at the last tick; NaN before the first", ("pair", "leg"), values={"leg": _LEGS}
    ),
    Metric("crypto_bot_position_state", MetricKind.GAUGE, "0 IDLE, 1 ENTERING, 2 HEDGING, 3 OPEN, 4 EXITING, 5 UNWINDING", ("pair",)),
    Metric("crypto_bot_open_unhedged_usd_seconds", MetricKind.GAUGE, "notional without its hedge times event time, of the position at hand", ("pair",)),
    Metric(
        "crypto_bot_unhedged_budget_usd_seconds",
        MetricKind.GAUGE,
        "what a position may be unhedged: half of MAX_POSITION_SIZE for UNHEDGED_SECONDS",
        ("pair",),
    ),
)

STRATEGY = (
    Metric("crypto_bot_z", MetricKind.GAUGE, "standardised innovation at the last tick; NaN without a model's answer", ("pair",)),
    Metric(
        "crypto_bot_threshold_z",
        MetricKind.GAUGE,
        "|z| to enter at, to leave at and to stop at; NaN before the first signal",
        ("pair", "threshold"),
        values={"threshold": THRESHOLDS},
    ),
    Metric("crypto_bot_entry_distance_z", MetricKind.GAUGE, "what |z| lacks to the entry threshold, at least 0; NaN while either is unknown", ("pair",)),
    Metric("crypto_bot_expected_edge_bps", MetricKind.GAUGE, "expected gross profit of a round trip at the entry threshold, of y's notional", ("pair",)),
    Metric("crypto_bot_cost_bps", MetricKind.GAUGE, "fees and spreads of a round trip of both legs, of y's notional", ("pair",)),
    Metric(
        "crypto_bot_gate_passed",
        MetricKind.GAUGE,
        "1 while a gate of an entry is open; NaN before the first tick",
        ("pair", "gate"),
        values={"gate": _GATE_NAMES},
    ),
    Metric(
        "crypto_bot_gate_blocking",
        MetricKind.GAUGE,
        "1 for the gate that blocks an entry first, 0 for the others; NaN before the first tick",
        ("pair", "gate"),
        values={"gate": _GATE_NAMES},
    ),
    Metric(
        "crypto_bot_gate_value",
        MetricKind.GAUGE,
        "what a gate found, in the gate's unit, which `/pairs/{pair}/explain` names; NaN while unknown",
        ("pair", "gate"),
        values={"gate": NUMERIC_GATES},
    ),
    Metric(
        "crypto_bot_gate_limit",
        MetricKind.GAUGE,
        "what a gate asks for, in the gate's unit; NaN while unknown",
        ("pair", "gate"),
        values={"gate": NUMERIC_GATES},
    ),
    Metric(
        "crypto_bot_gate_distance",
        MetricKind.GAUGE,
        "what a gate lacks to pass, in the gate's unit, 0 while it passes; NaN while unknown",
        ("pair", "gate"),
        values={"gate": MEASURED_GATES},
    ),
    Metric("crypto_bot_leg_age_seconds", MetricKind.GAUGE, "age of the older leg's book at the last tick, event time; NaN before the first", ("pair",)),
)

RECORDS = (
    Metric("crypto_bot_sequence_gaps_total", MetricKind.COUNTER, "jumps in a pair's seq or bar", ("topic",), values={"topic": ("hedge-ratios",)}),
    Metric("crypto_bot_records_held_total", MetricKind.COUNTER, "records that had to wait for a risk signal beyond the turn that read them"),
    Metric("crypto_bot_exposure_stopped", MetricKind.GAUGE, "1 while too much of what is read cannot be used and no new exposure is taken"),
    Metric("crypto_bot_lease_epoch", MetricKind.GAUGE, "epoch under which this replica writes the ledger; 0 as standby"),
    Metric("crypto_bot_held_records", MetricKind.GAUGE, "records that wait for a risk signal"),
    Metric("crypto_bot_ledger_commit_seconds", MetricKind.HISTOGRAM, "time to commit a turn to the ledger"),
)

METRICS = (*LATENCY, *TRADING, *MONEY, *STRATEGY, *RECORDS)

#: With the common metrics.
CATALOGUE = catalogue(
    Flow(
        consumed=("hedge-ratios", "risk-signals", "commands"),
        produced=("executions", "progress"),
        refusals=(*COMMON_REFUSALS, "invalid-estimate", "invalid-thresholds", "invalid-budget", "unknown-pair", "bar-far-ahead"),
        drops=("repeated", "closed-bar", "old-session", "old-signal", "unconfigured-pair"),
    ),
    METRICS,
)
