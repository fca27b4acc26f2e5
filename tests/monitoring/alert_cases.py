"""What makes each alert fire, and what comes close and does not: the table behind the unit tests of the rules.

A series has one value after another, a quarter of a minute apart (long cases: two minutes): `1x40` is 1 forty-one times, `0+2x40`
grows by 2. Where two are given, the first is the cause and the second the near miss; all other series are the same in both.
"""

from collections.abc import Mapping
from typing import NamedTuple

PAIR = "ETHUSDT-BTCUSDT"
INGESTION, KALMAN, GARCH = "ingestion-service", "kalman-filter-service", "garch-volatility-service"
EXECUTION, RISK = "execution-service", "risk-manager-service"
JOBS = (INGESTION, KALMAN, GARCH, EXECUTION, RISK, "prometheus", "alertmanager")
INSTANCE = "10.0.0.7:80"

Values = str | tuple[str, str]


class Case(NamedTuple):
    """One alert: its series, when it is looked at, and what it then says."""

    alert: str
    series: Mapping[str, Values]
    #: Minutes after the first value.
    at_minutes: float
    labels: Mapping[str, str]
    description: str
    #: Values and evaluations two minutes apart, for windows of hours.
    long: bool = False


def of(job: str, metric: str, **labels: str) -> str:
    """A series of a service."""
    given = {"job": job, "instance": INSTANCE, **labels}
    return metric + "{" + ",".join(f'{name}="{value}"' for name, value in given.items()) + "}"


def seen(job: str, **labels: str) -> dict[str, str]:
    """The labels of an alert about one instance."""
    return {"job": job, "instance": INSTANCE, **labels}


_MISSING = {f'up{{job="{job}",instance="{job}"}}': "1x60" for job in JOBS if job != RISK}
_LETTERS = of(KALMAN, "crypto_bot_dead_letters_total", source="ticks", reason="undecodable")
_ANOTHER_UP = f'up{{job="{EXECUTION}",instance="10.0.0.8:80"}}'
_RULE_LABELS = {"pair": PAIR, "rule": "model-age"}


def _latency(late_share_percent: float, length: int) -> dict[str, str]:
    """A hundred ticks a step, of which a share is decided later than 100 ms."""
    in_time = 100 - late_share_percent
    name = "crypto_bot_tick_to_decision_seconds"
    edges = {"0.1": in_time, "0.15": 100, "+Inf": 100}
    buckets = {of(EXECUTION, f"{name}_bucket", le=edge): f"0+{count:g}x{length}" for edge, count in edges.items()}
    return {**buckets, of(EXECUTION, f"{name}_count"): f"0+100x{length}"}


def _both(cause: Mapping[str, str], near: Mapping[str, str]) -> dict[str, Values]:
    return {series: (cause[series], near[series]) for series in cause}


def _read(bad_per_thousand: tuple[float, float], length: int) -> dict[str, Values]:
    """A thousand records a step, of which so many are set aside."""
    cause, near = bad_per_thousand
    return {
        of(KALMAN, "crypto_bot_records_consumed_total", topic="ticks"): f"0+1000x{length}",
        _LETTERS: (f"0+{cause:g}x{length}", f"0+{near:g}x{length}"),
    }


def _books(equity: Values, exposure: Values) -> dict[str, Values]:
    """A pair that began with 50,000 USD and has won 100 since."""
    return {
        of(EXECUTION, "crypto_bot_pnl_usd", pair=PAIR, part="realised"): "120x60",
        of(EXECUTION, "crypto_bot_pnl_usd", pair=PAIR, part="fees"): "-20x60",
        of(EXECUTION, "crypto_bot_starting_equity_usd", pair=PAIR): "50000x60",
        of(EXECUTION, "crypto_bot_equity_usd", pair=PAIR): equity,
        of(EXECUTION, "crypto_bot_gross_exposure_usd", pair=PAIR): exposure,
    }


META = (
    Case("Watchdog", {}, 1, {}, "Fires always. Whoever stops hearing it knows that alerts are lost on their way."),
    Case(
        "ServiceDown",
        {of(EXECUTION, "up"): ("1x3 0x20", "1x3 0x1 1x20")},
        3,
        seen(EXECUTION),
        "10.0.0.7:80 of execution-service has not answered for 30 s, and no other replica does.",
    ),
    Case(
        "ReplicaDown",
        {of(EXECUTION, "up"): "1x3 0x20", _ANOTHER_UP: ("1x20", "0x20")},
        3,
        seen(EXECUTION),
        "10.0.0.7:80 of execution-service has not answered for 30 s; another replica does.",
    ),
    Case(
        "ServiceMissing",
        {**_MISSING, f'up{{job="{RISK}",instance="a"}}': ("1x2 stale", "1x60")},
        10,
        {"job": RISK},
        "For a minute Prometheus has found no replica of risk-manager-service to scrape (value 1).",
    ),
    Case(
        "RuleFailures",
        {of("prometheus", "prometheus_rule_evaluation_failures_total", rule_group="risk"): ("0x8 3x20", "3x40")},
        4,
        seen("prometheus", rule_group="risk"),
        "3 evaluations of risk failed in 5 minutes: its alerts are blind.",
    ),
    Case(
        "RulesSlow",
        {
            of("prometheus", "prometheus_rule_group_last_duration_seconds", rule_group="risk"): ("7x40", "4x40"),
            of("prometheus", "prometheus_rule_group_interval_seconds", rule_group="risk"): "5x40",
        },
        5,
        seen("prometheus", rule_group="risk"),
        "risk took 7s the last time: its alerts come late.",
    ),
    Case(
        "PrometheusConfigRejected",
        {of("prometheus", "prometheus_config_last_reload_successful"): ("0x40", "1x40")},
        3,
        seen("prometheus"),
        "The last reload failed (value 0): Prometheus runs on with what it had.",
    ),
    Case(
        "AlertmanagerConfigRejected",
        {of("alertmanager", "alertmanager_config_last_reload_successful"): ("0x40", "1x40")},
        3,
        seen("alertmanager"),
        "The last reload failed (value 0): Alertmanager runs on with what it had.",
    ),
    Case(
        "NotificationsFail",
        {of("alertmanager", "alertmanager_notifications_failed_total", integration="slack"): ("0x8 2x20", "2x40")},
        4,
        {"integration": "slack"},
        "2 notifications by slack failed in 5 minutes: people may not hear of other alerts.",
    ),
    Case(
        "AlertsNotDelivered",
        {of("prometheus", "prometheus_notifications_errors_total", alertmanager="am"): ("0+1x40", "5x40")},
        8,
        seen("prometheus", alertmanager="am"),
        "20 alerts could not be handed to am in 5 minutes.",
    ),
)

KAFKA = (
    Case(
        "BrokerUnreachable",
        {of(EXECUTION, "crypto_bot_check_passed", check="transport"): ("1x4 0x20", "1x4 0x0 1x20"), of(RISK, "crypto_bot_check_passed", check="loop"): "0x40"},
        3,
        {},
        "1 replicas have had nothing acknowledged for seconds; no new exposure is taken until Kafka is back.",
    ),
    Case(
        "ConsumerLagging",
        {of(KALMAN, "crypto_bot_consumer_lag_records"): ("6000x40", "4900x40")},
        5,
        {"job": KALMAN},
        "6000 records wait to be read by kalman-filter-service: what it says is old.",
    ),
    Case(
        "ProducerQueueFilling",
        {of(INGESTION, "crypto_bot_producer_queue_ratio"): ("0.9x40", "0.75x40")},
        3,
        seen(INGESTION),
        "The queue of 10.0.0.7:80 to Kafka is 90% full; at 100 % the service stands still.",
    ),
    Case(
        "SequenceGaps",
        {of(EXECUTION, "crypto_bot_sequence_gaps_total", topic="hedge-ratios"): ("0x8 2x20", "2x40")},
        4,
        seen(EXECUTION, topic="hedge-ratios"),
        "2 jumps in the sequence of hedge-ratios in 5 minutes; the pair takes no new exposure in such a bar.",
    ),
)

REDIS = (
    Case(
        "RedisUnreachable",
        {of(EXECUTION, "crypto_bot_registry_up"): "0x40", of(RISK, "crypto_bot_registry_up"): ("0x40", "1x40")},
        3,
        {},
        "No service reaches Redis (value 0): trading goes on, the registry and the last states are not shown.",
    ),
    Case(
        "RedisPartlyUnreachable",
        {of(EXECUTION, "crypto_bot_registry_up"): ("0x40", "0x4 1x40"), of(RISK, "crypto_bot_registry_up"): "1x40"},
        5,
        seen(EXECUTION),
        "10.0.0.7:80 does not reach Redis (value 0) while others do: its way there is broken, or its password is wrong.",
    ),
)

SERVICES = (
    Case(
        "ServiceUnready",
        {of(EXECUTION, "crypto_bot_ready"): ("0x40", "0x2 1x40")},
        3,
        seen(EXECUTION),
        "10.0.0.7:80 of execution-service has not been ready for a minute (value 0); its /health says why.",
    ),
    Case(
        "ServiceRestarting",
        {of(EXECUTION, "process_start_time_seconds"): ("1x8 100x8 200x8 300x40", "1x8 100x8 200x50")},
        10,
        {"job": EXECUTION},
        "execution-service was started 3 times in 15 minutes; the last lines of its log say what ends it.",
    ),
    Case(
        "LoopStuck",
        {of(GARCH, "crypto_bot_check_passed", check="loop"): ("1x4 0x20", "1x4 0x0 1x20")},
        3,
        seen(GARCH, check="loop"),
        "The loop of 10.0.0.7:80 does not turn (value 0); the log has the stacks of all threads after 30 s.",
    ),
    Case(
        "NoProgress",
        {of(GARCH, "crypto_bot_check_passed", check="progress"): ("1x4 0x20", "1x4 0x0 1x20")},
        3,
        seen(GARCH, check="progress"),
        "Inputs of 10.0.0.7:80 move and its outputs do not (value 0).",
    ),
    Case(
        "MemoryRunningOut",
        {of(RISK, "crypto_bot_memory_used_bytes"): ("90x40", "80x40"), of(RISK, "crypto_bot_memory_limit_bytes"): "100x40"},
        8,
        seen(RISK),
        "10.0.0.7:80 has taken 90% of its memory; at 100 % it is killed.",
    ),
    Case(
        "CpuRunningOut",
        {of(RISK, "process_cpu_seconds_total"): ("0+14.25x80", "0+12.75x80"), of(RISK, "crypto_bot_cpu_limit_cores"): "1x80"},
        18,
        seen(RISK),
        "10.0.0.7:80 takes 95% of the processor time that it can use, a core at most; what it does comes late.",
    ),
    Case(
        "DiskRunningOut",
        {of(RISK, "crypto_bot_disk_free_bytes"): ("8x40", "12x40"), of(RISK, "crypto_bot_disk_size_bytes"): "100x40"},
        8,
        seen(RISK),
        "8% of the disk of 10.0.0.7:80 is free; when nothing is, ledger and broker cannot write and trading stops.",
    ),
    Case(
        "FileDescriptorsRunningOut",
        {of(RISK, "process_open_fds"): ("90x40", "75x40"), of(RISK, "process_max_fds"): "100x40"},
        8,
        seen(RISK),
        "10.0.0.7:80 has used up 90% of its file descriptors.",
    ),
    Case(
        "ErrorsLogged",
        {
            of(RISK, "crypto_bot_problems_logged_total", level="ERROR"): ("0x8 1x20", "1x40"),
            of(RISK, "crypto_bot_problems_logged_total", level="WARNING"): "0+1x40",
            of(RISK, "crypto_bot_problems_logged_total", level="CRITICAL"): "0x8 1x20",
        },
        4,
        {"job": RISK},
        "1 lines of level ERROR in 5 minutes.",
    ),
    Case(
        "VersionsDiffer",
        {of(RISK, "crypto_bot_build_info", version="2"): "1x80", of(KALMAN, "crypto_bot_build_info", version="1"): ("1x80", "1x20 stale")},
        18,
        {},
        "2 versions have run for 15 minutes: a deployment has not been finished.",
    ),
)

PIPELINE = (
    Case("LatencyHigh", _both(_latency(2, 60), _latency(0.5, 60)), 10, {}, "One tick in a hundred takes 125ms or more from the socket to the decision."),
    Case(
        "LatencyBudgetBurnsFast",
        _both(_latency(2, 90), _latency(1, 90)),
        80,
        {},
        "2% of the ticks were decided later than 100 ms in the last 5 minutes, and as many in the last hour; 0.1 % is the objective.",
        long=True,
    ),
    Case(
        "LatencyBudgetBurnsSlowly",
        _both(_latency(1, 400), _latency(0.5, 400)),
        390,
        {},
        "1% of the ticks were decided later than 100 ms in the last 30 minutes, and as many in the last six hours; 0.1 % is the objective.",
        long=True,
    ),
    Case("ErrorRateHigh", _read((80, 40), 60), 10, {"job": KALMAN}, "8% of what kalman-filter-service read in 5 minutes was set aside; the limit is 5 %."),
    Case(
        "ErrorBudgetBurnsFast",
        _read((20, 10), 90),
        80,
        {},
        "2% of all records were set aside in the last 5 minutes, and as many in the last hour; 0.1 % is the objective.",
        long=True,
    ),
    Case(
        "ErrorBudgetBurnsSlowly",
        _read((10, 5), 400),
        390,
        {},
        "1% of all records were set aside in the last 30 minutes, and as many in the last six hours; 0.1 % is the objective.",
        long=True,
    ),
    Case(
        "DeadLetters",
        {_LETTERS: ("0x8 1x20", "1x40")},
        4,
        {"job": KALMAN, "source": "ticks", "reason": "undecodable"},
        "1 from ticks in 5 minutes: undecodable. The topic dead-letters holds them.",
    ),
    Case(
        "FeedDisconnected",
        {of(INGESTION, "crypto_bot_feed_connected"): "1x4 0x40", of(INGESTION, "crypto_bot_feed_ended"): ("0x40", "1x40")},
        3,
        seen(INGESTION),
        "10.0.0.7:80 has had no connection to the exchange for 30 s (value 0); no new exposure is taken on old data.",
    ),
    Case(
        "SymbolStale",
        {of(INGESTION, "crypto_bot_book_age_seconds", symbol="ETHUSDT"): ("1x4 45x40", "1x4 25x40"), of(INGESTION, "crypto_bot_feed_ended"): "0x40"},
        3,
        seen(INGESTION, symbol="ETHUSDT"),
        "The last book of ETHUSDT came 45s ago; its pairs take no new exposure.",
    ),
    Case(
        "FeedReconnects",
        {of(INGESTION, "crypto_bot_feed_reconnects_total", channel="public"): ("0x4 8x60", "0x4 3x60")},
        10,
        {"channel": "public"},
        "8 reconnects of public in 15 minutes.",
    ),
    Case(
        "FeedGaps",
        {of(INGESTION, "crypto_bot_feed_gaps_total", stream="trade"): ("0x4 20x40", "0x4 8x40")},
        4,
        {"stream": "trade"},
        "20 gaps in the numbers of trade in 5 minutes.",
    ),
    Case(
        "FeedBehind",
        {of(INGESTION, "crypto_bot_pairs_behind"): ("2x40", "2x2 0x40")},
        3,
        seen(INGESTION),
        "Ticks of 2 pairs have been conflated for a minute, since decisions lag.",
    ),
    Case(
        "BarsStale",
        {
            of(INGESTION, "crypto_bot_bars_closed_total", status="FRESH"): "0+3x60",
            of(INGESTION, "crypto_bot_bars_closed_total", status="EMPTY"): ("0+1x60", "0+0.5x60"),
        },
        15,
        {},
        "25% of the bars of 15 minutes were stale, empty or missing; pairs only reduce after such a bar.",
    ),
    Case(
        "SlowSteps",
        {of(GARCH, "crypto_bot_slow_steps_total"): ("0+1x40", "0+0.4x40")},
        8,
        seen(GARCH),
        "20 turns of 10.0.0.7:80 took longer than their budget in 5 minutes.",
    ),
)

MODELS = (
    Case(
        "ModelStale",
        {of(RISK, "crypto_bot_risk_rule_value", **_RULE_LABELS): ("350x40", "290x40"), of(RISK, "crypto_bot_risk_rule_limit", **_RULE_LABELS): "300x40"},
        3,
        seen(RISK, **_RULE_LABELS),
        "No fit of ETHUSDT-BTCUSDT has been accepted for 350 bars, more than the rule allows; the pair only reduces.",
    ),
    Case(
        "FitsRefused",
        {
            of(GARCH, "crypto_bot_garch_fits_refused", pair=PAIR): "0x50 1x50 2x50 3x50",
            of(GARCH, "crypto_bot_garch_fits_accepted", pair=PAIR): ("1x200", "1x120 2x80"),
        },
        380,
        {"pair": PAIR},
        "3 fits of ETHUSDT-BTCUSDT were refused in six hours and none accepted.",
        long=True,
    ),
    Case(
        "PairUnhealthy",
        {of(RISK, "crypto_bot_pair_healthy", pair=PAIR): ("0x300", "0x100 1x200")},
        290,
        seen(RISK, pair=PAIR),
        "A rule about the data or models of ETHUSDT-BTCUSDT has stood against it for four hours (value 0), longer than a warm-up takes.",
        long=True,
    ),
    Case(
        "RegimeBreak",
        {of(RISK, "crypto_bot_changepoint_actions_total", pair=PAIR, action="FLATTEN"): ("0x8 1x20", "1x40")},
        4,
        {"pair": PAIR, "action": "FLATTEN"},
        "The changepoint detector asked for FLATTEN of ETHUSDT-BTCUSDT 1 times in 15 minutes.",
    ),
    Case(
        "FilterReset",
        {of(KALMAN, "crypto_bot_kalman_covariance_resets", pair=PAIR): ("0x8 1x60", "1x70")},
        15,
        {"pair": PAIR},
        "The covariance of ETHUSDT-BTCUSDT was reset 1 times in 15 minutes: its hedge ratio is being learnt anew.",
    ),
    Case(
        "ForecastsOff",
        {of(RISK, "crypto_bot_surprise_deviation", pair=PAIR): ("2.5x50", "1.8x50")},
        40,
        seen(RISK, pair=PAIR),
        "Surprises of ETHUSDT-BTCUSDT have a standard deviation of 2.50 where 1 is right: thresholds and sizes are wrong by as much.",
        long=True,
    ),
    Case(
        "SurprisesNotWhite",
        {of(RISK, "crypto_bot_surprise_autocorrelation", pair=PAIR): ("-0.6x50", "0.4x50")},
        40,
        seen(RISK, pair=PAIR),
        "Neighbouring surprises of ETHUSDT-BTCUSDT correlate by 0.60 where 0 is right: the models miss what moves the spread.",
        long=True,
    ),
)

TRADING = (
    Case(
        "NewExposureStopped",
        {of(EXECUTION, "crypto_bot_exposure_stopped"): ("0x4 1x20", "0x40")},
        3,
        {},
        "Too much of what execution reads cannot be used (value 1); positions are still left as ever. The topic dead-letters says what it is.",
    ),
    Case(
        "LedgerWriteFailing",
        {of(EXECUTION, "crypto_bot_lease_epoch"): ("5x4 0x20", "5x4 0x0 5x20")},
        3,
        {},
        "For a minute no execution-service has held the ledger (epoch 0): one stands by for a writer that hangs, or ends because the file cannot be written.",
    ),
    Case(
        "LedgerWithTwoWriters",
        {of(EXECUTION, "crypto_bot_lease_epoch"): "6x40", 'crypto_bot_lease_epoch{job="execution-service",instance="old"}': ("5x40", "5x4 0x40")},
        3,
        {},
        "2 replicas say that they write the ledger. The one with the smaller crypto_bot_lease_epoch has been replaced and can write nothing; "
        "it should have ended by now. End it.",
    ),
    Case(
        "LedgerSlow",
        {
            of(EXECUTION, "crypto_bot_ledger_commit_seconds_bucket", le="0.1"): ("0+90x40", "0+99.5x40"),
            of(EXECUTION, "crypto_bot_ledger_commit_seconds_bucket", le="0.25"): "0+100x40",
            of(EXECUTION, "crypto_bot_ledger_commit_seconds_bucket", le="+Inf"): "0+100x40",
        },
        8,
        {},
        "One commit in a hundred takes 235ms or more; every decision waits for its commit.",
    ),
    Case(
        "OrdersRejected",
        {of(EXECUTION, "crypto_bot_orders_total", pair=PAIR, status="REJECTED"): ("0x4 5x40", "0x4 2x40")},
        5,
        {"pair": PAIR},
        "5 orders of ETHUSDT-BTCUSDT were rejected in 15 minutes.",
    ),
    Case(
        "PositionStuck",
        {of(EXECUTION, "crypto_bot_position_state", pair=PAIR): ("2x60", "2x8 3x60")},
        13,
        seen(EXECUTION, pair=PAIR),
        "ETHUSDT-BTCUSDT has been on its way for 10 minutes in state 2 (1 ENTERING, 2 HEDGING, 4 EXITING, 5 UNWINDING): one leg may be without its hedge.",
    ),
    Case(
        "UnhedgedOverBudget",
        {
            of(EXECUTION, "crypto_bot_open_unhedged_usd_seconds", pair=PAIR): ("950000x20", "850000x20"),
            of(EXECUTION, "crypto_bot_unhedged_budget_usd_seconds", pair=PAIR): "900000x20",
        },
        2,
        seen(EXECUTION, pair=PAIR),
        "The open position of ETHUSDT-BTCUSDT has been without its hedge for 950000 USD-seconds, more than the budget.",
    ),
    Case(
        "SlippageHigh",
        {
            of(EXECUTION, "crypto_bot_slippage_bps_bucket", pair=PAIR, le="10.0"): ("0+1x60", "0+1.9x60"),
            of(EXECUTION, "crypto_bot_slippage_bps_bucket", pair=PAIR, le="20.0"): "0+2x60",
            of(EXECUTION, "crypto_bot_slippage_bps_bucket", pair=PAIR, le="+Inf"): "0+2x60",
        },
        12,
        {"pair": PAIR},
        "One fill in ten of ETHUSDT-BTCUSDT costs 18.0 bps or more against the price at its decision; the strategy counts on less.",
    ),
    Case(
        "PnlDoesNotClose",
        _books(("50101.5x60", "50100x60"), "0x60"),
        8,
        seen(EXECUTION, pair=PAIR),
        "The parts of the profit of ETHUSDT-BTCUSDT and what its equity has gained have differed by 1.50 USD for 5 minutes without a position.",
    ),
    Case(
        "EquityDiffersFromRisk",
        {of(EXECUTION, "crypto_bot_equity_usd", pair=PAIR): ("50100x80", "50040x80"), of(RISK, "crypto_bot_risk_equity_usd"): "50000x80"},
        18,
        {},
        "They have differed by 100.00 USD or more for 10 minutes: limits are judged on a wrong equity.",
    ),
    Case(
        "SignalsLate",
        {of(EXECUTION, "crypto_bot_holds_expired_total", pair=PAIR): ("0x4 6x40", "0x4 2x40")},
        6,
        {"pair": PAIR},
        "6 bars of ETHUSDT-BTCUSDT in 10 minutes went on without their risk signal, and only reduced.",
    ),
)

RISKS = (
    Case(
        "TradingHalted",
        {of(RISK, "crypto_bot_risk_halts"): ("0x4 1x20", "0x40")},
        3,
        seen(RISK),
        "1 halts are in force until an operator lifts them; /state of risk-manager says which and why.",
    ),
    Case("DrawdownHigh", {of(RISK, "crypto_bot_risk_drawdown_ratio"): ("0.12x20", "0.099x20")}, 2, seen(RISK), "12% have been lost since the high-water mark."),
    Case(
        "RiskLimitNear",
        {
            of(RISK, "crypto_bot_risk_rule_value", pair=PAIR, rule="drawdown"): ("0.09x20", "0.079x20"),
            of(RISK, "crypto_bot_risk_rule_limit", pair=PAIR, rule="drawdown"): "0.1x20",
        },
        3,
        {"rule": "drawdown"},
        "drawdown stands at 0.09, more than 80 % of its limit; at the limit trading stops.",
    ),
    Case(
        "RiskStandsStill",
        {of(RISK, "crypto_bot_risk_last_closed_bar"): ("1+1x8 9x60", "1+0.2x80")},
        15,
        seen(RISK),
        "0 bars were closed in 5 minutes, for 5 minutes; pairs without a signal take no new exposure.",
    ),
    Case(
        "MarksMissing",
        {of(RISK, "crypto_bot_risk_marks_missing_total", pair=PAIR): ("0x4 6x40", "0x4 2x40")},
        6,
        {"pair": PAIR},
        "6 bars in 10 minutes were closed without the mark of ETHUSDT-BTCUSDT; all pairs only reduce after such a bar.",
    ),
)

#: By the file that holds the rules.
CASES: Mapping[str, tuple[Case, ...]] = {
    "meta": META,
    "kafka": KAFKA,
    "redis": REDIS,
    "services": SERVICES,
    "pipeline": PIPELINE,
    "models": MODELS,
    "trading": TRADING,
    "risk": RISKS,
}

_NEVER_SET = " ".join(["NaN"] * 40)

#: What the first case of an alert leaves out: other causes of it, and what else must not raise it.
MORE: Mapping[str, tuple[Case, ...]] = {
    "meta": (
        Case(
            "ServiceDown",
            {of(EXECUTION, "up"): "1x3 0x20", _ANOTHER_UP: ("1x3 stale", "1x20")},
            3,
            seen(EXECUTION),
            "10.0.0.7:80 of execution-service has not answered for 30 s, and no other replica does.",
        ),
    ),
    "redis": (
        Case(
            "RedisUnreachable",
            {of(EXECUTION, "crypto_bot_registry_up"): ("0x40", _NEVER_SET), of(RISK, "crypto_bot_registry_up"): _NEVER_SET},
            3,
            {},
            "No service reaches Redis (value 0): trading goes on, the registry and the last states are not shown.",
        ),
        Case(
            "RedisPartlyUnreachable",
            {of(EXECUTION, "crypto_bot_registry_up"): "0x40", of(RISK, "crypto_bot_registry_up"): ("1x40", "0x40")},
            5,
            seen(EXECUTION),
            "10.0.0.7:80 does not reach Redis (value 0) while others do: its way there is broken, or its password is wrong.",
        ),
    ),
    "services": (
        Case(
            "CpuRunningOut",
            {of(RISK, "process_cpu_seconds_total"): ("0+14.25x80", "0+12.75x80"), of(RISK, "crypto_bot_cpu_limit_cores"): "1.5x80"},
            18,
            seen(RISK),
            "10.0.0.7:80 takes 95% of the processor time that it can use, a core at most; what it does comes late.",
        ),
        Case(
            "DiskRunningOut",
            {of(RISK, "crypto_bot_disk_free_bytes"): ("25x7 24x7 23x7 22x7 21x20", "25-0.001x40"), of(RISK, "crypto_bot_disk_size_bytes"): "100x40"},
            8.5,
            seen(RISK),
            "21% of the disk of 10.0.0.7:80 is free; when nothing is, ledger and broker cannot write and trading stops.",
        ),
    ),
    "pipeline": (
        Case(
            "ErrorRateHigh",
            {of(KALMAN, "crypto_bot_records_consumed_total", topic="ticks"): "0x60", _LETTERS: ("0+5x60", "5x60")},
            10,
            {"job": KALMAN},
            "100% of what kalman-filter-service read in 5 minutes was set aside; the limit is 5 %.",
        ),
        Case(
            "SymbolStale",
            {of(INGESTION, "crypto_bot_book_age_seconds", symbol="ETHUSDT"): "1x4 45x40", of(INGESTION, "crypto_bot_feed_ended"): ("0x40", "1x40")},
            3,
            seen(INGESTION, symbol="ETHUSDT"),
            "The last book of ETHUSDT came 45s ago; its pairs take no new exposure.",
        ),
    ),
    "models": (
        Case(
            "ForecastsOff",
            {of(RISK, "crypto_bot_surprise_deviation", pair=PAIR): ("0.3x50", "0.5x50")},
            40,
            seen(RISK, pair=PAIR),
            "Surprises of ETHUSDT-BTCUSDT have a standard deviation of 0.30 where 1 is right: thresholds and sizes are wrong by as much.",
            long=True,
        ),
    ),
    "trading": (
        Case(
            "LedgerWriteFailing",
            {of(EXECUTION, "crypto_bot_lease_epoch"): ("_x40", "5x40")},
            3,
            {},
            "For a minute no execution-service has held the ledger (epoch 0): one stands by for a writer that hangs, "
            "or ends because the file cannot be written.",
        ),
        Case(
            "PnlDoesNotClose",
            _books("50110x60", ("0x60", "900x60")),
            8,
            seen(EXECUTION, pair=PAIR),
            "The parts of the profit of ETHUSDT-BTCUSDT and what its equity has gained have differed by 10.00 USD for 5 minutes without a position.",
        ),
    ),
    "risk": (
        Case(
            "RiskStandsStill",
            {of(RISK, "crypto_bot_risk_last_closed_bar"): "1+1x8 9x60", of(INGESTION, "crypto_bot_feed_ended"): ("0x80", "1x80")},
            15,
            seen(RISK),
            "0 bars were closed in 5 minutes, for 5 minutes; pairs without a signal take no new exposure.",
        ),
    ),
}
