"""With the values of both example files every pair can be entered and hedged, whatever a bitcoin costs."""

import dataclasses
from decimal import Decimal

import msgspec
import pytest

from common.rules import SymbolRules, parse_exchange_info, refusal
from common.settings import Market, load
from scripts.env_examples import defaults_of
from services.exchange_simulator.exchange_info import RulesFile, exchange_info
from services.execution import strategy
from services.execution.params import params_of
from services.execution.settings import ExecutionSettings
from services.execution.state import Params, initial_state, risk_of
from tests.repo.tree import ROOT
from tests.unit.execution.builders import FIRST_BAR, hedge, quote, signal

BAR = FIRST_BAR + 1
#: Prices to size at, USD; those of the other coins only have to be of the right order.
PRICES = {
    30_000: {"ETHUSDT": 1900.0, "ADAUSDT": 0.30, "BNBUSDT": 240.0, "SOLUSDT": 24.0},
    60_000: {"ETHUSDT": 3000.0, "ADAUSDT": 0.40, "BNBUSDT": 570.0, "SOLUSDT": 145.0},
    120_000: {"ETHUSDT": 4300.0, "ADAUSDT": 0.85, "BNBUSDT": 1200.0, "SOLUSDT": 200.0},
}
#: Among them one with which a whole number of steps of 0.001 BTC at 120,000 USD is just affordable.
BETAS = [0.3, 0.5, 0.8, 0.924, 1.0, 1.3, 2.0]
#: Half a basis point: a perpetual's spread is a tick or two.
HALF_SPREAD = 0.00005


def shipped_rules() -> dict[str, SymbolRules]:
    """The rules of the recording that ships, as execution reads them from the exchange."""
    text = (ROOT / "data" / "klines" / "usdm-20250510" / "rules.json").read_bytes()
    return parse_exchange_info(exchange_info(Market.FUTURES, msgspec.json.decode(text, type=RulesFile).symbols, 0), Market.FUTURES)


def params_of_example(example: str) -> list[Params]:
    """What each pair of an example runs with; on paper, as orders to a venue are not there yet."""
    settings = load(ExecutionSettings, {**defaults_of(example), "ENABLE_PAPER_TRADING": "true"})
    return list(params_of(settings, shipped_rules()).values())


def look_at(params: Params, beta: float, btc_usd: int) -> strategy.Look:
    """A tick at which everything but the sizes allows an entry."""
    message = hedge(5, BAR, 1, z=3, beta=beta)
    books = {leg: quote(price, message.tick.event_time_ns, half_spread=price * HALF_SPREAD) for leg, price in prices(params, btc_usd).items()}
    message = msgspec.structs.replace(message, tick=msgspec.structs.replace(message.tick, **books))
    risk = risk_of(signal(BAR - 1, budget_usd=params.max_position_usd))
    state = msgspec.structs.replace(initial_state(params), session=1, bar=BAR, risk=risk)
    return strategy.look(params, state, message, strategy.standardise(message, risk))


def prices(params: Params, btc_usd: int) -> dict[str, float]:
    """Mid prices of both legs."""
    known = {"BTCUSDT": float(btc_usd), **PRICES[btc_usd]}
    return {"y": known[params.pair.y], "x": known[params.pair.x]}


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("btc_usd", PRICES)
@pytest.mark.parametrize("example", ["env.dev.example", "env.prod.example"])
def test_both_examples_can_trade(example: str, btc_usd: int, beta: float) -> None:
    """Every gate of an entry opens; the hedge stays within its limit, and both legs together within MAX_POSITION_SIZE."""
    for params in params_of_example(example):
        at = look_at(params, beta, btc_usd)
        assert strategy.first_block(at) == "", params.pair
        found = strategy.size(at)
        assert strategy.hedge_error(found, beta, at.tick) <= params.max_hedge_error
        assert found.y * at.tick.y.ask + found.x * at.tick.x.ask <= params.max_position_usd


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("btc_usd", PRICES)
@pytest.mark.parametrize("move", [-0.002, 0.002])
def test_the_hedge_is_as_good_when_prices_move_before_it(btc_usd: int, beta: float, move: float) -> None:
    """The second leg is sized when the first is filled: a move meanwhile adds itself to the error, and never a whole step."""
    (params,) = params_of_example("env.dev.example")
    at = look_at(params, beta, btc_usd)
    assert at.signal is not None
    assert at.risk is not None
    y = strategy.size(at).y
    moved = quote(btc_usd * (1 + move), at.tick.event_time_ns, half_spread=btc_usd * HALF_SPREAD)
    x = strategy.hedge_quantity(params, strategy.terms(at, at.signal, at.risk), y * at.tick.y.ask, moved)
    assert refusal(x, moved.bid, params.x_rules) is None
    tick = msgspec.structs.replace(at.tick, x=moved)
    assert strategy.hedge_error(strategy.Size(y, x), beta, tick) <= params.max_hedge_error + abs(move)
    assert y * at.tick.y.ask + x * moved.ask <= params.max_position_usd


def test_steps_that_cannot_be_hedged_are_refused_before_the_first_order() -> None:
    """Where a step of x is more than its share of the gross, the pair is not entered at all."""
    (params,) = params_of_example("env.dev.example")
    at = look_at(dataclasses.replace(params, max_position_usd=Decimal(200)), 1.0, 120_000)
    assert strategy.first_block(at) == "minimums"
