"""Frames on their way from the sockets to the service; both ends are of one asyncio loop."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from services.ingestion.source import Channel, Frame


class FrameQueue:
    """Frames between the connections and the service; bounded per channel."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._frames: dict[Channel, deque[Frame]] = {channel: deque() for channel in Channel}
        self._room = {channel: asyncio.Event() for channel in Channel}
        self._on_frame: Callable[[Channel], None] = lambda _: None

    def announce_to(self, on_frame: Callable[[Channel], None]) -> None:
        """Tell of each frame that is put."""
        self._on_frame = on_frame

    async def put(self, frame: Frame) -> None:
        """Append a frame; waits while its channel is full."""
        channel = frame.channel
        while self.is_full(channel):
            self._room[channel].clear()
            await self._room[channel].wait()
        self._frames[channel].append(frame)
        self._on_frame(channel)

    def take(self, channels: Sequence[Channel], most: int) -> list[Frame]:
        """Up to `most` frames of these channels, those of the first named one first."""
        found: list[Frame] = []
        for channel in channels:
            queued = self._frames[channel]
            found += [queued.popleft() for _ in range(min(len(queued), most - len(found)))]
            if not self.is_full(channel):
                self._room[channel].set()
        return found

    def holds(self, channels: Iterable[Channel]) -> bool:
        """Whether there is a frame of one of these channels."""
        return any(self._frames[channel] for channel in channels)

    def is_full(self, channel: Channel) -> bool:
        """Whether the channel must wait."""
        return len(self._frames[channel]) >= self._most

    def has_ended(self, channel: Channel) -> bool:
        """Whether the last frame queued is the channel's end."""
        queued = self._frames[channel]
        return bool(queued) and queued[-1].ended

    def __len__(self) -> int:
        return sum(map(len, self._frames.values()))
