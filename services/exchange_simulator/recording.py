"""A recording: what it holds, and its frames one by one in the order in which they were received."""

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from common.settings import Market
from services.exchange_simulator.exchange_info import RuleRow


class Frame(NamedTuple):
    """One WebSocket frame."""

    #: Place on the recording's own timeline, ns: receive time of a tick file, event time of klines.
    time_ns: int
    stream: str
    #: As a combined stream carries it: `{"stream":"<name>","data":<payload>}`.
    combined: bytes
    #: Where the payload begins in `combined`; it ends before the last brace.
    data_at: int

    @property
    def data(self) -> bytes:
        """As a raw stream carries it."""
        return self.combined[self.data_at : -1]


class StreamSummary(NamedTuple):
    """How much of a stream there is."""

    frames: int
    last_time_ns: int


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording that can be played; times of frames are on its own timeline, the two event times are the exchange's."""

    name: str
    market: Market
    streams: Mapping[str, StreamSummary]
    first_event_time_ns: int
    last_event_time_ns: int
    #: Exchange's event time less the timeline, at the first frame.
    event_offset_ns: int
    rules: Mapping[str, RuleRow]
    open: Callable[[], Iterator[Frame]]
    #: False when the recording is too large to be read through before it plays: totals and end are estimates then.
    exact: bool = True
    #: Event times of frames lie on multiples of this, less a constant.
    grid_ns: int = 1
    #: Lines or rows that are no frame.
    skipped: int = 0
    #: What was assumed, in words.
    assumptions: tuple[str, ...] = field(default=())

    @property
    def symbols(self) -> tuple[str, ...]:
        """All symbols, sorted."""
        return tuple(sorted({symbol_of(stream) for stream in self.streams} - {""}))

    @property
    def frames_total(self) -> int:
        """How many frames there are; an estimate unless `exact`."""
        return sum(summary.frames for summary in self.streams.values())

    def frames(self, streams: Collection[str] | None = None) -> Iterator[Frame]:
        """The frames of these streams (default: all), lazily; raises ConfigurationError where a file turns out to be damaged."""
        return self.open() if streams is None else (frame for frame in self.open() if frame.stream in streams)

    def event_time_ns(self, time_ns: int) -> int:
        """The exchange's event time at a place of the timeline, within the recording's span."""
        return min(max(time_ns + self.event_offset_ns, self.first_event_time_ns), self.last_event_time_ns)


def symbol_of(stream: str) -> str:
    """The symbol that a stream's name begins with; empty for streams of the whole market such as `!bookTicker`."""
    name, separator, _ = stream.partition("@")
    return name.upper() if separator and not name.startswith("!") else ""


def until(frames: Iterator[Frame], end_ns: int | None) -> Iterator[Frame]:
    """The frames before a place of the timeline."""
    return frames if end_ns is None else itertools.takewhile(lambda frame: frame.time_ns < end_ns, frames)
