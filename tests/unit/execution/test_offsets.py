"""Where a successor reads on, and when a partition rests."""

from common.processor import Position, Record
from common.topics import COMMANDS, HEDGE_RATIOS, RISK_SIGNALS
from services.execution.offsets import Brake, Offsets

PARTITIONS = {HEDGE_RATIOS: 2, RISK_SIGNALS: 2, COMMANDS: 1}


def test_what_waits_is_read_again() -> None:
    """A successor starts at the oldest record that waits, else at the next one."""
    offsets = Offsets([Position(HEDGE_RATIOS, 0, 5)], PARTITIONS)
    for topic, partition, offset in ((HEDGE_RATIOS, 0, 9), (HEDGE_RATIOS, 1, 3), (RISK_SIGNALS, 0, 7)):
        offsets.read(Record(topic, partition, offset, "", b""))
    assert set(offsets.to_store({0: (6, 2)}, 0)) == {
        Position(HEDGE_RATIOS, 0, 6),
        Position(HEDGE_RATIOS, 1, 4),
        Position(RISK_SIGNALS, 0, 8),
    }
    assert offsets.to_store({0: (6, 2)}, 0) == []
    assert offsets.to_store({}, 0) == [Position(HEDGE_RATIOS, 0, 10)]
    assert Position(COMMANDS, 0, 0) in offsets.to_read()


def test_what_retention_has_taken_is_passed_over() -> None:
    """Reading goes on at the oldest record; a place never read to counts as no loss."""
    offsets = Offsets([Position(HEDGE_RATIOS, 0, 5), Position(RISK_SIGNALS, 1, 7)], PARTITIONS)
    gone = offsets.pass_over_gone({HEDGE_RATIOS: {0: 9, 1: 4}, RISK_SIGNALS: {0: 0, 1: 7}, COMMANDS: {0: 0}})
    assert gone == [(Position(HEDGE_RATIOS, 0, 5), 9)]
    assert {Position(HEDGE_RATIOS, 0, 9), Position(HEDGE_RATIOS, 1, 0), Position(RISK_SIGNALS, 1, 7)} <= set(offsets.to_read())


def test_the_brake_lets_go_at_half() -> None:
    """A partition rests above the limit and goes on at half of it, not in between."""
    brake = Brake(10)
    assert brake.change({0: (0, 10), 1: (0, 1)}) == ([], [])
    assert brake.change({0: (0, 11)}) == ([0], [])
    assert brake.change({0: (3, 6)}) == ([], [])
    assert brake.change({0: (3, 5)}) == ([], [0])
    assert brake.change({0: (3, 11), 1: (0, 12)}) == ([0, 1], [])
    assert brake.change({}) == ([], [0, 1])
