"""One page in a browser: what is on it, what it complains about, and pictures of it."""

import base64
import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from websockets.sync.client import ClientConnection, connect

from common.errors import CryptoBotError

ANSWER_S = 30.0
#: Of a screen that pages are made for.
WIDTH, HEIGHT = 1440, 900
#: Resolves once the condition holds, however the page is made to change; false when it takes too long.
_UNTIL = """new Promise(done => {{
  const end = performance.now() + {patience_ms};
  const look = () => {{
    let held = false;
    try {{ held = !!({condition}); }} catch (error) {{ held = false; }}
    if (held || performance.now() > end) done(held); else setTimeout(look, 25);
  }};
  look();
}})"""


class PageError(CryptoBotError):
    """The page did not do what was asked of it."""


class Tab:
    """Steers one page. Whatever the page reports as an error is kept in `errors`."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._number = 0
        self.errors: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._send(f"{domain}.enable")

    @classmethod
    @contextlib.contextmanager
    def connect(cls, address: str) -> Iterator[Self]:
        """Begin to steer a page."""
        # Nobody reads between two commands, so a ping would not be answered in time.
        with connect(address, max_size=None, compression=None, ping_interval=None) as connection:
            yield cls(connection)

    def look_like(self, *, dark: bool, zone: str = "Europe/Berlin", width: int = WIDTH, height: int = HEIGHT) -> None:
        """Have the page think that its reader likes it dark or light, lives in a zone, and has a screen of a size."""
        self._send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        self._send("Emulation.setTimezoneOverride", timezoneId=zone)
        self._size(width, height)

    def go(self, address: str) -> None:
        """Open an address."""
        answer = self._send("Page.navigate", url=address)
        if text := answer.get("errorText"):
            raise PageError(f"{address}: {text}")

    def evaluate(self, expression: str) -> Any:
        """The value of an expression of JavaScript in the page."""
        answer = self._send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise PageError(f"{expression}: {answer['exceptionDetails'].get('exception', {}).get('description', answer['exceptionDetails'].get('text'))}")
        return answer["result"].get("value")

    def wait_for(self, condition: str, patience_s: float = 20.0) -> None:
        """Wait until a condition of JavaScript holds, also across the page's being loaded anew; raises PageError with what the page says instead."""
        deadline = time.monotonic() + patience_s
        while (left_s := deadline - time.monotonic()) > 0:
            with contextlib.suppress(PageError):  # Its promises end with a page.
                if self.evaluate(_UNTIL.format(condition=condition, patience_ms=round(min(left_s, ANSWER_S / 2) * 1e3))):
                    return
        raise PageError(f"never held: {condition}\nThe page says: {self.text()[:2000]}")

    def write(self, text: str) -> None:
        """Type into whatever has the focus."""
        self._send("Input.insertText", text=text)

    def text(self) -> str:
        """All that can be read on the page."""
        return str(self.evaluate("document.body ? document.body.innerText : ''"))

    def picture(self, target: Path, *, whole: str = "") -> None:
        """Write a PNG of what is seen; with a selector, of all that this element would show if one scrolled."""
        if whole:
            self._size(WIDTH, max(HEIGHT, int(self.evaluate(f"document.querySelector({whole!r}).scrollHeight"))))
            # Twice drawn, it has its new size.
            self.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 300))))")
        answer = self._send("Page.captureScreenshot", format="png")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(base64.b64decode(answer["data"]))
        if whole:
            self._size(WIDTH, HEIGHT)

    def _size(self, width: int, height: int) -> None:
        self._send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def _send(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and wait for its answer; what is reported meanwhile is noted."""
        self._number += 1
        self._connection.send(json.dumps({"id": self._number, "method": method, "params": params}))
        deadline = time.monotonic() + ANSWER_S
        while (left_s := deadline - time.monotonic()) > 0:
            message = json.loads(self._connection.recv(timeout=left_s))
            if message.get("id") == self._number:
                if "error" in message:
                    raise PageError(f"{method}: {message['error'].get('message')}")
                return dict(message["result"])
            self._note(message)
        raise PageError(f"{method}: no answer within {ANSWER_S:g} s")

    def _note(self, event: dict[str, Any]) -> None:
        match event:
            case {"method": "Runtime.exceptionThrown", "params": {"exceptionDetails": details}}:
                self.errors.append(str(details.get("exception", {}).get("description") or details.get("text")))
            case {"method": "Runtime.consoleAPICalled", "params": {"type": "error", "args": arguments}}:
                self.errors.append(" ".join(str(each.get("value", each.get("description"))) for each in arguments))
            case {"method": "Log.entryAdded", "params": {"entry": {"level": "error"} as entry}}:
                self.errors.append(f"{entry.get('text')} {entry.get('url', '')}".strip())
            case _:
                pass
