"""Which recording is played, and which pairs are traded on it."""

import argparse
from pathlib import Path

from common.errors import ConfigurationError
from common.settings import Market
from scripts.embedded.options import DEFAULT_PAIRS, SHIPPED, Options
from services.exchange_simulator.recording import Recording
from services.exchange_simulator.store import Wanted, open_recording


def resolve(asked: argparse.Namespace) -> Options:
    """Complete the command line from what the recording holds; raises ConfigurationError when they do not fit."""
    market = Market(asked.market) if asked.market else None
    data = asked.data or "klines"
    if data == "live":
        pairs = asked.pairs or ("ETHUSDT-BTCUSDT",)
        return _options(asked, data, Path("Binance, live"), market or Market.FUTURES, pairs)
    path = asked.recording or SHIPPED[data, market or Market.FUTURES]
    recording = open_recording(path, Wanted(market=market))
    held = "klines" if is_klines(recording) else "ticks"
    if asked.data and asked.data != held:
        raise ConfigurationError([f"--data {asked.data}: {path} holds {held}; leave --data out or name another recording"])
    usual = None if asked.recording else DEFAULT_PAIRS.get((held, recording.market))
    return _options(asked, held, path, recording.market, asked.pairs or usual or default_pairs(path, recording), recording)


def is_klines(recording: Recording) -> bool:
    """Whether a recording is of one-minute klines: they alone rest on assumptions."""
    return bool(recording.assumptions)


def default_pairs(path: Path, recording: Recording) -> tuple[str, ...]:
    """Each symbol against the first, which is BTCUSDT where there is one."""
    symbols = sorted(recording.symbols, key=lambda symbol: (symbol != "BTCUSDT", symbol))
    if len(symbols) < 2:
        raise ConfigurationError([f"--recording {path}: holds only {', '.join(symbols)}; a pair needs two symbols recorded at the same time"])
    return tuple(f"{symbol}-{symbols[0]}" for symbol in symbols[1:])


def _options(asked: argparse.Namespace, data: str, path: Path, market: Market, pairs: tuple[str, ...], recording: Recording | None = None) -> Options:
    if recording:
        named = sorted({symbol for pair in pairs for symbol in pair.split("-")})
        if missing := [symbol for symbol in named if symbol not in recording.symbols]:
            raise ConfigurationError([f"--pairs: {symbol} is not in {path}, which has {', '.join(recording.symbols)}" for symbol in missing])
    return Options(
        data=data,
        recording=path,
        market=market,
        pairs=tuple(pairs),
        speed=asked.speed,
        duration_s=asked.duration,
        keep_going=asked.keep_going,
        summary=asked.summary,
        base_port=asked.base_port,
        kafka=asked.kafka,
        redis_url=asked.redis_url,
    )
