"""The connections to the exchange: one asyncio loop, which runs while the service waits for frames.

A thread of its own for the loop would take turns with the service's at every burst.
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from common.messages import Feed
from common.processor import Observer, WallClock
from common.settings import Exchange
from services.ingestion.frame_queue import FrameQueue
from services.ingestion.settings import IngestionSettings
from services.ingestion.sockets import ChannelFeed, Shared
from services.ingestion.source import Channel, Frame
from services.ingestion.streams import AttemptBudget, subscriptions

_STOP_S = 3.0
#: Live: books do not wait longer than this for the market channel to connect.
_MARKET_FIRST_S = 10.0


class WebSocketSource:
    """Frames off the exchange's sockets; implements `FrameSource`."""

    def __init__(self, settings: IngestionSettings, observer: Observer, clock: WallClock) -> None:
        self._settings = settings
        self.observer = observer
        self._clock = clock
        self.queue = FrameQueue(settings.frame_queue)
        shared = Shared(self.queue, AttemptBudget() if settings.exchange is Exchange.BINANCE else None)
        named = subscriptions(settings.binance_market, settings.symbols)
        self._feeds = [ChannelFeed(subscription, settings, observer, clock, shared) for subscription in named]
        self._runner = asyncio.Runner()
        self._runs: Sequence[asyncio.Task[None]] = ()
        self._awaited: frozenset[Channel] = frozenset()

    def start(self) -> None:
        """Begin to connect; `read` goes on with it."""
        if not self._runs:
            loop = self._runner.get_loop()
            self._runs = [loop.create_task(self._run(feed)) for feed in self._feeds]
            self.queue.announce_to(self._on_frame)

    def read(self, channels: Sequence[Channel], max_frames: int, timeout_s: float) -> Sequence[Frame]:
        """Frames of these channels; serves the sockets meanwhile, and waits for the first."""
        self._serve(channels, 0.0 if self.queue.holds(channels) else timeout_s)
        return self.queue.take(channels, max_frames)

    def _serve(self, channels: Sequence[Channel], timeout_s: float) -> None:
        """Run the loop until it has nothing to do or, with a timeout, until all that one look at the sockets brought of these channels is queued."""
        loop = self._runner.get_loop()
        if timeout_s <= 0:
            loop.call_soon(loop.stop)
            loop.run_forever()
            return
        self._awaited = frozenset(channels)
        timer = loop.call_later(timeout_s, loop.stop)
        loop.run_forever()
        timer.cancel()
        self._awaited = frozenset()

    def _on_frame(self, channel: Channel) -> None:
        if channel in self._awaited:
            self._awaited = frozenset()
            # What came with the same look is queued in this round of the loop; a call soon would look once more first.
            self._runner.get_loop().stop()

    def settle(self, unsettled: int) -> None:
        """Nothing: a socket gives no frame twice."""

    def status(self) -> Mapping[str, Any]:
        """What health shows; cheap."""
        now_ns = self._clock()
        streams = {name: self._stream_status(feed, name, now_ns) for feed in self._feeds for name in feed.subscription.names}
        return {
            "connected": all(feed.socket is not None or feed.ended for feed in self._feeds),
            "streams": streams,
            "reconnects": {feed.subscription.channel.value: max(0, feed.reconnects) for feed in self._feeds},
            "waiting_for": self._waiting_for(),
            "queued": len(self.queue),
            "stalled": self.queue.is_full(Channel.PUBLIC) or self.queue.has_ended(Channel.PUBLIC),
        }

    def stop(self) -> None:
        """Close the sockets."""
        with contextlib.suppress(TimeoutError, RuntimeError):  # A runner that is closed has nothing to close.
            self._runner.run(asyncio.wait_for(self._close(), _STOP_S))
        self._runner.close()

    async def _close(self) -> None:
        for run in self._runs:
            run.cancel()
        await asyncio.gather(*self._runs, return_exceptions=True)
        await asyncio.gather(*(feed.close() for feed in self._feeds))

    async def _run(self, feed: ChannelFeed) -> None:
        first = self._feeds[0]
        if feed is not first:
            limit_s = _MARKET_FIRST_S if self._settings.feed_in_use is Feed.LIVE else None
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(first.opened.wait(), limit_s)
        try:
            await feed.run()
        except Exception as error:  # a bug here must be seen, and must not look like a quiet market
            feed.problem = f"{type(error).__name__}: {error}"
            self.observer.log("ERROR", "the feed has failed", channel=feed.subscription.channel.value, problem=feed.problem)
            raise

    def _stream_status(self, feed: ChannelFeed, name: str, now_ns: int) -> dict[str, Any]:
        socket = feed.socket
        return {"confirmed": socket is not None and name in socket.heard, "last_event_age_ms": feed.watch.age_ms(name, now_ns)}

    def _waiting_for(self) -> str:
        for feed in self._feeds:
            socket = feed.socket
            if feed.ended:
                continue
            if socket is None:
                return f"not connected to {feed.url.partition('?')[0]}: {feed.problem}"
            if missing := [name for name in feed.subscription.required if name not in socket.heard]:
                return f"waiting for the first event of {missing[0]}"
        return ""
