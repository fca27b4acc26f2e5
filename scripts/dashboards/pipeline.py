"""Pipeline: from the socket to the decision."""

from monitoring import palette
from scripts.dashboards.frame import Board
from scripts.dashboards.panels import COUNT, NONE_IS_GOOD, PER_SECOND, RATIO, SECONDS, Query, Row, heatmap, lines, stat
from scripts.dashboards.pipeline_health import BACKLOG, BURN, ERRORS, FAST, FEED, WINDOWS

_OBJECTIVE = ((None, palette.GOOD), (0.1, palette.CRITICAL))


def _quantile(share: float, metric: str, by: str = "", chosen: str = "") -> str:
    return f"histogram_quantile({share}, sum by ({by}le) (rate({metric}_bucket{chosen}[$__rate_interval])))"


def _decision(share: float) -> str:
    return _quantile(share, "crypto_bot_tick_to_decision_seconds")


_NOW = Row(
    "Now",
    4,
    (
        stat("Ticks decided", "A second.", PER_SECOND, "sum(rate(crypto_bot_tick_to_decision_seconds_count[$__rate_interval]))"),
        stat("p50", "From the socket to the decision, half of the ticks.", SECONDS, _decision(0.5), _OBJECTIVE),
        stat("p99", "From the socket to the decision, one tick in a hundred takes longer.", SECONDS, _decision(0.99), _OBJECTIVE),
        stat("p99.9", "From the socket to the decision, one tick in a thousand takes longer: the objective is 100 ms.", SECONDS, _decision(0.999), _OBJECTIVE),
        stat(
            "Later than 100 ms",
            "Share of the ticks of 5 minutes; 0.1 % is the objective.",
            RATIO,
            "pipeline:crypto_bot_tick_to_decision_late:ratio_rate5m",
            ((None, palette.GOOD), (0.001, palette.WARNING), (FAST, palette.CRITICAL)),
        ),
        stat(
            "Set aside",
            "What was set aside in 5 minutes.",
            COUNT,
            "sum(job_source_reason:crypto_bot_dead_letters:increase5m)",
            NONE_IS_GOOD,
        ),
        stat("Records that wait", "Records that wait to be read, by all services.", COUNT, "sum(job:crypto_bot_consumer_lag_records:sum)"),
        stat(
            "Exchange",
            "Whether every connection to the exchange is open.",
            COUNT,
            "min(crypto_bot_feed_connected)",
            states={"away": palette.CRITICAL, "connected": palette.GOOD},
        ),
    ),
)

_LATENCY = Row(
    "Latency",
    9,
    (
        heatmap(
            "Socket to decision, all ticks",
            "How many ticks took how long from being read off the socket to their decision.",
            SECONDS,
            "sum by (le) (increase(crypto_bot_tick_to_decision_seconds_bucket[$__rate_interval]))",
        ),
        lines(
            "Socket to decision",
            "What half, one in a hundred and one in a thousand of the ticks exceed; the objective is that 99.9 % take less than 100 ms.",
            SECONDS,
            Query(_decision(0.5), "p50", palette.PROFIT),
            Query(_decision(0.99), "p99", palette.LEG_A),
            Query(_decision(0.999), "p99.9", palette.THRESHOLD_ENTRY),
            limits=((0.1, palette.LIMIT),),
            width=12,
            minimum=0,
            alerts=("LatencyHigh",),
        ),
        lines(
            "Where the time goes",
            "Mean time in each service and on the way between two, of the last tick of each turn.",
            SECONDS,
            Query(
                "sum by (hop) (rate(crypto_bot_hop_seconds_sum[$__rate_interval])) / (sum by (hop) (rate(crypto_bot_hop_seconds_count[$__rate_interval])) > 0)",
                "{{hop}}",
            ),
            stacked=True,
            minimum=0,
        ),
        lines(
            "Where the time goes, p99",
            "What one turn in a hundred exceeds in each service and on the way between two.",
            SECONDS,
            Query("hop:crypto_bot_hop_seconds:p99_5m", "{{hop}}"),
            minimum=0,
        ),
        lines(
            "Age of what services handle, p99",
            "From reading a frame off the socket to handling what came of it.",
            SECONDS,
            Query(_quantile(0.99, "crypto_bot_input_age_seconds", "job, ", '{job=~"$service"}'), "{{job}}"),
            minimum=0,
        ),
        lines(
            "Budget of late decisions",
            "Share of the ticks decided later than 100 ms; over both lines of a pair of windows the month's budget of 0.1 % is used up in two or five days.",
            RATIO,
            *(Query(f"pipeline:crypto_bot_tick_to_decision_late:ratio_rate{window}", window) for window in WINDOWS),
            limits=BURN,
            width=12,
            minimum=0,
            alerts=("LatencyBudgetBurnsFast", "LatencyBudgetBurnsSlowly"),
        ),
        lines(
            "Age of data at a decision",
            "Age of the older leg's book when a decision to act was taken, event time; nine in ten were younger.",
            SECONDS,
            Query(_quantile(0.9, "crypto_bot_decision_data_age_seconds", "pair, ", '{pair=~"$pair"}'), "p90 {{pair}}"),
            Query('max by (pair) (crypto_bot_leg_age_seconds{pair=~"$pair"})', "now {{pair}}"),
            width=12,
            minimum=0,
        ),
    ),
)

_FLOW = Row(
    "Flow",
    8,
    (
        lines(
            "Records read",
            "By service and topic, a second.",
            PER_SECOND,
            Query('sum by (job, topic) (rate(crypto_bot_records_consumed_total{job=~"$service"}[$__rate_interval]))', "{{job}} < {{topic}}"),
            minimum=0,
        ),
        lines(
            "Records written",
            "By service and topic, a second.",
            PER_SECOND,
            Query('sum by (job, topic) (rate(crypto_bot_records_produced_total{job=~"$service"}[$__rate_interval]))', "{{job}} > {{topic}}"),
            minimum=0,
        ),
        lines(
            "Frames",
            "What became of what the exchange sent, a second.",
            PER_SECOND,
            Query("sum by (outcome) (rate(crypto_bot_frames_total[$__rate_interval]))", "{{outcome}}"),
            colors={"tick": palette.GOOD, "conflated": palette.WARNING, "dead-letter": palette.CRITICAL, "ignored": palette.NEUTRAL},
            stacked=True,
            minimum=0,
        ),
        lines(
            "Frames ignored",
            "Those that make no tick, by reason, a second.",
            PER_SECOND,
            Query("sum by (reason) (rate(crypto_bot_frames_ignored_total[$__rate_interval]))", "{{reason}}"),
            minimum=0,
        ),
        lines(
            "Time of a turn, p99",
            "To handle the records that were there.",
            SECONDS,
            Query(_quantile(0.99, "crypto_bot_step_seconds", "job, ", '{job=~"$service"}'), "{{job}}"),
            minimum=0,
        ),
        lines(
            "Slow turns",
            "Turns over their time budget.",
            COUNT,
            Query('sum by (job) (increase(crypto_bot_slow_steps_total{job=~"$service"}[$__rate_interval]))', "{{job}}"),
            minimum=0,
            alerts=("SlowSteps",),
        ),
    ),
)

PIPELINE = Board(
    "pipeline",
    "Pipeline",
    "Time, flow and errors from the socket to the decision, against the objectives.",
    (_NOW, _LATENCY, _FLOW, BACKLOG, FEED, ERRORS),
    by_service=True,
)
