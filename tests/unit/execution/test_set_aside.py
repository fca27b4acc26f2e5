"""The share of what cannot be used, and when it is too much."""

import pytest

from services.execution.set_aside import LEAST, WINDOW, DeadLetterShare


def counted(*, bad: int, good: int, share: DeadLetterShare | None = None) -> DeadLetterShare:
    share = share or DeadLetterShare(0.05, exceeded=False)
    for _ in range(bad):
        share.count(bad=True)
    for _ in range(good):
        share.count(bad=False)
    return share


@pytest.mark.parametrize(("bad", "exceeded"), [(0, False), (4, False), (5, True)])
def test_few_records_count_as_a_hundred(bad: int, exceeded: bool) -> None:
    """One bad record at the start is no alarm, five are, at once."""
    assert counted(bad=bad, good=0).exceeded is exceeded


@pytest.mark.parametrize(("good", "exceeded"), [(LEAST - 6, True), (LEAST - 5, True), (LEAST - 4, False)])
def test_it_is_over_once_enough_is_usable(good: int, exceeded: bool) -> None:
    """Five of a hundred are the limit, five of a hundred and one are below it."""
    assert counted(bad=5, good=good).exceeded is exceeded


def test_only_the_last_records_count() -> None:
    """What lies further back than the window is forgotten, bad or good."""
    share = counted(bad=0, good=10 * WINDOW)
    counted(bad=49, good=0, share=share)
    assert not share.exceeded
    counted(bad=1, good=0, share=share)
    assert share.exceeded
    assert share.describe() == "50 of the last 1000 records were set aside, the limit is 5.0% of at least 100"
    assert not counted(bad=0, good=WINDOW, share=share).exceeded
    assert share.describe().startswith("0 of the last 1000")


def test_a_window_without_a_bad_record_ends_it_even_by_heartbeats() -> None:
    """Where little is traded a flood is over a thousand records of any kind after its last one, and then counts no more."""
    share = counted(bad=LEAST, good=0)
    for _ in range(WINDOW - 1):
        share.count_heartbeat()
    assert share.exceeded
    share.count_heartbeat()
    assert not share.exceeded
    assert not counted(bad=4, good=0, share=share).exceeded
    assert counted(bad=1, good=0, share=share).exceeded


def test_a_restart_does_not_lift_it() -> None:
    """What a predecessor left holds until a hundred records have been seen."""
    share = counted(bad=0, good=LEAST - 1, share=DeadLetterShare(0.05, exceeded=True))
    assert share.exceeded
    assert not counted(bad=0, good=1, share=share).exceeded
