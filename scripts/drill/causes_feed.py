"""Causes in the market data: cut off, garbled, silent, late, out of order."""

from collections.abc import Iterator
from contextlib import contextmanager

from common.topics import TICKS
from scripts.drill.acts import Act, Expected, about
from scripts.drill.feed import Disturbance
from scripts.drill.stage import EXECUTION, INGESTION, KALMAN, RISK, Stage

_BARS, _LIVE = "bars", "live"
_PAIR = "ETHUSDT-BTCUSDT"
_SYMBOLS = frozenset({"BTCUSDT", "ETHUSDT", "SOLUSDT"})


@contextmanager
def _refused(stage: Stage) -> Iterator[None]:
    with stage.feed.disturbed(Disturbance(refuses=True)):
        yield


@contextmanager
def _cut(stage: Stage) -> Iterator[None]:
    with stage.feed.disturbed(Disturbance(cut=frozenset({"ETHUSDT"}))):
        yield


@contextmanager
def _dropped_often(stage: Stage) -> Iterator[None]:
    reconnects = "sum(crypto_bot_feed_reconnects_total)"
    for _ in range(9):
        before = stage.value(reconnects) or 0.0
        stage.feed.disconnect()
        stage.wait_above(reconnects, before, "a reconnect")
    yield


@contextmanager
def _garbage(stage: Stage) -> Iterator[None]:
    with stage.feed.disturbed(Disturbance(garbage_every=100)):
        yield


@contextmanager
def _trades_lost(stage: Stage) -> Iterator[None]:
    with stage.feed.disturbed(Disturbance(trades_kept=5)):
        yield


@contextmanager
def _execution_starved(stage: Stage) -> Iterator[None]:
    with stage.throttled(EXECUTION, 0.9, 0.1):
        yield


@contextmanager
def _risk_starved(stage: Stage) -> Iterator[None]:
    with stage.throttled(RISK, 0.9, 0.1):
        yield


@contextmanager
def _no_grace(stage: Stage) -> Iterator[None]:
    with stage.told(RISK, {"MARK_GRACE_MS": "1"}):
        yield


@contextmanager
def _silent_but_for_repeats(stage: Stage) -> Iterator[None]:
    """No bar moves, and the filter reads what it has read before."""
    with stage.feed.disturbed(Disturbance(cut=_SYMBOLS)):
        repeats = [(record.key, record.value, record.partition) for record in stage.newest(TICKS, 20)]

        def repeat() -> bool:
            stage.send(TICKS, repeats)
            return stage.prometheus.fires("NoProgress")

        stage.wait(repeat, 240, "an alarm")
        yield


FEED = (
    Act(
        about("FeedDisconnected"),
        _BARS,
        "the exchange breaks off the connections and refuses others",
        "it takes them again",
        _refused,
        muted=("SymbolStale",),
    ),
    Act(
        (*about("SymbolStale", "BarsStale"), Expected("PairUnhealthy", pair=_PAIR)),
        _BARS,
        "nothing of ETHUSDT comes any more",
        "it comes again",
        _cut,
        within_s=150,
        resolved_within_s=120,
    ),
    Act(
        about("FeedReconnects"),
        _BARS,
        "the exchange breaks off the connections nine times in a row",
        "none: the alert ends with its window",
        _dropped_often,
        within_s=90,
    ),
    Act(
        about("DeadLetters", service=INGESTION),
        _BARS,
        "of each stream one frame in 100 is followed by a piece of garbage",
        "no garbage comes",
        _garbage,
    ),
    Act(
        (*about("RiskStandsStill"), *about("NoProgress", service=KALMAN)),
        _BARS,
        "the exchange falls silent, and old records of `ticks` are published again and again",
        "the exchange goes on",
        _silent_but_for_repeats,
        within_s=300,
        resolved_within_s=180,
    ),
    Act(about("FeedGaps"), _LIVE, "of five trades four get lost on their way", "none gets lost", _trades_lost),
    Act(
        about("FeedBehind"),
        _LIVE,
        "execution-service gets the processor for a tenth of the time (SIGSTOP and SIGCONT)",
        "it gets all of it",
        _execution_starved,
        within_s=90,
    ),
    Act(
        (Expected("SignalsLate", pair=_PAIR),),
        _LIVE,
        "risk-manager-service gets the processor for a tenth of the time (SIGSTOP and SIGCONT)",
        "it gets all of it",
        _risk_starved,
        within_s=90,
    ),
    Act(about("MarksMissing"), _LIVE, "risk-manager-service waits for marks for 1 ms only (MARK_GRACE_MS)", "it waits as usual", _no_grace, within_s=120),
)
