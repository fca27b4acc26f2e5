"""scripts/image-scan.sh against a stand-in for docker: what it scans, with what rights, and its status."""

from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.repo.stub_docker import StubDocker
from tests.repo.tree import ROOT


def scan(docker: StubDocker, *arguments: str) -> CompletedProcess[str]:
    return docker.run(ROOT / "scripts" / "image-scan.sh", *arguments, folder=docker.folder)


@pytest.fixture
def docker(tmp_path: Path) -> StubDocker:
    return StubDocker(tmp_path)


def test_every_image_is_scanned(docker: StubDocker) -> None:
    """Those that docker-build.sh builds, each as a file; the scanner gets neither the engine nor this folder."""
    ran = scan(docker)
    assert (ran.returncode, ran.stderr) == (0, "")
    saved = [line.split()[-1] for line in docker.asked if line.startswith("save ")]
    assert saved == [f"crypto-bot-{line.split()[0]}:latest" for line in ran.stdout.splitlines()]
    assert len(saved) == 9
    for line in docker.asked:
        if line.startswith("run "):
            assert ("docker.sock" in line, str(ROOT) in line) == (False, False)
            assert "--exit-code 1" in line


def test_what_is_found_fails_and_the_rest_is_scanned_all_the_same(docker: StubDocker) -> None:
    """The scanner's words are shown, and the images in question named."""
    docker.answer("run *", "CVE-2026-1 HIGH openssl", 1)
    ran = scan(docker, "--service", "execution-service", "--service", "tools", "--tag", "v1.0.0")
    assert ran.returncode == 1
    assert "CVE-2026-1 HIGH openssl" in ran.stderr
    assert "image-scan: look at what was found in: execution tools" in ran.stderr
    assert [line.split()[-1] for line in docker.asked if line.startswith("save ")] == ["crypto-bot-execution:v1.0.0", "crypto-bot-tools:v1.0.0"]


def test_a_missing_image_is_told(docker: StubDocker) -> None:
    """With the command that makes it."""
    docker.answer("image inspect *", "", 1)
    ran = scan(docker, "--service", "tools")
    assert (ran.returncode, ran.stderr) == (1, "image-scan: there is no image crypto-bot-tools:latest: make it with scripts/docker-build.sh --service tools\n")


@pytest.mark.parametrize(
    ("arguments", "problem"), [(["--service", "broker"], "there is no such image"), (["--tag"], "--tag needs a value"), (["all"], "all: no such option")]
)
def test_wrong_usage(docker: StubDocker, arguments: list[str], problem: str) -> None:
    """Status 2 and a sentence, before docker is asked for anything."""
    ran = scan(docker, *arguments)
    assert (ran.returncode, docker.asked) == (2, [])
    assert problem in ran.stderr
