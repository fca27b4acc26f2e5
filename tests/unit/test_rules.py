"""Rounding, refusals and the reading of exchangeInfo."""

import copy
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InvalidRecord
from common.rules import SymbolRules, parse_exchange_info, refusal, round_quantity, towards_zero
from common.settings import Market

RULES = SymbolRules("BTCUSDT", Decimal("0.10"), Decimal("0.001"), Decimal("0.001"), Decimal(120), Decimal(50))
STEPS = st.sampled_from([Decimal(text) for text in ("1", "0.1", "0.01", "0.001", "0.00000100", "5", "0.025")])


@given(st.floats(-1e9, 1e9), STEPS)
def test_rounding_never_enlarges(value: float, step: Decimal) -> None:
    """A rounded value is a multiple of the step, on the same side of zero, not larger, and less than a step smaller."""
    rounded = towards_zero(value, step)
    assert rounded % step == 0
    assert abs(float(rounded)) <= abs(value)
    assert abs(Decimal(repr(value))) - abs(rounded) < step
    assert rounded == 0 or (rounded > 0) == (value > 0)


@pytest.mark.parametrize(
    ("value", "expected"), [(0.3, "0.300"), (0.2999, "0.299"), (-0.2999, "-0.299"), (Decimal("1.0005"), "1.000"), (1e-9, "0"), (-1e-9, "0")]
)
def test_quantity_rounds_towards_less_exposure(value: float | Decimal, expected: str) -> None:
    """A float that is written as a multiple of the step stays; everything else loses size, and zero has no sign."""
    rounded = round_quantity(value, RULES)
    assert rounded == Decimal(expected)
    assert not (rounded == 0 and rounded.is_signed())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), Decimal("NaN")])
def test_what_is_no_number_is_not_rounded(value: float | Decimal) -> None:
    """NaN and infinity never become a quantity."""
    with pytest.raises(InvalidRecord, match="not-finite"):
        round_quantity(value, RULES)


@pytest.mark.parametrize(
    ("quantity", "price", "reduce_only", "words"),
    [
        ("0.001", "50000", False, None),
        ("-0.001", "50000", False, None),
        ("0.001", "49999", False, "below the minimum of 50"),
        ("0.001", "49999", True, None),
        ("0", "49999", True, "below the minimum"),
        ("0.0005", "500000", True, "below the minimum of 0.001"),
        ("0.0015", "50000", False, "no multiple of 0.001"),
        ("120", "50000", False, None),
        ("-120.001", "50000", True, "above the maximum of 120"),
    ],
)
def test_refusal_names_the_rule(quantity: str, price: str, reduce_only: bool, words: str | None) -> None:
    """What the exchange would refuse is refused with the rule; a reduction is exempt from the smallest notional only."""
    reason = refusal(Decimal(quantity), Decimal(price), RULES, reduce_only=reduce_only)
    assert reason is None if words is None else reason is not None and words in reason


def test_a_symbol_that_does_not_trade_is_refused() -> None:
    """A halted symbol takes no order, whatever its size."""
    halted = SymbolRules("BTCUSDT", Decimal("0.10"), Decimal("0.001"), Decimal("0.001"), Decimal(120), Decimal(50), status="SETTLING")
    assert refusal(Decimal(1), Decimal(50000), halted, reduce_only=True) == "BTCUSDT is SETTLING, not TRADING"


FUTURES: dict[str, Any] = {
    "symbols": [
        {
            "symbol": "BTCUSDT",
            "contractType": "PERPETUAL",
            "status": "TRADING",
            "new key": 1,
            "filters": [
                {"filterType": "PRICE_FILTER", "tickSize": "0.10"},
                {"filterType": "LOT_SIZE", "minQty": "0.001", "maxQty": "1000", "stepSize": "0.001"},
                {"filterType": "MARKET_LOT_SIZE", "minQty": "0.002", "maxQty": "120", "stepSize": "0.001"},
                {"filterType": "MIN_NOTIONAL", "notional": "50"},
                {"filterType": "A_NEW_FILTER", "limit": 7},
            ],
        },
        {"symbol": "BTCUSDT_260925", "contractType": "CURRENT_QUARTER", "status": "TRADING", "filters": []},
    ]
}
SPOT: dict[str, Any] = {
    "symbols": [
        {
            "symbol": "ETHUSDT",
            "status": "BREAK",
            "filters": [
                {"filterType": "PRICE_FILTER", "tickSize": "0.01000000"},
                {"filterType": "LOT_SIZE", "minQty": "0.00010000", "maxQty": "9000.00000000", "stepSize": "0.00010000"},
                {"filterType": "MARKET_LOT_SIZE", "minQty": "0.00000000", "maxQty": "1600.5", "stepSize": "0.00000000"},
                {"filterType": "NOTIONAL", "minNotional": "5.00000000"},
            ],
        }
    ]
}


def test_market_orders_obey_the_stricter_lot_size() -> None:
    """Both lot filters hold for a market order, and contracts that expire are none of ours."""
    rules = parse_exchange_info(FUTURES, Market.FUTURES)
    assert rules == {"BTCUSDT": SymbolRules("BTCUSDT", Decimal("0.10"), Decimal("0.001"), Decimal("0.002"), Decimal(120), Decimal(50))}


def test_a_step_of_zero_leaves_the_lot_size_in_force() -> None:
    """Spot's MARKET_LOT_SIZE with step zero switches itself off, not the step."""
    rules = parse_exchange_info(SPOT, Market.SPOT)["ETHUSDT"]
    assert (rules.quantity_step, rules.maximum_quantity, rules.minimum_notional, rules.status) == (Decimal("0.0001"), Decimal("1600.5"), Decimal(5), "BREAK")


def test_older_spot_symbols_spell_the_notional_otherwise() -> None:
    """MIN_NOTIONAL.minNotional is read where NOTIONAL is missing."""
    document = copy.deepcopy(SPOT)
    document["symbols"][0]["filters"][3] = {"filterType": "MIN_NOTIONAL", "minNotional": "10"}
    assert parse_exchange_info(document, Market.SPOT)["ETHUSDT"].minimum_notional == Decimal(10)


@pytest.mark.parametrize("missing", [0, 1, 3])
def test_a_needed_filter_that_is_missing_is_an_error(missing: int) -> None:
    """Without price, lot or notional filter a symbol cannot be traded, and the error names symbol and filter."""
    document = copy.deepcopy(FUTURES)
    name = document["symbols"][0]["filters"].pop(missing)["filterType"]
    with pytest.raises(InvalidRecord, match=f"BTCUSDT has no filter {name}"):
        parse_exchange_info(document, Market.FUTURES)
    assert parse_exchange_info(document, Market.FUTURES, {"ETHUSDT"}) == {}


@pytest.mark.parametrize("value", ["x", "", "NaN", "-1", None, "0"])
def test_nonsense_in_a_filter_is_an_error(value: str | None) -> None:
    """A step that is no positive number is refused."""
    document = copy.deepcopy(FUTURES)
    document["symbols"][0]["filters"][0]["tickSize"] = value
    with pytest.raises(InvalidRecord, match="tickSize"):
        parse_exchange_info(document, Market.FUTURES)


@pytest.mark.parametrize("document", [{}, {"symbols": 1}, [], {"code": -1121, "msg": "Invalid symbol."}])
def test_an_answer_without_symbols_is_an_error(document: Any) -> None:
    """Something else than exchangeInfo is told apart from an exchange without symbols."""
    with pytest.raises(InvalidRecord, match="list of symbols"):
        parse_exchange_info(document, Market.FUTURES)
