"""The filter service over the in-memory broker."""

from common.bootstrap import Context
from common.codec import decoder_of, encode
from common.io.memory import MemoryBroker, MemoryTransport
from common.io.metrics import RecordingObserver
from common.messages import HedgeRatio, HedgeRatioClose
from common.processor import Position
from common.settings import load
from common.topics import HEDGE_RATIOS, TICKS
from services.kalman_filter.edge import build
from services.kalman_filter.settings import KalmanSettings
from tests.unit.kalman_filter.builders import PAIR, stream


def test_ticks_in_hedge_ratios_out() -> None:
    """Ticks and closes on `ticks` come out answered on `hedge-ratios`, and the pair's gauges are set."""
    transport, observer = MemoryTransport(MemoryBroker()), RecordingObserver()
    settings = load(KalmanSettings, {"KALMAN_WARM_UP_BARS": "20"})
    messages = list(stream(1, 30))
    producer = transport.producer()
    for message in messages:
        producer.send(TICKS, PAIR, encode(message))
    service = build(settings, Context(transport, observer, lambda: 10**18))
    service.start()
    while service.turn(0):
        pass
    reader = transport.reader([Position(HEDGE_RATIOS, transport.partition_of(HEDGE_RATIOS, PAIR), 0)])
    answers = [decoder_of(HEDGE_RATIOS).decode(record.value) for record in reader.poll(0)]
    assert [type(answer) for answer in answers] == [HedgeRatio, HedgeRatioClose] * 30
    assert ("crypto_bot_kalman_warm_up_bars", (("pair", PAIR),)) in observer.gauges
    service.stop()
