"""Control messages, as the exchange answers them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.settings import Market
from services.exchange_simulator.subscriptions import MAX_STREAMS, Root, Subscriptions, root_of


def futures(root: Root = Root.PUBLIC) -> Subscriptions:
    return Subscriptions(Market.FUTURES, root, combined=True)


def ask(subscriptions: Subscriptions, method: str, params: Any = None, number: Any = 1) -> dict[str, Any]:
    return subscriptions.control(json.dumps({"method": method, "id": number} | ({} if params is None else {"params": params})))


def test_subscriptions_are_acknowledged_listed_and_taken_back() -> None:
    """SUBSCRIBE and UNSUBSCRIBE answer null, LIST_SUBSCRIPTIONS the names, in order."""
    one = futures()
    assert ask(one, "SUBSCRIBE", ["btcusdt@bookTicker", "ethusdt@bookTicker"]) == {"result": None, "id": 1}
    assert ask(one, "LIST_SUBSCRIPTIONS", number=3) == {"result": ["btcusdt@bookTicker", "ethusdt@bookTicker"], "id": 3}
    assert ask(one, "UNSUBSCRIBE", ["btcusdt@bookTicker", "never@there"]) == {"result": None, "id": 1}
    assert one.heard == {"ethusdt@bookTicker"}


@pytest.mark.parametrize(
    ("market", "root", "heard"),
    [
        (Market.FUTURES, Root.PUBLIC, {"a@bookTicker", "a@depth@0ms"}),
        (Market.FUTURES, Root.UNROUTED, {"a@bookTicker", "a@depth@0ms"}),
        (Market.FUTURES, Root.MARKET, {"a@aggTrade", "a@trade", "a@markPrice@1s"}),
        (Market.FUTURES, Root.PRIVATE, set()),
        (Market.SPOT, Root.UNROUTED, {"a@bookTicker", "a@depth@0ms", "a@aggTrade", "a@trade", "a@markPrice@1s"}),
    ],
)
def test_a_wrong_root_is_acknowledged_and_silent(market: Market, root: Root, heard: set[str]) -> None:
    """Every name is accepted everywhere, but futures deliver a stream only on its own root."""
    one = Subscriptions(market, root, combined=False)
    names = ["a@bookTicker", "a@depth@0ms", "a@aggTrade", "a@trade", "a@markPrice@1s"]
    assert ask(one, "SUBSCRIBE", names)["result"] is None
    assert ask(one, "LIST_SUBSCRIPTIONS")["result"] == names
    assert one.heard == heard


def test_the_form_of_frames_can_be_set() -> None:
    """SET_PROPERTY switches between combined and raw frames."""
    one = futures()
    assert ask(one, "GET_PROPERTY", ["combined"])["result"] is True
    assert ask(one, "SET_PROPERTY", ["combined", False]) == {"result": None, "id": 1}
    assert ask(one, "GET_PROPERTY", ["combined"])["result"] is False


@pytest.mark.parametrize(
    ("text", "code", "number"),
    [
        ("{", 3, None),
        ("[" * 5000, 3, None),
        ("[]", 2, None),
        ('{"id":1}', 2, 1),
        ('{"method":"SING","id":1}', 2, 1),
        ('{"method":"SUBSCRIBE","id":1}', 2, 1),
        ('{"method":"SUBSCRIBE","params":[],"id":1}', 2, 1),
        ('{"method":"SUBSCRIBE","params":[7],"id":1}', 2, 1),
        ('{"method":"SUBSCRIBE","params":["a@trade"]}', 2, None),
        ('{"method":"SUBSCRIBE","params":["a@trade"],"id":-1}', 2, None),
        ('{"method":"SUBSCRIBE","params":["a@trade"],"id":"x"}', 2, None),
        ('{"method":"SUBSCRIBE","params":["a@trade"],"id":true}', 2, None),
        ('{"method":"GET_PROPERTY","params":["colour"],"id":1}', 0, 1),
        ('{"method":"SET_PROPERTY","params":["combined","yes"],"id":1}', 1, 1),
        (json.dumps({"method": "SUBSCRIBE", "params": [f"a{n}@trade" for n in range(MAX_STREAMS + 1)], "id": 1}), 2, 1),
    ],
)
def test_refused_messages_carry_the_documented_codes(text: str, code: int, number: int | None) -> None:
    """0 unknown property, 1 not a Boolean, 2 invalid request, 3 invalid JSON; nothing is subscribed."""
    one = futures()
    reply = one.control(text)
    assert (reply["code"], reply["id"], bool(reply["msg"])) == (code, number, True)
    assert not one.heard
    assert ask(one, "LIST_SUBSCRIPTIONS")["result"] == []


@pytest.mark.parametrize("number", [None, "abc1", -5, 7])
def test_spot_takes_more_kinds_of_ids(number: Any) -> None:
    """Spot ids may be null, negative or short alphanumeric strings; futures want unsigned integers."""
    spot = Subscriptions(Market.SPOT, Root.UNROUTED, combined=True)
    assert ask(spot, "SUBSCRIBE", ["a@trade"], number) == {"result": None, "id": number}


VALUES = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3), max_leaves=4)
REQUESTS = st.dictionaries(st.sampled_from(["method", "params", "id", "x"]), VALUES | st.sampled_from(["SUBSCRIBE", "SET_PROPERTY", ["combined", 1]]))


@given(st.binary(max_size=50) | (VALUES | REQUESTS).map(json.dumps))
def test_no_message_breaks_a_connection(message: bytes | str) -> None:
    """Whatever a client sends is answered."""
    assert futures().control(message).keys() >= {"id"}


def test_all_book_streams_are_public() -> None:
    """The routing table of the futures exchange."""
    public = ["a@bookTicker", "!bookTicker", "a@depth", "a@depth5@100ms", "a@rpiDepth@500ms"]
    market = ["a@aggTrade", "a@markPrice", "!markPrice@arr@1s", "a@kline_1m", "a@forceOrder", "!contractInfo"]
    assert {root_of(stream, Market.FUTURES) for stream in public} == {Root.PUBLIC}
    assert {root_of(stream, Market.FUTURES) for stream in market} == {Root.MARKET}
