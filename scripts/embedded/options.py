"""What the embedded run is asked to do."""

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from common.errors import InvalidRecord
from common.market import Pair
from common.settings import Market

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = {
    ("klines", Market.FUTURES): ROOT / "data/klines/usdm-20250510",
    ("klines", Market.SPOT): ROOT / "data/klines/spot-20251029",
    ("ticks", Market.FUTURES): ROOT / "data/ticks/usdm-20240808",
    ("ticks", Market.SPOT): ROOT / "data/ticks/spot-20240808",
}
DEFAULT_PAIRS = {
    ("klines", Market.FUTURES): ("ETHUSDT-BTCUSDT", "SOLUSDT-BTCUSDT"),
}
USAGE_ERROR = 2


class Options(NamedTuple):
    """The command line, checked."""

    data: str
    recording: Path
    market: Market
    pairs: tuple[str, ...]
    speed: str
    duration_s: float | None
    keep_going: bool
    summary: Path | None
    base_port: int
    kafka: str
    redis_url: str
    #: Whether the pages are served beside the run.
    ui: bool = False

    @property
    def live(self) -> bool:
        """Whether the market data comes from Binance itself."""
        return self.data == "live"

    @property
    def symbols(self) -> tuple[str, ...]:
        """Every symbol of the pairs; the first hedge leg comes first."""
        found = dict.fromkeys(symbol for name in self.pairs for symbol in reversed(name.split("-")))
        return tuple(found)


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def _speed(text: str) -> str:
    if text != "max":
        try:
            _positive(text)
        except (ValueError, argparse.ArgumentTypeError):
            raise argparse.ArgumentTypeError(f"{text!r} is neither a number above 0 nor max") from None
    return text


def _pairs(text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    try:
        for name in names:
            Pair.parse(name)
    except InvalidRecord as error:
        raise argparse.ArgumentTypeError(error.detail) from None
    if not names or len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"{text!r} names no pair, or one twice")
    return names


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="scripts/demo.sh",
        description="Run the whole system on real recorded data, on paper: broker, registry, exchange simulator and five services.",
        epilog="With KAFKA_BOOTSTRAP_SERVERS and REDIS_URL set, those servers are used instead of the embedded ones. "
        "Exit status: 0 all went well, 1 a part failed, 2 wrong usage.",
    )
    add = made.add_argument
    add("--data", choices=("klines", "ticks", "live"), help="default: klines, or what --recording holds; live: Binance's public streams")
    add("--recording", type=Path, metavar="PATH", help="a recording of yours: a file or a folder of tick files or one-minute klines")
    add("--market", choices=[market.value for market in Market], help="default: futures, or what --recording holds")
    add("--pairs", type=_pairs, metavar="Y-X,...", help="pairs, dependent leg first: ETHUSDT-BTCUSDT (default: each symbol against the first)")
    add("--speed", type=_speed, default="max", metavar="N|max", help="times real time, or max: as fast as the pipeline goes (default)")
    add("--duration", type=_positive, metavar="SECONDS", help="end the run after so many seconds of wall time")
    add("--keep-going", action="store_true", help="play the recording over and over, each round as a market session of its own, until Ctrl-C")
    add("--summary", type=Path, metavar="FILE", help="write the summary there as JSON")
    add("--ui", action="store_true", help="serve the pages beside the run, on PORT+501, and say where; the first time this installs what they need")
    add(
        "--base-port", type=int, default=8000, metavar="PORT", help="services on PORT to PORT+4, the simulator on PORT+10, the pages on PORT+501 (default 8000)"
    )
    return made


def parse(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> argparse.Namespace:
    """Read the command line; wrong usage ends the program with status 2."""
    made = parser()
    asked = made.parse_args(arguments)
    # The script that starts this changes to the project's folder.
    caller = Path(environment.get("DEMO_CALLER_DIR", "."))
    asked.recording = asked.recording and caller / asked.recording
    asked.summary = asked.summary and caller / asked.summary
    if asked.data == "live" and asked.recording:
        made.error("--data live takes no --recording")
    if asked.summary and not asked.summary.parent.is_dir():
        made.error(f"--summary {asked.summary}: there is no folder {asked.summary.parent}")
    if not 1024 <= asked.base_port <= 65500:
        made.error(f"--base-port {asked.base_port} is not between 1024 and 65500")
    asked.kafka = environment.get("KAFKA_BOOTSTRAP_SERVERS", "")
    asked.redis_url = environment.get("REDIS_URL", "")
    return asked
