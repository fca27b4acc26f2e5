"""Ticks and bar closes to feed the models with."""

import random
from collections.abc import Iterator
from decimal import Decimal

from common.market import NANOSECONDS
from common.messages import BarClose, BarStatus, Feed, Quote, Tick

PAIR = "ETHUSDT-BTCUSDT"
BAR_NS = 60 * NANOSECONDS


def quote(mid: float, event_time_ns: int = 0, spread: float = 1e-4) -> Quote:
    """A book around `mid`."""
    bid, ask = Decimal(repr(mid * (1 - spread / 2))), Decimal(repr(mid * (1 + spread / 2)))
    return Quote(bid=bid, bid_size=Decimal(1), ask=ask, ask_size=Decimal(1), event_time_ns=event_time_ns)


def tick(seq: int, bar: int, y: float = 3000.0, x: float = 60_000.0, *, session: int = 0, epoch: int = 1) -> Tick:
    """A tick of both legs."""
    now = bar * BAR_NS
    return Tick(pair=PAIR, seq=seq, epoch=epoch, session=session, bar=bar, event_time_ns=now, y=quote(y, now), x=quote(x, now))


def close(seq: int, bar: int, status: BarStatus = BarStatus.FRESH, *, session: int = 0, epoch: int = 1) -> BarClose:
    """The end of a bar."""
    return BarClose(pair=PAIR, seq=seq, epoch=epoch, session=session, bar=bar, end_time_ns=(bar + 1) * BAR_NS, status=status, feed=Feed.RECORDING)


def prices(seed: int, bars: int, *, beta: float = 1.3, reversion: float = 0.95, noise: float = 5e-4) -> Iterator[tuple[float, float]]:
    """Prices (x, y) of a pair whose spread is an AR(1) with coefficient `reversion`."""
    chance = random.Random(seed)
    x, spread = 60_000.0, 0.0
    for _ in range(bars):
        x *= 1 + chance.gauss(0, 1e-3)
        spread = reversion * spread + chance.gauss(0, noise)
        yield x, 3000.0 * (x / 60_000.0) ** beta * (1 + spread)


def stream(seed: int, bars: int) -> Iterator[Tick | BarClose]:
    """`bars` bars with one tick each, bar numbers from 100 on."""
    for number, (x, y) in enumerate(prices(seed, bars)):
        yield tick(2 * number, 100 + number, y, x)
        yield close(2 * number + 1, 100 + number)
