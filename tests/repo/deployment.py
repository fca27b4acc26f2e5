"""A checkout with a stand-in for docker, on which scripts/deploy.sh is tried."""

import json
import shutil
from pathlib import Path
from typing import Any

from tests.repo.stub_docker import StubDocker
from tests.repo.tree import ROOT

COMPOSE = "compose --project-name crypto-bot -f docker-compose.yml -f docker-compose."
SERVICES: dict[str, dict[str, Any]] = {
    "kafka": {"image": "apache/kafka:4.3.1"},
    "kalman-filter-service": {"image": "crypto-bot-kalman-filter:latest"},
    "risk-manager-service": {"image": "crypto-bot-risk-manager:latest"},
    "execution-service": {"image": "crypto-bot-execution:latest", "environment": {"ENABLE_PAPER_TRADING": "true"}},
    "topics": {"image": "crypto-bot-tools:latest"},
}
ENGINE = "24000000000 /"
HEALTHY = "".join(f"{name}|Up 5 seconds (healthy)\n" for name in SERVICES if name != "topics") + "topics|Exited (0) 4 seconds ago\n"


class Deployment:
    """A copy of what deploy.sh needs, with an engine that has everything and runs nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "checkout"
        (self.folder / "scripts").mkdir(parents=True)
        for name in (
            "scripts/deploy.sh",
            "scripts/docker-build.sh",
            "docker-compose.yml",
            "docker-compose.dev.yml",
            "docker-compose.prod.yml",
            "env.dev.example",
        ):
            shutil.copy(ROOT / name, self.folder / name)
        for name in ("scripts/lib", "scripts/operations", "docker", "monitoring"):
            shutil.copytree(ROOT / name, self.folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        for path in [*(self.folder / "docker").rglob("*"), *(self.folder / "monitoring").rglob("*")]:
            path.chmod(0o755)
        for path in (self.folder / "docker", self.folder / "monitoring"):
            path.chmod(0o755)
        (folder / "bin").mkdir()
        self.docker = StubDocker(folder / "bin")
        self.docker.answer("info *", ENGINE)
        self.docker.answer("compose version --short", "v2.24.0")
        self.docker.answer("images *", "".join(f"{each['image']} sha256:new-{name}\n" for name, each in SERVICES.items()))
        self.docker.answer("* config --services", "\n".join(SERVICES))
        self.docker.answer("* config --hash *", "".join(f"{name} hash\n" for name in SERVICES))
        self.configure(SERVICES)
        self.docker.answer("*Label *service*Status*", HEALTHY)

    def configure(self, services: dict[str, dict[str, Any]], **more: Any) -> None:
        """Have Compose make this of the files."""
        self.docker.answer("* config --format json", json.dumps({"services": services, **more}, indent=2))

    def runs(self, environment: str = "dev", image: str = "sha256:old-", **settings: str) -> None:
        """Have containers there, of these images."""
        self.docker.answer("ps --all *config_files*", f"/x/docker-compose.yml,/x/docker-compose.{environment}.yml")
        self.docker.answer("ps --all *{{.ID}}", "1 2 3")
        lines = [
            {
                "labels": {"com.docker.compose.service": name, "com.docker.compose.config-hash": "hash"},
                "image": f"{image}{name}",
                "state": "running",
                "environment": [f"{variable}={value}" for variable, value in settings.items()] or ["ENABLE_PAPER_TRADING=true"],
            }
            for name in SERVICES
        ]
        self.docker.answer("inspect *", "\n".join(map(json.dumps, lines)))

    def judged(self, *lines: str) -> None:
        """Spare the judging, which has tests of its own; this is its answer, fields apart by |."""
        self.docker.answer("* tools python -m *", "".join(line.replace("|", "\037") + "\n" for line in lines))

    def run(self, *arguments: str) -> Any:
        """Run the script, from somewhere else."""
        return self.docker.run(self.script, *arguments, folder=self.folder.parent)

    @property
    def script(self) -> Path:
        """The copy of deploy.sh."""
        return self.folder / "scripts" / "deploy.sh"

    def prepare_production(self) -> None:
        """Have what production asks for."""
        (self.folder / ".env.prod").touch()
        self.configure(SERVICES)

    @property
    def acts(self) -> list[str]:
        """What docker was asked to change, without the files."""
        words = (" up ", " stop ", " down", " restart ", " start ", "tag ", " exec ", "build ")
        asked = [line for line in self.docker.asked if any(word in f" {line} " for word in words)]
        return [(line.rpartition(".yml ")[2] or line).removeprefix("--progress quiet ") for line in asked]

    @property
    def changes(self) -> list[str]:
        """Its acts but for questions to what runs inside containers."""
        return [each for each in self.acts if not each.startswith("exec ")]

    @property
    def audit(self) -> list[str]:
        """The audit log, without time, user and revision."""
        log = self.folder / "var" / "deploy.log"
        return [" ".join(line.split()[3:]) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []
