"""What a connection is subscribed to, and the control messages that change it."""

import enum
from typing import Any, Final

import msgspec

from common.settings import Market

MAX_STREAMS: Final = 1024
_UNKNOWN_PROPERTY, _NO_BOOLEAN, _INVALID_REQUEST, _INVALID_JSON = range(4)
_METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")


class Root(enum.StrEnum):
    """Where a connection came in; spot knows only the unrouted form."""

    UNROUTED = ""
    PUBLIC = "public"
    MARKET = "market"
    PRIVATE = "private"


def root_of(stream: str, market: Market) -> Root:
    """The root that serves a stream."""
    if market is Market.SPOT:
        return Root.UNROUTED
    kind = stream.partition("@")[2] or stream
    return Root.PUBLIC if kind.startswith(("bookTicker", "!bookTicker", "depth", "rpiDepth")) else Root.MARKET


class _RequestError(Exception):
    def __init__(self, code: int, message: str) -> None:
        self.answer = {"code": code, "msg": message}
        super().__init__(message)


class Subscriptions:
    """The streams of one connection. Names that do not exist or belong to another root are accepted and stay silent, as on the exchange."""

    def __init__(self, market: Market, root: Root, *, combined: bool) -> None:
        self.combined = combined
        self._market = market
        #: Unrouted futures addresses deliver only what /public does.
        self.root = Root.PUBLIC if root is Root.UNROUTED and market is Market.FUTURES else root
        self._names: dict[str, None] = {}

    def add(self, names: list[str]) -> None:
        """Subscribe."""
        self._names |= dict.fromkeys(names)

    @property
    def heard(self) -> frozenset[str]:
        """The subscribed streams that this connection's root serves."""
        return frozenset(name for name in self._names if root_of(name, self._market) is self.root)

    def control(self, text: str | bytes) -> dict[str, Any]:
        """Apply a control message; returns the reply."""
        number: Any = None
        try:
            request = _request(text)
            number = self._id(request)
            return {"result": self._apply(request), "id": number}
        except (msgspec.DecodeError, ValueError, RecursionError):
            return {"code": _INVALID_JSON, "msg": "Invalid JSON: the message cannot be parsed", "id": None}
        except _RequestError as error:
            return error.answer | {"id": number}

    def _id(self, request: dict[str, Any]) -> Any:
        number = request.get("id")
        whole = isinstance(number, int) and not isinstance(number, bool) and (number >= 0 or self._market is Market.SPOT)
        if not (whole or (self._market is Market.SPOT and (number is None or _is_short_name(number)))):
            kind = "an unsigned integer" if self._market is Market.FUTURES else "an integer, null or an alphanumeric string of at most 36 characters"
            raise _RequestError(_INVALID_REQUEST, f"Invalid request: request ID must be {kind}")
        return number

    def _apply(self, request: dict[str, Any]) -> Any:
        match request.get("method"):
            case "SUBSCRIBE":
                names = self._params(request)
                if len(self._names.keys() | set(names)) > MAX_STREAMS:
                    raise _RequestError(_INVALID_REQUEST, f"Invalid request: too many parameters, a connection takes {MAX_STREAMS} streams")
                return self.add(names)
            case "UNSUBSCRIBE":
                for name in self._params(request):
                    self._names.pop(name, None)
                return None
            case "LIST_SUBSCRIPTIONS":
                return list(self._names)
            case "SET_PROPERTY" | "GET_PROPERTY" as method:
                return self._property(method, request.get("params"))
            case None:
                raise _RequestError(_INVALID_REQUEST, "Invalid request: missing field `method`")
            case other:
                raise _RequestError(_INVALID_REQUEST, f"Invalid request: unknown variant `{other}`, expected one of {', '.join(_METHODS)}")

    @staticmethod
    def _params(request: dict[str, Any]) -> list[str]:
        params = request.get("params")
        if not isinstance(params, list) or not params or not all(isinstance(name, str) for name in params):
            raise _RequestError(_INVALID_REQUEST, "Invalid request: params must be a list of stream names")
        return params

    def _property(self, method: str, params: Any) -> Any:
        if not isinstance(params, list) or not params or params[0] != "combined":
            raise _RequestError(_UNKNOWN_PROPERTY, "Unknown property")
        if method == "GET_PROPERTY":
            return self.combined
        if len(params) != 2 or not isinstance(params[1], bool):
            raise _RequestError(_NO_BOOLEAN, "Invalid value type: expected Boolean")
        self.combined = params[1]
        return None


def _request(text: str | bytes) -> dict[str, Any]:
    request = msgspec.json.decode(text)
    if not isinstance(request, dict):
        raise _RequestError(_INVALID_REQUEST, "Invalid request: an object is expected")
    return request


def _is_short_name(number: Any) -> bool:
    return isinstance(number, str) and number.isalnum() and len(number) <= 36
