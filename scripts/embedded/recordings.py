"""Which recording is played, and which pairs are traded on it."""

import argparse
from pathlib import Path
from typing import NamedTuple

from common.errors import ConfigurationError
from common.settings import Market
from scripts.embedded.options import DEFAULT_PAIRS, SHIPPED, Options
from services.exchange_simulator.recording import Recording
from services.exchange_simulator.store import Wanted, open_recording


class Chosen(NamedTuple):
    """What is played and traded."""

    data: str
    recording: Path
    market: Market
    pairs: tuple[str, ...]


def resolve(asked: argparse.Namespace) -> Options:
    """Complete the command line from what the recording holds; raises ConfigurationError when they do not fit."""
    market = Market(asked.market) if asked.market else None
    data = asked.data or "klines"
    if data == "live":
        return _options(asked, Chosen(data, Path("Binance, live"), market or Market.FUTURES, asked.pairs or ("ETHUSDT-BTCUSDT",)))
    path = asked.recording or SHIPPED[data, market or Market.FUTURES]
    recording = open_recording(path, Wanted(market=market))
    held = "klines" if is_klines(recording) else "ticks"
    if asked.data and asked.data != held:
        raise ConfigurationError([f"--data {asked.data}: {path} holds {held}; leave --data out or name another recording"])
    usual = None if asked.recording else DEFAULT_PAIRS.get((held, recording.market))
    pairs = asked.pairs or usual or default_pairs(path, recording)
    if missing := sorted({symbol for pair in pairs for symbol in pair.split("-")} - set(recording.symbols)):
        raise ConfigurationError([f"--pairs: {symbol} is not in {path}, which has {', '.join(recording.symbols)}" for symbol in missing])
    return _options(asked, Chosen(held, path, recording.market, pairs))


def is_klines(recording: Recording) -> bool:
    """Whether a recording is of one-minute klines: they alone rest on assumptions."""
    return bool(recording.assumptions)


def default_pairs(path: Path, recording: Recording) -> tuple[str, ...]:
    """Each symbol against the first, which is BTCUSDT where there is one."""
    symbols = sorted(recording.symbols, key=lambda symbol: (symbol != "BTCUSDT", symbol))
    if len(symbols) < 2:
        raise ConfigurationError([f"--recording {path}: holds only {', '.join(symbols)}; a pair needs two symbols recorded at the same time"])
    return tuple(f"{symbol}-{symbols[0]}" for symbol in symbols[1:])


def _options(asked: argparse.Namespace, chosen: Chosen) -> Options:
    return Options(
        **chosen._asdict(),
        speed=asked.speed,
        duration_s=asked.duration,
        keep_going=asked.keep_going,
        summary=asked.summary,
        base_port=asked.base_port,
        kafka=asked.kafka,
        redis_url=asked.redis_url,
        ui=asked.ui,
    )
