"""One channel's sockets to the exchange: opened, watched, replaced, given up at the end of a recording.

The reader of a socket only stamps and queues. While the queue is full it stops reading, and the exchange or simulator feels it.
Keep-alive pings are sent but no pong is demanded, because a paused socket does not see it: what detects a dead link is the
silence of its streams, which does not count while we pause.
"""

import asyncio
import itertools
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from common.messages import Feed
from common.processor import Observer, WallClock
from common.settings import Exchange
from services.ingestion.frame_queue import FrameQueue
from services.ingestion.frames import stream_of
from services.ingestion.settings import IngestionSettings
from services.ingestion.source import Frame
from services.ingestion.streams import ANY_STREAM, AttemptBudget, Backoff, StreamWatch, Subscription

#: Close codes of the simulator: at the end of a recording, and of a round of one that loops.
END_OF_RECORDING = 4000
END_OF_ROUND = 4001
#: Tells at connection where a recording that loops begins its present round, event time, ns.
SESSION_HEADER = "X-Session-Begins-Ns"
_MAX_FRAME_BYTES = 16 * 1024 * 1024
_CHECK_S = 0.25
#: A connection that lived this long ends a row of failures.
_LASTED_S = 10.0
#: Waits that the exchange asks for with a status, seconds; `Retry-After` goes before them.
_PENALTIES_S = {403: 60.0, 418: 120.0, 429: 60.0}
#: Close code of a connection that has broken a rule, and how long the exchange then refuses others, seconds.
_POLICY_VIOLATION = 1008
_POLICY_PENALTY_S = 120.0
_RETRY_ROTATION_S = 60.0


class _Fate(Enum):
    CLOSED = "closed by the other side"
    ENDED = "the recording has ended"
    ROUND_ENDED = "a round of the recording has ended"
    DUE = "time to be replaced"
    SILENT = "a stream is silent"


_FATES: Mapping[int | None, _Fate] = {END_OF_RECORDING: _Fate.ENDED, END_OF_ROUND: _Fate.ROUND_ENDED}
_ENDS = frozenset(_FATES.values())


@dataclass(slots=True, eq=False)
class _Socket:
    connection: ClientConnection
    number: int
    opened_s: float
    opened_ns: int
    session_begins_ns: int
    pump: "asyncio.Task[None]" = field(init=False)
    close_code: int | None = None
    heard: set[str] = field(default_factory=set)
    #: The exchange has asked us to move.
    shutting_down: bool = False


class Shared:
    """What all channels have in common: where their frames go, the numbers of connections, and when the exchange allows another."""

    def __init__(self, queue: FrameQueue, budget: AttemptBudget | None) -> None:
        """Without a budget there is no limit of attempts, as for a simulator."""
        self.queue = queue
        self.last_number = 0
        self._numbers = itertools.count(1)
        self._budget = budget
        self._barred_until_s = 0.0

    def next_number(self) -> int:
        """Number of the next connection."""
        self.last_number = next(self._numbers)
        return self.last_number

    async def spend_attempt(self) -> None:
        """Wait until the exchange allows one more attempt to connect."""
        while wait_s := self.attempt_wait_s():  # noqa: ASYNC110 - a bar may grow meanwhile; its end is a time, no event
            await asyncio.sleep(wait_s)
        if self._budget is not None:
            self._budget.spend(time.monotonic())

    def attempt_wait_s(self) -> float:
        """How long the exchange's limit, or its word, forbids another attempt to connect."""
        now_s = time.monotonic()
        return max(0.0, self._barred_until_s - now_s, self._budget.wait_s(now_s) if self._budget else 0.0)

    def bar(self, wait_s: float) -> None:
        """The exchange asks for no attempt so long; it means the address, so it holds for all channels."""
        self._barred_until_s = max(self._barred_until_s, time.monotonic() + wait_s)


class ChannelFeed:
    """Keeps one channel connected: opens, watches, replaces, gives up at the end of a recording."""

    def __init__(self, subscription: Subscription, settings: IngestionSettings, observer: Observer, clock: WallClock, shared: Shared) -> None:
        self.subscription = subscription
        self.watch = StreamWatch(subscription, settings.silence_timeout_ns)
        self.url = subscription.url(settings.ws_url)
        self.socket: _Socket | None = None
        self.ended = False
        self.problem = "not tried yet"
        self.reconnects = -1
        self.opened = asyncio.Event()
        self._sockets: set[_Socket] = set()
        self._settings, self._observer, self._clock, self._shared = settings, observer, clock, shared
        self._live = settings.feed_in_use is Feed.LIVE
        self._backoff = Backoff(0.5, 30.0) if self._live else Backoff(0.1, 1.0)
        self._rotate_at_s = 0.0
        self._told: set[str] = set()

    async def run(self) -> None:
        """Deliver frames until the recording ends."""
        while not self.ended:
            self.socket = await self._connect()
            while (fate := await self._guard(self.socket)) is _Fate.DUE:
                await self._replace(self.socket)
            old, self.socket = self.socket, None
            await self._leave(old)
            self._log("INFO" if fate in _ENDS else "WARNING", "connection ended", fate=fate.value, problem=self.problem)
            self.ended = fate is _Fate.ENDED
            if fate in _ENDS:
                await self._tell_end(old, last=self.ended)
            if fate is _Fate.ROUND_ENDED and old.heard:
                self._backoff.reset()
            elif not self.ended:
                await self._rest(old)

    async def _tell_end(self, old: _Socket, *, last: bool) -> None:
        """Queue the end of the recording or, with the session that it ends, of a round."""
        begins_ns = 0 if last else old.session_begins_ns
        await self._shared.queue.put(Frame(self._clock(), self.subscription.channel, b"", self._shared.last_number, ended=True, session_begins_ns=begins_ns))

    async def _connect(self) -> _Socket:
        while True:
            try:
                socket = await self._open()
            except (OSError, TimeoutError, InvalidHandshake, ConnectionClosed) as error:
                await self._pause(error)
            else:
                self.reconnects += 1
                self._rotate_at_s = socket.opened_s + self._settings.rotate_after_s
                self._log("INFO", "connected", connection=socket.number)
                self.opened.set()
                return socket

    async def _open(self) -> _Socket:
        await self._shared.spend_attempt()
        try:
            connection = await connect(
                self.url,
                proxy=None,
                compression=None,
                open_timeout=10,
                ping_interval=20,
                ping_timeout=None,
                close_timeout=1,
                max_size=_MAX_FRAME_BYTES,
                max_queue=16,
            )
        except InvalidStatus as error:
            self._shared.bar(_penalty_s(error))
            raise
        request = self.subscription.message(self._settings.ws_url)
        if request is not None:
            await connection.send(msgspec.json.encode(request), text=True)
        told = connection.response.headers.get(SESSION_HEADER, "") if connection.response else ""
        begins_ns = int(told) if self._settings.exchange is Exchange.SIMULATOR and told.isdecimal() else 0
        socket = _Socket(connection, self._shared.next_number(), time.monotonic(), self._clock(), begins_ns)
        socket.pump = asyncio.create_task(self._pump(socket))
        self._sockets.add(socket)
        return socket

    async def _pause(self, error: Exception) -> None:
        problem = _described(error)
        if problem != self.problem:
            self._log("WARNING", "cannot connect", problem=problem)
        self.problem = problem
        await self._back_off()

    async def _rest(self, old: _Socket) -> None:
        """Wait before the next connection, unless this one has lasted; longer when it broke a rule."""
        if old.close_code == _POLICY_VIOLATION:
            self._shared.bar(_POLICY_PENALTY_S)
        if time.monotonic() - old.opened_s > _LASTED_S:
            self._backoff.reset()
        else:
            await self._back_off()

    async def _back_off(self) -> None:
        await asyncio.sleep(self._backoff.next_s(random.random()))  # noqa: S311 - jitter, no secret

    async def _pump(self, socket: _Socket) -> None:
        """Queue what the socket brings, until it closes."""
        channel, number, clock, put = self.subscription.channel, socket.number, self._clock, self._shared.queue.put
        begins_ns = socket.session_begins_ns
        try:
            while True:
                payload = await socket.connection.recv(decode=False)
                read_at_ns = clock()
                stream = stream_of(payload)
                if stream is not None:
                    socket.heard.add(stream)
                    self.watch.hear(stream, read_at_ns)
                if stream == "!serverShutdown" or (stream is None and b"serverShutdown" in payload[:200]):
                    socket.shutting_down = True
                await put(Frame(read_at_ns, channel, payload, number, session_begins_ns=begins_ns))
        except ConnectionClosed as error:
            self.problem = str(error)
            socket.close_code = error.rcvd.code if error.rcvd else None

    async def _guard(self, socket: _Socket) -> _Fate:
        """Wait until the socket is of no use or should be replaced."""
        playing_since_ns = socket.opened_ns if self._live else 0
        while True:
            await asyncio.wait({socket.pump}, timeout=min(_CHECK_S, self._settings.silence_timeout_seconds / 4))
            if socket.pump.done():
                socket.pump.result()  # A bug in the pump is none of the exchange's doing.
                return _FATES.get(socket.close_code, _Fate.CLOSED)
            now_s, now_ns = time.monotonic(), self._clock()
            if socket.shutting_down or now_s >= self._rotate_at_s:
                return _Fate.DUE
            if socket.heard and not playing_since_ns:
                playing_since_ns = now_ns
            if playing_since_ns and self._is_silent(socket, now_ns, playing_since_ns):
                return _Fate.SILENT

    def _is_silent(self, socket: _Socket, now_ns: int, playing_since_ns: int) -> bool:
        timeouts = (now_ns - playing_since_ns) / 1e9 / self._settings.first_event_timeout_seconds
        missing = [name for name in self.subscription.names if name not in socket.heard and timeouts > self.watch.patience(name)]
        self._tell_missing(missing)
        if not self._live or self._shared.queue.is_full(self.subscription.channel):
            return False
        silent = [name for name in missing if name in self.subscription.required]
        silent += [name for name in self.watch.silent(now_ns, socket.opened_ns) if name in {*socket.heard, ANY_STREAM}]
        if silent:
            if socket.heard:  # Else the connection is to blame, not the streams.
                self.watch.forgive(silent)
            self.problem = f"no event of {', '.join(silent)}"
        return bool(silent)

    def _tell_missing(self, missing: Sequence[str]) -> None:
        for name in missing:
            if name not in self._told:
                self._told.add(name)
                required = name in self.subscription.required
                self._log("WARNING" if required else "INFO", "no event of a stream yet", stream=name, required=required)

    async def _replace(self, old: _Socket) -> None:
        """Open the successor, wait until it delivers, then let go of the old one, which delivers until then."""
        old.shutting_down = False
        self._rotate_at_s = time.monotonic() + max(_RETRY_ROTATION_S, self._shared.attempt_wait_s())
        if self._shared.attempt_wait_s():
            return
        try:
            new = await self._open()
        except (OSError, TimeoutError, InvalidHandshake, ConnectionClosed) as error:
            self._rotate_at_s = max(self._rotate_at_s, time.monotonic() + self._shared.attempt_wait_s())
            self._log("WARNING", "cannot rotate yet", problem=_described(error))
            return
        if await self._delivers(new, old):
            await self._leave(old)
            self.socket = new
            self._rotate_at_s = new.opened_s + self._settings.rotate_after_s
            self._log("INFO", "rotated", connection=new.number)
        else:
            self._log("WARNING", "cannot rotate yet", problem="the new connection does not deliver")
            await self._leave(new)

    async def _delivers(self, socket: _Socket, old: _Socket) -> bool:
        """Whether a socket brings what the old one has brought, within the time for first events."""
        wanted = old.heard & set(self.subscription.required)
        give_up_s = time.monotonic() + self._settings.first_event_timeout_seconds
        while not socket.pump.done() and time.monotonic() < give_up_s:
            if wanted <= socket.heard and socket.heard:
                return True
            await asyncio.wait({socket.pump}, timeout=0.05)
        return False

    async def close(self) -> None:
        """Close whatever is open."""
        await asyncio.gather(*map(self._leave, tuple(self._sockets)))

    async def _leave(self, socket: _Socket) -> None:
        self._sockets.discard(socket)
        socket.pump.cancel()
        await asyncio.wait({socket.pump})
        await socket.connection.close()

    def _log(self, level: str, event: str, **fields: Any) -> None:
        self._observer.log(level, event, channel=self.subscription.channel.value, url=self.url.partition("?")[0], **fields)


def _described(error: Exception) -> str:
    return f"HTTP {error.response.status_code}" if isinstance(error, InvalidStatus) else f"{type(error).__name__}: {error}"


def _penalty_s(error: InvalidStatus) -> float:
    asked = error.response.headers.get("Retry-After", "")
    return float(asked) if asked.isdigit() else _PENALTIES_S.get(error.response.status_code, 0.0)
