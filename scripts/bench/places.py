"""What the benches on a real broker ask alike: where they read and write."""

import argparse
from pathlib import Path

from scripts.embedded.options import ROOT


def add_places(parser: argparse.ArgumentParser, base_port: int) -> None:
    """The options for broker, recording, folder and ports."""
    add = parser.add_argument
    add("--bootstrap", default="", metavar="HOST:PORT", help="broker (default: KAFKA_BOOTSTRAP_SERVERS, else one of its own from ../shared/rehearsal)")
    add("--recording", type=Path, default=ROOT / "data/ticks/usdm-20240808", help="folder of futures tick files of BTCUSDT and ETHUSDT")
    add("--folder", type=Path, default=ROOT / "var/bench", help="for ledgers, logs and lengthened recordings (default var/bench)")
    ports = f"services on PORT to PORT+4, the simulator on PORT+10 (default {base_port})"
    add("--base-port", type=int, default=base_port, metavar="PORT", help=ports)
