"""The exchange's REST answers through python-binance."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from binance.async_client import AsyncClient
from binance.base_client import BaseClient
from binance.client import Client

from common.errors import ConfigurationError, TransportError
from common.io.exchange import ExchangeClient
from common.settings import Market
from tests.unit.exchange_simulator.builders import book, serve, tick_file


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    """A server that gives one answer to everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("market", Market)
def test_rules_and_time_come_from_the_simulator(tmp_path: Path, market: Market) -> None:
    """Both markets answer python-binance with complete rules and a clock."""
    path = tick_file(tmp_path, [book(0, spot=market is Market.SPOT), book(1, "ETHUSDT", spot=market is Market.SPOT)])
    with serve(path) as (simulator, port):
        exchange = ExchangeClient(market, f"http://127.0.0.1:{port}/")
        rules = exchange.rules(["ETHUSDT", "BTCUSDT"])
        offset_ns = exchange.clock_offset_ns(time.time_ns)
        exchange.close()
    for symbol, row in simulator.recording.rules.items():
        found = rules[symbol]
        assert (found.price_tick, found.quantity_step, found.minimum_quantity) == (row.price_tick, row.quantity_step, row.minimum_quantity)
        assert (found.maximum_quantity, found.minimum_notional, found.status, found.source) == (
            row.maximum_market_quantity,
            row.minimum_notional,
            "TRADING",
            row.source,
        )
    assert abs(offset_ns) < 2_000_000_000


def test_futures_figures_that_are_known_are_served(tmp_path: Path) -> None:
    """BTCUSDT's live figures reach the client, and say where they are from."""
    with serve(tick_file(tmp_path, [book(0)])) as (_, port):
        rules = ExchangeClient(Market.FUTURES, f"http://127.0.0.1:{port}").rules(["BTCUSDT"])["BTCUSDT"]
    assert (rules.price_tick, rules.quantity_step, rules.maximum_quantity, rules.minimum_notional) == (Decimal("0.10"), Decimal("0.001"), 120, 50)
    assert rules.source == "binance 2026-09-30"


def test_an_unknown_symbol_is_named_with_the_closest(tmp_path: Path) -> None:
    """Every symbol that the exchange lacks is a line with the nearest names it has."""
    with serve(tick_file(tmp_path, [book(0), book(1, "ADAUSDT")])) as (_, port), pytest.raises(ConfigurationError) as caught:
        ExchangeClient(Market.FUTURES, f"http://127.0.0.1:{port}").rules(["BTCUSDT", "BTCUSD", "AUSDT"])
    assert [problem.partition("does not trade ")[2] for problem in caught.value.problems] == [
        "BTCUSD on futures; closest: BTCUSDT",
        "AUSDT on futures; closest: ADAUSDT, BTCUSDT",
    ]


def test_an_exchange_that_cannot_be_reached_is_a_transport_error() -> None:
    """The error names the address and what to do, and nothing is tried again."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(TransportError, match=rf"http://127\.0\.0\.1:{port} cannot be reached .*check BINANCE_REST_URL"):
        ExchangeClient(Market.FUTURES, f"http://127.0.0.1:{port}").server_time_ns()


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (503, b"<html>busy</html>", "answered HTTP 503"),
        (418, b'{"code":-1003,"msg":"Way too many requests"}', r"answered HTTP 418 \(code -1003\)"),
        (200, b"<html>a proxy</html>", "does not answer as Binance does"),
        (200, b"{}", "no serverTime|exchangeInfo cannot be used"),
        (200, b"[]", "no serverTime|exchangeInfo cannot be used"),
    ],
)
def test_answers_that_are_no_answers_are_transport_errors(status: int, body: bytes, words: str) -> None:
    """HTTP errors, pages of a proxy and other JSON are told apart from rules and time."""
    with answering(status, body) as url:
        exchange = ExchangeClient(Market.FUTURES, url)
        with pytest.raises(TransportError, match=words):
            exchange.server_time_ns()
        with pytest.raises(TransportError, match=words):
            exchange.rules(["BTCUSDT"])


def test_the_clock_offset_is_taken_at_the_midpoint() -> None:
    """Half of the request's time belongs to the way there."""
    readings = iter((1_000_000_000, 1_400_000_000))
    with answering(200, json.dumps({"serverTime": 2_000}).encode()) as url:
        assert ExchangeClient(Market.FUTURES, url).clock_offset_ns(lambda: next(readings)) == 800_000_000


def test_no_other_client_is_redirected(tmp_path: Path) -> None:
    """The addresses are the client's own: python-binance's classes stay as they are."""
    with serve(tick_file(tmp_path, [book(0)])) as (_, port):
        ExchangeClient(Market.FUTURES, f"http://127.0.0.1:{port}").server_time_ns()
    assert Client(ping=False).FUTURES_URL == "https://fapi.binance.com/fapi"
    assert "127.0.0.1" not in BaseClient.API_URL


def test_the_asynchronous_client_starts_against_the_simulator(tmp_path: Path) -> None:
    """AsyncClient.create asks the spot addresses for ping and time, whatever the market."""

    class Addressed(AsyncClient):  # type: ignore[misc]  # python-binance is untyped
        pass

    async def exchange_info(port: int) -> list[str]:
        Addressed.API_URL = f"http://127.0.0.1:{port}/api"
        Addressed.FUTURES_URL = f"http://127.0.0.1:{port}/fapi"
        asking = await Addressed.create()
        try:
            return [entry["symbol"] for entry in (await asking.futures_exchange_info())["symbols"]]
        finally:
            await asking.close_connection()

    with serve(tick_file(tmp_path, [book(0)])) as (_, port):
        assert asyncio.run(exchange_info(port)) == ["BTCUSDT"]
