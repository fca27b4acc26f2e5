"""Where frames come from: the port, and the source that replays a list."""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple, Protocol


class Channel(StrEnum):
    """A connection to the exchange: books come on one, on futures trades and mark prices on another."""

    PUBLIC = "public"
    MARKET = "market"


class Frame(NamedTuple):
    """One message off a socket, or the news that the recording has ended on its channel."""

    read_at_ns: int
    channel: Channel
    payload: bytes
    #: Number of the connection that it came on; a new one may bring another time or another source.
    connection: int = 1
    ended: bool = False
    #: Begin of the market session that its connection brings, event time, ns: what was before it belongs to another. 0 when it was not told.
    session_begins_ns: int = 0


class FrameSource(Protocol):
    """Gives frames, in order per channel."""

    def start(self) -> None:
        """Begin; a source that is started again gives again what was not settled."""
        ...

    def read(self, channels: Sequence[Channel], max_frames: int, timeout_s: float) -> Sequence[Frame]:
        """Frames of these channels only; waits up to `timeout_s` for the first."""
        ...

    def settle(self, unsettled: int) -> None:
        """All public frames read so far are dealt with, but the last so many."""
        ...

    def status(self) -> Mapping[str, Any]:
        """`connected`, `streams`, `reconnects`, `waiting_for` and `queued`; called from any thread."""
        ...

    def stop(self) -> None:
        """End; may be called twice."""
        ...


class ListSource:
    """Frames that are there from the start: replays and tests.

    It ends its channels like a recording when `ended`, and is safe against a killed reader: `start` goes back to the
    first frame that was read and not settled.
    """

    def __init__(self, frames: Iterable[Frame], *, ended: bool = True) -> None:
        self._frames: dict[Channel, list[Frame]] = {channel: [] for channel in Channel}
        for frame in frames:
            self._frames[frame.channel].append(frame)
        if ended:
            for channel, its in self._frames.items():
                its.append((its or [Frame(0, channel, b"")])[-1]._replace(payload=b"", ended=True))
        self._read = dict.fromkeys(Channel, 0)
        self._settled = 0

    def start(self) -> None:
        """Go back to what was not settled; mark prices are collected anew from the first."""
        self._read = {Channel.PUBLIC: self._settled, Channel.MARKET: 0}

    def read(self, channels: Sequence[Channel], max_frames: int, timeout_s: float) -> Sequence[Frame]:  # noqa: ARG002 - nothing to wait for
        """Frames of these channels, the first named first."""
        found: list[Frame] = []
        for channel in channels:
            start = self._read[channel]
            taken = self._frames[channel][start : start + max_frames - len(found)]
            self._read[channel] = start + len(taken)
            found += taken
        return found

    def settle(self, unsettled: int) -> None:
        """Remember where a successor starts."""
        self._settled = self._read[Channel.PUBLIC] - unsettled

    def status(self) -> Mapping[str, Any]:
        """Connected, by definition."""
        left = sum(len(its) - self._read[channel] for channel, its in self._frames.items())
        return {"connected": True, "streams": {}, "reconnects": {}, "waiting_for": "", "queued": left}

    def stop(self) -> None:
        """Nothing to let go."""
