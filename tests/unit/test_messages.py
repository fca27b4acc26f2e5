"""Messages: documented to the last field, frozen, and readable across versions."""

import json
import re
from decimal import Decimal
from enum import Enum
from typing import Any, get_type_hints

import msgspec
import pytest

from common import messages as m
from common.codec import decoder_of, encode
from common.market import Leg
from common.message_help import fields_of, messages_of, parts_of, summary_of, tag_of
from common.topics import ALL_TOPICS, Topic

EVERY_MESSAGE = [(topic, message) for topic in ALL_TOPICS for message in messages_of(topic)]
STRUCTS = sorted({message for _, message in EVERY_MESSAGE} | set(parts_of(message for _, message in EVERY_MESSAGE)[0]), key=lambda struct: struct.__name__)
#: A field that ends so must say the unit in its words.
UNITS = {"_ns": "ns", "_usd": "USD", "_bps": "bps", "_bars": "bars", "_variance": "variance", "_seconds": "time"}

#: Each message as its first version wrote it. Never edit an entry: a change that breaks one breaks recorded data.
QUOTE = {"bid": "1.1", "bid_size": "2", "ask": "1.2", "ask_size": "3", "event_time_ns": 5}
TICK = {"type": "tick", "pair": "ETHUSDT-BTCUSDT", "seq": 7, "epoch": 1, "session": 0, "bar": 3, "event_time_ns": 6, "y": QUOTE, "x": QUOTE}
CLOSE = {
    "type": "bar-close",
    "pair": "ETHUSDT-BTCUSDT",
    "seq": 8,
    "epoch": 1,
    "session": 0,
    "bar": 3,
    "end_time_ns": 9,
    "status": "FRESH",
    "feed": "recording",
}
THRESHOLDS = {"type": "thresholds", "pair": "ETHUSDT-BTCUSDT", "seq": 8, "session": 0, "bar": 3, "bar_status": "FRESH", "status": "READY", "feed": "live"}
BOOKED = {"pair": "ETHUSDT-BTCUSDT", "session": 0, "bar": 3, "seq": 7, "event_time_ns": 6}
SIGNAL = {
    "type": "risk-signal",
    "pair": "ETHUSDT-BTCUSDT",
    "session": 0,
    "bar": 3,
    "verdict": "ACTIVE",
    "budget_usd": "1000",
    "orders_allowed": 4,
    "commands_through": 0,
    "reasons": [{"rule": "drawdown", "value": 0.0, "limit": 0.1, "verdict": "ACTIVE"}],
    "thresholds": THRESHOLDS,
    "changepoint": {},
}
ORDER = {
    "type": "order",
    **BOOKED,
    "client_id": "c-1",
    "leg": "y",
    "symbol": "ETHUSDT",
    "side": "BUY",
    "quantity": "1",
    "filled": "0",
    "reduce_only": False,
    "status": "INTENT",
}
FILL = {
    "type": "fill",
    **BOOKED,
    "trade_id": "t-1",
    "client_id": "c-1",
    "leg": "x",
    "symbol": "BTCUSDT",
    "side": "SELL",
    "quantity": "1",
    "price": "2",
    "fee_usd": "-0.1",
    "realised_usd": "0",
}
MARK = {
    "type": "mark",
    **BOOKED,
    "end": False,
    "feed": "recording",
    "state": "IDLE",
    **dict.fromkeys(("y_quantity", "x_quantity", "realised_usd", "fees_usd", "funding_usd", "unrealised_usd", "gross_exposure_usd"), "0"),
    **dict.fromkeys(("starting_usd", "wallet_usd", "equity_usd"), "1000"),
}
TRIP = {
    "type": "round-trip",
    **BOOKED,
    "action": "EXIT",
    "direction": "ENTER_LONG",
    "opened_seq": 2,
    "opened_bar": 1,
    "gross_usd": "3",
    "fees_usd": "-1",
    "funding_usd": "0",
    "net_usd": "2",
}
LETTER = {
    "type": "dead-letter",
    "service": "ingestion-service",
    "source": "frames",
    "partition": -1,
    "offset": 3,
    "reason": "not-json",
    "detail": "x",
    "payload": "AAE=",
    "length": 2,
    "sha256": "00",
}
SNAPSHOT = {"type": "state-snapshot", "pair": "ETHUSDT-BTCUSDT", "model": "kalman", "schema": 1, "offset": 4, "checksum": "00", "state": "{}"}
FIRST_VERSIONS: list[dict[str, Any]] = [
    {"type": "writer-epoch", "epoch": 2},
    TICK,
    CLOSE,
    {"type": "hedge-ratio", "tick": TICK, "status": "WARMING"},
    {"type": "hedge-ratio-close", "close": CLOSE, "status": "READY"},
    THRESHOLDS,
    SIGNAL,
    {"type": "risk-heartbeat", "sent_at_ns": 1},
    {"type": "decision", **BOOKED, "action": "STOP", "reason": "stop", "z": None, "beta": 1.0, "scale": 0.1, "notional_usd": "500"},
    ORDER,
    FILL,
    {"type": "funding", **BOOKED, "leg": "y", "symbol": "ETHUSDT", "amount_usd": "-0.5"},
    TRIP,
    MARK,
    {"type": "hold-expired", **BOOKED, "risk_bar": -1},
    {"type": "command-applied", **BOOKED, "command_id": 1, "kind": "halt"},
    {"type": "exposure-stop", **BOOKED, "stopped": True, "reason": "5 of the last 20 records were set aside"},
    {"type": "progress", "decided": {"ETHUSDT-BTCUSDT": 7}},
    {"type": "command", "id": 1, "target": "portfolio", "kind": "resume", "who": "ann", "why": "checked", "issued_at_ns": 1},
    SNAPSHOT,
    LETTER,
    {"type": "dead-letter-replayed", "source": "hedge-ratios", "partition": 1, "offset": 2, "sha256": "00"},
]


def topics_of(written: dict[str, Any]) -> list[Topic]:
    return [topic for topic, message in EVERY_MESSAGE if tag_of(message) == written["type"]]


def test_every_message_has_a_first_version_here() -> None:
    """A new message is added to the list above, so that it stays readable from then on."""
    assert {written["type"] for written in FIRST_VERSIONS} == {tag_of(message) for _, message in EVERY_MESSAGE}


@pytest.mark.parametrize("written", FIRST_VERSIONS, ids=lambda written: written["type"])
def test_the_first_version_still_reads(written: dict[str, Any]) -> None:
    """A record of the first version reads on its topics, with defaults for what came later, and survives a round trip."""
    for topic in topics_of(written):
        message = decoder_of(topic).decode(json.dumps(written).encode())
        assert tag_of(type(message)) == written["type"]
        assert decoder_of(topic).decode(encode(message)) == message
        assert json.loads(encode(message)).items() >= {name: value for name, value in written.items() if not isinstance(value, dict | list | float)}.items()


@pytest.mark.parametrize("written", FIRST_VERSIONS, ids=lambda written: written["type"])
def test_unknown_fields_are_ignored(written: dict[str, Any]) -> None:
    """A newer writer's fields, at the top or within a part, do not disturb an older reader."""
    newer = _extended(written)
    for topic in topics_of(written):
        decoder = decoder_of(topic)
        assert decoder.decode(json.dumps(newer).encode()) == decoder.decode(json.dumps(written).encode())


def _extended(value: Any) -> Any:
    if isinstance(value, dict) and "ETHUSDT-BTCUSDT" not in value:
        return {**{name: _extended(inner) for name, inner in value.items()}, "added_in_a_later_version": {"anything": [1]}}
    return [_extended(inner) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize("struct", STRUCTS, ids=lambda struct: struct.__name__)
def test_every_field_is_documented(struct: type[msgspec.Struct]) -> None:
    """Each field says what it is, and one whose name carries a unit says the unit; the class says what it means."""
    assert len(summary_of(struct)) > 10
    for field in fields_of(struct):
        assert field.meaning, f"{struct.__name__}.{field.name} has no description"
        for ending, unit in UNITS.items():
            assert not field.name.endswith(ending) or unit in field.meaning, f"{struct.__name__}.{field.name} does not say its unit, {unit}"


@pytest.mark.parametrize("struct", STRUCTS, ids=lambda struct: struct.__name__)
def test_structs_are_frozen_and_typed(struct: type[msgspec.Struct]) -> None:
    """Nothing changes after it was sent; money and quantities are Decimal, times are whole nanoseconds."""
    assert struct.__struct_config__.frozen
    for name, hint in get_type_hints(struct).items():
        if name.endswith("_usd") or re.search(r"(^|_)(price|quantity|size|bid|ask)$", name):
            assert hint is Decimal, name
        if name.endswith("_ns"):
            assert hint is int, name


@pytest.mark.parametrize("struct", STRUCTS, ids=lambda struct: struct.__name__)
def test_whole_numbers_are_bounded(struct: type[msgspec.Struct]) -> None:
    """No whole number reaches a service that SQLite or 64 bits cannot hold."""
    for name, kind in zip(struct.__struct_fields__, msgspec.inspect.type_info(struct).fields, strict=True):  # type: ignore[attr-defined]
        inner = kind.type.value_type if isinstance(kind.type, msgspec.inspect.DictType) else kind.type
        if isinstance(inner, msgspec.inspect.IntType):
            assert inner.le is not None, name
            assert inner.le <= 2**62, name
            assert inner.ge in {-1, 0, 1}, name


def test_tags_are_unique_and_enums_are_text() -> None:
    """No two messages share a tag; enums travel as text and explain themselves."""
    tags = [tag_of(message) for message in {message for _, message in EVERY_MESSAGE}]
    assert len(tags) == len(set(tags))
    _, enums = parts_of(message for _, message in EVERY_MESSAGE)
    assert m.Verdict in enums
    for kind in enums:
        assert issubclass(kind, str)
        assert issubclass(kind, Enum)
        assert summary_of(kind)


def test_verdicts_are_ordered() -> None:
    """A verdict's strictness grows from ACTIVE to FLATTEN."""
    assert sorted(m.Verdict, key=lambda verdict: verdict.strictness) == [m.Verdict.ACTIVE, m.Verdict.REDUCE_ONLY, m.Verdict.HALTED, m.Verdict.FLATTEN]


def test_the_strictest_verdict_allows_least() -> None:
    """Whatever the order of the verdicts; without any nothing is forbidden."""
    assert m.strictest(m.Verdict.HALTED, m.Verdict.FLATTEN, m.Verdict.ACTIVE) is m.Verdict.FLATTEN
    assert m.strictest(m.Verdict.REDUCE_ONLY, m.Verdict.ACTIVE) is m.Verdict.REDUCE_ONLY
    assert m.strictest() is m.Verdict.ACTIVE


def test_age_of_the_older_leg() -> None:
    """A tick's leg age is that of the older of its two books."""
    tick = msgspec.convert({**TICK, "x": {**QUOTE, "event_time_ns": 2}}, m.Tick)
    assert tick.oldest_leg_age_ns() == 4
    assert tick.quote(Leg.X).event_time_ns == 2


def test_fields_as_people_read_them() -> None:
    """Types are told in words, optional ones as alternatives, defaults as JSON."""
    rows = {row.name: row for row in fields_of(m.Mark)}
    assert rows["z"] == ("z", "float or null", "standardised innovation at the bar's last tick", "null")
    assert rows["state"].meaning == "The states of a pair's position."
    assert rows["starting_usd"].default == ""
    assert next(row.kind for row in fields_of(m.Progress) if row.name == "decided") == "map of text to int"
    assert next(row.kind for row in fields_of(m.RiskSignal) if row.name == "reasons") == "list of RuleResult"
