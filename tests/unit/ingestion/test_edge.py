"""The sockets, against a real server on loopback that speaks the exchange's shape."""

import asyncio
import threading
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Response

from common.io.metrics import LogLine, RecordingObserver
from common.settings import load
from common.topics import TICKS
from services.ingestion import sockets
from services.ingestion.edge import WebSocketSource
from services.ingestion.settings import IngestionSettings
from services.ingestion.source import Channel, Frame
from services.ingestion.streams import Backoff
from tests.unit.ingestion.support import PAIR, T0_MS, Rig, book_payload, trade

WAIT_S = 5.0
BTC, ETH = "btcusdt@bookTicker", "ethusdt@bookTicker"


#: Sources that are driven while a test waits, as a service drives its own.
_started: list[WebSocketSource] = []


def until(condition: Callable[[], object]) -> None:
    """Poll until the condition holds."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "it does not come true"
        for source in _started:
            source.read([], 0, 0.002)
        time.sleep(0.0 if _started else 0.002)


def path_of(connection: ServerConnection) -> str:
    assert connection.request
    return connection.request.path


class Exchange:
    """A server whose connections are driven from the test's thread."""

    def __init__(self) -> None:
        self.connections: dict[str, list[ServerConnection]] = defaultdict(list)
        self.received: list[str] = []
        self.refusals: list[HTTPStatus] = []
        self.refusal_headers: dict[str, str] = {}
        self.close_new_with: int | None = None
        #: Told at connection.
        self.headers: dict[str, str] = {}
        self.attempts = 0
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._main()), daemon=True)
        self._thread.start()
        assert self._ready.wait(WAIT_S)

    async def _main(self) -> None:
        self._stop = asyncio.Event()
        async with serve(self._serve, "127.0.0.1", 0, process_request=self._admit, process_response=self._tell, compression=None, max_size=None) as server:
            self.port = server.sockets[0].getsockname()[1]
            self._ready.set()
            await self._stop.wait()

    def _admit(self, connection: ServerConnection, _request: object) -> Response | None:
        self.attempts += 1
        if not self.refusals:
            return None
        response = connection.respond(self.refusals.pop(0), "no\n")
        response.headers.update(self.refusal_headers)
        return response

    def _tell(self, _connection: ServerConnection, _request: object, response: Response) -> Response:
        response.headers.update(self.headers)
        return response

    async def _serve(self, connection: ServerConnection) -> None:
        self.connections[path_of(connection).partition("/stream")[0].strip("/")].append(connection)
        if self.close_new_with is not None:
            await connection.close(self.close_new_with)
        async for message in connection:
            self.received.append(str(message))

    def do(self, work: Awaitable[object]) -> None:
        doing = asyncio.run_coroutine_threadsafe(work, self._loop)  # type: ignore[arg-type,var-annotated]
        until(doing.done)
        doing.result()

    def connection(self, path: str, which: int = -1) -> ServerConnection:
        """A connection of a root; the client may know of it a moment earlier than we do."""
        until(lambda: len(self.connections[path]) > max(which, 0))
        return self.connections[path][which]

    def send(self, path: str, *payloads: bytes, which: int = -1) -> None:
        connection = self.connection(path, which)
        for payload in payloads:
            self.do(connection.send(payload, text=True))

    def close(self, path: str, code: int = 1000) -> None:
        self.do(self.connection(path).close(code, "end"))

    def abort(self, path: str) -> None:
        self._loop.call_soon_threadsafe(self.connection(path).transport.abort)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(WAIT_S)
        self._loop.close()


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    exchange = Exchange()
    yield exchange
    exchange.stop()


@contextmanager
def started(exchange: Exchange, **environment: str) -> Iterator[WebSocketSource]:
    settings = load(IngestionSettings, {"BINANCE_WS_URL": f"ws://127.0.0.1:{exchange.port}", **environment})
    source = WebSocketSource(settings, RecordingObserver(), time.time_ns)
    source.start()
    _started.append(source)
    try:
        yield source
    finally:
        _started.remove(source)
        source.stop()


@contextmanager
def opened(exchange: Exchange, **environment: str) -> Iterator[WebSocketSource]:
    with started(exchange, **environment) as source:
        until(lambda: source.status()["connected"])
        yield source


def events(source: WebSocketSource, event: str) -> list[LogLine]:
    assert isinstance(source.observer, RecordingObserver)
    return source.observer.events(event)


def take(source: WebSocketSource, count: int, channel: Channel = Channel.PUBLIC) -> list[Frame]:
    found: list[Frame] = []
    until(lambda: len(found.__iadd__(source.read([channel], count - len(found), 0.05))) >= count)
    return found


def books(update_id: int, symbols: str = "BTCUSDT,ETHUSDT") -> list[bytes]:
    return [book_payload(symbol, T0_MS + update_id, update_id) for symbol in symbols.split(",")]


def test_subscription_is_confirmed_by_first_events(exchange: Exchange) -> None:
    """Ready means that every book stream has spoken, not that the exchange has accepted the names."""
    with opened(exchange) as source:
        assert path_of(exchange.connection("market")).endswith("ethusdt@aggTrade/ethusdt@trade/btcusdt@markPrice@1s/ethusdt@markPrice@1s")
        assert source.status()["waiting_for"] == f"waiting for the first event of {BTC}"
        exchange.send("public", b'{"result":null,"id":1}', books(1)[0])
        until(lambda: source.status()["waiting_for"] == f"waiting for the first event of {ETH}")
        exchange.send("public", books(1)[1])
        until(lambda: source.status()["waiting_for"] == "")
        streams = source.status()["streams"]
        assert streams[ETH]["confirmed"]
        assert streams[ETH]["last_event_age_ms"] >= 0
        assert streams["btcusdt@trade"] == {"confirmed": False, "last_event_age_ms": None}


def test_market_is_opened_before_books(exchange: Exchange) -> None:
    """Nobody reads books before trades have a reader, so that a recording that starts with the first reader loses none."""
    exchange.refusals = [HTTPStatus.SERVICE_UNAVAILABLE] * 2
    with opened(exchange):
        assert exchange.attempts == 4
        exchange.connection("public")
        assert (len(exchange.connections["market"]), len(exchange.connections["public"])) == (1, 1)


def test_spot_needs_one_connection(exchange: Exchange) -> None:
    """On spot everything comes on one connection."""
    with opened(exchange, BINANCE_MARKET="spot"):
        exchange.connection("")
        assert set(exchange.connections) == {""}


def test_frames_come_byte_for_byte(exchange: Exchange) -> None:
    """Frames are stamped and passed on as they are: garbage, binary and a megabyte too."""
    garbage = [b"{", b"", book_payload("BTCUSDT", T0_MS, 1) + b" " * 1_000_000, books(2)[0]]
    with opened(exchange) as source:
        exchange.send("public", *garbage)
        exchange.do(exchange.connection("public").send(b"\xff\x00"))
        frames = take(source, 5)
        assert [frame.payload for frame in frames] == [*garbage, b"\xff\x00"]
        assert all(abs(frame.read_at_ns - time.time_ns()) < WAIT_S * 1e9 for frame in frames)


def test_end_of_recording(exchange: Exchange) -> None:
    """Close code 4000 ends a channel behind its last frame, and nobody connects again."""
    with opened(exchange) as source:
        exchange.send("public", *books(1))
        exchange.close("public", 4000)
        exchange.close("market", 4000)
        assert [frame.ended for frame in take(source, 3)] == [False, False, True]
        assert take(source, 1, Channel.MARKET)[0].ended
        until(lambda: source.status()["connected"] and source.status()["waiting_for"] == "")
        assert exchange.attempts == 2


@pytest.mark.parametrize("how", ["abort", "normal", "going-away"])
def test_reconnect(exchange: Exchange, how: str) -> None:
    """A connection that goes away, abruptly or politely, is opened again under a new number."""
    with opened(exchange) as source:
        exchange.send("public", *books(1))
        first = take(source, 2)
        if how == "abort":
            exchange.abort("public")
        else:
            exchange.close("public", 1000 if how == "normal" else 1001)
        until(lambda: len(exchange.connections["public"]) == 2 and source.status()["connected"])
        assert source.status()["waiting_for"]
        exchange.send("public", *books(2))
        assert {frame.connection for frame in take(source, 2)} != {frame.connection for frame in first}
        assert source.status()["reconnects"] == {"market": 0, "public": 1}


def test_refusals_are_waited_out(exchange: Exchange) -> None:
    """A status that asks for patience is honoured as long as it says."""
    exchange.refusals, exchange.refusal_headers = [HTTPStatus.TOO_MANY_REQUESTS], {"Retry-After": "1"}
    began = time.monotonic()
    with opened(exchange) as source:
        assert time.monotonic() - began >= 1
        assert events(source, "cannot connect")[0].fields["problem"] == "HTTP 429"


def test_short_connections_are_spaced_out(exchange: Exchange) -> None:
    """A connection that is closed again at once is retried with growing waits, not in a storm."""
    exchange.close_new_with = 1000
    with started(exchange, FEED="live"):
        until(lambda: len(exchange.connections["market"]) == 2)
        began = time.monotonic()
        until(lambda: len(exchange.connections["market"]) == 3)
        assert time.monotonic() - began >= 0.4


def test_broken_rule_is_waited_out(exchange: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    """After close code 1008 no channel is opened before the exchange's penalty is over."""
    monkeypatch.setattr(sockets, "_POLICY_PENALTY_S", 1.0)
    with opened(exchange):
        exchange.connection("public")
        began = time.monotonic()
        exchange.close("public", 1008)
        exchange.close("market", 1000)
        until(lambda: len(exchange.connections["public"]) == len(exchange.connections["market"]) == 2)
        assert time.monotonic() - began >= 1


def test_connection_that_lasted_is_replaced_at_once(exchange: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only short connections are waited for: losing one that has lasted costs no data for a wait."""
    monkeypatch.setattr(sockets, "_LASTED_S", -1.0)
    monkeypatch.setattr(Backoff, "next_s", lambda _self, _chance: 60.0)
    with opened(exchange, FEED="live"):
        exchange.close("public")
        until(lambda: len(exchange.connections["public"]) == 2)


def test_rotation_respects_a_ban(exchange: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused rotation is tried again no earlier than the exchange says, while the old connection goes on."""
    monkeypatch.setattr(sockets, "_RETRY_ROTATION_S", 0.05)
    with opened(exchange, BINANCE_MARKET="spot", ROTATE_AFTER_HOURS="0.0001") as source:
        exchange.connection("")
        exchange.refusals, exchange.refusal_headers = [HTTPStatus.IM_A_TEAPOT], {"Retry-After": "1"}
        until(lambda: events(source, "cannot rotate yet"))
        refused, attempts = time.monotonic(), exchange.attempts
        exchange.send("", *books(1))
        assert len(take(source, 2)) == 2
        until(lambda: exchange.attempts > attempts)
        assert time.monotonic() - refused >= 0.9
        assert events(source, "cannot rotate yet")[0].fields["problem"] == "HTTP 418"


def test_rotation_overlaps(exchange: Exchange) -> None:
    """An old connection is replaced only once its successor has delivered every book stream; until then it delivers."""
    with opened(exchange, ROTATE_AFTER_HOURS="0.0001") as source:
        exchange.send("public", *books(1))
        until(lambda: len(exchange.connections["public"]) == 2)
        exchange.send("public", *books(2), which=0)
        exchange.send("public", books(2)[0], which=1)
        assert len(take(source, 5)) == 5
        assert exchange.connections["public"][0].close_code is None
        exchange.send("public", books(3)[1], which=1)
        until(lambda: exchange.connections["public"][0].close_code is not None)
        until(lambda: events(source, "rotated"))
        assert source.status()["connected"]
        assert source.status()["reconnects"]["public"] == 0


def test_server_shutdown_rotates_at_once(exchange: Exchange) -> None:
    """When the exchange announces its shutdown the replacement is opened at once."""
    with opened(exchange) as source:
        exchange.send("public", *books(1), b'{"e":"serverShutdown","E":1}')
        until(lambda: len(exchange.connections["public"]) == 2)
        exchange.send("public", *books(2))
        until(lambda: events(source, "rotated"))


def test_silence_reconnects(exchange: Exchange) -> None:
    """A live book stream that falls silent, or never speaks, makes us connect again although the socket is open."""
    with opened(exchange, FEED="live", SILENCE_TIMEOUT_SECONDS="0.2", FIRST_EVENT_TIMEOUT_SECONDS="60") as source:
        exchange.send("public", *books(1))
        until(lambda: len(exchange.connections["public"]) == 2)
        assert events(source, "connection ended")[0].fields["fate"] == "a stream is silent"


def test_missing_first_event_reconnects(exchange: Exchange) -> None:
    """A live book stream without a first event in time makes us connect again."""
    with opened(exchange, FEED="live", FIRST_EVENT_TIMEOUT_SECONDS="0.2", SILENCE_TIMEOUT_SECONDS="60"):
        exchange.send("public", books(1)[0])
        until(lambda: len(exchange.connections["public"]) == 2)


def test_quiet_symbol_is_given_more_time(exchange: Exchange) -> None:
    """A stream that still has no event on the next connection, where others speak, is waited for twice as long."""
    with opened(exchange, FEED="live", FIRST_EVENT_TIMEOUT_SECONDS="0.4", SILENCE_TIMEOUT_SECONDS="60") as source:
        exchange.send("public", books(1)[0])
        until(lambda: len(exchange.connections["public"]) == 2 and source.status()["connected"])
        began = time.monotonic()
        exchange.send("public", books(2)[0])
        until(lambda: len(events(source, "connection ended")) == 2)
        assert time.monotonic() - began >= 0.7


def test_silent_market_reconnects(exchange: Exchange) -> None:
    """A live market channel that has spoken and falls silent as a whole is connected anew."""
    with opened(exchange, FEED="live", SILENCE_TIMEOUT_SECONDS="0.2", FIRST_EVENT_TIMEOUT_SECONDS="60") as source:
        exchange.send("market", trade("BTCUSDT", T0_MS, 1).payload)
        until(lambda: len(exchange.connections["market"]) == 2)
        assert "any stream" in events(source, "connection ended")[0].fields["problem"]


def test_silent_recording_is_waited_for(exchange: Exchange) -> None:
    """A recording may pause or not have begun: nobody reconnects, a stream that is missing while it plays is logged once."""
    with opened(exchange, FIRST_EVENT_TIMEOUT_SECONDS="0.1", SILENCE_TIMEOUT_SECONDS="0.1") as source:
        exchange.send("public", books(1)[0])
        until(lambda: events(source, "no event of a stream yet"))
        assert events(source, "no event of a stream yet")[0].fields["stream"] == ETH
        exchange.send("public", books(1)[1])
        take(source, 2)
        assert exchange.attempts == 2


def test_full_queue_pauses_the_socket(exchange: Exchange) -> None:
    """Frames that nobody takes stay with the sender: our memory is bounded, and all arrive once they are taken, the end last."""
    count, padding = 3000, b" " * 10_000
    payloads = [payload + padding for payload in books(1)[:1]] * count
    with opened(exchange, FRAME_QUEUE="10") as source:
        connection = exchange.connection("public")

        async def flood() -> None:
            for payload in payloads:
                await connection.send(payload, text=True)
            await connection.close(4000)

        flooding = asyncio.run_coroutine_threadsafe(flood(), exchange._loop)
        until(lambda: source.status()["stalled"])
        assert source.status()["queued"] == 10
        assert not flooding.done()
        assert [frame.ended for frame in take(source, count + 1)] == [False] * count + [True]
        until(flooding.done)


def test_a_frame_is_handed_over_without_another_look_at_the_sockets() -> None:
    """In a burst each look brings more, and reading it would delay what is there."""
    settings = load(IngestionSettings, {"SYMBOLS": "BTCUSDT,ETHUSDT", "PAIRS": PAIR})
    source = WebSocketSource(settings, RecordingObserver(), time.time_ns)
    source.queue.announce_to(source._on_frame)
    loop, looked_again = source._runner.get_loop(), threading.Event()

    async def deliver(channel: Channel) -> None:
        await source.queue.put(Frame(1, channel, b"{}", 1))
        loop.call_soon(looked_again.set)

    tasks = [loop.create_task(deliver(channel)) for channel in Channel]
    assert len(source.read(list(Channel), 16, WAIT_S)) == len(tasks)
    assert not looked_again.is_set()
    source.stop()


def test_stop_before_a_connection() -> None:
    """A source that never reaches its server stops at once and says why it waited."""
    settings = load(IngestionSettings, {"BINANCE_WS_URL": "ws://127.0.0.1:9"})
    source = WebSocketSource(settings, RecordingObserver(), time.time_ns)
    source.start()
    _started.append(source)
    until(lambda: "OSError" in source.status()["waiting_for"] or "Refused" in source.status()["waiting_for"])
    _started.remove(source)
    assert not source.status()["connected"]
    source.stop()


def test_service_over_sockets(exchange: Exchange) -> None:
    """From socket to log: books become ticks, garbage dead letters, the end a last bar."""
    settings = load(IngestionSettings, {"BINANCE_WS_URL": f"ws://127.0.0.1:{exchange.port}"})
    source = WebSocketSource(settings, RecordingObserver(), time.time_ns)
    rig = Rig(source, BINANCE_WS_URL=settings.binance_ws_url).start()
    _started.append(source)
    until(lambda: source.status()["connected"])
    exchange.send("market", trade("BTCUSDT", T0_MS, 1).payload)
    exchange.close("market", 4000)
    exchange.send("public", *books(1), b'{"stream":"btcusdt@bookTicker","data":{"u":NaN}}', *books(2))
    exchange.close("public", 4000)
    _started.remove(source)
    until(lambda: rig.turns(1).details["ended"])
    rig.service.stop()
    assert [type(message).__name__ for message in rig.log_of(PAIR)] == ["Tick", "Tick", "Tick", "BarClose"]
    assert [letter.reason for letter in rig.dead_letters()] == ["undecodable"]
    assert rig.details["balanced"]
    assert all(record.trace.read_at_ns > 0 for record in rig.broker.records(TICKS) if b'"tick"' in record.value)


def test_the_end_of_a_round_is_told_and_the_next_one_is_fetched(exchange: Exchange) -> None:
    """After code 4001 both channels end the session that was told at connection, then connect again at once and say which session comes."""
    exchange.headers = {"X-Session-Begins-Ns": "1000"}
    with started(exchange) as source:
        exchange.send("public", book_payload("BTCUSDT", T0_MS, 1))
        exchange.send("market", trade("BTCUSDT", T0_MS, 1).payload)
        until(lambda: len(source.queue) == 2)
        exchange.headers = {"X-Session-Begins-Ns": "2000"}
        for path in ("public", "market"):
            exchange.close(path, 4001)
            exchange.connection(path, 1)
        exchange.send("public", book_payload("BTCUSDT", T0_MS, 1))
        until(lambda: len(source.queue) == 5)
        frames = source.read(list(Channel), 10, 0)
        told = {channel: [(frame.ended, frame.session_begins_ns) for frame in frames if frame.channel is channel] for channel in Channel}
        assert told == {Channel.PUBLIC: [(False, 1000), (True, 1000), (False, 2000)], Channel.MARKET: [(False, 1000), (True, 1000)]}
        assert source.status()["connected"]


def test_sessions_are_the_simulator_s_to_tell(exchange: Exchange) -> None:
    """A header of Binance's, or one that is no number, tells nothing."""
    exchange.headers = {"X-Session-Begins-Ns": "soon"}
    with started(exchange) as source:
        exchange.send("public", book_payload("BTCUSDT", T0_MS, 1))
        until(lambda: len(source.queue) == 1)
        assert source.read([Channel.PUBLIC], 1, 0)[0].session_begins_ns == 0
    exchange.headers = {"X-Session-Begins-Ns": "1000"}
    with started(exchange, EXCHANGE="binance") as source:
        exchange.send("public", book_payload("BTCUSDT", T0_MS, 1), which=1)
        until(lambda: len(source.queue) == 1)
        assert source.read([Channel.PUBLIC], 1, 0)[0].session_begins_ns == 0
