"""Messages to bytes and back: exact, and with a clear refusal of everything else."""

import contextlib
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import messages as m
from common.codec import MESSAGES_OF_TOPIC, decoder_of, encode
from common.errors import InvalidRecord
from common.topics import ALL_TOPICS, COMMANDS, DEAD_LETTERS, TICKS

DECIMALS = st.decimals(allow_nan=False, allow_infinity=False, places=8, min_value=0, max_value=10**9)
QUOTES = st.builds(m.Quote, bid=DECIMALS, bid_size=DECIMALS, ask=DECIMALS, ask_size=DECIMALS, event_time_ns=st.integers(0, 2**62))
NUMBERS = st.integers(0, 2**62)
TICK_RECORDS = st.builds(
    m.Tick,
    pair=st.text(),
    seq=NUMBERS,
    epoch=NUMBERS,
    session=NUMBERS,
    bar=st.integers(0, 10_000_000_000),
    event_time_ns=NUMBERS,
    y=QUOTES,
    x=QUOTES,
    version=st.integers(1, 9),
)


@given(TICK_RECORDS)
def test_round_trip_is_exact(tick: m.Tick) -> None:
    """What was written is read, to the last digit of a price."""
    again = decoder_of(TICKS).decode(encode(tick))
    assert again == tick
    assert str(again.y.bid) == str(tick.y.bid)


def test_encoding_is_stable() -> None:
    """Equal messages are equal bytes: the tag first, fields in order, decimals as text, payloads in base64."""
    assert encode(m.WriterEpoch(epoch=3)) == b'{"type":"writer-epoch","epoch":3,"version":1}'
    letter = m.DeadLetter(service="s", source="frames", partition=-1, offset=0, reason="r", detail="d", payload=b"\xff", length=1, sha256="00")
    assert b'"payload":"/w=="' in encode(letter)
    assert decoder_of(DEAD_LETTERS).decode(encode(letter)).payload == b"\xff"
    assert b'"bid":"0.10"' in msgspec.json.encode(m.Quote(bid=Decimal("0.10"), bid_size=Decimal(1), ask=Decimal(1), ask_size=Decimal(1), event_time_ns=0))


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"not json",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{}",
        b'{"type":"tick"}',
        b'{"type":"no-such-message","epoch":1}',
        b'{"type":"writer-epoch","epoch":-1}',
        b'{"type":"writer-epoch","epoch":"1"}',
        b'{"type":"writer-epoch","epoch":1.5}',
        b'{"type":"writer-epoch","epoch":1} trailing',
        b'{"type":"risk-heartbeat","sent_at_ns":1}',
        b'{"type":"writer-epoch","epoch":1,"x":' + b"[" * 100_000,
    ],
    ids=lambda value: value[:40].decode("latin-1"),
)
def test_what_is_no_message_is_refused(value: bytes) -> None:
    """Broken JSON, missing or wrong fields and messages of other topics are invalid records with one short reason."""
    with pytest.raises(InvalidRecord) as caught:
        decoder_of(TICKS).decode(value)
    assert caught.value.reason == "undecodable"
    assert caught.value.detail


@given(st.binary(max_size=200))
def test_no_bytes_do_worse_than_being_refused(value: bytes) -> None:
    """Whatever comes, it is a message or an invalid record, never another error."""
    with contextlib.suppress(InvalidRecord):
        assert isinstance(decoder_of(COMMANDS).decode(value), m.Command)


def test_every_topic_has_its_messages() -> None:
    """Each topic says what it may carry."""
    assert set(MESSAGES_OF_TOPIC) == set(ALL_TOPICS)
