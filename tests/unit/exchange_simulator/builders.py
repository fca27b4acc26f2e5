"""Small recordings and a running simulator."""

import asyncio
import contextlib
import gzip
import json
import socket
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from services.exchange_simulator.edge import Simulator, serving
from services.exchange_simulator.first_start import Loop
from services.exchange_simulator.store import Wanted, open_recording

T0_NS = 1_723_161_600_000_000_000


def tick_line(time_ns: int, stream: str, payload: object) -> str:
    return f"{time_ns} " + json.dumps({"stream": stream, "data": payload}, separators=(",", ":"))


def book(number: int, symbol: str = "BTCUSDT", *, spot: bool = False) -> str:
    time_ns = T0_NS + number * 10_000_000
    payload = {"u": number + 1, "s": symbol, "b": f"{60000 + number}.10", "B": "1.5", "a": f"{60001 + number}.20", "A": "2.5"}
    if not spot:
        payload = {"e": "bookTicker", **payload, "T": time_ns // 10**6 + 3, "E": time_ns // 10**6 + 5}
    return tick_line(time_ns, f"{symbol.lower()}@bookTicker", payload)


def trade(number: int, symbol: str = "BTCUSDT") -> str:
    time_ns = T0_NS + number * 10_000_000
    payload = {"e": "trade", "E": time_ns // 10**6 + 5, "T": time_ns // 10**6, "s": symbol, "t": number, "p": "60000.10", "q": "0.1", "X": "MARKET", "m": True}
    return tick_line(time_ns, f"{symbol.lower()}@trade", payload)


def tick_file(folder: Path, lines: Sequence[str], name: str = "btcusdt.gz") -> Path:
    """Write a recording of these lines, compressed if its name says so."""
    file = folder / name
    data = "".join(f"{line}\n" for line in lines).encode()
    file.write_bytes(gzip.compress(data, mtime=0) if name.endswith(".gz") else data)
    return file


@contextlib.contextmanager
def serve(
    path: Path, *, speed: float | None = None, autostart: bool = True, wanted: Wanted | None = None, loop: Loop | None = None
) -> Iterator[tuple[Simulator, int]]:
    """Run a simulator on a free port in a thread of its own; yields it and the port."""
    recording = open_recording(path, wanted)
    listener = socket.create_server(("127.0.0.1", 0))
    events = asyncio.new_event_loop()
    ready, stop = threading.Event(), asyncio.Event()
    made: list[Simulator] = []

    async def main() -> None:
        made.append(Simulator(recording, speed, autostart=autostart, loop=loop))
        async with serving(made[0], listener):
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: events.run_until_complete(main()), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield made[0], listener.getsockname()[1]
    finally:
        events.call_soon_threadsafe(stop.set)
        thread.join(10)
        assert not thread.is_alive()
        events.close()
