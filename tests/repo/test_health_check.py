"""scripts/health-check.sh against a stand-in for docker: what it gathers, how long it waits, what it says and its status."""

import json
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.repo.stub_docker import StubDocker
from tests.repo.tree import ROOT

SCRIPT = ROOT / "scripts" / "health-check.sh"
LOOK = "*run --rm --no-deps -T operations python -m scripts.operations.health *"


@pytest.fixture
def docker(tmp_path: Path) -> StubDocker:
    """A stack of two services, of which one container is there, and a judge who finds it healthy."""
    stub = StubDocker(tmp_path)
    stub.answer("compose * config --services", "kafka\nredis\n")
    stub.answer("compose * config --images operations", "crypto-bot-tools:latest\n")
    stub.answer("ps --all *--format {{.ID}}", "1234\n")
    stub.answer("inspect *", 'container {"labels": {}}\n')
    stub.answer(LOOK, "healthy\n")
    return stub


def check(docker: StubDocker, *arguments: str, folder: Path = ROOT) -> CompletedProcess[str]:
    return docker.run(SCRIPT, *arguments, folder=folder)


@pytest.mark.parametrize("status", [0, 1, 2])
def test_the_judges_word_is_shown_and_returned(docker: StubDocker, status: int) -> None:
    """What the judge says is shown, its status is the script's; it is asked once, from any folder."""
    docker.answer(LOOK, "a table\n", status)
    ran = check(docker, folder=docker.folder)
    assert (ran.returncode, ran.stdout, ran.stderr) == (status, "a table\n", "")
    looks = [line for line in docker.asked if "scripts.operations.health" in line]
    assert len(looks) == 1
    assert looks[0].endswith("--environment development")
    assert "-f docker-compose.yml -f docker-compose.dev.yml " in looks[0]


def test_what_is_there_is_gathered_without_settings(docker: StubDocker) -> None:
    """The judge reads what should run and what is there; environments of containers, which may hold secrets, are not asked for."""
    docker.answer(LOOK)
    check(docker, "--quiet")
    (inspected,) = [line for line in docker.asked if line.startswith("inspect ")]
    assert inspected.endswith(" 1234")
    assert ".Config.Env" not in inspected
    assert "json .Config}" not in inspected


@pytest.mark.parametrize(("options", "given"), [(("-v",), "--verbose"), (("--json", "--verbose"), "--json --verbose"), (("--quiet",), "--quiet")])
def test_options_reach_the_judge(docker: StubDocker, options: tuple[str, ...], given: str) -> None:
    """How much is said is the judge's affair."""
    check(docker, *options)
    assert docker.asked[-1].endswith(f"--environment development {given}")


def test_the_environment_that_runs_is_looked_at(docker: StubDocker) -> None:
    """Without -e it is the one that runs; -e goes before."""
    docker.answer("ps --all *project.config_files*", "/x/docker-compose.yml,/x/docker-compose.prod.yml\n")
    check(docker)
    assert docker.asked[-1].endswith("--environment production")
    check(docker, "-e", "development")
    assert docker.asked[-1].endswith("--environment development")


def test_waiting_ends_with_health(docker: StubDocker) -> None:
    """It looks again while it is not healthy, and ends as soon as it is; only the last look is shown."""
    judge = docker.folder / "look"
    judge.write_text("#!/bin/sh\n[ -f looked ] && echo healthy && exit 0\ntouch looked\necho down\nexit 2\n", encoding="utf-8")
    program = docker.folder / "docker"
    program.write_text(
        program.read_text(encoding="utf-8").replace(
            'case "$*" in *" tools', f'case "$*" in *operations.health*) cd {docker.folder} && exec sh look ;; *" tools'
        ),
        encoding="utf-8",
    )
    ran = check(docker, "--wait", "30", "--quiet")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "healthy\n", "")


def test_waiting_gives_up_in_time(docker: StubDocker) -> None:
    """When the time is over the last look counts."""
    docker.answer(LOOK, "degraded x\n", 1)
    ran = check(docker, "--wait", "1", "--quiet")
    assert (ran.returncode, ran.stdout) == (1, "degraded x\n")


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [("info", "no Docker engine answers"), ("image inspect *", "there is no image crypto-bot-tools:latest: make it with scripts/docker-build.sh")],
)
def test_when_nobody_can_be_asked_it_is_down(docker: StubDocker, pattern: str, reason: str) -> None:
    """Without an engine or our image the answer is down, with the reason, for people and for programs."""
    docker.answer(pattern, "", 1)
    ran = check(docker, "--json")
    (row,) = json.loads(ran.stdout)["rows"]
    assert (ran.returncode, row["state"]) == (2, "down")
    assert reason in row["text"]
    assert reason in check(docker).stdout


def test_a_judge_that_does_not_start_is_no_verdict(docker: StubDocker) -> None:
    """A container that cannot be run says nothing: that is down with the engine's own words, not degraded."""
    docker.answer(LOOK, "", 1)
    ran = check(docker)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "nobody could be asked" in ran.stderr


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["-e", "staging"], "-e staging: there are development and production"),
        (["--wait"], "--wait needs a value"),
        (["--wait", "soon"], "--wait soon: a whole number of seconds is needed"),
        (["up"], "up: no such option"),
    ],
)
def test_wrong_usage(docker: StubDocker, arguments: list[str], problem: str) -> None:
    """Wrong usage is status 3, since 1 and 2 are verdicts; docker is not asked."""
    ran = check(docker, *arguments)
    assert (ran.returncode, docker.asked) == (3, [])
    assert problem in ran.stderr


def test_help(docker: StubDocker) -> None:
    """`--help` names every option and every state."""
    ran = check(docker, "--help")
    assert (ran.returncode, docker.asked) == (0, [])
    for word in ("-e ENVIRONMENT", "--verbose", "--json", "--wait SECONDS", "--quiet", "note", "follows", "degraded", "down"):
        assert word in ran.stdout
