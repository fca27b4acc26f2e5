"""The two model services under a feed of many pairs, on topics of a run's own."""

import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from common.errors import CryptoBotError
from common.io.kafka import KafkaTransport
from common.messages import BarClose, HedgeRatioClose
from common.settings import load
from common.topics import ALL_TOPICS, HEDGE_RATIOS, VOLATILITY_THRESHOLDS
from scripts.bench.answers import Answers, expected, longest_wait_ms, read_until
from scripts.bench.pair_feed import LiveFeed, PairFeed
from scripts.bench.replicas import Replica, Replicas, share
from services.garch_volatility.processor import GarchModel
from services.garch_volatility.settings import GarchSettings
from services.kalman_filter.processor import KalmanModel
from services.kalman_filter.settings import KalmanSettings

KALMAN, GARCH = "kalman-filter-service", "garch-volatility-service"
PARTITIONS = 6
_FIRST_BAR = 1_700_000_000
_BAR_NS = 10**9
_COINS = ("ETH", "BNB", "XRP", "SOL", "ADA", "DOGE", "TRX", "LTC", "LINK", "AVAX", "DOT", "BCH", "UNI", "ATOM", "ETC", "XLM", "NEAR", "APT", "FIL", "ARB")
#: Generous, for machines that do other things besides.
PATIENCE_S = 90.0


class Plan(NamedTuple):
    """What a run is made of; bars last a second, and `filled_bars` of them are there from the start."""

    pairs: tuple[str, ...]
    ticks_a_bar: int
    filled_bars: int
    settings: Mapping[str, str]

    @property
    def environment(self) -> dict[str, str]:
        """Settings of the services."""
        symbols = dict.fromkeys(symbol for pair in self.pairs for symbol in reversed(pair.split("-")))
        return {"PAIRS": ",".join(self.pairs), "SYMBOLS": ",".join(symbols), "BAR_INTERVAL_SECONDS": "1", "KALMAN_WARM_UP_BARS": "20", **self.settings}


class Span(NamedTuple):
    """What happened, and the longest that a tick and a bar's close waited for their answers from then to the next event, ms."""

    event: str
    tick_ms: float
    close_ms: float


class ModelRun:
    """Replicas that come and go while a feed plays."""

    def __init__(self, plan: Plan, replicas: Replicas, transport: KafkaTransport) -> None:
        self.plan, self.replicas, self.transport = plan, replicas, transport
        self.feed = LiveFeed(PairFeed(plan.pairs, first_bar=_FIRST_BAR), transport.producer(), plan.ticks_a_bar)
        self.running: dict[str, list[Replica]] = {KALMAN: [], GARCH: []}
        self._events: list[tuple[str, int]] = []

    def add(self, service: str, *, instance: str = "") -> Replica:
        """One more replica."""
        replica = self.replicas.start(service, instance=instance)
        self.running[service].append(replica)
        return replica

    def begin(self) -> None:
        """Write the bars that are there from the start, have them answered, and let the feed play for a bar."""
        self.feed.fill(self.plan.filled_bars)
        self.settle()
        filled, bar = len(self.feed.sent), self.feed.sent[-1].bar
        read_until(self.transport, VOLATILITY_THRESHOLDS, lambda answers: all((pair, bar) in answers.copies for pair in self.plan.pairs), PATIENCE_S)
        self.event("nothing")
        self.feed.start()
        wait_until(lambda: len(self.feed.sent) >= filled + (self.plan.ticks_a_bar + 1) * len(self.plan.pairs), "the first bar of the feed")

    def event(self, name: str) -> None:
        """Something is done to the replicas now."""
        self._events.append((name, time.time_ns()))

    def settle(self) -> None:
        """Wait until each running replica lists pairs of its own and every pair is listed once by each service."""
        for service, running in self.running.items():
            wait_until(lambda running=running: share(running, self.plan.pairs), f"{len(running)} replicas of {service} that share the pairs")  # type: ignore[misc]

    def answers(self) -> tuple[Answers, Answers]:
        """What is in the two topics once the last input is answered."""
        last = [(message.pair, message.seq, message.bar) for message in self.feed.sent[-len(self.plan.pairs) :]]
        ratios = read_until(self.transport, HEDGE_RATIOS, lambda answers: all((pair, seq) in answers.copies for pair, seq, _ in last), PATIENCE_S)
        thresholds = read_until(self.transport, VOLATILITY_THRESHOLDS, lambda answers: all((pair, bar) in answers.copies for pair, _, bar in last), PATIENCE_S)
        return ratios, thresholds

    def problems(self, ratios: Answers, thresholds: Answers) -> list[str]:
        """Where the answers are not those of one undisturbed instance: gaps, disorder, copies that differ."""
        # Only now, since it loads the numerics.
        from services.garch_volatility.arch_fit import InlineFits  # noqa: PLC0415

        wanted = expected(KalmanModel(load(KalmanSettings, self.plan.environment).parameters, _BAR_NS), self.feed.by_pair())
        closes = {pair: [answer for answer in answers if isinstance(answer, HedgeRatioClose)] for pair, answers in wanted.items()}
        closed = expected(GarchModel(load(GarchSettings, self.plan.environment).parameters, _BAR_NS, InlineFits()), closes)
        return ratios.problems(wanted) + thresholds.problems(closed)

    def spans(self, ratios: Answers, thresholds: Answers) -> list[Span]:
        """What each event did to those who wait for answers."""
        ticks_at_ns = self.feed.sent_at_ns
        closes_at_ns = {(message.pair, message.bar): ticks_at_ns[message.pair, message.seq] for message in self.feed.sent if isinstance(message, BarClose)}
        ends = [at_ns for _, at_ns in self._events[1:]] + [time.time_ns()]
        return [
            Span(name, longest_wait_ms(ticks_at_ns, ratios, at_ns, end_ns), longest_wait_ms(closes_at_ns, thresholds, at_ns, end_ns))
            for (name, at_ns), end_ns in zip(self._events, ends, strict=True)
        ]


@contextmanager
def model_run(bootstrap: str, plan: Plan) -> Iterator[ModelRun]:
    """A run on topics of its own, which end with it; so do its processes."""
    prefix = f"models-{uuid.uuid4().hex[:8]}-"
    transport = KafkaTransport(bootstrap, topic_prefix=prefix)
    transport.connect(30)
    transport.ensure_topics(ALL_TOPICS, PARTITIONS)
    settings = {**plan.environment, "KAFKA_BOOTSTRAP_SERVERS": bootstrap, "TOPIC_PREFIX": prefix}
    try:
        with tempfile.TemporaryDirectory(prefix="models-") as folder, Replicas(settings, Path(folder)) as replicas:
            yield ModelRun(plan, replicas, transport)
    finally:
        transport.delete_topics(ALL_TOPICS)
        transport.close()


def pair_names(count: int) -> tuple[str, ...]:
    """So many pairs; the first twenty are coins that are traded."""
    coins = (*_COINS, *(f"COIN{number}" for number in range(len(_COINS), count)))
    return tuple(f"{coin}USDT-BTCUSDT" for coin in coins[:count])


def wait_until(condition: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
    """Look until it holds; raises CryptoBotError when it never does."""
    give_up_at = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > give_up_at:
            raise CryptoBotError(f"never came within {patience_s:g} s: {what}")
        time.sleep(0.05)


__all__ = ["GARCH", "KALMAN", "ModelRun", "Plan", "Span", "model_run", "pair_names", "wait_until"]
