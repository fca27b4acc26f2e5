"""librdkafka's own broker in a process that people stop."""

import signal
from pathlib import Path

import pytest

from common.io.mock_broker import MockBroker

TASKS = Path("/proc/self/task")


@pytest.mark.skipif(not TASKS.exists(), reason="reads the masks of threads in /proc")
def test_no_signal_reaches_the_broker() -> None:
    """Ctrl-C that interrupts its thread would end it, with the clients of the process waiting for minutes; our own mask stays."""
    before = {task.name for task in TASKS.iterdir()}
    broker = MockBroker(topics=())
    made = [task for task in TASKS.iterdir() if task.name not in before]
    masks = [int(line.split()[1], 16) for task in made for line in (task / "status").read_text().splitlines() if line.startswith("SigBlk")]
    broker.close()
    assert masks
    assert all(mask >> (number - 1) & 1 for mask in masks for number in (signal.SIGINT, signal.SIGTERM))
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & {signal.SIGINT, signal.SIGTERM}
