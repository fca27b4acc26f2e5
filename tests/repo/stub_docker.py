"""A stand-in for docker that notes what it was asked and answers by rules."""

import os
import pty
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.repo.tree import ROOT

#: The first rule that fits answers; programs of the tools image for which there is none run on this machine's Python.
STAND_IN = """#!/bin/sh
echo "$*" >>"$NOTES"
while IFS='|' read -r status file pattern <&3; do
    case "$*" in $pattern)
        case "$*" in *" tools "*) cat >/dev/null ;; esac
        cat "$file"
        exit "$status" ;;
    esac
done 3<"$RULES"
case "$*" in *" tools python -m "*)
    while [ "$1" != python ]; do shift; done
    shift
    cd "$ROOT" && exec "$PYTHON" "$@" ;;
esac
"""


class StubDocker:
    """The stand-in in a folder of its own, first on the path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._rules: list[str] = []
        for name in ("docker", "docker-compose"):
            program = folder / name
            program.write_text(STAND_IN, encoding="utf-8")
            program.chmod(program.stat().st_mode | stat.S_IXUSR)
        (folder / "notes").touch()

    def answer(self, pattern: str, text: str = "", status: int = 0) -> None:
        """Answer what fits a shell pattern; a later rule goes before an earlier one."""
        file = self.folder / f"answer-{len(self._rules)}"
        file.write_text(text, encoding="utf-8")
        self._rules.insert(0, f"{status}|{file}|{pattern}\n")

    def hold(self, pattern: str) -> Path:
        """Let whoever asks this wait for what is written to the named pipe that is returned."""
        self.answer(pattern)
        pipe = self.folder / f"answer-{len(self._rules) - 1}"
        pipe.unlink()
        os.mkfifo(pipe)
        return pipe

    def run(self, *command: str | Path, folder: Path = ROOT, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command with the stand-in on its path, without a terminal."""
        given = self._environment(environment)
        return subprocess.run(command, cwd=folder, env=given, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60)

    def start(self, *command: str | Path) -> subprocess.Popen[str]:
        """Have a command run meanwhile, unheard."""
        nothing = subprocess.DEVNULL
        return subprocess.Popen(command, cwd=ROOT, env=self._environment(), stdin=nothing, stdout=nothing, stderr=nothing, text=True)

    def run_on_terminal(self, *command: str | Path, typed: str) -> subprocess.CompletedProcess[str]:
        """Run a command at a terminal at which this is typed; what it says is read as ever."""
        ours, its = pty.openpty()
        try:
            os.write(ours, typed.encode())
            return subprocess.run(command, cwd=ROOT, env=self._environment(), stdin=its, capture_output=True, text=True, check=False, timeout=60)
        finally:
            os.close(ours)
            os.close(its)

    def _environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        (self.folder / "rules").write_text("".join(self._rules), encoding="utf-8")
        return {
            "PATH": f"{self.folder}:{os.environ['PATH']}",
            "HOME": os.environ.get("HOME", "/"),
            "ROOT": str(ROOT),
            "PYTHON": sys.executable,
            "NOTES": str(self.folder / "notes"),
            "RULES": str(self.folder / "rules"),
            "DEPLOY_LOCK": str(self.folder / "lock"),
            **(more or {}),
        }

    @property
    def asked(self) -> list[str]:
        """Every command line that docker was asked, in order."""
        return (self.folder / "notes").read_text(encoding="utf-8").splitlines()
