"""A fresh copy of the checkout, deployed by the scripts in it as a user does it, under a project and ports of its own."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.engine.stack import Stack, run
from tests.repo.tree import ROOT

#: What a user's checkout may hold besides, and no copy needs.
_LEFT_OUT = (".git", ".venv*", ".env*", ".*_cache", ".hypothesis", "__pycache__", "var", "secrets", "backups", "tests", "shared")


class Deployed(Stack):
    """A copy of the checkout with a project and ports of its own."""

    def __init__(self, folder: Path, record_property: Callable[[str, object], None]) -> None:
        super().__init__(record_property)
        self.folder = folder
        # Nobody gives one here: risk-manager's container makes its own, or production has it in a file.
        self.environment.pop("CONTROL_TOKEN", None)
        shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*_LEFT_OUT), dirs_exist_ok=True)

    def call(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the copy, without a terminal; what it says is part of the proof."""
        given = {**os.environ, **self.environment, **environment}
        ran = subprocess.run(command, cwd=self.folder, env=given, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=900)
        print(f"$ {' '.join(command)} -> {ran.returncode}\n{ran.stdout[:3000]}{ran.stderr}")  # noqa: T201
        return ran

    def deploy(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the script."""
        return self.call("scripts/deploy.sh", *arguments, **environment)

    def image_of(self, service: str) -> str:
        """The image that the first container of a service was made from, by its id."""
        return run("docker", "inspect", "--format", "{{.Image}}", self.containers(service)[0]).strip()

    def started_at(self, service: str) -> str:
        """When the first container of a service was started."""
        return started_at(self.containers(service)[0])


def started_at(container: str) -> str:
    """When a container was started."""
    return run("docker", "inspect", "--format", "{{.State.StartedAt}}", container).strip()
