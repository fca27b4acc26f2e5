"""Supervised processes: started, restarted and counted when they crash, stopped in order."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

STOP_TIMEOUT_S = 8.0
#: A process that fails this often within a minute is not started again.
RESTARTS_A_MINUTE = 5
#: Exit status that a restart cannot mend: wrong settings.
CONFIGURATION_STATUS = 2


class Supervised:
    """One child process; its output goes to a file."""

    def __init__(self, name: str, module: str, environment: Mapping[str, str], log: Path, arguments: Sequence[str] = ()) -> None:
        self.name = name
        self.restarts = 0
        #: A program before ours, such as `nice -n 5`.
        self.launcher: Sequence[str] = ()
        self.given_up = ""
        self._command = [sys.executable, "-m", module, *arguments]
        self.environment = {**os.environ, **environment}
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._crashes: list[float] = []
        self._restart_at: float | None = None

    def start(self) -> None:
        """Start the process in a group of its own, so that Ctrl-C reaches the supervisor alone."""
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and modules
                [*self.launcher, *self._command], env=self.environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )

    @property
    def pid(self) -> int | None:
        """Id of the process, if it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def watch(self) -> None:
        """Restart the process if it has ended by itself; call now and then."""
        if self._process is None or self.given_up:
            return
        now = time.monotonic()
        if self._restart_at is not None:
            if now >= self._restart_at:
                self._restart_at = None
                self.restarts += 1
                self.start()
        elif (status := self._process.poll()) is not None:
            self._ended(status, now)

    def _ended(self, status: int, now: float) -> None:
        self._crashes = [*(at for at in self._crashes if now - at < 60), now]
        if status == CONFIGURATION_STATUS or len(self._crashes) > RESTARTS_A_MINUTE:
            self.given_up = f"{self.name} ended with status {status}: {self.last_line()}"
        else:
            self._restart_at = now + random.uniform(0.1, 0.5) * len(self._crashes)  # noqa: S311 - jitter

    def kill(self) -> None:
        """End it as `kill -9` does, and leave it ended; nothing is counted."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def ended_by_itself(self) -> int | None:
        """Exit status of a process that nobody has ended; None while it runs."""
        return self._process.poll() if self._process else None

    def last_line(self) -> str:
        """The last line of the log: after a failed start it says why."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if self.log.exists() else []
        return lines[-1] if lines else "it printed nothing"

    def ask_to_stop(self) -> None:
        """Send SIGTERM."""
        self._restart_at = None
        if self._process and self._process.poll() is None:
            self._process.terminate()

    def wait_stopped(self, deadline: float) -> str:
        """Wait until `deadline` (monotonic), then kill; returns what went wrong, if anything."""
        if self._process is None:
            return ""
        try:
            status = self._process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return f"{self.name} did not stop in time and was killed"
        return f"{self.name} stopped with status {status}: {self.last_line()}" if status and not self.given_up else ""

    def resident_mb(self) -> float:
        """Resident memory, MB; 0 where it cannot be read."""
        try:
            if (status := Path(f"/proc/{self.pid}/statm")).exists():
                return round(int(status.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)
            output = subprocess.run(["ps", "-o", "rss=", "-p", str(self.pid)], capture_output=True, text=True, check=False).stdout  # noqa: S603, S607
            return round(int(output) / 1024, 1)
        except (OSError, ValueError):
            return 0.0


def stop_all(processes: Sequence[Supervised]) -> list[str]:
    """Stop the processes together; returns what went wrong."""
    for process in processes:
        process.ask_to_stop()
    deadline = time.monotonic() + STOP_TIMEOUT_S
    return [problem for process in processes if (problem := process.wait_stopped(deadline))]
