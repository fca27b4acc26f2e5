"""The simulator as a process that loops and is killed, with ingestion on its real sockets: no session ever holds two rounds."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from common.messages import BarClose, Tick
from scripts.embedded.monitor import ask
from scripts.embedded.options import ROOT
from services.ingestion.edge import WebSocketSource
from services.ingestion.processor import IngestionService
from services.ingestion.source import ListSource
from tests.levels import all_level
from tests.system.recordings import cut_klines
from tests.unit.ingestion.support import PAIR, Rig

BARS = 20
#: Twenty minutes and a bar without any frame, event time, ns.
PERIOD_NS = 21 * 60_000_000_000
PATIENCE_S = 60.0


class LiveRig(Rig):
    """Ingestion in this process, over the broker in memory, with real sockets."""

    def build(self) -> IngestionService:
        super().build()
        source = WebSocketSource(self.settings, self.observer, time.time_ns)
        self.service = IngestionService(self.settings, self.transport, self.observer, time.time_ns, source)
        return self.service

    def turn_until_session(self, number: int) -> None:
        """Let it work until some session has begun."""
        deadline = time.monotonic() + PATIENCE_S
        while self.details["session"] < number:
            self.service.turn(0.01)
            assert time.monotonic() < deadline, self.details

    @property
    def log(self) -> list[Tick | BarClose]:
        return self.log_of(PAIR)


@contextmanager
def simulator(environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-m", "services.exchange_simulator"], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


@all_level
def test_kills_of_simulator_and_ingestion_join_no_rounds(tmp_path: Path) -> None:
    """At a set speed, with kills of both, in the middle of rounds and over seams: time only goes forward, each session lies within one round and ends once."""
    recording = cut_klines(tmp_path / "recording", BARS, ("BTC", "ETH"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    loop = {"SIMULATOR_LOOP": "true", "SIMULATOR_STATE_DIR": str(tmp_path / "state"), "SIMULATOR_SPEED": "2400"}
    environment = {**os.environ, **loop, "RECORDING": str(recording), "SIMULATOR_PORT": str(port), "BAR_INTERVAL_SECONDS": "60"}
    rig = LiveRig(ListSource(()), SIMULATOR_ADDRESS=f"127.0.0.1:{port}", MAX_LEG_AGE_MS="60000", LEAD_TICKS="100000")
    rig.start()
    with simulator(environment):
        rig.turn_until_session(3)
    with simulator(environment):
        rig.turn_until_session(5)
        rig.service.stop()
        away_from = ask(port, "/simulator/status")[1]["round"]
        deadline = time.monotonic() + PATIENCE_S
        while ask(port, "/simulator/status")[1]["round"] < away_from + 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        rig.kill()
        session = rig.details["session"]
        rig.turn_until_session(session + 2)
    rig.service.stop()
    assert all(later.session >= message.session and later.bar >= message.bar and later.seq == message.seq + 1 for message, later in pairwise(rig.log))
    ticks = [message for message in rig.log if isinstance(message, Tick)]
    begin_ns = ticks[0].event_time_ns - ticks[0].event_time_ns % 60_000_000_000
    rounds = {message.session: set[int]() for message in ticks}
    for message in ticks:
        rounds[message.session].add((message.event_time_ns - begin_ns) // PERIOD_NS)
    assert len(rounds) >= 6
    assert all(len(found) == 1 for found in rounds.values()), rounds
    ends = [message.session for message in rig.log if isinstance(message, BarClose) and message.end]
    assert ends == sorted(set(ends)) == sorted(rounds)[: len(ends)]
    assert len(ends) >= len(rounds) - 1
