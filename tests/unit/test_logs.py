"""Logs: one JSON object a line, whoever wrote it, and no secret in any."""

import io
import json
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from common.io.logs import JsonLogger, configure, redact, redact_text
from common.messages import Gate
from common.settings import Secret

SECRET = "hunter2verysecret"


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Undo what `configure` sets up for the whole process."""
    handlers, level, hooks = logging.root.handlers[:], logging.root.level, (sys.excepthook, threading.excepthook)
    yield
    logging.captureWarnings(False)
    logging.root.handlers[:], logging.root.level = handlers, level
    sys.excepthook, threading.excepthook = hooks
    structlog.reset_defaults()


class Output:
    """A stream and what was written to it."""

    def __init__(self, level: str = "INFO") -> None:
        self.stream = io.StringIO()
        self.logger: JsonLogger = configure("execution-service", level, "host-1", self.stream)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]


def test_shape_of_a_line() -> None:
    """Time, level, service, instance and event come first, then the fields."""
    output = Output()
    output.logger.log("warning", "SLOW", duration_ms=12.5, records=3)
    (line,) = output.lines()
    assert list(line) == ["ts", "level", "service", "instance", "event", "duration_ms", "records"]
    assert (line["level"], line["service"], line["instance"], line["event"]) == ("WARNING", "execution-service", "host-1", "SLOW")
    assert line["ts"].endswith("Z")


def test_level_is_honoured() -> None:
    """What is below the level is not written, by our logger and by the standard library's."""
    output = Output("WARNING")
    output.logger.log("INFO", "quiet")
    logging.getLogger("library").info("quiet")
    output.logger.log("ERROR", "loud")
    logging.getLogger("library").error("loud")
    assert [line["level"] for line in output.lines()] == ["ERROR", "ERROR"]


def test_unknown_level_is_not_lost() -> None:
    """An unknown level is written as an error rather than not at all."""
    output = Output()
    output.logger.log("LOUD", "odd")
    assert [line["level"] for line in output.lines()] == ["ERROR"]


def test_exception_is_text_in_its_field() -> None:
    """A traceback stays within its line."""
    output = Output()
    try:
        int(f"signature={SECRET}")
    except ValueError:
        output.logger.log("ERROR", "failed", exc_info=True)
    (line,) = output.lines()
    assert "ValueError" in line["exception"]
    assert "test_exception_is_text_in_its_field" in line["exception"]
    assert SECRET not in output.stream.getvalue()


def test_others_are_routed_through() -> None:
    """The standard library, uvicorn, warnings and uncaught exceptions of any thread write the same JSON."""
    output = Output()
    logging.getLogger("uvicorn.error").warning("bind failed for %s", "token=" + SECRET)
    warnings.warn("old call", stacklevel=1)
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()
    sys.excepthook(KeyError, KeyError("x"), None)
    lines = output.lines()
    assert [line["level"] for line in lines] == ["WARNING", "WARNING", "CRITICAL", "CRITICAL"]
    assert lines[0]["event"] == "bind failed for token=***"
    assert "ZeroDivisionError" in lines[2]["exception"]
    assert all(line["service"] == "execution-service" for line in lines)


def test_chatter_of_libraries_is_left_out() -> None:
    """Libraries whose debug lines show payloads stay quiet even at DEBUG."""
    output = Output("DEBUG")
    logging.getLogger("websockets.client").debug("< TEXT '%s'", SECRET)
    logging.getLogger("uvicorn.error").info("Started server process")
    assert output.lines() == []


def test_fields_cannot_displace_the_envelope() -> None:
    """A field named like a part of the envelope is kept under another name."""
    output = Output()
    output.logger.log("INFO", "moved", ts=1, service="other", instance="x")
    (line,) = output.lines()
    assert line["service"] == "execution-service"
    assert (line["field_service"], line["field_ts"], line["field_instance"]) == ("other", 1, "x")


def test_what_cannot_be_encoded_is_shown_somehow() -> None:
    """Lone surrogates, bytes, objects and values that cannot even be shown do not lose the line."""

    class Unshowable:
        def __str__(self) -> str:
            raise RuntimeError

    output = Output()
    output.logger.log("INFO", "odd", text="\ud800", payload=b"\xff", thing=Unshowable(), number=float("nan"), huge=2**80)
    (line,) = output.lines()
    assert line["event"] == "odd"
    assert "\\ud800" in line["text"]


def test_a_reader_that_went_away_stops_nothing() -> None:
    """A closed stream loses lines, it does not raise."""
    output = Output()
    output.stream.close()
    output.logger.log("INFO", "nobody reads this")


@pytest.mark.parametrize(
    "key", ["api_key", "API_KEY", "apiKey", "X-MBX-APIKEY", "api_secret", "binance_api_secret", "secret", "signature", "control_token", "password", "listenKey"]
)
def test_secret_keys_are_hidden_at_any_depth(key: str) -> None:
    """Whatever spelling and depth, the value does not show; whether there is one does."""
    output = Output()
    output.logger.log("INFO", "call", request={"headers": [{key: SECRET}], "empty": {key: ""}}, **{key: SECRET})
    assert SECRET not in output.stream.getvalue()
    (line,) = output.lines()
    assert line["request"] == {"headers": [{key: "***"}], "empty": {key: ""}}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"redis://user:{SECRET}@redis:6379/0", "redis://user:***@redis:6379/0"),
        (f"redis://:{SECRET}@redis:6379/0", "redis://:***@redis:6379/0"),
        (f"redis://user:{SECRET}/x@y@redis:6379/0", "redis://user:***@redis:6379/0"),
        ("ws://127.0.0.1:8010/stream?streams=btcusdt@bookTicker", "ws://127.0.0.1:8010/stream?streams=btcusdt@bookTicker"),
        (f"GET /order?symbol=X&signature={SECRET}&timestamp=1", "GET /order?symbol=X&signature=***&timestamp=1"),
        (f"wss://host/ws?listenKey={SECRET}", "wss://host/ws?listenKey=***"),
        (f"Authorization: Bearer {SECRET}", "Authorization: Bearer ***"),
        ("http://localhost:8000/health", "http://localhost:8000/health"),
        ("tokens are 5, keys=3", "tokens are 5, keys=3"),
    ],
)
def test_secrets_in_text_are_hidden(text: str, shown: str) -> None:
    """Passwords in URLs, signatures in queries and bearer tokens are cut out, the rest stays readable."""
    assert redact_text(text) == shown


def test_settings_and_structs_are_shown_without_secrets() -> None:
    """Secret values hide themselves, structs are shown field by field."""
    assert redact({"key": Secret(SECRET), "none": Secret("")}) == {"key": "***", "none": ""}
    assert redact(Gate(name="cost", value="1", limit="2", passed=True))["passed"] is True


@given(st.recursive(st.text() | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10))
def test_anything_can_be_redacted(value: Any) -> None:
    """Redaction never raises and never lets a secret through, wherever it sits."""
    assert SECRET not in json.dumps(redact({"outer": value, "deep": {"password": {"x": SECRET}}}))


def test_endless_depth_ends() -> None:
    """A structure that contains itself is cut off."""
    endless: dict[str, Any] = {}
    endless["again"] = endless
    assert "..." in json.dumps(redact(endless))
