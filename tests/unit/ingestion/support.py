"""Frames in the exchange's shape, and a service over the in-memory broker."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from common.codec import decoder_of
from common.io.memory import MemoryBroker, MemoryTransport
from common.io.metrics import RecordingObserver
from common.messages import BarClose, DeadLetter, Tick, WriterEpoch
from common.metrics import COMMON_METRICS
from common.settings import load
from common.topics import DEAD_LETTERS, TICKS
from services.ingestion.metrics import METRICS
from services.ingestion.processor import IngestionService
from services.ingestion.settings import IngestionSettings
from services.ingestion.source import Channel, Frame, FrameSource, ListSource

#: Begin of a minute, ms.
T0_MS = 1_723_161_240_000
BAR_MS = 60_000
BAR_0 = T0_MS // BAR_MS
#: Wall time at which a test begins, and frames are read unless it says otherwise.
BEGIN_NS = 1_000_000_000_000


def payload_of(stream: str, **data: Any) -> bytes:
    return json.dumps({"stream": stream, "data": data}, separators=(",", ":")).encode()


def book_payload(symbol: str, at_ms: int | None, update_id: int, bid: str = "100.0", ask: str = "100.1", **changes: Any) -> bytes:
    data = {"e": "bookTicker", "u": update_id, "s": symbol, "b": bid, "B": "1.5", "a": ask, "A": "2.5", "T": at_ms, "E": at_ms} | changes
    kept = {key: value for key, value in data.items() if value is not None}
    return payload_of(f"{symbol.lower()}@bookTicker", **kept)


def book(symbol: str, at_ms: int | None, update_id: int, *, read_at_ns: int = BEGIN_NS, connection: int = 1, **changes: Any) -> Frame:
    return Frame(read_at_ns, Channel.PUBLIC, book_payload(symbol, at_ms, update_id, **changes), connection)


def trade(symbol: str, at_ms: int, trade_id: int, *, channel: Channel = Channel.MARKET, connection: int = 1) -> Frame:
    data = {"e": "trade", "E": at_ms, "T": at_ms, "s": symbol, "t": trade_id, "p": "100.0", "q": "0.1", "m": True}
    return Frame(0, channel, payload_of(f"{symbol.lower()}@trade", **data), connection)


def mark(symbol: str, at_ms: int, price: str, *, next_funding_ms: int = T0_MS + 28_800_000) -> Frame:
    data = {"e": "markPriceUpdate", "E": at_ms, "s": symbol, "p": price, "i": price, "P": price, "r": "0.0001", "T": next_funding_ms}
    return Frame(0, Channel.MARKET, payload_of(f"{symbol.lower()}@markPrice@1s", **data))


class Clock:
    """A wall clock that the test moves."""

    def __init__(self, now_ns: int = BEGIN_NS) -> None:
        self.now_ns = now_ns

    def __call__(self) -> int:
        return self.now_ns

    def advance_ms(self, amount: float) -> None:
        self.now_ns += int(amount * 1_000_000)


class FedSource(ListSource):
    """A list that the test adds to while the service runs."""

    def __init__(self) -> None:
        super().__init__((), ended=False)
        self.connected = True
        self.stalled = False
        self.waited_s = 0.0

    def read(self, channels: Sequence[Channel], max_frames: int, timeout_s: float) -> Sequence[Frame]:
        self.waited_s = timeout_s
        return super().read(channels, max_frames, timeout_s)

    def feed(self, *frames: Frame) -> None:
        for frame in frames:
            self._frames[frame.channel].append(frame)

    def status(self) -> dict[str, Any]:
        return {**super().status(), "connected": self.connected, "stalled": self.stalled}


class Rig:
    """One ingestion service after the other over one broker."""

    def __init__(self, source: FrameSource, broker: MemoryBroker | None = None, /, **environment: str) -> None:
        self.settings = load(IngestionSettings, environment)
        self.broker = broker or MemoryBroker(partitions=4)
        self.clock = Clock()
        self.source = source
        self.observer = RecordingObserver((*COMMON_METRICS, *METRICS))
        self.transport = MemoryTransport(self.broker)
        self.service = self.build()

    def build(self) -> IngestionService:
        self.transport = MemoryTransport(self.broker)
        self.service = IngestionService(self.settings, self.transport, self.observer, self.clock, self.source)
        self.service.report_interval_ns = 0
        return self.service

    def start(self) -> "Rig":
        self.service.start()
        return self

    def kill(self) -> "Rig":
        """Drop the service as it is and start another."""
        self.transport.abandon()
        self.build()
        return self.start()

    def turns(self, count: int = 3) -> "Rig":
        for _ in range(count):
            self.service.turn(0)
        return self

    def run(self) -> "Rig":
        """Turn until nothing is left to do."""
        self.start()
        while self.service.turn(0):
            pass
        return self.turns(2)

    @property
    def details(self) -> dict[str, Any]:
        return dict(self.service.health().details)

    def log_of(self, pair: str) -> list[Tick | BarClose]:
        """The pair's records that consumers take: those of older writers after a newer one are void."""
        decoder, newest = decoder_of(TICKS), -1
        kept: list[Tick | BarClose] = []
        for record in self.broker.records(TICKS):
            if record.partition == self.broker.partition_of(pair):
                message = decoder.decode(record.value)
                if message.epoch >= newest:
                    newest = message.epoch
                    kept += [message] if not isinstance(message, WriterEpoch) and message.pair == pair else []
        return kept

    def closes_of(self, pair: str) -> list[BarClose]:
        return [message for message in self.log_of(pair) if isinstance(message, BarClose)]

    def ticks_of(self, pair: str) -> list[Tick]:
        return [message for message in self.log_of(pair) if isinstance(message, Tick)]

    def dead_letters(self) -> list[DeadLetter]:
        decoder = decoder_of(DEAD_LETTERS)
        return [decoder.decode(record.value) for record in self.broker.records(DEAD_LETTERS)]


PAIR = "ETHUSDT-BTCUSDT"
OTHER_PAIR = "SOLUSDT-BTCUSDT"


def run(frames: Iterable[Frame], *, ended: bool = True, **environment: str) -> Rig:
    """A service that has read all of these frames."""
    return Rig(ListSource(frames, ended=ended), **environment).run()


def shape(messages: Sequence[Tick | BarClose]) -> list[tuple[Any, ...]]:
    """What of a pair's records must not depend on restarts."""
    return [
        (m.seq, m.session, m.bar, m.event_time_ns, m.y, m.x) if isinstance(m, Tick) else (m.seq, m.session, m.bar, m.status.value, m.end, m.y_mark, m.x_mark)
        for m in messages
    ]
