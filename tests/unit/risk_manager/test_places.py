"""Where a restart goes on reading."""

import pytest

from common.processor import Position, Record
from common.topics import EXECUTIONS
from services.risk_manager import places
from services.risk_manager.state import initial
from tests.unit.risk_manager.builders import PAIRS, mark, params


def test_a_pair_that_is_not_configured_holds_the_place_for_so_many_records_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its bar may never come: then what is needed after it decides."""
    monkeypatch.setattr(places, "MOST_AFTER_OTHERS", 3)
    held, state = places.Places([Position(EXECUTIONS, 0, 0)]), initial(params())
    found = []
    for offset, pair in enumerate(("AAAUSDT-BTCUSDT", PAIRS[0], PAIRS[0], PAIRS[0])):
        held.hold(Record(EXECUTIONS, 0, offset, pair, b""), mark(pair, 7 + offset))
        found += [position.offset for position in held.positions(state)]
    assert found == [0, 0, 0, 1]
