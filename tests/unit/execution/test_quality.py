"""Slippage and the age of what was decided on."""

import pytest
from msgspec.structs import replace

from common.io.metrics import RecordingObserver
from common.market import Side
from services.execution.account import ZERO
from services.execution.metrics import METRICS
from services.execution.quality import measure, slippage_bps
from tests.unit.execution.builders import FIRST_BAR, PAIR, Desk, signal, tick

BAR = FIRST_BAR + 1
LABELS = (("pair", PAIR),)


@pytest.mark.parametrize(("side", "price", "lost_bps"), [(Side.BUY, 100.1, 10), (Side.BUY, 99.9, -10), (Side.SELL, 99.9, 10), (Side.SELL, 100.1, -10)])
def test_to_pay_more_and_to_get_less_are_losses(side: Side, price: float, lost_bps: float) -> None:
    """Ten basis points against a decision at 100 are positive whichever side they are on."""
    assert slippage_bps(side, 100, price) == pytest.approx(lost_bps)


def test_a_fill_is_measured_against_the_book_at_its_order() -> None:
    """y is sold 1 USD below the middle that decided, so 5 bps are lost; the decision's older leg was 0.3 s old."""
    observer, desk = RecordingObserver(METRICS), Desk()
    desk.warm()
    measure(observer, desk.tick(BAR, 1, z=3, risk=signal(FIRST_BAR), y=2000, x_age_s=0.3), tick(0, BAR, 1, y=2000, x_age_s=0.3))
    assert observer.observations["crypto_bot_decision_data_age_seconds", LABELS] == [pytest.approx(0.3)]
    measure(observer, desk.tick(BAR, 2, z=3, y=1999.1), tick(0, BAR, 2, y=1999.1))
    assert observer.observations["crypto_bot_slippage_bps", LABELS] == [pytest.approx(5.0)]


def test_a_fill_of_an_order_without_a_price_is_left_out() -> None:
    """An order that a program sent which noted none says nothing."""
    observer, desk = RecordingObserver(METRICS), Desk()
    desk.warm()
    desk.tick(BAR, 1, z=3, risk=signal(FIRST_BAR))
    (order,) = desk.state.position.orders
    desk.state = replace(desk.state, position=replace(desk.state.position, orders=(replace(order, decided_price=ZERO),)))
    measure(observer, desk.tick(BAR, 2, z=3), tick(0, BAR, 2))
    assert not observer.observations
