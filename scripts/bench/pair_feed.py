"""Ticks of many pairs without an exchange, for what concerns the model services alone."""

import math
import random
import threading
import time
from collections.abc import Iterator, Sequence
from decimal import Decimal

from common.codec import encode
from common.market import NANOSECONDS, bar_end_ns
from common.messages import BarClose, BarStatus, Feed, Message, Quote, Tick
from common.processor import Producer
from common.topics import TICKS
from common.trace import Trace

#: Log price of the hedge leg at the start, its walk a bar, and the spread's: half of it is gone after some seven bars.
_LOG_X, _X_WALK, _SPREAD_KEPT, _SPREAD_WALK = math.log(60_000), 4e-4, 0.9, 6e-4
_HALF_SPREAD = 1e-4
#: Longest that a message is written before its time, seconds.
_EARLY_S = 0.002


class PairFeed:
    """Bars of every pair as ingestion writes them: ticks, then the close, under one gapless seq. Equal seeds, equal messages."""

    def __init__(self, pairs: Sequence[str], *, first_bar: int, bar_interval_ns: int = NANOSECONDS, seed: int = 1) -> None:
        self.pairs = tuple(pairs)
        self._bar, self._bar_interval_ns = first_bar, bar_interval_ns
        self._chance = random.Random(seed)  # noqa: S311 - prices, not secrets
        self._log_x = _LOG_X
        self._spreads = dict.fromkeys(self.pairs, 0.0)
        self._seqs = dict.fromkeys(self.pairs, -1)

    def bar(self, ticks: int) -> Iterator[Tick | BarClose]:
        """Messages of the next bar, in the order of their times: so many ticks of each pair, then all closes."""
        for number in range(ticks):
            at_ns = bar_end_ns(self._bar - 1, self._bar_interval_ns) + number * self._bar_interval_ns // ticks
            self._log_x += self._chance.gauss(0, _X_WALK / math.sqrt(ticks))
            for pair in self.pairs:
                yield self._tick(pair, at_ns, ticks)
        for pair in self.pairs:
            end_ns = bar_end_ns(self._bar, self._bar_interval_ns)
            yield BarClose(
                pair=pair, seq=self._next_seq(pair), epoch=1, session=1, bar=self._bar, end_time_ns=end_ns, status=BarStatus.FRESH, feed=Feed.RECORDING
            )
        self._bar += 1

    def _tick(self, pair: str, at_ns: int, ticks: int) -> Tick:
        kept = _SPREAD_KEPT ** (1 / ticks)
        spread = self._spreads[pair] = kept * self._spreads[pair] + self._chance.gauss(0, _SPREAD_WALK / math.sqrt(ticks))
        return Tick(
            pair=pair,
            seq=self._next_seq(pair),
            epoch=1,
            session=1,
            bar=self._bar,
            event_time_ns=at_ns,
            y=_quote(math.exp(0.7 * self._log_x + spread), at_ns),
            x=_quote(math.exp(self._log_x), at_ns),
        )

    def _next_seq(self, pair: str) -> int:
        self._seqs[pair] += 1
        return self._seqs[pair]


def _quote(price: float, at_ns: int) -> Quote:
    size = Decimal(1)
    bid, ask = (Decimal(f"{price * factor:.4f}") for factor in (1 - _HALF_SPREAD, 1 + _HALF_SPREAD))
    return Quote(bid=bid, bid_size=size, ask=ask, ask_size=size, event_time_ns=at_ns)


class LiveFeed:
    """Writes a feed to `ticks` at its own pace, in a thread of its own, and remembers what it wrote."""

    def __init__(self, feed: PairFeed, producer: Producer, ticks_a_bar: int) -> None:
        self.sent: list[Tick | BarClose] = []
        #: When each message was handed over, by pair and seq, wall time in ns.
        self.sent_at_ns: dict[tuple[str, int], int] = {}
        self._feed, self._producer, self._ticks_a_bar = feed, producer, ticks_a_bar
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)
        self._failure: BaseException | None = None

    def fill(self, bars: int) -> None:
        """Write bars of one tick at once; before `start`."""
        for _ in range(bars):
            for message in self._feed.bar(1):
                self._send(message)
        self._producer.flush()

    def by_pair(self) -> dict[str, list[Message]]:
        """What was written about each pair, in order."""
        found: dict[str, list[Message]] = {pair: [] for pair in self._feed.pairs}
        for message in self.sent:
            found[message.pair].append(message)
        return found

    def start(self) -> None:
        """Begin, a bar a second."""
        self._thread.start()

    def stop(self) -> None:
        """End after the bar in hand; raises what went wrong."""
        self._stop.set()
        self._thread.join()
        if self._failure:
            raise self._failure

    def _run(self) -> None:
        try:
            due_s = time.monotonic()
            while not self._stop.is_set():
                due_s = self._play(list(self._feed.bar(self._ticks_a_bar)), due_s)
            self._producer.flush()
        except BaseException as error:  # noqa: BLE001 - raised again by stop
            self._failure = error

    def _play(self, messages: Sequence[Tick | BarClose], due_s: float) -> float:
        """Spread the messages evenly over a second; returns when the next bar begins."""
        for message in messages:
            ahead_s = due_s - time.monotonic()
            if ahead_s > _EARLY_S:
                time.sleep(ahead_s)
            self._send(message)
            due_s += 1 / len(messages)
        return due_s

    def _send(self, message: Tick | BarClose) -> None:
        now_ns = time.time_ns()
        self._producer.send(TICKS, message.pair, encode(message), trace=Trace.begin(now_ns).with_time(now_ns))
        self.sent.append(message)
        self.sent_at_ns[message.pair, message.seq] = now_ns
