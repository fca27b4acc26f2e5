"""A stand-in for docker that notes what it was asked and answers by rules."""

import os
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

    def run(
        self, *command: str | Path, folder: Path = ROOT, environment: Mapping[str, str] | None = None, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command with the stand-in on its path, without a terminal."""
        (self.folder / "rules").write_text("".join(self._rules), encoding="utf-8")
        given = {
            "PATH": f"{self.folder}:{os.environ['PATH']}",
            "HOME": os.environ.get("HOME", "/"),
            "ROOT": str(ROOT),
            "PYTHON": sys.executable,
            "NOTES": str(self.folder / "notes"),
            "RULES": str(self.folder / "rules"),
            **(environment or {}),
        }
        streams = {"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}
        return subprocess.run(command, cwd=folder, env=given, capture_output=True, text=True, check=False, timeout=60, **streams)

    @property
    def asked(self) -> list[str]:
        """Every command line that docker was asked, in order."""
        return (self.folder / "notes").read_text(encoding="utf-8").splitlines()
