"""scripts/lib/compose.sh: which files an environment has, under whichever name Compose goes."""

from pathlib import Path

import pytest

from tests.repo.stub_docker import StubDocker


def source(docker: StubDocker, script: str, **environment: str) -> tuple[int, str, str]:
    """Run a few lines after the library."""
    ran = docker.run("bash", "-c", f"set -euo pipefail; . scripts/lib/compose.sh; {script}", environment=environment)
    return ran.returncode, ran.stdout.strip(), ran.stderr.strip()


@pytest.mark.parametrize(
    ("environment", "files"),
    [
        ("base", "-f docker-compose.yml"),
        ("development", "-f docker-compose.yml -f docker-compose.dev.yml"),
        ("production", "-f docker-compose.yml -f docker-compose.prod.yml"),
        ("development zookeeper", "-f docker-compose.yml -f docker-compose.dev.yml -f docker/compose.zookeeper.yml"),
        (
            "production cluster",
            "-f docker-compose.yml -f docker-compose.prod.yml -f docker/compose.cluster.yml -f docker/compose.cluster.prod.yml",
        ),
    ],
)
def test_an_environment_has_its_files(tmp_path: Path, environment: str, files: str) -> None:
    """`compose` runs Docker Compose with the environment's files under the project's usual name."""
    docker = StubDocker(tmp_path)
    assert source(docker, f"compose_files {environment}; compose ps --all")[0] == 0
    assert docker.asked[-1] == f"compose --project-name crypto-bot {files} ps --all"


def test_the_old_word_for_compose_is_found(tmp_path: Path) -> None:
    """Where docker has no plugin, docker-compose does the same; the project's name comes from the shell."""
    docker = StubDocker(tmp_path)
    docker.answer("compose version", "", 1)
    assert source(docker, "compose_files base; compose up -d", COMPOSE_PROJECT_NAME="other")[0] == 0
    assert docker.asked[-1] == "--project-name other -f docker-compose.yml up -d"


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        ("compose_files staging", "staging: no such environment; there are: development, production"),
        ("compose_files development raft", "raft: no such mode of Kafka; there are: kraft, zookeeper, cluster"),
    ],
)
def test_what_there_is_not(tmp_path: Path, call: str, problem: str) -> None:
    """An unknown environment or mode is wrong usage and says what there is."""
    assert source(StubDocker(tmp_path), call) == (2, "", problem)


@pytest.mark.parametrize(
    ("files", "environment"),
    [
        ("", ""),
        ("/x/docker-compose.yml\n/x/docker-compose.yml", "base"),
        ("/x/docker-compose.yml,/x/docker-compose.dev.yml", "development"),
        ("/x/docker-compose.yml,/x/docker-compose.prod.yml", "production"),
    ],
)
def test_what_runs_here_tells_its_environment(tmp_path: Path, files: str, environment: str) -> None:
    """Containers carry the names of the files that they were made from."""
    docker = StubDocker(tmp_path)
    docker.answer("ps --all *label=com.docker.compose.project=crypto-bot *", files)
    assert source(docker, "running_environment") == (0, environment, "")


@pytest.mark.parametrize(("overlay", "mode"), [("", "kraft"), (",/x/docker/compose.zookeeper.yml", "zookeeper"), (",/x/docker/compose.cluster.yml", "cluster")])
def test_what_runs_here_tells_its_broker(tmp_path: Path, overlay: str, mode: str) -> None:
    """The mode of Kafka is that of what runs, unless somebody names one; without containers nobody knows one."""
    docker = StubDocker(tmp_path)
    assert source(docker, "running_kafka_mode") == (0, "", "")
    docker.answer("ps --all *label=com.docker.compose.project=crypto-bot *", f"/x/docker-compose.yml{overlay}")
    assert source(docker, "compose_files base; echo $KAFKA_MODE") == (0, mode, "")
    assert source(docker, "compose_files base kraft; echo $KAFKA_MODE") == (0, "kraft", "")
