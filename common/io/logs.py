"""Structured logs: one JSON object a line on stdout, secrets removed wherever they hide."""

import functools
import logging
import re
import sys
import threading
from collections.abc import Mapping, MutableMapping
from types import TracebackType
from typing import Any, Protocol

import msgspec
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from common.settings import Secret

HIDDEN = "***"

_SECRET_KEYS = ("apikey", "apisecret", "secret", "secretkey", "signature", "token", "authorization", "password", "passphrase", "listenkey")
_SECRET_IN_TEXT = (
    # Up to the last @ before a query: a password may hold signs that its writer forgot to escape.
    (re.compile(r"(\w+://[^\s:/@]*):[^\s?#]+@"), rf"\1:{HIDDEN}@"),
    (re.compile(r"\b((?:api[_-]?key|api[_-]?secret|secret|signature|token|password|listen[_-]?key)=)[^&\s\"']+", re.IGNORECASE), rf"\1{HIDDEN}"),
    (re.compile(r"\b(bearer\s+)[^\s\"']+", re.IGNORECASE), rf"\1{HIDDEN}"),
)
_MAX_DEPTH = 10
_ENVELOPE = frozenset({"ts", "level", "service", "instance", "event"})
#: Libraries whose own INFO and DEBUG lines say nothing that ours do not, or show payloads.
_QUIET = ("uvicorn", "uvicorn.error", "asyncio", "websockets", "httpx", "httpcore", "urllib3", "redis", "arch", "binance")


def redact_text(text: str) -> str:
    """Hide passwords in URLs, signatures and keys in query strings, and bearer tokens."""
    if text.isalnum():
        return text
    for pattern, replacement in _SECRET_IN_TEXT:
        text = pattern.sub(replacement, text)
    return text


def redact(value: Any, depth: int = 0) -> Any:
    """Turn a value into plain data without secrets, at any depth."""
    if depth > _MAX_DEPTH:
        return "..."
    if isinstance(value, Mapping):
        return {str(key): _redact_entry(str(key), entry, depth + 1) for key, entry in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redact(entry, depth + 1) for entry in value]
    if isinstance(value, msgspec.Struct):
        return redact({name: getattr(value, name) for name in value.__struct_fields__}, depth)
    return _redact_scalar(value)


def _redact_scalar(value: Any) -> Any:
    if isinstance(value, Secret):
        return HIDDEN if value else ""
    if value is None or isinstance(value, bool | int | float):
        return value
    return redact_text(value if isinstance(value, str) else _text(value))


def _redact_entry(key: str, value: Any, depth: int) -> Any:
    if value is not None and not isinstance(value, bool) and _names_secret(key):
        return HIDDEN if value else ""
    return redact(value, depth)


@functools.lru_cache(maxsize=1024)
def _names_secret(key: str) -> bool:
    return re.sub(r"[^a-z]", "", key.lower()).endswith(_SECRET_KEYS)


def _text(value: object) -> str:
    if isinstance(value, bytes | bytearray):
        return value.decode("utf-8", "replace")
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001  # a value that cannot be shown must not end the service
        return f"<{type(value).__name__} that cannot be shown: {type(error).__name__}>"


class Stream(Protocol):
    """Where lines are written to."""

    def write(self, text: str, /) -> object:
        """Write a text."""
        ...

    def flush(self) -> None:
        """Pass on what was written."""
        ...


class _Lines:
    """A stream that loses lines rather than ending the service when nobody reads them any more."""

    def __init__(self, stream: Stream | None) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        try:
            (self._stream or sys.stdout).write(text)
        except (OSError, ValueError):
            return

    def flush(self) -> None:
        try:
            (self._stream or sys.stdout).flush()
        except (OSError, ValueError):
            return


class JsonLogger:
    """Writes lines for observers; see `common.processor.Observer.log`."""

    def __init__(self, logger: FilteringBoundLogger) -> None:
        self._logger = logger

    def log(self, level: str, event: str, /, **fields: Any) -> None:
        """Write a line unless the level is filtered out; an unknown level counts as ERROR."""
        if not _ENVELOPE.isdisjoint(fields):
            fields = {f"field_{name}" if name in _ENVELOPE else name: value for name, value in fields.items()}
        self._logger.log(_LEVELS.get(level.upper(), logging.ERROR), event, **fields)


_LEVELS = logging.getLevelNamesMapping()


def configure(service: str, level: str, instance: str = "", stream: Stream | None = None) -> JsonLogger:
    """Send structlog, the standard library, warnings and uncaught exceptions to stdout (or `stream`) as JSON."""
    lines = _Lines(stream)
    envelope = _Envelope(service, instance)
    shared: list[Processor] = [structlog.contextvars.merge_contextvars, structlog.stdlib.add_log_level, structlog.processors.TimeStamper("iso", key="ts")]
    tail: list[Processor] = [structlog.processors.format_exc_info, envelope, _render]
    structlog.configure(
        processors=[*shared, *tail],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(lines),  # type: ignore[arg-type]  # only write and flush are used
        cache_logger_on_first_use=False,
    )
    _route_standard_library(level, lines, shared, tail)
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda arguments: _log_uncaught(arguments.exc_type, arguments.exc_value, arguments.exc_traceback)
    return JsonLogger(structlog.get_logger().bind())


def _route_standard_library(level: str, lines: _Lines, shared: list[Processor], tail: list[Processor]) -> None:
    handler = logging.StreamHandler(lines)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *tail],
        )
    )
    logging.root.handlers[:] = [handler]
    logging.root.setLevel(level)
    logging.captureWarnings(True)
    for name in _QUIET:
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
        library.setLevel(max(_LEVELS[level], logging.WARNING))


def _log_uncaught(kind: type[BaseException], error: BaseException | None, traceback: TracebackType | None) -> None:
    if error is not None and not issubclass(kind, SystemExit | KeyboardInterrupt):
        structlog.get_logger().critical("uncaught exception", exc_info=(kind, error, traceback))


class _Envelope:
    """Puts what every line has first, and hides secrets in the rest."""

    def __init__(self, service: str, instance: str) -> None:
        self._service, self._instance = service, instance

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        fields: MutableMapping[str, Any] = dict(event)
        head = {"ts": fields.pop("ts", ""), "level": str(fields.pop("level", "")).upper(), "service": self._service, "instance": self._instance}
        return {**head, "event": redact_text(str(fields.pop("event", ""))), **redact(fields)}


def _render(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    try:
        return msgspec.json.encode(event).decode()
    except (UnicodeEncodeError, TypeError, ValueError):  # Lone surrogates and the like.
        return msgspec.json.encode({key: _text(value).encode("ascii", "backslashreplace").decode() for key, value in event.items()}).decode()


__all__ = ["HIDDEN", "JsonLogger", "Stream", "configure", "redact", "redact_text"]
