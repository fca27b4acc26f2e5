"""Pictures of every page for the documents: python -m scripts.screenshots [--folder docs/pictures].

Plays the shipped klines with the demo's profile, waits until there is something to see, and takes each page light and one dark.
"""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from common.errors import CryptoBotError
from scripts.browser.chromium import browser
from scripts.browser.tab import Tab
from scripts.embedded.monitor import ask
from scripts.embedded.options import ROOT
from scripts.embedded.plan import DASHBOARD_PORT_OFFSET, SERVICES

#: What is on a page once it has all that it shows.
READY = {
    "overview": "Positions",
    "pair": "Since the last change of regime",
    "trades": "Newest fills",
    "risk": "Commands",
    "queries": "Asked at",
    "system": "Resident memory",
}
_CHARTS = "document.querySelectorAll('[data-testid=stVegaLiteChart] canvas, [data-testid=stVegaLiteChart] svg').length > 0"
_LOADED = f"""document.querySelector('h1')?.innerText.toLowerCase() === '{{name}}' && document.body.innerText.includes('{{text}}')
  && !document.querySelector('[data-testid=stSkeleton]') && ('{{name}}' === 'trades' || {_CHARTS})"""
BASE_PORT, ROUND_TRIPS, PATIENCE_S = 18_400, 12, 400.0
STOP_S, COLOURS = 60.0, 256


def main(arguments: Sequence[str]) -> int:
    """Exit status: 0 all were taken, 1 not, 2 wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m scripts.screenshots", description="Take a picture of every page of the dashboard, from a run of its own.")
    parser.add_argument("--folder", type=Path, default=ROOT / "docs" / "pictures", help="where they go (default: docs/pictures)")
    parser.add_argument("--speed", default="480", help="of the recording, times real time (default 480)")
    parser.add_argument("--base-port", type=int, default=BASE_PORT, help=f"of the run (default {BASE_PORT})")
    asked = parser.parse_args(arguments)
    try:
        with playing(asked.base_port, asked.speed) as demo, browser() as opened, opened.tab() as tab:
            wait_for_trades(demo, asked.base_port)
            take_all(tab, f"http://127.0.0.1:{asked.base_port + DASHBOARD_PORT_OFFSET}", asked.folder)
    except CryptoBotError as error:
        sys.stderr.write(f"screenshots: {error}\n")
        return 1
    return 0


def open_page(tab: Tab, address: str, name: str, *, dark: bool) -> None:
    """Open the first page, go to another as a person does, and wait until it is complete."""
    tab.look_like(dark=dark)
    tab.go(address)
    link = f"document.querySelector('[data-testid=stSidebarNav] li:nth-of-type({list(READY).index(name) + 1}) a')"
    tab.wait_for(link)
    tab.evaluate(f"{link}.click()")
    tab.wait_for(_LOADED.format(name=name, text=READY[name]))


def take_all(tab: Tab, address: str, folder: Path) -> None:
    """Every page light, and the first one dark."""
    for name, dark in (*((name, False) for name in READY), ("overview", True)):
        open_page(tab, address, name, dark=dark)
        target = folder / f"{name}{'-dark' if dark else ''}.png"
        tab.picture(target, whole="[data-testid=stMain]")
        # Few colours make small files; these cover all that there are, however small what they mean is drawn.
        with Image.open(target) as full:
            full.convert("RGB").quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE).save(target, optimize=True)
        sys.stdout.write(f"{target} {target.stat().st_size // 1024} KB\n")


@contextlib.contextmanager
def playing(base_port: int, speed: str) -> Iterator[subprocess.Popen[bytes]]:
    """The shipped klines over and over, with pages."""
    with tempfile.TemporaryDirectory(prefix="crypto-bot-pictures-") as folder:
        environment = {**os.environ, "TRADING_PROFILE": "demo", "DEMO_FOLDER": folder}
        command = [sys.executable, "-m", "scripts.embedded", "--ui", "--keep-going", "--speed", speed, "--base-port", str(base_port)]
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=sys.stderr)  # noqa: S603 - our own interpreter and modules
        try:
            yield process
        finally:
            stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Have the demo end its processes; kill it when it does not."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_for_trades(demo: subprocess.Popen[bytes], base_port: int) -> None:
    """Until there is something to see; raises CryptoBotError when that takes too long or the demo ends."""
    port, deadline = base_port + SERVICES["execution-service"][1], time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if len(ask(port, f"/round-trips?limit={ROUND_TRIPS}")[1].get("round_trips", ())) == ROUND_TRIPS:
            return
        if demo.poll() is not None:
            raise CryptoBotError(f"the demo has ended with status {demo.returncode}: what it says above tells why")
        time.sleep(1)
    raise CryptoBotError(f"there were no {ROUND_TRIPS} round trips within {PATIENCE_S:.0f} s")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
