"""The volatility service over the in-memory broker, its fits in their own process."""

import time

from common.bootstrap import Context
from common.codec import decoder_of, encode
from common.io.memory import MemoryBroker, MemoryTransport
from common.io.metrics import RecordingObserver
from common.messages import Thresholds
from common.processor import Position
from common.settings import load
from common.topics import HEDGE_RATIO_CLOSES, VOLATILITY_THRESHOLDS
from services.garch_volatility.edge import build
from services.garch_volatility.settings import GarchSettings
from tests.unit.garch_volatility.builders import PAIR, answer, reverting


def test_bar_closes_in_thresholds_out() -> None:
    """Each bar close on `hedge-ratio-closes` comes out as one Thresholds, and stopping ends the worker even while it loads its library."""
    transport = MemoryTransport(MemoryBroker())
    messages = [answer(100 + index, innovation) for index, innovation in enumerate(reverting(1, 40))]
    producer = transport.producer()
    for message in messages:
        producer.send(HEDGE_RATIO_CLOSES, PAIR, encode(message))
    service = build(load(GarchSettings, {}), Context(transport, RecordingObserver(), lambda: 10**18))
    worker = next(iter((service.fits._pool._processes or {}).values()))
    service.start()
    while service.turn(0):
        pass
    reader = transport.reader([Position(VOLATILITY_THRESHOLDS, transport.partition_of(VOLATILITY_THRESHOLDS, PAIR), 0)])
    answers = [decoder_of(VOLATILITY_THRESHOLDS).decode(record.value) for record in reader.poll(0)]
    assert all(isinstance(each, Thresholds) for each in answers)
    assert [each.bar for each in answers] == list(range(100, 140))
    service.stop()
    give_up_at = time.monotonic() + 5
    while worker.is_alive() and time.monotonic() < give_up_at:
        # Returns at once while another thread is just collecting the exit status.
        worker.join(timeout=0.1)
    assert not worker.is_alive()
