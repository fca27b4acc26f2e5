"""What a person sees while a run goes on."""

import io
from decimal import Decimal
from pathlib import Path

import pytest
from rich.console import Console

from common import messages as m
from scripts.embedded import table
from scripts.embedded.plan import SERVICES
from scripts.embedded.run import Run
from scripts.embedded.table import Screen, plain_line, progress_of
from tests.unit.embedded.example import OTHER, PAIR, activity, finished_run, mark


class Now:
    """A clock that the test turns."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Now:
    """The time that the screen sees."""
    clock = Now()
    monkeypatch.setattr(table, "time", clock)
    return clock


@pytest.fixture
def run(tmp_path: Path, now: Now) -> Run:
    """A run with a position in its first pair."""
    made = finished_run(tmp_path)
    made.started_at = now.seconds - 12
    open_leg = {"y_quantity": Decimal("1.500"), "x_quantity": Decimal("-0.04"), "state": m.PositionState.OPEN, "z": -1.25}
    made.tally.add(mark(PAIR, 3, equity_usd=Decimal("1012.346"), blocking_gate="trading", **open_leg))
    made.positions = {PAIR: {"y_price": 2500.5, "x_price": 100_000.0}}
    made.processes[2].restarts = 2
    return made


def shown(run: Run) -> str:
    """What a terminal of 220 columns shows of a run."""
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=220, color_system=None)
    with Screen(console, "crypto-bot, paper trading, default settings") as made:
        made.show(run)
        made.finish(run)
    return screen.getvalue()


def test_a_terminal_shows_each_pair(run: Run) -> None:
    """Prices, z, thresholds, state, the gate that blocks, position and profit of each."""
    text = shown(run)
    row = next(line for line in text.splitlines() if PAIR in line)
    for cell in ("2,500.5", "100,000", "-1.25", "2.25", "0.50", "5.00", "EWMA", "ACTIVE", "OPEN", "trading", "1.5 / -0.04", "+12.35"):
        assert cell in row, cell
    other = next(line for line in text.splitlines() if OTHER in line)
    assert "entry-z" in other
    assert "IDLE" in other


def test_a_terminal_shows_each_service_and_the_progress(run: Run) -> None:
    """State, restarts and memory of each service, the share of the recording, the label of the settings."""
    text = shown(run)
    assert all(name in text for name in SERVICES)
    row = next(line for line in text.splitlines() if "kalman-filter-service" in line)
    assert "ready" in row
    assert "2" in row.split("ready", 1)[1]
    assert "70" in row
    assert "100%" in text
    assert "default settings" in text


def test_nothing_known_yet_is_shown_as_such(tmp_path: Path, now: Now) -> None:
    """Before the first message every pair and service has a row, without figures."""
    empty = Run(finished_run(tmp_path).options, {}, tmp_path, lambda _: None, lambda _: None)
    empty.started_at = now.seconds
    text = shown(empty)
    assert PAIR in text
    assert text.count("starting") >= len(SERVICES)


def test_the_rate_is_that_of_the_last_moments(run: Run, now: Now) -> None:
    """Records a second and the time of a step come from what was handled since the last look; a restart makes nothing negative."""
    name, written = "kalman-filter-service", io.StringIO()
    with Screen(Console(file=written, force_terminal=True, width=220, color_system=None), "title") as screen:

        def row_after(**handled: float) -> str:
            now.seconds += 2
            run.infos[name] = {**run.infos[name], "activity": {**activity(0), **handled}}
            screen.show(run)
            return [line for line in written.getvalue().splitlines() if name in line][-1]

        row_after(consumed=100, steps=100, step_seconds=1.0)
        row = row_after(consumed=1100, steps=1100, step_seconds=3.0)
        assert " 500 " in row
        assert " 2.00 " in row
        assert "-" not in row_after(consumed=0, steps=0, step_seconds=0.0).replace(name, "")


def test_elsewhere_a_plain_line_appears_now_and_then(run: Run, now: Now) -> None:
    """Off a terminal there is one line each few seconds without any control character, and one at the end."""
    written = io.StringIO()
    console = Console(file=written, force_terminal=False, width=40, soft_wrap=True, highlight=False)
    with Screen(console, "title") as screen:
        for _ in range(40):
            screen.show(run)
            now.seconds += 0.25
        assert len(written.getvalue().splitlines()) == 2
        screen.finish(run)
    lines = written.getvalue().splitlines()
    assert len(lines) == 3
    assert "\x1b" not in written.getvalue()
    assert "recording 100%" in lines[0]
    assert "round trips 1" in lines[0]
    assert "restarts 2" in lines[0]


def test_a_plain_line_says_the_profit(run: Run) -> None:
    """Net in dollars and cents, signed."""
    assert "net +0.00 USD" in plain_line(run)


MINUTE_NS = 60_000_000_000


@pytest.mark.parametrize(
    ("simulator", "bars", "share"),
    [
        ({}, (2, 2), 0.0),
        ({"first_event_time_ns": MINUTE_NS, "last_event_time_ns": 5 * MINUTE_NS}, (), 0.0),
        ({"first_event_time_ns": MINUTE_NS, "last_event_time_ns": 5 * MINUTE_NS}, (3,), 0.0),
        ({"first_event_time_ns": MINUTE_NS, "last_event_time_ns": 5 * MINUTE_NS}, (3, 2), 0.25),
        ({"first_event_time_ns": MINUTE_NS, "last_event_time_ns": 5 * MINUTE_NS}, (3, 9), 0.5),
        ({"first_event_time_ns": MINUTE_NS, "last_event_time_ns": 5 * MINUTE_NS}, (9, 9), 1.0),
        ({"first_event_time_ns": MINUTE_NS, "last_event_time_ns": MINUTE_NS}, (1, 1), 0.0),
        ({"first_event_time_ns": None, "last_event_time_ns": None}, (1, 1), 0.0),
    ],
)
def test_progress_is_what_is_decided_for_every_pair(simulator: dict[str, int | None], bars: tuple[int, ...], share: float, tmp_path: Path) -> None:
    """Between 0 and 1 whatever the simulator says, and no further than the pair that is behind."""
    begun = Run(finished_run(tmp_path).options, {}, tmp_path, lambda _: None, lambda _: None)
    begun.simulator = simulator
    for pair, bar in zip((PAIR, OTHER), bars, strict=False):
        begun.tally.add(mark(pair, bar))
    assert progress_of(begun) == share
