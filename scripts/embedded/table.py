"""What a person sees of a run: a live table in a terminal, plain lines elsewhere."""

import time
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from common import messages as m
from scripts.embedded.plan import SERVICES
from scripts.embedded.run import Run
from scripts.embedded.tally import CENT, PairView

PLAIN_LINE_EVERY_S = 5.0


def progress_of(simulator: Mapping[str, Any]) -> float:
    """Share of the recording that was played, 0 to 1."""
    first, last, now = (simulator.get(name) or 0 for name in ("first_event_time_ns", "last_event_time_ns", "position_ns"))
    return min(1.0, max(0.0, (now - first) / (last - first))) if last > first else 0.0


def usd(amount: Decimal) -> str:
    """An amount to the cent, with its sign."""
    return f"{amount.quantize(CENT):+,.2f}"


class Screen:
    """Shows a run; `show` is given to it."""

    def __init__(self, console: Console, title: str) -> None:
        self.console = console
        self._title = title
        self._live = Live(console=console, auto_refresh=False, transient=False) if console.is_terminal else None
        self._next_line_at = 0.0
        self._rates: dict[str, tuple[float, float, float]] = {}

    def __enter__(self) -> "Screen":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def say(self, text: str) -> None:
        """A line above the table."""
        self.console.print(text, highlight=False)

    def show(self, run: Run) -> None:
        """Refresh."""
        if self._live:
            self._live.update(self._render(run), refresh=True)
        elif time.monotonic() >= self._next_line_at:
            self._next_line_at = time.monotonic() + PLAIN_LINE_EVERY_S
            self.say(plain_line(run))

    def _render(self, run: Run) -> Group:
        share = progress_of(run.simulator)
        elapsed = time.monotonic() - run.started_at
        head = Text(f"{self._title}   {elapsed:5.0f} s   recording {share:4.0%}", style="bold")
        return Group(head, ProgressBar(total=1.0, completed=share, width=100), self._pairs(run), self._services(run))

    def _pairs(self, run: Run) -> Table:
        table = Table(title="pairs", title_justify="left", expand=False)
        for name in ("pair", "y", "x", "z", "entry", "exit", "stop", "model", "verdict", "state", "blocked by", "position y / x", "trips", "P&L USD"):
            table.add_column(name, justify="left" if name in {"pair", "model", "verdict", "state", "blocked by"} else "right", no_wrap=True)
        prices = run.infos.get("execution-service", {}).get("details", {}).get("prices", {})
        for pair, view in run.tally.pairs.items():
            table.add_row(pair, *pair_cells(view, prices.get(pair, {})))
        return table

    def _services(self, run: Run) -> Table:
        table = Table(title="services", title_justify="left", expand=False)
        for name in ("service", "status", "records/s", "step ms", "lag", "restarts", "memory MB"):
            table.add_column(name, justify="left" if name in {"service", "status"} else "right")
        restarts = {process.name: process.restarts for process in run.processes}
        for name in SERVICES:
            activity = run.infos.get(name, {}).get("activity", {})
            rate = self._rate(name, float(activity.get("consumed", 0)))
            step_ms = f"{activity.get('step_ms', 0.0):.2f}"
            cells = (f"{rate:,.0f}", step_ms, str(activity.get("lag", 0)), str(restarts.get(name, 0)), f"{run.resident_mb.get(name, 0):.0f}")
            table.add_row(name, str(run.infos.get(name, {}).get("status", "starting")), *cells)
        return table

    def _rate(self, name: str, consumed: float) -> float:
        """Records a second, over at least half a second."""
        now = time.monotonic()
        at, before, rate = self._rates.get(name, (now, consumed, 0.0))
        if now - at >= 0.5:  # noqa: PLR2004 - seconds
            rate = max(0.0, consumed - before) / (now - at)
            at, before = now, consumed
        self._rates[name] = (at, before, rate)
        return rate


def pair_cells(view: PairView, prices: Mapping[str, str]) -> tuple[str, ...]:
    """The cells of one pair."""
    mark, signal = view.mark, view.signal
    thresholds = signal.thresholds if signal else None
    ready = thresholds is not None and thresholds.status is m.ModelStatus.READY
    return (
        prices.get("y", "-"),
        prices.get("x", "-"),
        f"{mark.z:+.2f}" if mark and mark.z is not None else "-",
        *((f"{value:.2f}" for value in (thresholds.entry_z, thresholds.exit_z, thresholds.stop_z)) if thresholds and ready else ("-", "-", "-")),
        thresholds.volatility_model.value if thresholds else "-",
        signal.verdict.value if signal else "-",
        mark.state.value if mark else "-",
        mark.blocking_gate if mark else "",
        f"{mark.y_quantity.normalize():f} / {mark.x_quantity.normalize():f}" if mark else "-",
        str(view.round_trips),
        usd(mark.equity_usd - mark.starting_usd) if mark else "-",
    )


def plain_line(run: Run) -> str:
    """One line for logs and pipes."""
    counts = run.tally.counts
    net = usd(run.tally.money()["net_pnl_usd"])
    restarts = sum(process.restarts for process in run.processes)
    return (
        f"{time.monotonic() - run.started_at:5.0f} s  recording {progress_of(run.simulator):4.0%}  bars {counts['bars']}  decisions {counts['decisions']}  "
        f"fills {counts['fills']}  round trips {counts['round_trips']}  net {net} USD  restarts {restarts}"
    )
