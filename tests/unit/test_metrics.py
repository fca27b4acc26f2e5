"""Observers: what is declared is reported, what is not is refused."""

import threading

import pytest

from common.io.metrics import PrometheusObserver, RecordingObserver
from common.metrics import COMMON_METRICS, Metric, MetricKind

CATALOGUE = (
    Metric("bot_frames_total", MetricKind.COUNTER, "frames"),
    Metric("bot_ignored_total", MetricKind.COUNTER, "ignored", ("reason", "stream")),
    Metric("bot_z", MetricKind.GAUGE, "z", ("pair",)),
    Metric("bot_age_seconds", MetricKind.HISTOGRAM, "age", (), (0.5, 1.0)),
)


class Log:
    """Keeps lines."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, object]]] = []

    def log(self, level: str, event: str, /, **fields: object) -> None:
        """Keep one."""
        self.lines.append((level, event, fields))


def prometheus() -> tuple[PrometheusObserver, Log, dict[str, object]]:
    log = Log()
    states: dict[str, object] = {}
    return PrometheusObserver(CATALOGUE, log, states.__setitem__), log, states


def test_counters_without_labels_are_there_from_the_start() -> None:
    """A counter that never counted shows 0, so that a rate can be taken of its first increment."""
    observer, _, _ = prometheus()
    assert b"bot_frames_total 0.0\n" in observer.exposition()
    assert b"bot_age_seconds_count 0.0\n" in observer.exposition()


def test_exposition() -> None:
    """Counters add up, gauges hold the last value, histograms use their own buckets, label order does not matter."""
    observer, _, _ = prometheus()
    observer.count("bot_frames_total", 2)
    observer.count("bot_frames_total")
    observer.count("bot_ignored_total", reason="late", stream="trade")
    observer.count("bot_ignored_total", 4, stream="trade", reason="late")
    observer.gauge("bot_z", -1.5, pair="ETHUSDT-BTCUSDT")
    observer.gauge("bot_z", 2.5, pair="ETHUSDT-BTCUSDT")
    observer.observe("bot_age_seconds", 0.7)
    text = observer.exposition().decode()
    for line in (
        "bot_frames_total 3.0",
        'bot_ignored_total{reason="late",stream="trade"} 5.0',
        'bot_z{pair="ETHUSDT-BTCUSDT"} 2.5',
        'bot_age_seconds_bucket{le="0.5"} 0.0',
        'bot_age_seconds_bucket{le="1.0"} 1.0',
        "process_resident_memory_bytes",
    ):
        assert line in text
    assert "_created" not in text
    assert observer.total("bot_ignored_total") == 5


def test_a_gauge_is_there_from_the_start_and_says_nothing_that_is_not_known() -> None:
    """0 where that is right before it is first set, NaN where it would be a statement."""
    observer = PrometheusObserver(COMMON_METRICS, Log(), lambda *_: None)
    lines = observer.exposition().decode().splitlines()
    assert {"crypto_bot_ready 0.0", "crypto_bot_registry_up NaN"} <= set(lines)


@pytest.mark.parametrize("observer", [prometheus()[0], RecordingObserver(CATALOGUE)], ids=["prometheus", "recording"])
def test_undeclared_is_refused(observer: PrometheusObserver | RecordingObserver) -> None:
    """A name, kind or label that is not in the catalogue raises an error that names it."""
    with pytest.raises(ValueError, match="bot_unknown_total is not declared"):
        observer.count("bot_unknown_total")
    with pytest.raises(ValueError, match="bot_z is not declared as a counter"):
        observer.count("bot_z", pair="ETHUSDT-BTCUSDT")
    with pytest.raises(ValueError, match="takes the labels"):
        observer.count("bot_ignored_total", reason="late")
    with pytest.raises(ValueError, match="bot_frames_total is not declared as a gauge"):
        observer.gauge("bot_frames_total", 1)
    with pytest.raises(ValueError, match="bot_age_seconds takes the labels"):
        observer.observe("bot_age_seconds", 1, pair="ETHUSDT-BTCUSDT")


def test_declared_twice_is_refused() -> None:
    """Two metrics of one name are a mistake of the catalogue."""
    with pytest.raises(ValueError, match="declared twice: bot_frames_total"):
        RecordingObserver((*CATALOGUE, CATALOGUE[0]))


def test_logs_and_pair_states_are_passed_on() -> None:
    """Log lines go to the log writer, pair states to the registry."""
    observer, log, states = prometheus()
    observer.log("WARNING", "SLOW", records=3)
    observer.pair_state("ETHUSDT-BTCUSDT", {"z": 1.0})
    assert log.lines == [("WARNING", "SLOW", {"records": 3})]
    assert states == {"ETHUSDT-BTCUSDT": {"z": 1.0}}


def test_recording() -> None:
    """The observer of tests keeps counts by sorted labels, sums them, and copies pair states."""
    observer = RecordingObserver()
    observer.count("x_total", stream="trade", reason="late")
    observer.count("x_total", 2, reason="bad", stream="trade")
    assert observer.counts["x_total", (("reason", "late"), ("stream", "trade"))] == 1
    assert observer.total("x_total") == 3
    assert observer.total("x_total", {"reason": "bad"}) == 2
    state = {"z": 1.0}
    observer.pair_state("ETHUSDT-BTCUSDT", state)
    state["z"] = 2.0
    assert observer.pair_states == {"ETHUSDT-BTCUSDT": {"z": 1.0}}
    observer.log("INFO", "started", at=1)
    assert [line.fields for line in observer.events("started")] == [{"at": 1}]


def test_recording_counts_from_many_threads() -> None:
    """No increment is lost between threads."""
    observer = RecordingObserver()

    def count() -> None:
        for _ in range(2000):
            observer.count("x_total")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert observer.total("x_total") == 8000


def test_common_metrics_follow_the_naming_rules() -> None:
    """One prefix, counters end in `_total`, nothing else does, times are in seconds."""
    PrometheusObserver(COMMON_METRICS, Log(), lambda _pair, _state: None)
    for metric in COMMON_METRICS:
        assert metric.name.startswith("crypto_bot_")
        assert metric.name.endswith("_total") is (metric.kind is MetricKind.COUNTER)
        assert metric.kind is not MetricKind.HISTOGRAM or metric.name.endswith("_seconds")
        assert metric.meaning


def test_known_labels_are_there_from_the_start() -> None:
    """Counters show every known combination of labels at 0, gauges none, and a label whose values are not known shows nothing."""
    metrics = (
        Metric("bot_fills_total", MetricKind.COUNTER, "fills", ("pair", "side"), values={"side": ("BUY", "SELL")}),
        Metric("bot_z", MetricKind.GAUGE, "z", ("pair",)),
        Metric("bot_open_total", MetricKind.COUNTER, "open", ("pair", "anything")),
    )
    text = PrometheusObserver(metrics, Log(), lambda _pair, _state: None, {"pair": ("A-B", "C-B")}).exposition().decode()
    for pair in ("A-B", "C-B"):
        for side in ("BUY", "SELL"):
            assert f'bot_fills_total{{pair="{pair}",side="{side}"}} 0.0\n' in text
    assert "\nbot_z{" not in text
    assert "\nbot_open_total{" not in text


def test_lines_that_report_a_problem_are_counted() -> None:
    """Warnings and worse, by level; the rest is only written."""
    log = Log()
    observer = PrometheusObserver(COMMON_METRICS, log, lambda _pair, _state: None)
    for level in ("INFO", "WARNING", "ERROR", "ERROR"):
        observer.log(level, "something")
    text = observer.exposition().decode()
    counted = [line for line in text.splitlines() if line.startswith("crypto_bot_problems_logged_total{")]
    assert [line.rpartition("{")[2] for line in counted] == ['level="WARNING"} 1.0', 'level="ERROR"} 2.0', 'level="CRITICAL"} 0.0']
    assert len(log.lines) == 4


@pytest.mark.parametrize(
    ("name", "unit"),
    [("bot_age_seconds", "s"), ("bot_unhedged_usd_seconds_total", "USD x s"), ("bot_fills_total", "1"), ("bot_slippage_bps", "bps"), ("bot_z", "1")],
)
def test_the_name_says_the_unit(name: str, unit: str) -> None:
    """The longest ending that is a unit counts."""
    assert Metric(name, MetricKind.GAUGE, "x").unit == unit


def test_a_pair_that_is_somebody_else_s_is_shown_no_more() -> None:
    """Its gauges go, those of others and what was counted stay, and it may come back."""
    observer, _, _ = prometheus()
    for pair in ("A-B", "C-B"):
        observer.gauge("bot_z", 1.0, pair=pair)
    observer.count("bot_ignored_total", reason="late", stream="A-B")
    observer.forget_pair("A-B")
    text = observer.exposition().decode()
    assert [line for line in text.splitlines() if line.startswith("bot_z{")] == ['bot_z{pair="C-B"} 1.0']
    assert 'stream="A-B"' in text
    observer.gauge("bot_z", 2.0, pair="A-B")
    assert 'bot_z{pair="A-B"} 2.0' in observer.exposition().decode()
