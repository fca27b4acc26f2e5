"""Supervised processes: crashes, restarts and the end."""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scripts.embedded import processes
from scripts.embedded.processes import RESTARTS_A_MINUTE, Supervised, stop_all

#: Notes each start in `starts`; says that it is up in `up`.
PREAMBLE = """
import pathlib, signal, sys, time
with open("starts", "a") as starts: starts.write("x")
number = len(pathlib.Path("starts").read_text())
def up(): pathlib.Path("up").write_text(str(number))
def rest():
    up()
    while True: time.sleep(60)
"""
WELL = "rest()"
CRASHES_ONCE = "if number == 1: print('out of luck'); sys.exit(1)\nrest()"
CRASHES = "print('out of luck'); sys.exit(3)"
MISCONFIGURED = "print('first line'); print('SPEED=fast: expected a number'); sys.exit(2)"
STUBBORN = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nrest()"
ENDS_BADLY = "def end(*_): print('the disk is full'); sys.exit(1)\nsignal.signal(signal.SIGTERM, end)\nrest()"
TIDY = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\nrest()"

Start = Callable[[str], Supervised]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts a child with the given code; none outlives its test. Restarts come at once."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(random, "uniform", lambda *_: 0.0)
    started: list[Supervised] = []

    def begin(code: str) -> Supervised:
        (tmp_path / "child.py").write_text(PREAMBLE + code, encoding="utf-8")
        started.append(Supervised("child", "child", {"PYTHONPATH": str(tmp_path)}, tmp_path / "child.log"))
        started[-1].start()
        return started[-1]

    yield begin
    for process in started:
        if process.pid:
            os.kill(process.pid, signal.SIGKILL)


def watch_until(process: Supervised, condition: Callable[[], object]) -> None:
    """What the supervisor does all day."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, process.last_line()
        process.watch()
        time.sleep(0.005)


def starts() -> int:
    """How often the child was started."""
    return len(Path("starts").read_text(encoding="utf-8"))


def is_up(number: int = 1) -> bool:
    """Whether the child's start of this number has come to its rest."""
    return Path("up").exists() and Path("up").read_text(encoding="utf-8") == str(number)


def test_a_crashed_child_is_started_again_and_counted(start: Start) -> None:
    """The second start stays up and one restart is on the books."""
    child = start(CRASHES_ONCE)
    watch_until(child, lambda: is_up(2))
    assert (child.restarts, child.given_up, starts()) == (1, "", 2)


def test_a_launcher_makes_way_for_the_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is put before the command hands over to it, so that signals go to the child."""
    monkeypatch.chdir(tmp_path)
    told = "import os\npathlib.Path('told').write_text(f'{os.getpid()} {os.environ[\"LAUNCHED\"]}')\n"
    (tmp_path / "child.py").write_text(PREAMBLE + told + TIDY)
    child = Supervised("child", "child", {"PYTHONPATH": str(tmp_path)}, tmp_path / "child.log")
    child.launcher = ("env", "LAUNCHED=yes")
    child.start()
    watch_until(child, is_up)
    assert Path("told").read_text() == f"{child.pid} yes"
    assert stop_all([child]) == []


def test_a_killed_child_is_started_again(start: Start) -> None:
    """`kill -9` is a crash like any other."""
    child = start(WELL)
    watch_until(child, is_up)
    assert child.pid
    os.kill(child.pid, signal.SIGKILL)
    watch_until(child, lambda: is_up(2))
    assert child.restarts == 1


def test_a_child_that_runs_is_left_alone(start: Start) -> None:
    """Watching is not restarting."""
    child = start(WELL)
    watch_until(child, is_up)
    before = child.pid
    for _ in range(50):
        child.watch()
    assert (child.pid, child.restarts, starts()) == (before, 0, 1)


def test_a_child_that_crashes_too_often_is_given_up(start: Start) -> None:
    """After so many restarts within a minute it is left down, with its status and last line as the reason."""
    child = start(CRASHES)
    watch_until(child, lambda: child.given_up)
    assert child.restarts == RESTARTS_A_MINUTE
    assert child.given_up == "child ended with status 3: out of luck"
    for _ in range(50):
        child.watch()
    assert starts() == 1 + RESTARTS_A_MINUTE


def test_a_restart_waits_longer_after_each_crash(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that is down is not started again before its wait is over."""
    monkeypatch.setattr(random, "uniform", lambda *_: 60.0)
    child = start(CRASHES)
    watch_until(child, lambda: child._restart_at is not None)
    for _ in range(50):
        child.watch()
    assert (child.pid, starts()) == (None, 1)


def test_wrong_settings_are_not_tried_again(start: Start) -> None:
    """Status 2 is final: no restart, and the last line of the log is the reason."""
    child = start(MISCONFIGURED)
    watch_until(child, lambda: child.given_up)
    assert child.given_up == "child ended with status 2: SPEED=fast: expected a number"
    assert (child.restarts, starts()) == (0, 1)


def test_stopping_is_clean_for_a_child_that_obeys(start: Start) -> None:
    """SIGTERM is enough, nothing is said, and the end is no crash."""
    child = start(TIDY)
    watch_until(child, is_up)
    assert stop_all([child]) == []
    assert child.pid is None
    assert starts() == 1


def test_a_stubborn_child_is_killed_and_named(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ignores SIGTERM is killed when its time is over."""
    monkeypatch.setattr(processes, "STOP_TIMEOUT_S", 0.2)
    child = start(STUBBORN)
    watch_until(child, is_up)
    assert stop_all([child]) == ["child did not stop in time and was killed"]
    assert child.pid is None


def test_children_share_the_time_to_stop(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two stubborn children take no longer than one."""
    monkeypatch.setattr(processes, "STOP_TIMEOUT_S", 1.0)
    first = start(STUBBORN)
    watch_until(first, is_up)
    second = start(STUBBORN)
    watch_until(second, lambda: is_up(2))
    began_at = time.monotonic()
    assert len(stop_all([first, second])) == 2
    assert time.monotonic() - began_at < 1.9


def test_a_bad_end_is_told(start: Start) -> None:
    """A child that fails while it stops says why in its last line."""
    child = start(ENDS_BADLY)
    watch_until(child, is_up)
    assert stop_all([child]) == ["child stopped with status 1: the disk is full"]


def test_a_child_that_waits_for_its_restart_is_not_started_by_stopping(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once asked to stop, a crashed child stays down."""
    child = start(WELL)
    watch_until(child, is_up)
    monkeypatch.setattr(random, "uniform", lambda *_: 60.0)
    assert child.pid
    os.kill(child.pid, signal.SIGKILL)
    watch_until(child, lambda: child.pid is None and child._restart_at is not None)
    stop_all([child])
    assert (child.pid, child.restarts, starts()) == (None, 0, 1)


def test_the_terminal_s_ctrl_c_does_not_reach_a_child(start: Start) -> None:
    """A child has a session of its own, so that it is stopped in order."""
    child = start(WELL)
    watch_until(child, is_up)
    assert child.pid
    assert os.getsid(child.pid) != os.getsid(0)


def test_memory_is_that_of_the_process(start: Start) -> None:
    """Some megabytes while it runs, nothing before or after."""
    child = start(TIDY)
    watch_until(child, is_up)
    assert 1 < child.resident_mb() < 200
    stop_all([child])
    assert child.resident_mb() == 0


def test_a_child_that_was_never_started_has_nothing_to_stop(tmp_path: Path) -> None:
    """Stopping half of a start is no problem."""
    child = Supervised("child", "child", {}, tmp_path / "child.log")
    assert stop_all([child]) == []
    child.watch()
    assert (child.pid, child.restarts, child.last_line()) == (None, 0, "it printed nothing")
