"""A Chromium without a window, steered over its DevTools protocol."""

import contextlib
import http.client
import json
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from common.errors import CryptoBotError
from scripts.browser.tab import Tab

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MAC = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
#: It asks nobody but the page, and leaves nothing behind.
_OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--mute-audio", "--remote-debugging-port=0"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions", "--disable-quic"),
)
START_S, STOP_S = 30.0, 10.0


class NoBrowserError(CryptoBotError):
    """There is no browser that could be steered; the text says how to get one."""


def find() -> str:
    """Where the browser is; raises NoBrowserError."""
    found = [path for name in NAMES if (path := shutil.which(name))] + ([str(MAC)] if MAC.exists() else [])
    if not found:
        raise NoBrowserError("no Chromium was found: install it with scripts/install-browser.sh, or Chrome, and put it on the path")
    return found[0]


@contextlib.contextmanager
def browser(options: Sequence[str] = ()) -> Iterator["Browser"]:
    """A browser with an empty profile; raises NoBrowserError when there is none or it does not start."""
    program = find()
    with tempfile.TemporaryDirectory(prefix="crypto-bot-browser-", ignore_cleanup_errors=True) as profile:
        log = Path(profile) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen([program, *_OPTIONS, f"--user-data-dir={profile}", *options, "about:blank"], stdout=output, stderr=output)  # noqa: S603 - found by name
        try:
            yield Browser(_port(process, Path(profile), log))
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class Browser:
    """Opens pages."""

    def __init__(self, port: int) -> None:
        self._port = port

    @contextlib.contextmanager
    def tab(self) -> Iterator[Tab]:
        """An empty page."""
        opened = self._ask("PUT", "/json/new?about:blank")
        with Tab.connect(opened["webSocketDebuggerUrl"]) as made:
            yield made
        self._ask("GET", f"/json/close/{opened['id']}", decode=False)

    def _ask(self, method: str, path: str, *, decode: bool = True) -> dict[str, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        try:
            connection.request(method, path)
            body = connection.getresponse().read()
            return dict(json.loads(body)) if decode else {}
        finally:
            connection.close()


def _port(process: subprocess.Popen[bytes], profile: Path, log: Path) -> int:
    """Where it listens, which it writes into its profile."""
    told, deadline = profile / "DevToolsActivePort", time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        if told.exists() and (lines := told.read_text(encoding="ascii").splitlines()):
            return int(lines[0])
        time.sleep(0.05)
    raise NoBrowserError(f"the browser did not start: {log.read_text(encoding='utf-8', errors='replace').strip()[-500:]}")
