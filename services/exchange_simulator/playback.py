"""Plays a recording to those who listen: one position for all of them, paced by time or by the slowest listener."""

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Final

from common.errors import ConfigurationError
from services.exchange_simulator.recording import Frame, Recording
from services.exchange_simulator.rounds import Rounds
from services.exchange_simulator.subscriptions import Root, Subscriptions, root_of

END_OF_RECORDING: Final = (4000, "end of recording")
#: A loop has come to the end of a round; who connects again hears the next one.
END_OF_ROUND: Final = (4001, "end of round")
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
#: A wait that need not be broken off.
_SHORT_WAIT_S: Final = 0.2
_YIELD_EVERY: Final = 64


class State(StrEnum):
    """Where playback stands."""

    WAITING = "waiting"
    PLAYING = "playing"
    ENDED = "ended"
    FAILED = "failed"


class Listener:
    """One connection's side of playback: what it hears and the frames that wait to be sent to it."""

    def __init__(self, subscriptions: Subscriptions, round_number: int = 0) -> None:
        self.subscriptions = subscriptions
        #: The round of a loop that it hears; a connection never hears two.
        self.round = round_number
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

    def __init__(  # noqa: PLR0913 - what a playback is told
        self,
        recording: Recording,
        speed: float | None,
        *,
        autostart: bool,
        monotonic: Callable[[], float],
        rounds: Rounds | None = None,
        elapsed_ns: int = 0,
    ) -> None:
        """`speed` is times real time, None for as fast as the slowest listener reads.

        With `rounds` it loops, and begins where it is `elapsed_ns` of event time after its first start.
        """
        self.recording = recording
        self.state = State.WAITING
        self.problem = ""
        self.frames_sent = 0
        self.round = rounds.place(elapsed_ns).round if rounds else 0
        self.begun = asyncio.Event()
        #: Called after each round of a loop.
        self.on_round: Callable[[], None] = lambda: None
        self._speed = speed
        self._autostart = autostart
        self._monotonic = monotonic
        self._rounds = rounds
        self._elapsed_ns = elapsed_ns
        self._changed = asyncio.Event()
        self._stopping = asyncio.Event()
        self._audience = False
        self._listeners: set[Listener] = set()
        self._routes: dict[str, list[Listener]] = {}
        self._remaining = self._all_frames()
        self._market_streams = {stream for stream in recording.streams if root_of(stream, recording.market) is Root.MARKET}
        self._time_ns: int | None = None

    @property
    def shift_ns(self) -> int:
        """By how much the times of the present round are moved on; 0 without a loop."""
        return self._rounds.shift_ns(self.round) if self._rounds else 0

    @property
    def position_ns(self) -> int:
        """Event time of the last frame played."""
        recording, shift_ns = self.recording, self.shift_ns
        if self.state is State.ENDED and not self._stopping.is_set():
            return recording.last_event_time_ns
        if self._time_ns is None:
            return recording.first_event_time_ns + shift_ns
        return recording.event_time_ns(self._time_ns - shift_ns) + shift_ns

    def admit(self, subscriptions: Subscriptions) -> Listener:
        """A listener of the present round; of the next one where the present has nothing more for it."""
        listener = Listener(subscriptions, self.round)
        if self._rounds and self._market_streams and self._has_passed(listener):
            listener.round += 1
        return listener

    def session_begins_ns(self, listener: Listener) -> int | None:
        """Event time at which the market session that a listener hears begins; None where nothing loops."""
        return self._rounds.begins_ns(listener.round) if self._rounds else None

    def start(self) -> None:
        """Begin to play; nothing happens if it has begun."""
        self.begun.set()

    def stop(self) -> None:
        """End the recording here, as if it had no more frames."""
        self._stopping.set()
        self.begun.set()
        self._changed.set()

    def join(self, listener: Listener) -> None:
        """Take a connection in."""
        self._listeners.add(listener)
        if listener.round < self.round:
            listener.finish(*END_OF_ROUND)
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
        if self._autostart and not self.begun.is_set() and self._audience:
            complete = not self._market_streams or any(other.subscriptions.root is Root.MARKET for other in self._listeners)
            asyncio.get_running_loop().call_later(0 if complete else JOIN_GRACE_S, self.start)

    def drained(self) -> None:
        """Some connection's outbox has emptied."""
        self._changed.set()

    async def run(self) -> None:
        """Play to the end; a damaged recording ends playback as failed, after all frames before the damage."""
        await self.begun.wait()
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
        if self._rounds is None:
            await self._play_frames(self.recording.frames(), _Schedule(self._speed, self._monotonic))
            return
        begin_ns = self.recording.first_event_time_ns - self.recording.event_offset_ns + self._elapsed_ns
        schedule = _Schedule(self._speed, self._monotonic, begin_ns)
        await self._play_frames(self._frames_of_round(self._rounds), schedule, since_ns=begin_ns if self._elapsed_ns else 0)
        while not self._stopping.is_set():
            await self._turn_to_next()
            await self._play_frames(self._frames_of_round(self._rounds), schedule)

    def _frames_of_round(self, rounds: Rounds) -> Iterator[Frame]:
        return (rounds.shifted(frame, self.round) for frame in self.recording.frames())

    async def _play_frames(self, frames: Iterator[Frame], schedule: "_Schedule", since_ns: int = 0) -> None:
        for number, frame in enumerate(frames):
            if frame.time_ns < since_ns:
                self._pass(frame)
                if number % _YIELD_EVERY == 0:
                    await asyncio.sleep(0)
                continue
            if (wait_s := schedule.wait_s(frame.time_ns)) > _RESOLUTION_S:
                await self._wait(wait_s)
            while not self._may_play():
                await self._change()
            if self._stopping.is_set():
                return
            self._send(frame)
            if self.frames_sent % _YIELD_EVERY == 0:
                await asyncio.sleep(0)

    async def _wait(self, wait_s: float) -> None:
        """Sleep; a long one ends when playback is stopped."""
        if wait_s < _SHORT_WAIT_S:
            await asyncio.sleep(wait_s)
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), wait_s)

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    async def _turn_to_next(self) -> None:
        """End the round for all who hear it, and begin the next once they have read it and had time to come back."""
        audience = Counter(listener.subscriptions.root for listener in self._listeners)
        for listener in self._listeners:
            if listener.round == self.round:
                listener.finish(*END_OF_ROUND)
        self.on_round()
        self._enter(self.round + 1)
        while not self._stopping.is_set() and any(listener.round < self.round for listener in self._listeners):
            await self._change()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(JOIN_GRACE_S):
                while not self._stopping.is_set() and not audience <= Counter(listener.subscriptions.root for listener in self._listeners):
                    await self._change()

    def _enter(self, number: int) -> None:
        self.round = number
        self._remaining = self._all_frames()
        self._time_ns = None
        self._reroute()

    def _all_frames(self) -> dict[str, int]:
        return {stream: summary.frames for stream, summary in self.recording.streams.items()}

    def _pass(self, frame: Frame) -> None:
        """A frame of before our place."""
        if frame.stream in self._remaining:
            self._remaining[frame.stream] -= 1

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
        if self._stopping.is_set():
            return True
        if self._speed is None and not self._audience:
            return False
        waiting = [len(listener.outbox) for listener in self._listeners]
        starved = 0 in (len(listener.outbox) for listener in self._listeners if listener.subscriptions.root is Root.MARKET and listener.round == self.round)
        return max(waiting, default=0) < (SKEW_FRAMES if starved else OUTBOX_FRAMES)

    def _reroute(self) -> None:
        self._routes = {}
        present = [listener for listener in self._listeners if listener.round == self.round]
        for listener in present:
            for stream in listener.subscriptions.heard & self.recording.streams.keys():
                self._routes.setdefault(stream, []).append(listener)
        # What only accompanies the books is no reason to play on.
        self._audience = any(listener.subscriptions.root is not Root.MARKET for part in self._routes.values() for listener in part)
        self._changed.set()

    def _finish_if_passed(self, listener: Listener) -> None:
        """End a `/market` connection when the recording has no more frames for it, so that nobody waits for them."""
        present = self._rounds is None or listener.round == self.round
        if listener.subscriptions.root is Root.MARKET and listener.subscriptions.heard and present and self._has_passed(listener):
            listener.finish(*(END_OF_ROUND if self._rounds and self._market_streams else END_OF_RECORDING))

    def _has_passed(self, listener: Listener) -> bool:
        """Whether the recording, or the present round, has no more frames for a `/market` connection."""
        heard = listener.subscriptions.heard
        is_empty = not self._market_streams or (self.recording.exact and not any(self._remaining.get(stream) for stream in heard))
        return listener.subscriptions.root is Root.MARKET and bool(heard) and is_empty

    def _ending(self) -> tuple[int, str]:
        return END_OF_RECORDING if self.state is State.ENDED else (_FAILED, self.problem)


class _Schedule:
    """When a frame is due: free of drift, for it counts from the first one."""

    def __init__(self, speed: float | None, monotonic: Callable[[], float], begin_ns: int | None = None) -> None:
        """`begin_ns` is the place on the timeline that is due now; by default that of the first frame."""
        self._speed = speed
        self._monotonic = monotonic
        self._begin: tuple[float, int] | None = None if begin_ns is None else (monotonic(), begin_ns)

    def wait_s(self, time_ns: int) -> float:
        """Seconds until a frame is due, never positive at full speed."""
        if self._speed is None:
            return 0.0
        now = self._monotonic()
        self._begin = self._begin or (now, time_ns)
        return self._begin[0] + (time_ns - self._begin[1]) / 1e9 / self._speed - now
