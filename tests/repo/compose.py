"""The Compose files as Docker Compose itself understands them; nothing of the user's machine gets in."""

import functools
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.repo.tree import ROOT

BASE = ("docker-compose.yml",)
DEVELOPMENT = (*BASE, "docker-compose.dev.yml")
PRODUCTION = (*BASE, "docker-compose.prod.yml")
SETS = {"base": BASE, "development": DEVELOPMENT, "production": PRODUCTION}
#: Other brokers, in both environments.
OVERLAYS = {
    "zookeeper": (*BASE, "docker/compose.zookeeper.yml"),
    "zookeeper in production": (*PRODUCTION, "docker/compose.zookeeper.yml", "docker/compose.zookeeper.prod.yml"),
    "cluster": (*BASE, "docker/compose.cluster.yml"),
    "cluster in production": (*PRODUCTION, "docker/compose.cluster.yml", "docker/compose.cluster.prod.yml"),
}
WORKER = ("docker/compose.worker.yml",)

#: The services that may be scaled.
PIPELINE = ("ingestion-service", "kalman-filter-service", "garch-volatility-service", "execution-service", "risk-manager-service")


@functools.cache
def _compose_is_there() -> bool:
    found = shutil.which("docker")
    return bool(found) and subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0


def deployment(folder: Path) -> Path:
    """Copy what Compose reads, and nothing that lies beside it, such as a user's env files."""
    for path in ROOT.glob("docker-compose*.yml"):
        shutil.copy(path, folder)
    shutil.copytree(ROOT / "docker", folder / "docker")
    return folder


def run_compose(folder: Path, files: tuple[str, ...], *arguments: str, shell: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run `docker compose` in a folder with nothing in its environment but what is needed and given; skips where there is none, an engine is not needed."""
    if not _compose_is_there():
        pytest.skip("needs Docker Compose (the plugin `docker compose`): there is none here")
    named = [part for name in files for part in ("-f", name)]
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | dict(shell or {})
    return subprocess.run(["docker", "compose", *named, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False)


def config(folder: Path, files: tuple[str, ...], *options: str, shell: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What Compose makes of a set of files."""
    ran = run_compose(folder, files, "config", "--format", "json", *options, shell=shell)
    assert (ran.returncode, ran.stderr) == (0, "")
    found: dict[str, Any] = json.loads(ran.stdout)
    return found
