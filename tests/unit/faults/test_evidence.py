"""What is in flight, measured from outside."""

from pathlib import Path

from common.io.memory import MemoryTransport
from common.settings import Market
from common.topics import HEDGE_RATIOS, TICKS
from scripts.faults.evidence import Evidence, dropped_in
from scripts.offline import INGESTION, KALMAN, NAMES, Offline, public_frames
from tests.replay.schedules import klines


def test_work_is_in_flight_until_it_is_done(tmp_path: Path) -> None:
    """What lies before a service, or is not yet published, counts; at the end of a run nothing does."""
    scenario = klines(("ETHUSDT-BTCUSDT",), 30)
    offline = Offline(scenario.settings, public_frames(scenario.frames, Market.FUTURES), scenario.rules, tmp_path)
    evidence = Evidence(MemoryTransport(offline.broker), tmp_path)
    assert evidence.in_flight("execution-service") is None, "there is no ledger yet"
    for name in NAMES:
        offline.start(name)
    offline.services[INGESTION].turn(0)
    ticks = len(offline.broker.records(TICKS))
    assert evidence.in_flight("kalman-filter-service") == ticks > 0
    offline.services[KALMAN].turn(0)
    assert evidence.in_flight("execution-service") == len(offline.broker.records(HEDGE_RATIOS)) > 0
    assert evidence.undecided() == (evidence.in_flight("kalman-filter-service") or 0) + len(offline.broker.records(HEDGE_RATIOS))
    offline.run()
    offline.stop()
    assert [evidence.in_flight(f"{name}-service") for name in ("kalman-filter", "execution", "risk-manager")] == [0, 0, 0]


def test_what_was_dropped_is_read_from_the_metrics() -> None:
    """Reasons are added up over topics; other metrics do not count."""
    text = (
        "# TYPE crypto_bot_records_dropped_total counter\n"
        'crypto_bot_records_dropped_total{reason="repeated",topic="hedge-ratios"} 3.0\n'
        'crypto_bot_records_dropped_total{reason="repeated",topic="ticks"} 1.0\n'
        'crypto_bot_records_dropped_total{reason="closed-bar",topic="ticks"} 2.0\n'
        'crypto_bot_records_consumed_total{topic="ticks"} 99.0\n'
    )
    assert dropped_in(text) == {"repeated": 4, "closed-bar": 2}
