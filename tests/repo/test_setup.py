"""scripts/setup.sh with stand-ins for Python and pip: what it makes, when it makes it again, and what it says when it cannot."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.repo.tree import ROOT

TOOLS = ("bash", "cat", "cmp", "cp", "dirname", "grep", "ls", "mkdir", "rm", "sed", "tail")

# A Python that knows its version, makes an environment by copying itself, and writes down what pip is asked for.
STUB = """#!/bin/bash
case "$1 $2" in
    "-c import sys;"*) echo {version} ;;
    "-c import ensurepip"*) exit {venv_status} ;;
    "-c import fcntl"*) exec {real} "$@" ;;
    "-m venv") mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
    "-m pip")
        case "$*" in *install*) ;; *) exit 0 ;; esac
        echo "${{@: -1}}" >>{log}
        echo "Collecting something"
        [ ! -p {gate} ] || read -r _ <{gate}
        [ ! -e {log}.fail ] || {{ echo "no network" >&2; exit 1; }}
        ;;
esac
"""


@dataclass
class Machine:
    """A folder with the script, a few tools and stand-in interpreters."""

    folder: Path

    def __post_init__(self) -> None:
        self.root = self.folder / "project"
        self.bin = self.folder / "bin"
        self.venv = self.root / ".venv"
        self.log = self.folder / "pip.log"
        self.gate = self.folder / "gate"
        for made in (self.root / "scripts", self.root / "requirements", self.bin):
            made.mkdir(parents=True)
        shutil.copy(ROOT / "scripts" / "setup.sh", self.root / "scripts")
        for name in ("dev", "demo"):
            self.require(name, "one==1")
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool) or pytest.skip(f"{tool} is not on PATH"))

    def require(self, name: str, text: str) -> None:
        """Write a requirement file."""
        (self.root / "requirements" / f"{name}.txt").write_text(f"{text}\n", encoding="utf-8")

    def python(self, name: str, version: str, *, venv_status: int = 0) -> None:
        """Put a stand-in interpreter on PATH."""
        stub = self.bin / name
        stub.write_text(STUB.format(version=version, venv_status=venv_status, real=sys.executable, log=self.log, gate=self.gate), encoding="utf-8")
        stub.chmod(0o755)

    def start(self, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
        """Run the script without waiting for it."""
        command = ["bash", str(self.root / "scripts" / "setup.sh"), *arguments]
        variables = {"PATH": str(self.bin), "HOME": str(self.folder), **environment}
        return subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, *arguments: str, **environment: str) -> "tuple[int, str, str]":
        """Run the script: exit status, output, errors."""
        process = self.start(*arguments, **environment)
        output, errors = process.communicate(timeout=60)
        return process.returncode, output, errors

    def installed(self) -> int:
        """How often pip was asked to install."""
        return len(self.log.read_text(encoding="utf-8").splitlines()) if self.log.exists() else 0


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine without any Python."""
    return Machine(tmp_path)


def test_first_run_installs_and_second_does_nothing(machine: Machine) -> None:
    """An environment is made once; with nothing changed the script is silent."""
    machine.python("python3", "3.12.1")
    status, output, errors = machine.run("demo")
    assert (status, errors, machine.installed()) == (0, "", 1)
    assert "ready" in output
    assert machine.run("demo") == (0, "", "")
    assert machine.installed() == 1


def test_changed_requirements_are_installed(machine: Machine) -> None:
    """Other pins are installed into the environment that is there."""
    machine.python("python3", "3.12.1")
    machine.run("dev")
    (machine.venv / "kept").touch()
    machine.require("dev", "one==2")
    assert machine.run("dev")[0] == 0
    assert machine.installed() == 2
    assert (machine.venv / "kept").exists()


def test_development_environment_serves_the_demo(machine: Machine) -> None:
    """dev.txt holds all that demo.txt does, so nothing is left to do."""
    machine.python("python3", "3.12.1")
    machine.run("dev")
    assert machine.run("demo") == (0, "", "")


def test_what_the_pages_need_joins_the_demo(machine: Machine) -> None:
    """It is installed into the demo's environment once, and takes nothing from it; dev.txt holds it already."""
    machine.python("python3", "3.12.1")
    machine.require("dashboard", "one==1")
    machine.run("demo")
    assert machine.run("dashboard")[0] == 0
    assert machine.installed() == 2
    assert machine.run("demo") == machine.run("dashboard") == (0, "", "")
    machine.run("dev")
    machine.require("dashboard", "one==3")
    machine.require("demo", "one==3")
    assert machine.run("dashboard") == (0, "", "")


def test_interrupted_environment_is_made_anew(machine: Machine) -> None:
    """What a failed installation left behind is not used."""
    machine.python("python3", "3.12.1")
    machine.log.with_suffix(".log.fail").touch()
    status, _, errors = machine.run("dev")
    assert status == 1
    assert "no network" in errors
    (machine.venv / "left").touch()
    machine.log.with_suffix(".log.fail").unlink()
    assert machine.run("dev")[0] == 0
    assert not (machine.venv / "left").exists()


def test_interrupted_update_makes_the_environment_anew(machine: Machine) -> None:
    """An environment into which an update went halfway is not trusted either."""
    machine.python("python3", "3.12.1")
    machine.run("dev")
    (machine.venv / "half").touch()
    machine.require("dev", "one==2")
    machine.log.with_suffix(".log.fail").touch()
    assert machine.run("dev")[0] == 1
    machine.log.with_suffix(".log.fail").unlink()
    assert machine.run("dev")[0] == 0
    assert not (machine.venv / "half").exists()


def test_other_python_makes_the_environment_anew(machine: Machine) -> None:
    """An environment of another version than the one in use now is replaced."""
    machine.python("python3", "3.12.1")
    machine.run("dev")
    (machine.venv / "old").touch()
    machine.python("python3", "3.13.0")
    assert machine.run("dev")[0] == 0
    assert not (machine.venv / "old").exists()


def test_moved_project_makes_the_environment_anew(machine: Machine) -> None:
    """Programs in an environment name its folder, so a moved one is replaced."""
    machine.python("python3", "3.12.1")
    machine.run("dev")
    (machine.venv / "old").touch()
    machine.root = machine.root.rename(machine.folder / "moved")
    assert machine.run("dev")[0] == 0
    assert not (machine.root / ".venv" / "old").exists()


def test_foreign_folder_is_left_alone(machine: Machine) -> None:
    """A folder that the script did not make is neither used nor removed."""
    machine.python("python3", "3.12.1")
    machine.venv.mkdir()
    (machine.venv / "mine").touch()
    status, _, errors = machine.run("dev")
    assert status == 1
    assert "was not made by this script" in errors
    assert (machine.venv / "mine").exists()


def test_too_old_python_is_named(machine: Machine) -> None:
    """The message says what was found, what is needed and how to get it."""
    machine.python("python3", "3.9.6")
    status, output, errors = machine.run("dev")
    assert (status, output) == (1, "")
    assert "Python 3.11 or later is needed; python3 here: 3.9.6" in errors
    assert "apt install python3" in errors
    assert not machine.venv.exists()


def test_no_python_at_all(machine: Machine) -> None:
    """Without any interpreter the message is the same."""
    status, _, errors = machine.run("dev")
    assert status == 1
    assert "python3 here: none" in errors


def test_newer_python_beside_an_old_one_is_found(machine: Machine) -> None:
    """An old python3 does not matter where python3.13 is installed too."""
    machine.python("python3", "3.9.6")
    machine.python("python3.13", "3.13.0")
    status, output, _ = machine.run("dev")
    assert status == 0
    assert "Python 3.13.0" in output


def test_python_for_which_nothing_is_built_yet_comes_last(machine: Machine) -> None:
    """A Python newer than the pinned packages know is taken only where there is no other."""
    machine.python("python3", "3.15.0")
    machine.python("python3.12", "3.12.1")
    assert "Python 3.12.1" in machine.run("dev")[1]
    (machine.bin / "python3.12").unlink()
    assert "Python 3.15.0" in machine.run("dev")[1]


def test_chosen_python_is_used_or_refused(machine: Machine) -> None:
    """PYTHON names the interpreter; one that will not do is an error, not a hint."""
    machine.python("python3", "3.12.1")
    machine.python("python3.10", "3.10.13")
    assert "PYTHON=python3.10 is Python 3.10.13" in machine.run("dev", PYTHON="python3.10")[2]
    assert "is no Python that runs" in machine.run("dev", PYTHON="python9")[2]
    assert not machine.venv.exists()


def test_missing_venv_module(machine: Machine) -> None:
    """Debian without python3-venv: the message says what to install, and nothing is left behind."""
    machine.python("python3", "3.11.2", venv_status=1)
    status, output, errors = machine.run("dev")
    assert (status, output) == (1, "")
    assert "no venv module" in errors
    assert "apt install python3-venv" in errors
    assert not machine.venv.exists()


def test_folder_that_cannot_be_written(machine: Machine) -> None:
    """The message names the folder and the variable that chooses another."""
    machine.python("python3", "3.12.1")
    (machine.folder / "file").touch()
    status, _, errors = machine.run("dev", CRYPTO_BOT_VENV=str(machine.folder / "file" / "venv"))
    assert status == 1
    assert "CRYPTO_BOT_VENV" in errors


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only to root")
def test_read_only_project(machine: Machine) -> None:
    """A project folder without write permission gives the same message."""
    machine.python("python3", "3.12.1")
    machine.root.chmod(0o555)
    status, _, errors = machine.run("dev")
    machine.root.chmod(0o755)
    assert status == 1
    assert "CRYPTO_BOT_VENV" in errors


def test_unknown_name(machine: Machine) -> None:
    """A name without a requirement file is refused with the names that there are."""
    machine.python("python3", "3.12.1")
    assert "choose one of: demo dev" in machine.run("production")[2]


def test_two_at_once_take_turns(machine: Machine) -> None:
    """The second waits for the first and then finds everything there."""
    machine.python("python3", "3.12.1")
    os.mkfifo(machine.gate)
    first = machine.start("dev")
    assert first.stdout is not None
    assert "making an environment" in first.stdout.readline()
    second = machine.start("dev")
    assert second.stdout is not None
    assert "another set-up is at work" in second.stdout.readline()
    machine.gate.write_text("go\n", encoding="utf-8")
    assert first.communicate(timeout=60)[1] == ""
    assert second.communicate(timeout=60) == ("", "")
    assert (first.returncode, second.returncode, machine.installed()) == (0, 0, 1)
