"""The simulator's port: WebSocket streams and REST in the exchange's routes, and its own control."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog
from aiohttp import WSMsgType, web

from common.errors import ConfigurationError
from common.io import logs
from common.settings import Market, load
from common.settings_help import settings_text
from common.version import VERSION
from services.exchange_simulator.exchange_info import exchange_info
from services.exchange_simulator.first_start import FirstStart, Keeper, Loop
from services.exchange_simulator.klines import Assumptions
from services.exchange_simulator.playback import Listener, Player, State
from services.exchange_simulator.recording import Recording
from services.exchange_simulator.rounds import rounds_of
from services.exchange_simulator.settings import SimulatorSettings
from services.exchange_simulator.store import Wanted, open_recording
from services.exchange_simulator.subscriptions import Root, Subscriptions

NAME: Final = "exchange-simulator"
#: Tells a client at connection, where the recording loops, at which event time (ns) its market session begins.
SESSION_HEADER: Final = "X-Session-Begins-Ns"
#: As on the futures exchange: a ping every three minutes, and ten for an answer, so that a reader that pauses is not dropped.
_PING_EVERY_S: Final = 180.0
_PONG_WITHIN_S: Final = 600.0
#: Frames that a client may have to read at most; what a connection loses when it breaks is bounded by this and the client's own buffer.
_FRAMES_ON_THEIR_WAY: Final = 512
_PING_EVERY_FRAMES: Final = 128
_NO_PONG: Final = (1008, "no pong")
_CLOSE_TIMEOUT_S: Final = 10.0
_STOP_TIMEOUT_S: Final = 0.5
_INVALID_SYMBOL: Final = {"code": -1121, "msg": "Invalid symbol."}


class Simulator:
    """One recording, one player, one port."""

    def __init__(self, recording: Recording, speed: float | None, *, autostart: bool, loop: Loop | None = None) -> None:
        self.recording = recording
        rounds, elapsed_ns = (loop.rounds, loop.elapsed_ns(time.time_ns())) if loop else (None, 0)
        self.player = Player(recording, speed, autostart=autostart, monotonic=time.monotonic, rounds=rounds, elapsed_ns=elapsed_ns)
        self.player.on_round = self._tell_round
        if loop and loop.kept:
            self.player.start()
        self._loop = loop
        self._speed = speed
        self._sockets: dict[web.WebSocketResponse, asyncio.Transport | None] = {}
        self._log = structlog.get_logger()

    def application(self) -> web.Application:
        """All routes; see the exchange's own documentation for their meaning."""
        application = web.Application()
        futures = self.recording.market is Market.FUTURES
        roots = list(Root) if futures else [Root.UNROUTED]
        for root in roots:
            prefix = f"/{root}" if root else ""
            application.router.add_get(f"{prefix}/stream", self._stream_handler(root, combined=True))
            application.router.add_get(f"{prefix}/ws", self._stream_handler(root, combined=False))
            application.router.add_get(f"{prefix}/ws/{{names:.+}}", self._stream_handler(root, combined=False))
        # Clients of the futures market ask the spot address for time and ping, too.
        for base in ("/api/v3", "/fapi/v1") if futures else ("/api/v3",):
            application.router.add_get(f"{base}/ping", self._ping)
            application.router.add_get(f"{base}/time", self._time)
        application.router.add_get("/fapi/v1/exchangeInfo" if futures else "/api/v3/exchangeInfo", self._exchange_info)
        application.router.add_get("/simulator/status", self._status)
        application.router.add_post("/simulator/start", self._start)
        application.router.add_post("/simulator/stop", self._stop)
        application.router.add_post("/simulator/disconnect", self._disconnect)
        for path in ("/health", "/health/live", "/health/ready"):
            application.router.add_get(path, self._health)
        return application

    async def play(self) -> None:
        """Play to the end; a loop's first start is kept once there is one."""
        await self.player.begun.wait()
        if self._loop:
            if self._loop.replaced:
                self._log.warning("the place that was kept is another recording's: the loop begins anew", recording=self.recording.name)
            try:
                self._loop.begin(time.time_ns())
            except OSError as error:
                self._log.error("the first start cannot be kept: a restart begins the loop anew", problem=str(error))
        await self.player.run()

    async def close_sockets(self) -> None:
        """Tell all clients that the server goes."""
        closing = [asyncio.ensure_future(one.close(code=1001, message=b"going away")) for one in self._sockets]
        if closing:
            await asyncio.wait(closing, timeout=_STOP_TIMEOUT_S)

    def status(self) -> dict[str, Any]:
        """Where playback stands; times are event times, in a loop those of the present round, which are moved on by `shift_ns`."""
        recording, player = self.recording, self.player
        return {
            "recording": recording.name,
            "market": recording.market,
            "symbols": recording.symbols,
            "state": player.state,
            "problem": player.problem,
            "speed": "max" if self._speed is None else self._speed,
            "loop": self._loop is not None,
            "round": player.round + 1,
            "shift_ns": player.shift_ns,
            "first_start_ns": self._loop.first_start.started_at_ns if self._loop and player.begun.is_set() else 0,
            "frames_sent": player.frames_sent,
            "frames_total": recording.frames_total,
            "frames_total_exact": recording.exact,
            "first_event_time_ns": recording.first_event_time_ns + player.shift_ns,
            "last_event_time_ns": recording.last_event_time_ns + player.shift_ns,
            "position_ns": player.position_ns,
            "streams": {stream: summary.frames for stream, summary in sorted(recording.streams.items())},
            "skipped": recording.skipped,
            "assumptions": recording.assumptions,
            "connections": len(self._sockets),
        }

    def _tell_round(self) -> None:
        self._log.info("end of a round", **self.status())

    # --- WebSocket ---------------------------------------------------------------------------------------------------

    def _stream_handler(self, root: Root, *, combined: bool) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.StreamResponse:
            subscriptions = Subscriptions(self.recording.market, root, combined=combined)
            names = request.match_info.get("names") or request.query.get("streams", "")
            subscriptions.add([name for name in names.split("/") if name])
            return await self._serve(request, self.player.admit(subscriptions))

        return handle

    async def _serve(self, request: web.Request, listener: Listener) -> web.StreamResponse:
        socket_ = web.WebSocketResponse(timeout=_CLOSE_TIMEOUT_S, autoping=False, autoclose=False, compress=False, max_msg_size=1024 * 1024)
        if (begins_ns := self.player.session_begins_ns(listener)) is not None:
            socket_.headers[SESSION_HEADER] = str(begins_ns)
        await socket_.prepare(request)
        self._sockets[socket_] = request.transport
        self._log.info("client connected", path=request.path_qs)
        reader = _Reader()
        parts = [self._listen(socket_, listener, reader), self._pump(socket_, listener, reader), _keep_alive(socket_, reader)]
        tasks = [asyncio.ensure_future(part) for part in parts]
        self.player.join(listener)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            closing = listener.end if tasks[1].done() else _NO_PONG if tasks[2].done() else None
        finally:
            # First of all the others play on: this client may take its time to read what is on its way.
            self.player.leave(listener)
            for task in tasks:
                task.cancel()
            errors = await asyncio.gather(*tasks, return_exceptions=True)
            self._sockets.pop(socket_, None)
        # Only now that nobody reads from the socket any more does it wait for the client's own close, as it must before it lets go.
        await _close(socket_, *(closing or (1000, "")))
        for error in errors:
            if isinstance(error, Exception) and not isinstance(error, ConnectionError):
                self._log.error("connection failed", path=request.path_qs, exc_info=error)
        self._log.info("client gone", path=request.path_qs, close_code=socket_.close_code)
        return socket_

    async def _listen(self, socket_: web.WebSocketResponse, listener: Listener, reader: "_Reader") -> None:
        async for message in socket_:
            reader.heard_at = time.monotonic()
            if message.type is WSMsgType.PING:
                await socket_.pong(message.data)
            elif message.type is WSMsgType.PONG:
                reader.answered(message.data)
            elif message.type in {WSMsgType.TEXT, WSMsgType.BINARY}:
                reply = listener.subscriptions.control(message.data)
                await socket_.send_str(msgspec.json.encode(reply).decode())
                self.player.subscribed(listener)

    async def _pump(self, socket_: web.WebSocketResponse, listener: Listener, reader: "_Reader") -> None:
        """Send what waits, as fast as the client takes it; returns when it has read the last frame."""
        outbox, text = listener.outbox, WSMsgType.TEXT
        while True:
            while outbox:
                frame = outbox.popleft()
                await socket_.send_frame(frame.combined if listener.subscriptions.combined else frame.data, text)
                await reader.keep_up(socket_)
            self.player.drained()
            if listener.end is not None and not outbox:
                await reader.has_read_all(socket_)
                return
            await listener.wake.wait()
            listener.wake.clear()

    # --- REST --------------------------------------------------------------------------------------------------------

    async def _ping(self, _: web.Request) -> web.Response:
        return _json({})

    async def _time(self, _: web.Request) -> web.Response:
        return _json({"serverTime": time.time_ns() // 1_000_000})

    async def _exchange_info(self, request: web.Request) -> web.Response:
        rows = self.recording.rules
        if self.recording.market is Market.SPOT and (wanted := _queried_symbols(request.query)) is not None:
            if not wanted or not set(wanted) <= rows.keys():
                return _json(_INVALID_SYMBOL, status=400)
            rows = {symbol: rows[symbol] for symbol in wanted}
        return _json(exchange_info(self.recording.market, rows.values(), time.time_ns() // 1_000_000))

    async def _status(self, _: web.Request) -> web.Response:
        return _json(self.status())

    async def _start(self, _: web.Request) -> web.Response:
        self.player.start()
        return _json(self.status())

    async def _stop(self, _: web.Request) -> web.Response:
        self.player.stop()
        return _json(self.status())

    async def _disconnect(self, _: web.Request) -> web.Response:
        """Break all connections off, as a network does: without a word, and what is on its way is lost."""
        for transport in list(self._sockets.values()):
            if transport is not None:
                transport.abort()
        return _json(self.status())

    async def _health(self, _: web.Request) -> web.Response:
        failed = self.player.state is State.FAILED
        body = {"status": "fail" if failed else "pass", "service": NAME, "version": VERSION, "reason": self.player.problem, "state": self.player.state}
        return _json(body, status=503 if failed else 200)


class _Reader:
    """How far a client has read: after every so many frames comes a ping, and its pong says that they have left the socket.

    Without it megabytes would be on their way in the kernel's buffers, and lost with the connection.
    """

    def __init__(self) -> None:
        self.heard_at = time.monotonic()
        self._sent = 0
        self._read = 0
        self._progress = asyncio.Event()

    async def keep_up(self, socket_: web.WebSocketResponse) -> None:
        """Count a frame as sent, and wait while too many are on their way."""
        self._sent += 1
        if self._sent % _PING_EVERY_FRAMES == 0:
            await self._ask(socket_, self._sent - _FRAMES_ON_THEIR_WAY)

    async def has_read_all(self, socket_: web.WebSocketResponse) -> None:
        """Wait until nothing is on its way."""
        await self._ask(socket_, self._sent)

    async def _ask(self, socket_: web.WebSocketResponse, needed: int) -> None:
        await socket_.ping(b"%d" % self._sent)
        while self._read < needed:
            self._progress.clear()
            await self._progress.wait()

    def answered(self, payload: bytes) -> None:
        """Take a pong, which may answer several pings at once."""
        if payload.isdigit():
            self._read = max(self._read, min(int(payload), self._sent))
            self._progress.set()


async def _keep_alive(socket_: web.WebSocketResponse, reader: _Reader) -> None:
    """Ping as the exchange does; returns when the client has been silent for too long."""
    while time.monotonic() - reader.heard_at < _PONG_WITHIN_S:
        await asyncio.sleep(_PING_EVERY_S)
        await socket_.ping()


async def _close(socket_: web.WebSocketResponse, code: int, reason: str) -> None:
    # A close frame has room for 123 bytes of reason. A connection that breaks while it is closed is closed.
    with contextlib.suppress(ConnectionError, TimeoutError, asyncio.CancelledError):
        await asyncio.wait_for(socket_.close(code=code, message=reason.encode()[:123], drain=False), _CLOSE_TIMEOUT_S)


def _json(body: Any, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), status=status, content_type="application/json")


def _queried_symbols(query: Mapping[str, str]) -> list[str] | None:
    """The symbols that a request names, None if it names none."""
    if "symbol" in query:
        return [query["symbol"]]
    if "symbols" not in query:
        return None
    try:
        return msgspec.json.decode(query["symbols"], type=list[str])
    except msgspec.DecodeError:
        return []


# --- process ---------------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str]) -> int:
    """Run until told to stop; returns the exit status: 0, 1 when the recording turned out to be damaged, 2 for wrong settings or usage."""
    if arguments:
        usage = f"{NAME} {VERSION}\n\nIt takes no arguments; it is set up by environment variables:\n\n{settings_text(SimulatorSettings, {})}\n"
        asked = set(arguments) <= {"-h", "--help"}
        (sys.stdout if asked else sys.stderr).write(usage if asked else f"{NAME}: takes no arguments; --help lists its settings\n")
        return 0 if asked else 2
    try:
        settings = load(SimulatorSettings, os.environ)
        recording = open_recording(Path(settings.recording), _wanted(settings))
        loop = _loop(settings, recording) if settings.simulator_loop else None
        listener = _bind(settings.http_host, settings.simulator_port)
    except ConfigurationError as error:
        sys.stderr.write("".join(f"{NAME}: {problem}\n" for problem in error.problems))
        return 2
    logs.configure(NAME, settings.log_level, settings.instance)
    return asyncio.run(_run(lambda: Simulator(recording, settings.speed, autostart=settings.simulator_autostart, loop=loop), listener))


def _wanted(settings: SimulatorSettings) -> Wanted:
    return Wanted(settings.binance_market, settings.symbols, settings.duration or None, Assumptions(settings.assumed_spread_bps, settings.kline_book_usd))


def _loop(settings: SimulatorSettings, recording: Recording) -> Loop:
    rounds = rounds_of(recording, settings.bar_interval_ns)
    fresh = FirstStart(
        started_at_ns=time.time_ns(),
        recording=recording.name,
        first_event_time_ns=rounds.first_event_time_ns,
        period_ns=rounds.period_ns,
        speed=settings.speed or 0.0,
    )
    # At full speed the place follows from the readers and not from the time, so there is nothing to keep.
    return Loop(rounds, fresh, Keeper(Path(settings.simulator_state_dir)) if settings.simulator_state_dir and settings.speed else None)


def _bind(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), backlog=128)
    except OSError as error:
        what = f"SIMULATOR_PORT={port}: cannot listen on {host}:{port} ({os.strerror(error.errno).lower() if error.errno else error})"
        raise ConfigurationError([f"{what}; stop what uses it or set SIMULATOR_PORT to a free port"]) from error


async def _run(make: Callable[[], Simulator], listener: socket.socket) -> int:
    log = structlog.get_logger()
    simulator = make()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    host, port = listener.getsockname()[:2]
    async with serving(simulator, listener) as playing:
        log.info("listening", url=f"http://{host}:{port}", port=port, **simulator.status())
        playing.add_done_callback(lambda task: None if task.cancelled() else log.info("playback is over", **simulator.status()))
        await stop.wait()
    return 1 if simulator.player.state is State.FAILED else 0


@contextlib.asynccontextmanager
async def serving(simulator: Simulator, listener: socket.socket) -> AsyncIterator[asyncio.Future[None]]:
    """Serve on a socket while the block runs; yields the task that plays."""
    runner = web.AppRunner(simulator.application(), access_log=None, shutdown_timeout=_STOP_TIMEOUT_S, handle_signals=False)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    playing = asyncio.ensure_future(simulator.play())
    try:
        yield playing
    finally:
        playing.cancel()
        await simulator.close_sockets()
        await runner.cleanup()
