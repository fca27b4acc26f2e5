"""The exchange's public REST answers, read through python-binance; only the base address differs between Binance and the simulator."""

import difflib
from collections.abc import Callable, Sequence
from typing import Any

import requests
from binance.client import Client
from binance.exceptions import BinanceAPIException, BinanceRequestException

from common.errors import ConfigurationError, ExchangeAway, InvalidRecord
from common.processor import WallClock
from common.rules import SymbolRules, parse_exchange_info
from common.settings import Market

_TIMEOUT_S = 10.0


def _client(rest_url: str, timeout_s: float) -> Any:
    """A client whose addresses are its own class attributes, so that no other client in this process changes."""
    addresses = {"API_URL": f"{rest_url}/api", "FUTURES_URL": f"{rest_url}/fapi"}
    return type("AddressedClient", (Client,), addresses)(requests_params={"timeout": timeout_s}, ping=False)


class ExchangeClient:
    """Rules and time of one market; asks once, never tries again by itself."""

    def __init__(self, market: Market, rest_url: str, *, timeout_s: float = _TIMEOUT_S) -> None:
        """`rest_url` is scheme and host, such as `https://fapi.binance.com` or `http://127.0.0.1:8010`."""
        self._market = market
        self._url = rest_url.rstrip("/")
        self._client = _client(self._url, timeout_s)

    def rules(self, symbols: Sequence[str]) -> dict[str, SymbolRules]:
        """The rules of these symbols; raises ConfigurationError for one that the exchange does not have."""
        futures = self._market is Market.FUTURES
        document = self._ask(self._client.futures_exchange_info if futures else self._client.get_exchange_info)
        try:
            found = parse_exchange_info(document, self._market, frozenset(symbols))
        except InvalidRecord as error:
            raise ExchangeAway(f"{self._url}: its exchangeInfo cannot be used ({error.detail}); check BINANCE_REST_URL and BINANCE_MARKET") from error
        known = [str(entry.get("symbol")) for entry in document["symbols"]]
        if problems := [self._unknown(symbol, known) for symbol in symbols if symbol not in found]:
            raise ConfigurationError(problems)
        return found

    def server_time_ns(self) -> int:
        """The exchange's clock."""
        answer = self._ask(self._client.futures_time if self._market is Market.FUTURES else self._client.get_server_time)
        try:
            return int(answer["serverTime"]) * 1_000_000
        except (KeyError, TypeError, ValueError) as error:
            raise ExchangeAway(f"{self._url}: its time answer has no serverTime; check BINANCE_REST_URL and BINANCE_MARKET") from error

    def clock_offset_ns(self, clock: WallClock) -> int:
        """By how much the exchange's clock is ahead of ours, taken at the midpoint of one request."""
        asked_at = clock()
        server_time = self.server_time_ns()
        return server_time - (asked_at + clock()) // 2

    def close(self) -> None:
        """Let go of the connection."""
        self._client.session.close()

    def _ask(self, request: Callable[[], Any]) -> Any:
        try:
            return request()
        except BinanceAPIException as error:
            raise ExchangeAway(f"{self._url} answered HTTP {error.status_code} (code {error.code}); check BINANCE_REST_URL and BINANCE_MARKET") from error
        except BinanceRequestException as error:
            raise ExchangeAway(f"{self._url} does not answer as Binance does; check BINANCE_REST_URL") from error
        except requests.RequestException as error:
            raise ExchangeAway(f"{self._url} cannot be reached ({type(error).__name__}); check BINANCE_REST_URL and the network") from error

    def _unknown(self, symbol: str, known: Sequence[str]) -> str:
        close = difflib.get_close_matches(symbol, known, n=3) or sorted(known)[:3]
        return f"SYMBOLS: {self._url} does not trade {symbol} on {self._market}; closest: {', '.join(close)}"
