"""Rows of Pipeline about what may go wrong: what waits, the feed, errors."""

from monitoring import palette
from scripts.dashboards.panels import COUNT, RATIO, SECONDS, Query, Row, lines, timeline

#: Share of a month's budget of 0.1 % that may burn: 14.4 times too fast is two days, 6 times five.
FAST, SLOW = 14.4 * 0.001, 6 * 0.001
BURN = ((SLOW, palette.WARNING), (FAST, palette.CRITICAL))
WINDOWS = ("5m", "30m", "1h", "6h")

BACKLOG = Row(
    "What waits",
    8,
    (
        lines(
            "Lag",
            "Records that are there and not yet read, by the client's own figures.",
            COUNT,
            Query('job:crypto_bot_consumer_lag_records:sum{job=~"$service"}', "{{job}}"),
            limits=((5000, palette.WARNING),),
            minimum=0,
            alerts=("ConsumerLagging",),
        ),
        lines(
            "Queue to the broker",
            "How full the queue of records is that the broker has not acknowledged.",
            RATIO,
            Query('max by (job, instance) (crypto_bot_producer_queue_ratio{job=~"$service"})', "{{job}} {{instance}}"),
            limits=((0.8, palette.CRITICAL),),
            minimum=0,
            alerts=("ProducerQueueFilling",),
        ),
        lines(
            "Frames and records held",
            "Frames read off the sockets and not yet handled, records that wait for a risk signal, and how many had to wait.",
            COUNT,
            Query("sum(crypto_bot_frames_waiting)", "frames"),
            Query("sum(crypto_bot_held_records)", "records that wait for a signal"),
            Query("sum(increase(crypto_bot_records_held_total[$__rate_interval]))", "records that had to wait"),
            minimum=0,
        ),
    ),
)

FEED = Row(
    "Feed",
    8,
    (
        timeline(
            "Connection to the exchange",
            "A recording that has ended has none, and needs none.",
            {"away": palette.CRITICAL, "connected": palette.GOOD, "ended": palette.NEUTRAL},
            Query("max by (instance) (clamp_max(crypto_bot_feed_connected + 2 * crypto_bot_feed_ended, 2))", "{{instance}}"),
            alerts=("FeedDisconnected",),
        ),
        lines(
            "Age of the books",
            "Wall time since the last book of a symbol came.",
            SECONDS,
            Query("max by (symbol) (crypto_bot_book_age_seconds)", "{{symbol}}"),
            limits=((30, palette.CRITICAL),),
            width=12,
            minimum=0,
            alerts=("SymbolStale",),
        ),
        lines(
            "Reconnects",
            "Connections to the exchange after the first.",
            COUNT,
            Query("sum by (channel) (increase(crypto_bot_feed_reconnects_total[$__rate_interval]))", "{{channel}}"),
            style="bars",
            width=6,
            alerts=("FeedReconnects",),
        ),
        lines(
            "Gaps",
            "Trades that the exchange counted and we did not see.",
            COUNT,
            Query("sum by (stream) (increase(crypto_bot_feed_gaps_total[$__rate_interval]))", "{{stream}}"),
            style="bars",
            width=6,
            alerts=("FeedGaps",),
        ),
        lines(
            "Pairs behind",
            "Pairs of a live feed whose ticks are conflated because decisions lag.",
            COUNT,
            Query("max(crypto_bot_pairs_behind)", "pairs", palette.WARNING),
            width=6,
            minimum=0,
            alerts=("FeedBehind",),
        ),
        lines(
            "Bars closed",
            "By status: pairs only reduce after one that is not FRESH. Beside them the market session in progress.",
            COUNT,
            Query("sum by (status) (increase(crypto_bot_bars_closed_total[$__rate_interval]))", "{{status}}"),
            Query("max(crypto_bot_session)", "session"),
            colors={"FRESH": palette.GOOD, "STALE": palette.WARNING, "EMPTY": palette.WARNING, "MISSING": palette.CRITICAL, "session": palette.NEUTRAL},
            width=6,
            alerts=("BarsStale",),
        ),
    ),
)

ERRORS = Row(
    "Errors and dead letters",
    8,
    (
        lines(
            "Dead letters",
            "Records and frames set aside in 5 minutes, by source and reason; the topic dead-letters holds them.",
            COUNT,
            Query(
                'job_source_reason:crypto_bot_dead_letters:increase5m{job=~"$service"} > 0 or on () label_replace(vector(0), "reason", "none", "", "")',
                "{{job}} {{source}} {{reason}}",
            ),
            minimum=0,
            alerts=("DeadLetters",),
        ),
        lines(
            "Share that is set aside",
            "Of what each service read in 5 minutes.",
            RATIO,
            Query('job:crypto_bot_dead_letters:ratio_rate5m{job=~"$service"}', "{{job}}"),
            limits=((0.05, palette.CRITICAL),),
            minimum=0,
            alerts=("ErrorRateHigh",),
        ),
        lines(
            "Budget of unusable records",
            "Share of all records set aside; over both lines of a pair of windows the month's budget of 0.1 % is used up in two or five days.",
            RATIO,
            *(Query(f"pipeline:crypto_bot_dead_letters:ratio_rate{window}", window) for window in WINDOWS),
            limits=BURN,
            minimum=0,
            alerts=("ErrorBudgetBurnsFast", "ErrorBudgetBurnsSlowly"),
        ),
        lines(
            "Problems logged",
            "Lines of WARNING and above.",
            COUNT,
            Query('sum by (job, level) (increase(crypto_bot_problems_logged_total{job=~"$service"}[$__rate_interval]))', "{{level}} {{job}}"),
            style="bars",
            width=6,
            alerts=("ErrorsLogged",),
        ),
        lines(
            "Records dropped",
            "Seen before, or from an older writer: after a restart and a rebalance that is as it should be.",
            COUNT,
            Query('sum by (job, reason) (increase(crypto_bot_records_dropped_total{job=~"$service"}[$__rate_interval]))', "{{job}} {{reason}}"),
            style="bars",
            width=6,
        ),
        lines(
            "Jumps in sequence",
            "Records that are missing between services; the pair takes no new exposure in such a bar.",
            COUNT,
            Query('sum by (job, topic) (increase(crypto_bot_sequence_gaps_total{job=~"$service"}[$__rate_interval]))', "{{job}} {{topic}}"),
            style="bars",
            width=6,
            alerts=("SequenceGaps",),
        ),
        lines(
            "Pairs taken over",
            "By where their state came from.",
            COUNT,
            Query('sum by (job, origin) (crypto_bot_states_restored_total{job=~"$service"})', "{{job}} {{origin}}"),
            width=6,
            minimum=0,
        ),
    ),
)
