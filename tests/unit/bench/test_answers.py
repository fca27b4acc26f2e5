"""Whether answers of replicas are told apart from wrong ones."""

from collections.abc import Callable

import pytest

from common.codec import encode
from common.messages import HedgeRatio, ModelStatus, Tick
from common.processor import Record
from common.topics import HEDGE_RATIOS
from common.trace import Trace
from scripts.bench.answers import Answers, expected, longest_wait_ms
from scripts.bench.pair_feed import PairFeed
from tests.contract.echo import EchoModel

PAIR = "ETHUSDT-BTCUSDT"
TICKS = [message for message in PairFeed([PAIR], first_bar=10).bar(4) if isinstance(message, Tick)]
WANTED = expected(EchoModel(), {PAIR: TICKS})
VALUES = [encode(message) for message in WANTED[PAIR]]


def answers(values: list[bytes]) -> Answers:
    """A topic that holds these."""
    found = Answers(HEDGE_RATIOS)
    for offset, value in enumerate(values):
        found.add(Record(HEDGE_RATIOS, 0, offset, PAIR, value, Trace.begin(1).with_time((1 + offset) * 10**6)))
    return found


def test_equal_copies_in_order_are_right() -> None:
    """Every answer once or more, all copies alike, first copies in order."""
    found = answers([VALUES[0], VALUES[1], VALUES[0], VALUES[1], VALUES[2], VALUES[3]])
    assert (found.problems(WANTED), found.repeated) == ([], 2)


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda values: values[:1] + values[2:], "answer 1 is number 2 instead of 1"),
        (lambda values: values[:-1], "3 answers instead of 4"),
        (lambda values: [values[1], values[0], *values[2:]], "answer 0 is number 1 instead of 0"),
        (lambda values: [*values, encode(HedgeRatio(tick=TICKS[2], status=ModelStatus.WARMING))], "a copy of number 2 differs from what one instance answers"),
    ],
)
def test_gaps_disorder_and_contradictions_are_named(spoil: Callable[[list[bytes]], list[bytes]], problem: str) -> None:
    """What is missing, out of order or different is one line with the pair."""
    assert answers(spoil(VALUES)).problems(WANTED) == [f"hedge-ratios of {PAIR}: {problem}"]


def test_the_longest_wait_counts_first_copies_of_a_span() -> None:
    """Waits are told by when the first answer was sent, ms."""
    found = answers([*VALUES, VALUES[0]])
    asked_at_ns = {(PAIR, seq): 0 for seq in range(4)}
    assert longest_wait_ms(asked_at_ns, found, 0, 10**9) == 4
    assert longest_wait_ms(asked_at_ns, found, 0, 3 * 10**6) == 2
    assert longest_wait_ms({}, found, 0, 10**9) == 0


def test_a_feed_is_gapless_and_the_same_every_time() -> None:
    """Each pair's seq counts ticks and closes alike; equal seeds give equal messages."""
    made = [[message for _ in range(3) for message in feed.bar(2)] for feed in (PairFeed([PAIR, "A-B"], first_bar=1) for _ in range(2))]
    assert made[0] == made[1]
    assert [(message.pair, message.seq) for message in made[0] if message.pair == PAIR] == [(PAIR, seq) for seq in range(9)]
    assert [message.bar for message in made[0]] == [1] * 6 + [2] * 6 + [3] * 6
