"""Plays a recording to those who listen: one position for all of them, paced by time or by the slowest listener."""

import asyncio
from collections import deque
from collections.abc import Callable
from enum import StrEnum
from typing import Final

from common.errors import ConfigurationError
from services.exchange_simulator.recording import Frame, Recording
from services.exchange_simulator.subscriptions import Root, Subscriptions, root_of

END_OF_RECORDING: Final = (4000, "end of recording")
_FAILED: Final = 1011
#: Frames that may wait for a slow listener before playback waits too.
OUTBOX_FRAMES: Final = 256
#: The same while another listener has nothing left to read: a client may need a frame of `/market` to go on reading `/public`.
SKEW_FRAMES: Final = 20_000
#: How long the first subscriber waits for the `/market` connection that comes with it.
JOIN_GRACE_S: Final = 1.0
#: How long a `/market` connection may stay that the recording has nothing for.
IDLE_GRACE_S: Final = 0.5
#: Playback is not held up for less than this, the event loop's own resolution.
_RESOLUTION_S: Final = 0.0005
_YIELD_EVERY: Final = 64


class State(StrEnum):
    """Where playback stands."""

    WAITING = "waiting"
    PLAYING = "playing"
    ENDED = "ended"
    FAILED = "failed"


class Listener:
    """One connection's side of playback: what it hears and the frames that wait to be sent to it."""

    def __init__(self, subscriptions: Subscriptions) -> None:
        self.subscriptions = subscriptions
        self.outbox: deque[Frame] = deque()
        self.wake = asyncio.Event()
        #: Close code and reason, to be sent after the outbox.
        self.end: tuple[int, str] | None = None

    def put(self, frame: Frame) -> None:
        """Queue a frame."""
        self.outbox.append(frame)
        self.wake.set()

    def finish(self, code: int, reason: str) -> None:
        """Close once everything is sent."""
        self.end = self.end or (code, reason)
        self.wake.set()


class Player:
    """The one playback of a recording."""

    def __init__(self, recording: Recording, speed: float | None, *, autostart: bool, monotonic: Callable[[], float]) -> None:
        """`speed` is times real time, None for as fast as the slowest listener reads."""
        self.recording = recording
        self.state = State.WAITING
        self.problem = ""
        self.frames_sent = 0
        self._speed = speed
        self._autostart = autostart
        self._monotonic = monotonic
        self._started = asyncio.Event()
        self._changed = asyncio.Event()
        self._stopped = False
        self._audience = False
        self._listeners: set[Listener] = set()
        self._routes: dict[str, list[Listener]] = {}
        self._remaining = {stream: summary.frames for stream, summary in recording.streams.items()}
        self._market_streams = {stream for stream in recording.streams if root_of(stream, recording.market) is Root.MARKET}
        self._time_ns: int | None = None

    @property
    def position_ns(self) -> int:
        """Event time of the last frame played."""
        recording = self.recording
        if self.state is State.ENDED and not self._stopped:
            return recording.last_event_time_ns
        return recording.first_event_time_ns if self._time_ns is None else recording.event_time_ns(self._time_ns)

    def start(self) -> None:
        """Begin to play; nothing happens if it has begun."""
        self._started.set()

    def stop(self) -> None:
        """End the recording here, as if it had no more frames."""
        self._stopped = True
        self._started.set()
        self._changed.set()

    def join(self, listener: Listener) -> None:
        """Take a connection in."""
        self._listeners.add(listener)
        self.subscribed(listener)

    def leave(self, listener: Listener) -> None:
        """Let a connection go; what waits for it is lost, as on the exchange."""
        self._listeners.discard(listener)
        listener.outbox.clear()
        self._reroute()

    def subscribed(self, listener: Listener) -> None:
        """A connection's subscriptions have changed."""
        self._reroute()
        if self.state in {State.ENDED, State.FAILED}:
            if listener.subscriptions.heard:
                listener.finish(*self._ending())
            return
        if listener.subscriptions.root is Root.MARKET:
            asyncio.get_running_loop().call_later(IDLE_GRACE_S, self._finish_if_passed, listener)
        if self._autostart and not self._started.is_set() and self._audience:
            complete = not self._market_streams or any(other.subscriptions.root is Root.MARKET for other in self._listeners)
            asyncio.get_running_loop().call_later(0 if complete else JOIN_GRACE_S, self.start)

    def drained(self) -> None:
        """Some connection's outbox has emptied."""
        self._changed.set()

    async def run(self) -> None:
        """Play to the end; a damaged recording ends playback as failed, after all frames before the damage."""
        await self._started.wait()
        self.state = State.PLAYING
        try:
            await self._play()
            self.state = State.ENDED
        except (ConfigurationError, OSError) as error:
            self.problem = str(error)
            self.state = State.FAILED
        for listener in self._listeners:
            listener.finish(*self._ending())

    async def _play(self) -> None:
        clock = _Schedule(self._speed, self._monotonic)
        for frame in self.recording.frames():
            if (wait_s := clock.wait_s(frame.time_ns)) > _RESOLUTION_S:
                await asyncio.sleep(wait_s)
            while not self._may_play():
                self._changed.clear()
                await self._changed.wait()
            if self._stopped:
                return
            self._send(frame)
            if self.frames_sent % _YIELD_EVERY == 0:
                await asyncio.sleep(0)

    def _send(self, frame: Frame) -> None:
        self.frames_sent += 1
        self._time_ns = frame.time_ns
        for listener in self._routes.get(frame.stream, ()):
            listener.put(frame)
        if frame.stream in self._remaining:
            self._remaining[frame.stream] -= 1
            if not self._remaining[frame.stream]:
                for listener in self._listeners:
                    self._finish_if_passed(listener)

    def _may_play(self) -> bool:
        if self._stopped:
            return True
        if self._speed is None and not self._audience:
            return False
        waiting = [len(listener.outbox) for listener in self._listeners]
        starved = 0 in (len(listener.outbox) for listener in self._listeners if listener.subscriptions.root is Root.MARKET)
        return max(waiting, default=0) < (SKEW_FRAMES if starved else OUTBOX_FRAMES)

    def _reroute(self) -> None:
        self._routes = {}
        for listener in self._listeners:
            for stream in listener.subscriptions.heard & self.recording.streams.keys():
                self._routes.setdefault(stream, []).append(listener)
        # What only accompanies the books is no reason to play on.
        self._audience = any(listener.subscriptions.root is not Root.MARKET for part in self._routes.values() for listener in part)
        self._changed.set()

    def _finish_if_passed(self, listener: Listener) -> None:
        """End a `/market` connection when the recording has no more frames for it, so that nobody waits for them."""
        heard = listener.subscriptions.heard
        passed = not self._market_streams or (self.recording.exact and not any(self._remaining.get(stream) for stream in heard))
        if listener.subscriptions.root is Root.MARKET and heard and passed:
            listener.finish(*END_OF_RECORDING)

    def _ending(self) -> tuple[int, str]:
        return END_OF_RECORDING if self.state is State.ENDED else (_FAILED, self.problem)


class _Schedule:
    """When a frame is due: free of drift, for it counts from the first one."""

    def __init__(self, speed: float | None, monotonic: Callable[[], float]) -> None:
        self._speed = speed
        self._monotonic = monotonic
        self._begin: tuple[float, int] | None = None

    def wait_s(self, time_ns: int) -> float:
        """Seconds until a frame is due, never positive at full speed."""
        if self._speed is None:
            return 0.0
        now = self._monotonic()
        self._begin = self._begin or (now, time_ns)
        return self._begin[0] + (time_ns - self._begin[1]) / 1e9 / self._speed - now
