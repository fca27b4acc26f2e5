"""scripts/docker-build.sh against a stand-in for docker that notes what it was asked."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

from common.version import VERSION
from tests.repo.tree import ROOT

IMAGES = ("ingestion", "kalman-filter", "garch-volatility", "execution", "risk-manager", "exchange-simulator", "streamlit", "tools", "gateway")
STAND_IN = """#!/bin/sh
echo "$*" >>"$NOTES"
case "$1" in
    history) printf '%s\\n' '300 ENV TAIL' '2000000 RUN useradd --uid 10001' '90000000 base' ;;
    build) case "$*" in *"$BROKEN"*) echo 'no space left on device'; exit 1 ;; esac ;;
esac
"""


class Run:
    """What the script said and asked docker for."""

    def __init__(self, folder: Path, *arguments: str, broken: str = "nothing is") -> None:
        program = folder / "docker"
        program.write_text(STAND_IN, encoding="utf-8")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        notes = folder / "notes"
        notes.touch()
        environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "NOTES": str(notes), "BROKEN": broken}
        ran = subprocess.run([ROOT / "scripts" / "docker-build.sh", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False)
        self.status, self.output, self.errors = ran.returncode, ran.stdout, ran.stderr
        self.asked = notes.read_text(encoding="utf-8").splitlines()
        self.builds = [line for line in self.asked if " --target " in line]


def test_all_images_are_built_with_version_and_latest(tmp_path: Path) -> None:
    """Without options every image is built from the one recipe and tagged twice; its size leaves the base out."""
    run = Run(tmp_path)
    assert (run.status, run.errors) == (0, "")
    assert len(run.builds) == len(IMAGES)
    for name, line in zip(IMAGES, run.builds, strict=True):
        assert f"--file docker/Dockerfile --target {name} " in line
        assert line.endswith(f"--tag crypto-bot-{name}:{VERSION} --tag crypto-bot-{name}:latest .")
    assert "     2 MB of our layers" in run.output
    assert not [line for line in run.asked if line.startswith("push")]


def test_registry_tag_and_push(tmp_path: Path) -> None:
    """What carries the registry's name is pushed, under the given tag and as latest; a service's name means its image."""
    run = Run(tmp_path, "--service", "execution-service", "--registry", "registry.example.com/hft/", "--tag", "v1.0.0", "--push", "--no-cache")
    assert run.status == 0
    (build,) = run.builds
    assert "--no-cache --tag crypto-bot-execution:v1.0.0" in build
    pushed = [line.split()[-1] for line in run.asked if line.startswith("push")]
    assert pushed == ["registry.example.com/hft/crypto-bot-execution:v1.0.0", "registry.example.com/hft/crypto-bot-execution:latest"]


def test_several_platforms_are_pushed_at_once(tmp_path: Path) -> None:
    """An engine holds one platform, so several go straight to the registry."""
    run = Run(tmp_path, "--service", "tools", "--registry", "r.example.com", "--platform", "linux/amd64,linux/arm64", "--push")
    (build,) = run.builds
    assert build.startswith("buildx build --push ")
    assert "--platform linux/amd64,linux/arm64" in build
    assert build.endswith(f"--tag r.example.com/crypto-bot-tools:{VERSION} --tag r.example.com/crypto-bot-tools:latest .")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--push"], "--push needs --registry"),
        (["--service", "broker"], "there is no such image; there are: ingestion"),
        (["--platform", "linux/amd64,linux/arm64"], "an engine holds one platform"),
        (["--tag"], "--tag needs a value"),
        (["up"], "up: no such option"),
    ],
)
def test_wrong_usage(tmp_path: Path, arguments: list[str], problem: str) -> None:
    """Wrong usage is status 2 and a sentence, before docker is asked for anything."""
    run = Run(tmp_path, *arguments)
    assert (run.status, run.asked) == (2, [])
    assert problem in run.errors


def test_a_failed_image_ends_the_run(tmp_path: Path) -> None:
    """The builder's last words are shown, and what comes after is not built."""
    run = Run(tmp_path, broken="--target kalman-filter ")
    assert run.status == 1
    assert "no space left on device" in run.errors
    assert "kalman-filter could not be built" in run.errors
    assert len(run.builds) == 2


def test_help(tmp_path: Path) -> None:
    """`--help` names every option and needs no docker."""
    run = Run(tmp_path, "--help")
    assert (run.status, run.asked) == (0, [])
    for option in ("--registry", "--push", "--tag", "--platform", "--no-cache", "--service"):
        assert option in run.output
