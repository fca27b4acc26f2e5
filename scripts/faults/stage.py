"""Where acts are played: broker and registry, the recordings, a folder."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Event
from typing import NamedTuple

from common.errors import ConfigurationError
from scripts.embedded.options import Options, parse
from scripts.embedded.recordings import resolve
from scripts.embedded.servers import HOST
from scripts.faults.schedule import Act, Feed
from scripts.faults.servers import OwnBroker, OwnRegistry

#: Short warm-ups and low hurdles, so that a short recording holds many decisions.
QUICK: Mapping[str, str] = {
    "KALMAN_WARM_UP_BARS": "20",
    "GARCH_START_BARS": "20",
    "ENTRY_Z_MIN": "0.3",
    "EXIT_Z": "0.1",
    "COST_MARGIN": "0",
    "COOL_DOWN_BARS": "1",
    "TIME_STOP_BARS": "6",
    "TIME_STOP_HALF_LIVES": "0.1",
}
LIVELY: Mapping[str, str] = {**QUICK, "MAX_ORDERS_PER_MINUTE": "600", "TAKER_FEE_BPS": "0"}
#: Klines wait for the pipeline, so work is always in flight; ticks come on time, so a backlog is worked off.
SPEEDS = {Feed.KLINES: "max", Feed.TICKS: "4"}
#: A live feed goes on while the pipeline is away, and the recording must outlast the faults.
LONG_LIVE_SPEED, LONG_S = "2", 20.0
#: A short lead, so that the end of an act is near the last fault.
PACE: Mapping[Feed, Mapping[str, str]] = {Feed.KLINES: {"LEAD_TICKS": "40"}, Feed.TICKS: {"LEAD_TICKS": "300"}}
PAIRS = {Feed.KLINES: "ETHUSDT-BTCUSDT,SOLUSDT-BTCUSDT,BNBUSDT-BTCUSDT,LTCUSDT-BTCUSDT,XRPUSDT-ETHUSDT", Feed.TICKS: "ETHUSDT-BTCUSDT"}


class Stage(NamedTuple):
    """What all acts share."""

    bootstrap: str
    broker: OwnBroker | None
    registry: OwnRegistry
    folder: Path
    base_port: int
    stopping: Event
    say: Callable[[str], None]

    def options(self, act: Act) -> Options:
        """The embedded run's options for an act."""
        speed = LONG_LIVE_SPEED if act.live and act.length_s > LONG_S else SPEEDS[act.feed]
        arguments = ["--data", act.feed, "--pairs", PAIRS[act.feed], "--speed", speed, "--base-port", str(self.base_port)]
        return resolve(parse(arguments, {"KAFKA_BOOTSTRAP_SERVERS": self.bootstrap, "REDIS_URL": self.registry.url}))


def make_folder(folder: Path) -> None:
    """A new, empty folder; raises ConfigurationError when it cannot be made, or holds what is none of ours."""
    mark = folder / ".chaos"
    try:
        if folder.exists() and any(folder.iterdir()) and not mark.exists():
            raise ConfigurationError([f"--folder {folder}: is not empty and not of an earlier run; name another"])
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        mark.touch()
    except OSError as error:
        raise ConfigurationError([f"--folder {folder}: cannot be used ({error.strerror})"]) from error


__all__ = ["HOST", "LIVELY", "QUICK", "Stage", "make_folder"]
