"""The shell scripts run on the bash 3.2 of macOS, say how they are used and are tied together."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.repo.tree import ROOT, relative

SCRIPTS = [*sorted((ROOT / "scripts").glob("*.sh")), ROOT / ".ci" / "run"]
LIBRARY = sorted((ROOT / "scripts" / "lib").glob("*.sh"))

# What bash 3.2 or the tools of macOS do not know.
TOO_NEW = {
    "associative array": r"\b(declare|local|typeset) -\w*A",
    "name reference": r"\b(declare|local|typeset) -\w*n\b",
    "case conversion": r"\$\{\w+(\^|,)",
    "transformation": r"\$\{\w+@[A-Z]\}",
    "mapfile": r"\b(mapfile|readarray)\b",
    "append both streams": r"&>>|\|&",
    "coprocess": r"\bcoproc\b",
    "time by printf": r"%\(",
    "EPOCHSECONDS": r"\$\{?EPOCH(SECONDS|REALTIME)",
    "readlink -f": r"\breadlink -f|\brealpath\b",
    "sed in place": r"\bsed -i\b",
    "array that may be empty": r'"\$\{(?!code\b)\w+\[@\]\}"',
    "wait for any": r"\bwait -n\b",
    "grep -P": r"\bgrep -\w*P",
    "timeout": r"(^|[;&|(]\s*)timeout\b",
    "GNU date": r"\bdate (-d|\+%[sN]*N)",
    "negative index": r"\[-1\]|: -\d+\}",
}


@pytest.mark.parametrize("script", [*SCRIPTS, *LIBRARY], ids=relative)
def test_script_is_bash_3_2(script: Path) -> None:
    """Nothing in a script needs a newer bash or GNU tools."""
    code = re.sub(r"^\s*#.*$", "", script.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert [name for name, pattern in TOO_NEW.items() if re.search(pattern, code, flags=re.MULTILINE)] == []


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("declare -A seen", "associative array"),
        ('name="${name,,}"', "case conversion"),
        ("mapfile -t lines", "mapfile"),
        ('here=$(readlink -f "$0")', "readlink -f"),
        ('run "${options[@]}"', "array that may be empty"),
    ],
)
def test_what_is_too_new_is_noticed(line: str, name: str) -> None:
    """The patterns find what they are meant to find."""
    assert re.search(TOO_NEW[name], line)


@pytest.mark.parametrize("script", SCRIPTS, ids=relative)
def test_script_can_be_run_and_says_what_it_does(script: Path) -> None:
    """A script is executable, stops at the first error and begins with a sentence about itself."""
    first, second, *rest = script.read_text(encoding="utf-8").splitlines()
    assert first == "#!/usr/bin/env bash"
    assert re.match(r"# [A-Z].{20}", second)
    assert "set -euo pipefail" in rest
    assert os.access(script, os.X_OK)


@pytest.mark.parametrize("script", LIBRARY, ids=relative)
def test_what_is_sourced_says_what_it_is_for(script: Path) -> None:
    """A file of functions names its shell for ShellCheck and begins with a sentence about itself."""
    first, second, *_ = script.read_text(encoding="utf-8").splitlines()
    assert first.startswith("# shellcheck shell=bash")
    assert re.match(r"# [A-Z].{20}", second)


@pytest.mark.parametrize("name", ["setup", "check", "lock"])
def test_help_shows_the_usage(name: str) -> None:
    """`--help` prints the usage and does nothing else."""
    ran = subprocess.run([ROOT / "scripts" / f"{name}.sh", "--help"], capture_output=True, text=True, check=False)
    assert ran.returncode == 0
    assert f"Usage: scripts/{name}.sh" in ran.stdout
    assert ran.stderr == ""


def test_ci_is_the_checks_and_the_tests() -> None:
    """What guards a change is what a person runs: the check script and the whole test command."""
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert lines[-2:] == ["scripts/check.sh", "TEST_LEVEL=all scripts/test.sh"]
