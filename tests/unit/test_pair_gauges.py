"""Summaries of pairs as gauges."""

import math

from common.io.metrics import RecordingObserver
from common.pair_gauges import PairGauges


def test_numbers_become_gauges_and_the_rest_is_passed_on() -> None:
    """Named parts of a summary are set as gauges of the pair, what it leaves out to NaN; everything reaches the observer behind."""
    behind = RecordingObserver()
    observer = PairGauges(behind, {"beta": "crypto_bot_beta", "fitted": "crypto_bot_fitted", "absent": "crypto_bot_absent"})
    observer.pair_state("ETHUSDT-BTCUSDT", {"beta": 1.5, "fitted": True, "reason": "none"})
    observer.count("crypto_bot_seen_total")
    labels = (("pair", "ETHUSDT-BTCUSDT"),)
    assert math.isnan(behind.gauges.pop(("crypto_bot_absent", labels)))
    assert behind.gauges == {("crypto_bot_beta", labels): 1.5, ("crypto_bot_fitted", labels): 1.0}
    observer.pair_state("ETHUSDT-BTCUSDT", {})
    assert math.isnan(behind.gauges["crypto_bot_beta", labels])
    assert behind.counts == {("crypto_bot_seen_total", ()): 1}
    observer.forget_pair("ETHUSDT-BTCUSDT")
    assert behind.gauges == {}
