"""librdkafka's own broker in a process that people stop."""

import signal
from pathlib import Path

import pytest

from common.io.mock_broker import MockBroker

TASKS = Path("/proc/self/task")


def blocked_by(task: Path) -> list[int]:
    """The mask of a thread; none of one that has ended meanwhile, as the first connections' do."""
    try:
        lines = (task / "status").read_text(encoding="ascii").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [int(line.split()[1], 16) for line in lines if line.startswith("SigBlk")]


@pytest.mark.skipif(not TASKS.exists(), reason="reads the masks of threads in /proc")
def test_no_signal_reaches_the_broker() -> None:
    """Ctrl-C that interrupts its thread would end it, with the clients of the process waiting for minutes; our own mask stays."""
    before = {task.name for task in TASKS.iterdir()}
    broker = MockBroker(topics=())
    masks = [mask for task in TASKS.iterdir() if task.name not in before for mask in blocked_by(task)]
    broker.close()
    assert masks
    assert all(mask >> (number - 1) & 1 for mask in masks for number in (signal.SIGINT, signal.SIGTERM))
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & {signal.SIGINT, signal.SIGTERM}
