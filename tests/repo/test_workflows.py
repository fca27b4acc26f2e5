"""The GitHub workflows: least permissions, limits, nothing untrusted in commands, and only scripts that are there."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.repo.tree import ROOT

FOLDER = ROOT / ".github" / "workflows"
WORKFLOWS = sorted(FOLDER.glob("*.yml"))
by_file = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)


def text_of(path: Path) -> str:
    """A workflow without its comments."""
    return re.sub(r"^\s*#.*\n", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)


def jobs_of(path: Path) -> dict[str, str]:
    """What stands under each job."""
    _, _, jobs = text_of(path).partition("\njobs:\n")
    parts = re.split(r"^  ([\w-]+):\n", jobs, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def commands_of(job: str) -> list[str]:
    """Its shell commands; ours fit on a line."""
    return re.findall(r"^ +(?:- )?run: (.*)$", job, flags=re.MULTILINE)


def test_the_workflows_are_these() -> None:
    """A change, the images, a release."""
    assert [path.name for path in WORKFLOWS] == ["ci.yml", "images.yml", "release.yml"]


@by_file
def test_nothing_is_allowed_but_what_a_job_names(path: Path) -> None:
    """The workflow allows nothing; each job reads the code and nothing else, and leaves no credential behind."""
    assert "\npermissions: {}\n" in text_of(path)
    for name, job in jobs_of(path).items():
        granted = re.findall(r"^    permissions:\n((?:      .*\n)+)", job, flags=re.MULTILINE)
        assert granted == ["      contents: read\n"], name
        assert job.count("actions/checkout@") == job.count("persist-credentials: false"), name


@by_file
def test_every_run_has_a_limit(path: Path) -> None:
    """Runs of one kind do not pile up, and a job that hangs is ended; a called workflow has limits of its own."""
    assert re.search(r"^concurrency:\n  group: \S", text_of(path), flags=re.MULTILINE)
    for name, job in jobs_of(path).items():
        assert re.search(r"^    (timeout-minutes: \d+|uses: \./)", job, flags=re.MULTILINE), name


@by_file
def test_no_expression_gets_into_a_command(path: Path) -> None:
    """What a tag, a branch or a variable says reaches a shell by its environment only, so that it is never code."""
    for name, job in jobs_of(path).items():
        assert "run: |" not in job
        assert [command for command in commands_of(job) if "${{" in command] == [], name
    secrets = re.findall(r"^.*\$\{\{ *secrets\..*$", text_of(path), flags=re.MULTILINE)
    assert [line for line in secrets if not re.match(r" {10}[A-Z_]+: \$\{\{ secrets\.[A-Z_]+ \}\}$", line)] == []


@by_file
def test_actions_have_a_version(path: Path) -> None:
    """By its tag, or by a digest with the tag beside it; workflows of ours by their path."""
    used = re.findall(r"uses: (.+)$", text_of(path), flags=re.MULTILINE)
    assert [each for each in used if not re.fullmatch(r"(actions|docker)/[\w-]+@(v\d+(\.\d+)*|[0-9a-f]{40} # v\S+)|\./\.github/workflows/\w+\.yml", each)] == []
    assert [each for each in used if each.startswith("./") and not (ROOT / each).exists()] == []


@by_file
def test_scripts_that_are_run_exist(path: Path) -> None:
    """With every option that they are given."""
    for job in jobs_of(path).values():
        for command in commands_of(job):
            for script in re.findall(r"\bscripts/[\w./-]+", command):
                assert os.access(ROOT / script, os.X_OK)
                if options := re.findall(r" (--[a-z-]+)", command):
                    said = subprocess.run([ROOT / script, "--help"], capture_output=True, text=True, check=True).stdout
                    assert [option for option in options if option not in said] == []


def test_every_supported_python_is_tested() -> None:
    """Those that the project asks for, up to the one of the images."""
    assert 'python: ["3.11", "3.12", "3.13"]' in text_of(FOLDER / "ci.yml")
    assert 'requires-python = ">=3.11' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert "ARG PYTHON_IMAGE=python:3.13-" in (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")


def test_production_is_deployed_to_only_by_leave() -> None:
    """After the checks and the push, in an environment that can ask for approval, one at a time."""
    jobs = jobs_of(FOLDER / "release.yml")
    assert list(jobs) == ["verify", "push", "deploy"]
    assert ("needs: verify" in jobs["push"], "needs: push" in jobs["deploy"]) == (True, True)
    assert "\n    environment: production\n" in jobs["deploy"]
    assert "cancel-in-progress: false" in text_of(FOLDER / "release.yml")
    assert [command for command in commands_of(jobs["deploy"]) if "scripts/deploy.sh -e production up" in command]


def test_images_are_scanned_weekly_too() -> None:
    """New vulnerabilities become known without a change."""
    assert re.search(r'^    - cron: "\d+ \d+ \* \* \d"$', text_of(FOLDER / "images.yml"), flags=re.MULTILINE)
    assert "scripts/image-scan.sh" in text_of(FOLDER / "images.yml")
    assert "uses: ./.github/workflows/images.yml" in text_of(FOLDER / "ci.yml")


def test_updates_are_proposed() -> None:
    """Of Python's packages, of images and of actions."""
    text = (ROOT / ".github" / "dependabot.yml").read_text(encoding="utf-8")
    assert set(re.findall(r"package-ecosystem: (\S+)", text)) == {"pip", "docker", "docker-compose", "github-actions"}


def test_actionlint_has_nothing_to_say() -> None:
    """Where it is installed it reads them all."""
    if not shutil.which("actionlint"):
        pytest.skip("needs actionlint: there is none here")
    ran = subprocess.run(["actionlint", "-no-color", *WORKFLOWS], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, "")
