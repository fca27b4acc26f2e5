"""What the default settings do on a recording: a run in memory before the embedded one."""

import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from common import messages as m
from common.topics import EXECUTIONS
from scripts.embedded.options import Options
from scripts.embedded.plan import pipeline_settings
from scripts.offline import Offline, public_frames
from services.exchange_simulator.exchange_info import exchange_info
from services.exchange_simulator.store import Wanted, open_recording
from common.rules import parse_exchange_info


class Preview(NamedTuple):
    """The outcome of a run in memory."""

    round_trips: int
    decisions: int
    net_usd: str
    blocking_gates: Counter[str]
    seconds: float

    def sentence(self) -> str:
        """For people."""
        if self.decisions:
            return f"the default settings took {self.round_trips} round trips on this recording, net {self.net_usd} USD"
        gates = ", ".join(f"{gate} ({count} bars)" for gate, count in self.blocking_gates.most_common(4)) or "none was reached"
        return f"the default settings took no trade on this recording; entries were blocked, at the last tick of each bar, by: {gates}"


def preview(options: Options, say: Callable[[str], None]) -> Preview | None:
    """Run the default settings over the recording; None where the run is not of klines, whose speed makes that cheap."""
    if options.data != "klines":
        return None
    say("looking at the recording with the default settings, in memory")
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        offline = offline_of(options, Path(folder))
        offline.run()
        messages = offline.messages(EXECUTIONS)
        offline.stop()
    return outcome(messages, time.monotonic() - began)


def offline_of(options: Options, folder: Path) -> Offline:
    """The pipeline in memory on the options' recording, with the settings of the embedded run but for the profile."""
    recording = open_recording(options.recording, Wanted(market=options.market, symbols=options.symbols))
    rules = parse_exchange_info(exchange_info(options.market, recording.rules.values(), 0), options.market)
    return Offline(pipeline_settings(options), public_frames(recording.frames(), options.market), rules, folder)


def outcome(messages: list[m.Message], seconds: float) -> Preview:
    """What the messages of `executions` add up to."""
    marks = [message for message in messages if isinstance(message, m.Mark)]
    last = {mark.pair: mark for mark in marks}
    net = sum(mark.equity_usd - mark.starting_usd for mark in last.values())
    trips = sum(isinstance(message, m.RoundTrip) for message in messages)
    decisions = sum(isinstance(message, m.Decision) for message in messages)
    return Preview(trips, decisions, f"{net:+.2f}", Counter(mark.blocking_gate for mark in marks if mark.blocking_gate), seconds)
