"""scripts/install-browser.sh with stand-ins for apt and for the browser."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.repo.tree import ROOT

SCRIPT = ROOT / "scripts" / "install-browser.sh"
#: apt as far as it is asked: installing puts a program where the script looks, unless there is no network.
APT = """#!/bin/sh
echo "$*" >>{folder}/asked
case "$1" in install) [ -e {folder}/offline ] || cp {folder}/id {folder}/chromium ;; esac
"""


class Machine:
    """A folder that is all of PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for tool in ("bash", "sed", "cp", "cat"):
            (folder / tool).symlink_to(shutil.which(tool) or pytest.skip(f"{tool} is not on PATH"))
        self.program("id", "echo ${USER_ID:-0}")

    def program(self, name: str, text: str) -> None:
        """Put a stand-in on PATH."""
        (self.folder / name).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        (self.folder / name).chmod(0o755)

    def run(self, *arguments: str, user: int = 0) -> tuple[int, str]:
        """Status and what is said."""
        variables = {"PATH": str(self.folder), "USER_ID": str(user)}
        ran = subprocess.run(["bash", SCRIPT, *arguments], env=variables, capture_output=True, text=True, check=False)
        return ran.returncode, ran.stdout + ran.stderr


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Neither apt nor a browser."""
    if Path("/Applications/Google Chrome.app").exists():
        pytest.skip("there is a browser here that no PATH hides")
    return Machine(tmp_path)


def with_apt(machine: Machine) -> Machine:
    """The same with apt."""
    machine.program("apt-get", APT.format(folder=machine.folder))
    return machine


def test_a_browser_that_is_there_is_left_alone(machine: Machine) -> None:
    """Nothing is installed and nothing said."""
    with_apt(machine).program("google-chrome", "true")
    assert machine.run() == (0, "")
    assert not (machine.folder / "asked").exists()


def test_it_is_installed_once(machine: Machine) -> None:
    """With apt there is a browser afterwards, and a second run asks for nothing."""
    with_apt(machine)
    assert machine.run() == (0, "install-browser: installing chromium\n")
    assert "chromium" in (machine.folder / "asked").read_text(encoding="utf-8")
    assert machine.run() == (0, "")


def test_without_apt_rights_or_network_it_says_what_to_do(machine: Machine) -> None:
    """Status 1 and one reason each."""
    status, said = machine.run()
    assert (status, "install Chromium or Chrome yourself" in said) == (1, True)
    with_apt(machine)
    status, said = machine.run(user=1000)
    assert (status, "only root may install packages: sudo" in said) == (1, True)
    (machine.folder / "offline").touch()
    status, said = machine.run()
    assert (status, "check the network" in said) == (1, True)


def test_usage(machine: Machine) -> None:
    """--help shows it, anything else is wrong usage."""
    assert machine.run("--help")[0] == 0
    assert machine.run("now")[0] == 2
