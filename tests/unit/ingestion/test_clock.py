"""Event time of a channel against nonsense."""

import pytest

from common.market import NANOSECONDS
from services.ingestion.clock import FeedClock, Judgement

LIMIT_S, AGREEMENT_S, BACK_S, NOW_S = 5, 120, 10, 100_000


def _clock(now_s: int | None = NOW_S) -> FeedClock:
    clock = FeedClock(
        forward_limit_ns=LIMIT_S * NANOSECONDS,
        agreement_ns=AGREEMENT_S * NANOSECONDS,
        back_limit_ns=BACK_S * NANOSECONDS,
        now_ns=None if now_s is None else now_s * NANOSECONDS,
    )
    if now_s is not None:
        clock.observe(now_s * NANOSECONDS, 1, "A")
    return clock


def _judge(clock: FeedClock, *events: tuple[int, str] | tuple[int, str, int]) -> list[str]:
    return [clock.observe(event[0] * NANOSECONDS, event[2] if len(event) > 2 else 1, event[1]).name for event in events]


@pytest.mark.parametrize(
    ("start_s", "events", "judgements", "now_s"),
    [
        (NOW_S, [(NOW_S + 5, "A"), (NOW_S + 3, "B")], ["SURE", "SURE"], NOW_S + 5),
        (NOW_S, [(NOW_S + LIMIT_S, "A")], ["SURE"], NOW_S + LIMIT_S),
        (NOW_S, [(NOW_S + LIMIT_S + 1, "A"), (NOW_S + 1, "A")], ["HELD", "SURE"], NOW_S + 1),
        (NOW_S, [(NOW_S + 20, "A"), (NOW_S + 40, "B"), (NOW_S + 60, "B")], ["HELD", "MOVED", "HELD"], NOW_S + 40),
        (NOW_S, [(NOW_S + 100, "A"), (NOW_S + 6, "B"), (NOW_S + 7, "A")], ["HELD", "HELD", "MOVED"], NOW_S + 7),
        (None, [(NOW_S, "A"), (NOW_S, "B")], ["HELD", "MOVED"], NOW_S),
        (None, [(9, "A"), (NOW_S, "A"), (NOW_S + 1, "B")], ["HELD", "HELD", "MOVED"], NOW_S + 1),
        (NOW_S, [(NOW_S + 7200, "A"), (NOW_S + 1, "B")], ["HELD", "SURE"], NOW_S + 1),
        (NOW_S, [(NOW_S + 7200, "A"), (NOW_S + 7201, "B")], ["HELD", "MOVED"], NOW_S + 7201),
        (NOW_S, [(NOW_S + 7200, "A"), (NOW_S + 7200, "A"), (NOW_S + 7200, "A")], ["HELD", "AGREES", "MOVED"], NOW_S + 7200),
        (NOW_S, [(NOW_S + 7200, "A"), (NOW_S + 9000, "B")], ["HELD", "HELD"], NOW_S),
        (NOW_S, [(NOW_S - 60, "A"), (NOW_S - 60, "B")], ["SURE", "SURE"], NOW_S),
        (NOW_S, [(NOW_S - 60, "A", 2), (NOW_S - 60, "B", 2)], ["HELD", "REWOUND"], NOW_S - 60),
        (NOW_S, [(NOW_S - 60, "A", 2), (NOW_S + 1, "B", 2)], ["HELD", "SURE"], NOW_S + 1),
        (NOW_S, [(NOW_S - 5, "A", 2)], ["SURE"], NOW_S),
    ],
    ids=[
        "near",
        "at-the-limit",
        "beyond-the-limit",
        "far-between",
        "nonsense-before-a-pause",
        "first-needs-a-second",
        "first-is-nonsense",
        "jump-refuted",
        "jump-confirmed",
        "one-symbol-needs-three",
        "two-jumps-that-differ",
        "back-within-a-connection",
        "back-on-a-new-connection",
        "back-refuted",
        "overlap-of-a-new-connection",
    ],
)
def test_judgement(start_s: int | None, events: list[tuple[int, str] | tuple[int, str, int]], judgements: list[str], now_s: int) -> None:
    """A jump moves the clock only when another event says the same."""
    clock = _clock(start_s)
    assert _judge(clock, *events) == judgements
    assert clock.now_ns == now_s * NANOSECONDS


def test_lasting_return() -> None:
    """Going back within a connection counts when it lasts, so that a believed nonsense does not shut the feed for ever."""
    clock = _clock()
    judgements = _judge(clock, *[(NOW_S - 3600 + i, "AB"[i % 2]) for i in range(103)])
    assert judgements[:100] == ["SURE"] * 100
    assert judgements[100:102] == ["HELD", "REWOUND"]


def test_trust_at_the_end() -> None:
    """A channel that ends with its only event is believed."""
    clock = _clock(None)
    assert clock.observe(5, 1, "A") is Judgement.HELD
    clock.trust()
    assert clock.now_ns == 5
