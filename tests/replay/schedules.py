"""Seeded schedules: the services in random order, with late records, duplicates and kills."""

import heapq
import random
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from common import messages as m
from common.io.memory import Faults
from common.rules import SymbolRules, parse_exchange_info
from common.settings import Market
from common.topics import EXECUTIONS, Topic
from scripts.faults import stage
from scripts.offline import EXECUTION, GARCH, INGESTION, KALMAN, NAMES, RISK, Offline, looped_frames, public_frames
from services.exchange_simulator.exchange_info import exchange_info
from services.exchange_simulator.recording import Frame as RecordedFrame
from services.exchange_simulator.recording import Recording
from services.exchange_simulator.rounds import Rounds, rounds_of
from services.exchange_simulator.store import Wanted, open_recording

ROOT = Path(__file__).resolve().parents[2]
KLINES = ROOT / "data/klines/usdm-20250510"
TICKS = ROOT / "data/ticks/usdm-20240808"
MINUTE_NS = 60_000_000_000

QUICK = {**stage.QUICK, "ENABLE_PAPER_TRADING": "true"}

#: A schedule that kills for ever may hinder progress for ever.
MOST_KILLS = 12


class Scenario(NamedTuple):
    """A recording, cut to what a test needs, and the settings to run it with."""

    settings: Mapping[str, str]
    frames: tuple[RecordedFrame, ...]
    rules: Mapping[str, SymbolRules]
    #: How it loops, and how often it is played.
    rounds: Rounds | None = None
    times: int = 1


def looped_klines(pairs: Iterable[str], bars: int, times: int) -> Scenario:
    """So many rounds of the first minutes."""
    symbols = tuple(dict.fromkeys(symbol for pair in pairs for symbol in pair.split("-")))
    recording = open_recording(KLINES, Wanted(symbols=symbols, duration_s=bars * 60.0))
    return klines(pairs, bars)._replace(rounds=rounds_of(recording, MINUTE_NS), times=times)


def looped_ticks(seconds: float, every: int, times: int) -> Scenario:
    """So many rounds of every so many book frames with all trades and a mark price a second, in bars of a second."""
    recording = open_recording(TICKS, Wanted(duration_s=seconds))
    books = ticks(seconds, every)
    others = (frame for frame in recording.frames() if not frame.stream.endswith("@bookTicker"))
    frames = tuple(heapq.merge(books.frames, others, _mark_prices(recording, int(seconds)), key=itemgetter(0)))
    return books._replace(frames=frames, rounds=rounds_of(recording, 1_000_000_000), times=times)


def _mark_prices(recording: Recording, seconds: int) -> Iterator[RecordedFrame]:
    """The shipped ticks have none."""
    for number in range(seconds):
        time_ns = recording.first_event_time_ns - recording.event_offset_ns + number * 1_000_000_000
        event_ms = (time_ns + recording.event_offset_ns) // 1_000_000
        for symbol in ("BTCUSDT", "ETHUSDT"):
            stream = f"{symbol.lower()}@markPrice@1s"
            head = f'{{"stream":"{stream}","data":'
            data = f'{{"e":"markPriceUpdate","E":{event_ms},"s":"{symbol}","p":"{1000 + number}.5","i":"1","P":"1","r":"0.0001","T":{event_ms + 5_000}}}'
            yield RecordedFrame(time_ns, stream, f"{head}{data}}}".encode(), len(head))


class Outcome(NamedTuple):
    """What execution published of one pair, each record once, in its own order."""

    decisions: tuple[m.Message, ...]
    orders: tuple[m.Message, ...]
    fills: tuple[m.Message, ...]
    round_trips: tuple[m.Message, ...]
    marks: tuple[m.Message, ...]


def klines(pairs: Iterable[str], bars: int, *, late: str = "", silent_after: Mapping[str, int] | None = None) -> Scenario:
    """The first `bars` minutes; symbol `late` begins in the middle, those of `silent_after` fall silent after so many bars."""
    named = tuple(pairs)
    symbols = tuple(dict.fromkeys(symbol for pair in named for symbol in reversed(pair.split("-"))))
    held = tuple(symbol for symbol in symbols if symbol != "DOGEUSDT")
    recording = open_recording(KLINES, Wanted(symbols=held, duration_s=bars * 60.0))
    first = recording.first_event_time_ns
    last_bar = dict(silent_after or {})

    def kept(frame: RecordedFrame) -> bool:
        symbol, bar = frame.stream.partition("@")[0].upper(), (frame.time_ns - first) // MINUTE_NS
        return bar <= last_bar.get(symbol, bars) and (symbol != late or bar >= bars // 2)

    settings = {**QUICK, "SYMBOLS": ",".join(symbols), "PAIRS": ",".join(named), "MAX_LEG_AGE_MS": "60000"}
    rules = dict(parse_exchange_info(exchange_info(Market.FUTURES, recording.rules.values(), 0), Market.FUTURES))
    rules |= {symbol: rules["LTCUSDT" if "LTCUSDT" in rules else held[-1]] for symbol in symbols if symbol not in rules}
    return Scenario(settings, tuple(filter(kept, recording.frames())), rules)


def ticks(seconds: float, every: int) -> Scenario:
    """Every so many frames of the tick recording, in bars of a second: many ticks a bar."""
    recording = open_recording(TICKS, Wanted(duration_s=seconds))
    frames = tuple(islice((frame for frame in recording.frames() if frame.stream.endswith("@bookTicker")), 0, None, every))
    # Without fees, for a second moves less than they cost.
    settings = {**QUICK, "SYMBOLS": "BTCUSDT,ETHUSDT", "BAR_INTERVAL_SECONDS": "1", "MAX_LEG_AGE_MS": "2000", "TAKER_FEE_BPS": "0"}
    return Scenario(settings, frames, parse_exchange_info(exchange_info(Market.FUTURES, recording.rules.values(), 0), Market.FUTURES))


def outcomes(offline: Offline, topic: Topic = EXECUTIONS) -> dict[str, Outcome]:
    """What was published, by pair."""
    found: dict[str, dict[type, dict[m.Message, None]]] = {pair: {} for pair in offline.pairs}
    for message in offline.messages(topic):
        if isinstance(message, m.Execution) and not isinstance(message, m.HoldExpired):
            found[message.pair].setdefault(type(message), {})[message] = None
    kinds = (m.Decision, m.OrderEvent, m.Fill, m.RoundTrip, m.Mark)
    return {pair: Outcome(*(tuple(of_kind.get(kind, ())) for kind in kinds)) for pair, of_kind in found.items()}


def plain_run(scenario: Scenario, folder: Path) -> dict[str, Outcome]:
    """The services take turns; nothing goes wrong."""
    offline = offline_of(scenario, folder)
    offline.run()
    return outcomes(offline)


def offline_of(scenario: Scenario, folder: Path, **options: Any) -> Offline:
    """The services with the scenario's frames before them."""
    rounds, market = scenario.rounds, Market.FUTURES
    frames = looped_frames(scenario.frames, rounds, scenario.times, market) if rounds else public_frames(scenario.frames, market)
    return Offline(scenario.settings, frames, scenario.rules, folder, ends=scenario.times, **options)


class Schedule:
    """What one seed does to a run."""

    def __init__(self, seed: int, kill: tuple[str, ...] = (KALMAN, GARCH, RISK, EXECUTION)) -> None:
        self._random = random.Random(seed)
        self._kill = kill
        self._kill_chance = self._random.choice((0.0, 0.02, 0.1))
        self._duplicate_chance = self._random.choice((0.0, 0.05, 0.3))
        self._hold_chance = self._random.choice((0.0, 0.3, 0.8))
        self._weights = [self._random.choice((1, 1, 4, 20)) for _ in NAMES]
        self._now_ns = 1_700_000_000_000_000_000
        self.kills = 0

    def run(self, scenario: Scenario, folder: Path) -> dict[str, Outcome]:
        """Run to the end, whatever happens on the way."""
        offline = self.offline(scenario, folder)
        self.drive(offline)
        return outcomes(offline)

    def drive(self, offline: Offline) -> None:
        """Name the next service each time, and kill one now and then."""
        offline.run(lambda: self.pick(offline))

    def offline(self, scenario: Scenario, folder: Path) -> Offline:
        """The services over a broker that does what the seed says."""
        faults = Faults(duplicate=self._duplicates, hold=self._holds, release=self._releases)
        return offline_of(scenario, folder, faults=faults, clock=self._clock)

    def pick(self, offline: Offline) -> str:
        """Kill now and then; returns whose turn it is."""
        if self.kills < MOST_KILLS and self._random.random() < self._kill_chance:
            victim = self._random.choice(self._kill)
            offline.kill(victim)
            offline.start(victim)
            self.kills += 1
        return self._random.choices(NAMES, self._weights)[0]

    def _clock(self) -> int:
        """Wall time that passes by the seed too."""
        self._now_ns += self._random.randrange(20_000_000)
        return self._now_ns

    def _duplicates(self) -> bool:
        return self._random.random() < self._duplicate_chance

    def _holds(self) -> bool:
        return self._random.random() < self._hold_chance

    def _releases(self, _topic: Topic, _partition: int, unread: int) -> int:
        return self._random.choice((0, 1, unread // 2, unread, unread))


ALL_KILLS = (INGESTION, KALMAN, GARCH, RISK, EXECUTION)
