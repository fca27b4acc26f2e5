"""Stands between ingestion and the exchange simulator, and passes on what comes unless it is told to spoil it.

What may be changed at any time, from any thread: symbols that are cut off, prices that are moved, books that are made thin,
frames that are garbage, trades that get lost, connections that break or are refused.
"""

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from http import HTTPStatus
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.http11 import Request, Response

from scripts.embedded.servers import HOST
from services.ingestion.sockets import SESSION_HEADER

_MAX_FRAME_BYTES = 16 * 1024 * 1024
_START_S, _STOP_S = 10.0, 5.0
_BOOKS, _TRADES = "@bookTicker", ("@trade", "@aggTrade")
_GARBAGE = b'{"stream": "btcusdt@bookTicker", "data": {"s": "BTCUSDT", "b": "no price"}}'
#: Price ticks that every symbol of the recordings takes.
_PRICE_TICK, _STEP = Decimal("0.0001"), Decimal("0.001")


@dataclass
class Disturbance:
    """What happens to frames; made anew, nothing does."""

    #: Nothing of these symbols passes.
    cut: frozenset[str] = frozenset()
    #: By symbol, from the number of its book to what its prices are multiplied with.
    prices: Mapping[str, Callable[[int], float]] = field(default_factory=dict)
    #: Symbols whose books stand as they stood when this began.
    frozen: frozenset[str] = frozenset()
    #: Size at the best bid and ask; 0 leaves them.
    size: Decimal = Decimal(0)
    #: Every so many frames a piece of garbage is slipped in; 0 for never.
    garbage_every: int = 0
    #: Of so many trades one passes.
    trades_kept: int = 1
    refuses: bool = False


class Feed:
    """A proxy for the exchange's streams, in a thread of its own."""

    def __init__(self, port: int, simulator_port: int) -> None:
        self.url = f"ws://{HOST}:{port}"
        self.disturbance = Disturbance()
        self._port, self._upstream = port, f"ws://{HOST}:{simulator_port}"
        self._links: dict[ServerConnection, ClientConnection] = {}
        self._numbers: dict[str, int] = {}
        self._frozen: dict[str, dict[str, str]] = {}
        self._loop = asyncio.new_event_loop()
        self._ready, self._end = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._serve()), name="feed", daemon=True)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()
        if not self._ready.wait(_START_S):
            raise TimeoutError(f"nothing listens on port {self._port}")

    def stop(self) -> None:
        """End."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(_STOP_S)

    @contextlib.contextmanager
    def disturbed(self, disturbance: Disturbance) -> Iterator[None]:
        """Spoil what passes for a while."""
        self._frozen.clear()
        self.disturbance = disturbance
        if disturbance.refuses:
            self.disconnect()
        try:
            yield
        finally:
            self.disturbance = Disturbance()

    def disconnect(self) -> None:
        """Break all connections off, without a word."""
        self._loop.call_soon_threadsafe(self._break_off)

    def _break_off(self) -> None:
        for client in tuple(self._links):
            client.transport.abort()

    async def _serve(self) -> None:
        options: dict[str, Any] = {"compression": None, "ping_interval": None, "max_size": _MAX_FRAME_BYTES}
        async with serve(self._talk, HOST, self._port, process_request=self._admit, process_response=self._answer, **options):
            self._ready.set()
            await self._end.wait()
            self._break_off()

    async def _admit(self, client: ServerConnection, request: Request) -> Response | None:
        """Connect to the simulator before the client is answered, for the answer tells what the simulator's told."""
        if self.disturbance.refuses:
            return client.respond(HTTPStatus.SERVICE_UNAVAILABLE, "the exchange is away\n")
        try:
            self._links[client] = await connect(self._upstream + request.path, proxy=None, compression=None, ping_interval=None, max_size=_MAX_FRAME_BYTES)
        except (OSError, TimeoutError, InvalidHandshake):
            return client.respond(HTTPStatus.BAD_GATEWAY, "the simulator is away\n")
        return None

    def _answer(self, client: ServerConnection, _request: Request, response: Response) -> Response:
        told = self._links[client].response if client in self._links else None
        if told is not None and SESSION_HEADER in told.headers:
            response.headers[SESSION_HEADER] = told.headers[SESSION_HEADER]
        return response

    async def _talk(self, client: ServerConnection) -> None:
        upstream = self._links[client]
        asking = asyncio.create_task(_pass_on(client, upstream))
        try:
            async for frame in upstream:
                for passed in self._spoil(frame.encode() if isinstance(frame, str) else frame):
                    await client.send(passed, text=True)
            await client.close(upstream.close_code or 1000, upstream.close_reason or "")
        except ConnectionClosed:
            if upstream.close_code is not None:
                await client.close(upstream.close_code)
        finally:
            asking.cancel()
            self._links.pop(client, None)
            await upstream.close()

    def _spoil(self, frame: bytes) -> Iterator[bytes]:
        """What is sent instead of a frame."""
        spoilt = self.disturbance
        if spoilt == Disturbance():
            yield frame
            return
        message = json.loads(frame)
        stream, data = message.get("stream", ""), message.get("data", {})
        symbol = data.get("s", "")
        number = self._numbers[stream] = self._numbers.get(stream, 0) + 1
        if symbol in spoilt.cut or (stream.endswith(_TRADES) and number % spoilt.trades_kept):
            return
        if stream.endswith(_BOOKS):
            self._change_book(spoilt, data, symbol, number)
        yield json.dumps(message).encode()
        if spoilt.garbage_every and number % spoilt.garbage_every == 0:
            yield _GARBAGE

    def _change_book(self, spoilt: Disturbance, data: dict[str, str], symbol: str, number: int) -> None:
        if symbol in spoilt.frozen:
            data |= self._frozen.setdefault(symbol, {name: data[name] for name in "bBaA"})
        factor = Decimal(repr(spoilt.prices[symbol](number))) if symbol in spoilt.prices else Decimal(1)
        data["b"] = str((Decimal(data["b"]) * factor).quantize(_PRICE_TICK))
        data["a"] = str((Decimal(data["a"]) * factor).quantize(_PRICE_TICK))
        if spoilt.size:
            data["B"] = data["A"] = str(spoilt.size.quantize(_STEP))


async def _pass_on(client: ServerConnection, upstream: ClientConnection) -> None:
    """Hand what a client asks for to the simulator."""
    with contextlib.suppress(ConnectionClosed):
        async for request in client:
            await upstream.send(request)
