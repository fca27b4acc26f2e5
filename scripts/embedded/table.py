"""What a person sees of a run: a live table in a terminal, plain lines elsewhere."""

import time
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from common import messages as m
from scripts.embedded.plan import SERVICES
from scripts.embedded.run import Run
from scripts.embedded.tally import CENT, PairView

PLAIN_LINE_EVERY_S = 5.0
PACE_OVER_S = 0.5


def progress_of(run: Run) -> float:
    """Share of the recording that has been decided on for every pair, 0 to 1."""
    first, last = (run.simulator.get(name) or 0 for name in ("first_event_time_ns", "last_event_time_ns"))
    marks = [view.mark for view in run.tally.pairs.values()]
    if run.tally.ended:
        return 1.0
    if last <= first or not all(marks):
        return 0.0
    return min(1.0, max(0.0, (min(mark.event_time_ns for mark in marks if mark) - first) / (last - first)))


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
        self._paces: dict[str, tuple[float, Mapping[str, float], tuple[str, ...]]] = {}

    def __enter__(self) -> Self:
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

    def finish(self, run: Run) -> None:
        """Show the end of a run."""
        self._next_line_at = 0.0
        self.show(run)

    def _render(self, run: Run) -> Group:
        share = progress_of(run)
        elapsed = time.monotonic() - run.started_at
        head = Text(f"{self._title}   {elapsed:5.0f} s   recording {share:4.0%}", style="bold")
        return Group(head, Padding(ProgressBar(total=1.0, completed=share, width=100), (0, 0, 1, 0)), self._pairs(run), self._services(run))

    def _pairs(self, run: Run) -> Table:
        table = Table(title="pairs", title_justify="left", expand=False)
        for name in ("pair", "y", "x", "z", "entry", "exit", "stop", "model", "verdict", "state", "blocked by", "position y / x", "trips", "P&L USD"):
            table.add_column(name, justify="left" if name in {"pair", "model", "verdict", "state", "blocked by"} else "right", no_wrap=True)
        for pair, view in run.tally.pairs.items():
            table.add_row(pair, *pair_cells(view, run.positions.get(pair, {})))
        return table

    def _services(self, run: Run) -> Table:
        table = Table(title="services", title_justify="left", expand=False)
        for name in ("service", "state", "records/s", "step ms", "latency ms", "lag", "restarts", "memory MB"):
            table.add_column(name, justify="left" if name in {"service", "state"} else "right")
        restarts = {process.name: process.restarts for process in run.processes}
        for name in SERVICES:
            info = run.infos.get(name, {})
            state = "starting" if not info else "ready" if info.get("ready") else "not ready"
            last = (str(int(info.get("activity", {}).get("lag", 0))), str(restarts.get(name, 0)), f"{run.resident_mb.get(name, 0):.0f}")
            table.add_row(name, state, *self._pace(name, info), *last)
        return table

    def _pace(self, name: str, info: Mapping[str, Any]) -> tuple[str, ...]:
        """Records a second, mean time of a step and mean latency from the socket to here, over at least half a second.

        Execution tells the median up to the decision itself.
        """
        now = time.monotonic()
        activity: Mapping[str, float] = info.get("activity", {})
        decided_ms = info.get("details", {}).get("tick_to_decision_ms", {}).get("p50")
        at, before, shown = self._paces.get(name, (now, activity, ("-", "-", "-")))
        if now - at >= PACE_OVER_S and before:
            restarted = activity.get("consumed", 0) < before.get("consumed", 0)
            grown = {key: value - (0 if restarted else before.get(key, 0)) for key, value in activity.items()}
            step_ms = 1e3 * grown["step_seconds"] / max(1, grown["steps"])
            age_ms = decided_ms or 1e3 * grown["input_age_seconds"] / max(1, grown["inputs_timed"])
            shown = f"{grown['consumed'] / (now - at):,.0f}", f"{step_ms:.2f}", f"{age_ms:,.1f}"
            at, before = now, activity
        self._paces[name] = (at, before or activity, shown)
        return shown


def pair_cells(view: PairView, position: Mapping[str, Any]) -> tuple[str, ...]:
    """The cells of one pair."""
    mark, signal = view.mark, view.signal
    thresholds = signal.thresholds if signal else None
    ready = thresholds is not None and thresholds.status is m.ModelStatus.READY
    return (
        *(f"{price:,.6g}" if (price := position.get(name)) else "-" for name in ("y_price", "x_price")),
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
        f"{time.monotonic() - run.started_at:5.0f} s  recording {progress_of(run):4.0%}  bars {counts['bars']}  decisions {counts['decisions']}  "
        f"fills {counts['fills']}  round trips {counts['round_trips']}  net {net} USD  restarts {restarts}"
    )
