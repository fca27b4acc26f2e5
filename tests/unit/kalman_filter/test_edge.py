"""The filter service over the in-memory broker."""

from common.bootstrap import Context
from common.codec import decoder_of, encode
from common.io.memory import MemoryBroker, MemoryTransport
from common.io.metrics import RecordingObserver
from common.messages import HedgeRatio, HedgeRatioClose
from common.settings import load
from common.topics import HEDGE_RATIO_CLOSES, HEDGE_RATIOS, TICKS
from services.kalman_filter.edge import build
from services.kalman_filter.settings import KalmanSettings
from tests.unit.kalman_filter.builders import PAIR, stream


def test_ticks_in_hedge_ratios_out() -> None:
    """Ticks and closes on `ticks` come out answered on `hedge-ratios`, the closes alone on `hedge-ratio-closes` too, and the pair's gauges are set."""
    broker, observer = MemoryBroker(), RecordingObserver()
    transport = MemoryTransport(broker)
    settings = load(KalmanSettings, {"KALMAN_WARM_UP_BARS": "20"})
    messages = list(stream(1, 30))
    producer = transport.producer()
    for message in messages:
        producer.send(TICKS, PAIR, encode(message))
    service = build(settings, Context(transport, observer, lambda: 10**18))
    service.start()
    while service.turn(0):
        pass
    records = broker.records(HEDGE_RATIOS)
    assert [type(decoder_of(HEDGE_RATIOS).decode(record.value)) for record in records] == [HedgeRatio, HedgeRatioClose] * 30
    closes = [(record.partition, record.key, record.value, record.trace) for record in records[1::2]]
    assert [(record.partition, record.key, record.value, record.trace) for record in broker.records(HEDGE_RATIO_CLOSES)] == closes
    counted = {topic: observer.total("crypto_bot_records_produced_total", {"topic": topic}) for topic in ("hedge-ratios", "hedge-ratio-closes")}
    assert counted == {"hedge-ratios": 60, "hedge-ratio-closes": 30}
    assert ("crypto_bot_kalman_warm_up_bars", (("pair", PAIR),)) in observer.gauges
    service.stop()
