"""What a pair's state shows to those who watch."""

import math

import pytest

from common.io.metrics import RecordingObserver
from services.execution.gauges import measure
from services.execution.metrics import METRICS, PROFIT_PARTS
from tests.unit.execution.builders import FIRST_BAR, PAIR, Desk, signal

BAR = FIRST_BAR + 1


def measured(desk: Desk) -> dict[tuple[str, ...], float]:
    """Every gauge of the pair, by name and the value of its other label."""
    observer = RecordingObserver(METRICS)
    measure(observer, {PAIR: desk.params}, {PAIR: desk.state})
    return {(name, *(value for label, value in labels if label != "pair")): value for (name, labels), value in observer.gauges.items()}


def test_the_parts_of_the_profit_add_up_to_what_the_equity_has_gained() -> None:
    """Realised, unrealised, fees and funding of an open position are its equity less what it began with, and net leaves the unrealised out."""
    desk = Desk()
    desk.warm()
    desk.tick(BAR, 1, z=3, risk=signal(FIRST_BAR))
    desk.tick(BAR, 2, z=3)
    desk.tick(BAR, 3, z=3, y=1990)
    found = measured(desk)
    parts = {part: found["crypto_bot_pnl_usd", part] for part in PROFIT_PARTS}
    assert parts["fees"] < 0 < parts["unrealised"]
    held = {leg: found["crypto_bot_position_usd", leg] for leg in ("y", "x")}
    assert held["y"] == pytest.approx(-4975, abs=5)
    assert held["x"] == pytest.approx(4950, abs=5)
    assert found["crypto_bot_position_state",] == 3
    assert found["crypto_bot_pnl_net_usd",] == pytest.approx(parts["fees"])
    (marks, *_) = desk.close(BAR)
    assert sum(parts.values()) == pytest.approx(float(marks.equity_usd) - found["crypto_bot_starting_equity_usd",])  # type: ignore[attr-defined]  # a Mark


def test_z_stands_beside_its_thresholds_and_every_gate() -> None:
    """At z = 1.5 under a threshold of 2 half a unit is missing, and the entry's gate alone is shut."""
    desk = Desk()
    desk.warm()
    desk.tick(BAR, 1, z=1.5, risk=signal(FIRST_BAR), y_age_s=0.5)
    found = measured(desk)
    assert found["crypto_bot_z",] == pytest.approx(1.5)
    assert found["crypto_bot_entry_distance_z",] == pytest.approx(0.5)
    assert [found["crypto_bot_threshold_z", name] for name in ("entry", "exit", "stop")] == [2.0, 0.5, 5.0]
    shut = [gate for name, *gate in found if name == "crypto_bot_gate_passed" and not found[name, *gate]]
    assert shut == [["entry-z"]]
    assert found["crypto_bot_leg_age_seconds",] == pytest.approx(0.5)
    assert (found["crypto_bot_expected_edge_bps",], found["crypto_bot_cost_bps",]) == (150, 30)


def test_the_unhedged_have_a_budget() -> None:
    """Half of 10,001 USD for 180 seconds; a first leg that has waited two seconds has used about 10,000 of it."""
    desk = Desk()
    desk.warm()
    desk.tick(BAR, 1, z=3, risk=signal(FIRST_BAR), x_size=0)
    desk.tick(BAR, 2, z=3, x_size=0)
    desk.tick(BAR, 4, z=3, x_size=0)
    found = measured(desk)
    assert found["crypto_bot_unhedged_budget_usd_seconds",] == 900_090
    assert found["crypto_bot_open_unhedged_usd_seconds",] == pytest.approx(10_000, abs=10)


def test_what_is_not_known_is_no_number() -> None:
    """Before the first tick there is money, and neither z nor gates nor thresholds."""
    found = measured(Desk())
    unknown = {name for name, *_ in found if all(math.isnan(found[key]) for key in found if key[0] == name)}
    assert unknown == {
        "crypto_bot_z",
        "crypto_bot_entry_distance_z",
        "crypto_bot_threshold_z",
        "crypto_bot_gate_passed",
        "crypto_bot_gate_blocking",
        "crypto_bot_gate_value",
        "crypto_bot_gate_limit",
        "crypto_bot_gate_distance",
        "crypto_bot_leg_age_seconds",
        "crypto_bot_leg_price_usd",
        "crypto_bot_expected_edge_bps",
        "crypto_bot_cost_bps",
    }
    assert found["crypto_bot_starting_equity_usd",] == 100_000
