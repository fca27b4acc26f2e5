"""Tick recordings: `<local time> <combined-stream JSON>` a line, exactly as received."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

import msgspec

from common.settings import Market
from services.exchange_simulator.recording import Frame, StreamSummary, symbol_of

_LINE = re.compile(rb'(\d{13,19}) (\{\s*"stream"\s*:\s*"([^"\\]{1,200})"\s*,\s*"data"\s*:\s*)')
_EVENT_TIME = re.compile(rb'"E"\s*:\s*(\d{13}(?:\d{3})?)\b')
_NS_PER_UNIT = {13: 1_000_000, 16: 1_000, 19: 1}
#: How many prices a symbol's decimals are read from.
_PRICE_SAMPLE = 200


def parse_line(line: bytes) -> Frame | None:
    """The frame of a line; None if the line holds none, such as the REST snapshots that recorders write between them."""
    match = _LINE.match(line)
    if match is None:
        return None
    scale = _NS_PER_UNIT.get(match.end(1))
    text = line[match.start(2) :].rstrip()
    if scale is None or not text.endswith(b"}"):
        return None
    return Frame(int(match[1]) * scale, match[3].decode("ascii", "replace"), text, match.end(2) - match.start(2))


def event_time_ns(frame: Frame) -> int | None:
    """The exchange's event time of a frame, None where the stream has none."""
    match = _EVENT_TIME.search(frame.combined, frame.data_at)
    if match is None:
        return None
    return int(match[1]) * _NS_PER_UNIT[match.end(1) - match.start(1)]


def market_of(frame: Frame) -> Market | None:
    """The market that a frame's shape gives away, None where both have the same."""
    payload = payload_of(frame)
    kind = payload.get("e")
    if frame.stream.endswith("@bookTicker"):
        return Market.SPOT if kind is None else Market.FUTURES
    if kind in {"trade", "aggTrade"}:
        return Market.SPOT if "M" in payload else Market.FUTURES
    if kind == "depthUpdate":
        return Market.FUTURES if "pu" in payload else Market.SPOT
    return Market.FUTURES if kind == "markPriceUpdate" else None


def payload_of(frame: Frame) -> dict[str, Any]:
    """The decoded payload, empty where it is no JSON object."""
    try:
        payload = msgspec.json.decode(frame.data)
    except (msgspec.DecodeError, ValueError):
        return {}
    return payload if isinstance(payload, dict) else {}


@dataclass(slots=True)
class Survey:
    """What reading through tick files tells of them."""

    counts: dict[str, int] = field(default_factory=dict)
    last_times_ns: dict[str, int] = field(default_factory=dict)
    first: Frame | None = None
    last: Frame | None = None
    #: The first and last frames that carry an event time.
    first_timed: Frame | None = None
    last_timed: Frame | None = None
    #: All symbols that were met, also those that are not wanted.
    symbols: set[str] = field(default_factory=set)
    #: Lines that hold no frame.
    skipped: int = 0
    exact: bool = True
    #: Highest price and most decimals seen in a sample of each symbol's prices.
    prices: dict[str, tuple[float, int]] = field(default_factory=dict)
    _sampled: dict[str, int] = field(default_factory=dict)

    def add(self, frame: Frame | None, wanted: frozenset[str]) -> None:
        """Take a line's frame into account, if it is of a wanted symbol (of any if none are named)."""
        if frame is None:
            self.skipped += 1
            return
        if frame.stream not in self.counts:
            self.symbols.add(symbol_of(frame.stream))
            if wanted and symbol_of(frame.stream) not in wanted:
                return
        self.counts[frame.stream] = self.counts.get(frame.stream, 0) + 1
        self.last_times_ns[frame.stream] = frame.time_ns
        self.first = self.first or frame
        self.last = frame
        if b'"E":' in frame.combined:
            self.first_timed = self.first_timed or frame
            self.last_timed = frame
        if frame.stream.endswith(("@bookTicker", "@trade", "@aggTrade")):
            self._sample_price(frame)

    def extrapolate(self, scale: float) -> None:
        """The file is `scale` times as large as what was read of it."""
        self.exact = False
        for stream, count in self.counts.items():
            self.counts[stream] = round(count * scale)
        if self.first:
            start_ns = self.first.time_ns
            self.last_times_ns = {stream: start_ns + round((last_ns - start_ns) * scale) for stream, last_ns in self.last_times_ns.items()}

    def merge(self, other: "Survey") -> None:
        """Add the survey of another file of the same recording."""
        for stream, count in other.counts.items():
            self.counts[stream] = self.counts.get(stream, 0) + count
            self.last_times_ns[stream] = max(self.last_times_ns.get(stream, 0), other.last_times_ns[stream])
        self.first, self.last = _extreme(min, self.first, other.first), _extreme(max, self.last, other.last)
        self.first_timed, self.last_timed = _extreme(min, self.first_timed, other.first_timed), _extreme(max, self.last_timed, other.last_timed)
        self.symbols |= other.symbols - {""}
        self.skipped += other.skipped
        self.exact = self.exact and other.exact
        self.prices |= other.prices

    def summaries(self) -> dict[str, StreamSummary]:
        """The streams."""
        return {stream: StreamSummary(count, self.last_times_ns[stream]) for stream, count in self.counts.items()}

    @property
    def event_offset_ns(self) -> int:
        """Event time less receive time at the first frame that has both: the recorder's clock may run behind the exchange's."""
        timed = self.first_timed
        return 0 if timed is None else (event_time_ns(timed) or timed.time_ns) - timed.time_ns

    @property
    def last_event_time_ns(self) -> int:
        """Event time of the last frame that has one; an estimate where the files were not read through."""
        if self.exact and self.last_timed and (found := event_time_ns(self.last_timed)):
            return found
        return max(self.last_times_ns.values(), default=0) + self.event_offset_ns

    def _sample_price(self, frame: Frame) -> None:
        symbol = symbol_of(frame.stream)
        if self._sampled.get(symbol, 0) >= _PRICE_SAMPLE:
            return
        payload = payload_of(frame)
        text = payload.get("b", payload.get("p"))
        if isinstance(text, str) and re.fullmatch(r"\d{1,12}(\.\d{1,12})?", text) and float(text) > 0:
            self._sampled[symbol] = self._sampled.get(symbol, 0) + 1
            highest, decimals = self.prices.get(symbol, (0.0, 0))
            self.prices[symbol] = (max(highest, float(text)), max(decimals, len(text.partition(".")[2].rstrip("0"))))


def _extreme(choose: Callable[..., Frame], one: Frame | None, other: Frame | None) -> Frame | None:
    found = [frame for frame in (one, other) if frame is not None]
    return choose(found, key=itemgetter(0)) if found else None


def frames_of(lines: Iterable[bytes], symbols: frozenset[str]) -> Iterator[Frame]:
    """The frames of these symbols in the lines; of all if none are named."""
    for line in lines:
        frame = parse_line(line)
        if frame is not None and (not symbols or symbol_of(frame.stream) in symbols):
            yield frame
