"""scripts/deploy.sh asks before what matters, and changes a stack only while nobody else does."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.repo.deployment import Deployment


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    return Deployment(tmp_path)


def to_production(deployment: Deployment) -> None:
    deployment.prepare_production()
    deployment.judged("change|recreate|execution-service (image)")


def to_another_account(deployment: Deployment) -> None:
    deployment.prepare_production()
    deployment.judged("account|EXCHANGE: binance to default")


def to_the_backups_past(deployment: Deployment) -> None:
    program = deployment.folder / "scripts" / "backup.sh"
    program.write_text("#!/bin/sh\ndocker restart everything\n", encoding="utf-8")
    program.chmod(0o755)


def to_no_positions(deployment: Deployment) -> None:
    deployment.runs()


questions = pytest.mark.parametrize(
    ("prepare", "arguments", "question"),
    [
        (to_production, ("-e", "production", "up"), "Deploy to production? [y/N] "),
        (to_another_account, ("-e", "production", "up"), "The account changes (EXCHANGE: binance to default). Go on? [y/N] "),
        (to_the_backups_past, ("restore", "a.tar.gz"), "Put the archive in the place of what development has now? [y/N] "),
        (to_no_positions, ("flatten",), "Close the positions of all pairs? [y/N] "),
    ],
    ids=["production", "account", "restore", "flatten"],
)


@questions
def test_yes_goes_on(deployment: Deployment, prepare: Callable[[Deployment], None], arguments: tuple[str, ...], question: str) -> None:
    """Whoever says yes at the terminal has it done."""
    prepare(deployment)
    ran = deployment.docker.run_on_terminal(deployment.script, *arguments, typed="y\n")
    assert (ran.returncode, ran.stdout.count(question)) == (0, 1)
    assert deployment.acts
    assert deployment.audit


@questions
@pytest.mark.parametrize("typed", ["n\n", "\n"], ids=["n", "Enter"])
def test_no_changes_nothing(deployment: Deployment, prepare: Callable[[Deployment], None], arguments: tuple[str, ...], question: str, typed: str) -> None:
    """No and Enter alone stop with status 1; nothing was changed and nothing is written down."""
    prepare(deployment)
    ran = deployment.docker.run_on_terminal(deployment.script, *arguments, typed=typed)
    assert (ran.returncode, ran.stderr) == (1, "deploy: nothing was done\n")
    assert question in ran.stdout
    assert (deployment.changes, deployment.audit) == ([], [])


@pytest.mark.parametrize(("typed", "status"), [("yes\n", 0), ("Y\n", 0), ("yesterday\n", 1), ("\x04", 1)], ids=["yes", "Y", "another word", "end of input"])
def test_what_is_a_yes(deployment: Deployment, typed: str, status: int) -> None:
    """Nothing but y and yes."""
    assert deployment.docker.run_on_terminal(deployment.script, "flatten", typed=typed).returncode == status


def test_one_change_of_a_stack_at_a_time(deployment: Deployment) -> None:
    """The second is refused and says who is at work; what only looks is not; after the first the next goes ahead."""
    deployment.judged()
    waits = deployment.docker.hold("* up --detach --no-build --remove-orphans *")
    with deployment.docker.start(deployment.script, "up") as first, waits.open("w", encoding="utf-8"):
        second, looking, pretending = (deployment.run(*words) for words in (["down"], ["logs"], ["up", "--dry-run"]))
    assert (second.returncode, first.returncode, looking.returncode, pretending.returncode) == (1, 0, 0, 0)
    assert second.stderr.startswith("deploy: up by ")
    assert f"is at work on crypto-bot (process {first.pid}); wait for it" in second.stderr
    assert "down --remove-orphans" not in deployment.acts
    assert deployment.run("down").returncode == 0


def test_a_killed_deployment_bars_nobody(deployment: Deployment) -> None:
    """What it left behind is told and cleared once, and what comes next is done."""
    deployment.judged()
    waits = deployment.docker.hold("* up --detach --no-build --remove-orphans *")
    with deployment.docker.start(deployment.script, "up") as killed, waits.open("w", encoding="utf-8"):
        killed.kill()
    ran = deployment.run("down")
    assert ran.returncode == 0
    assert ran.stderr.startswith("deploy: up by ")
    assert "was killed in the midst of it; its lock is cleared" in ran.stderr
    assert deployment.run("restart").stderr == ""


def test_a_lock_of_an_earlier_process_with_the_same_number_is_stale(deployment: Deployment, tmp_path: Path) -> None:
    """A process that started at another time is another process."""
    deployment.judged()
    lock = tmp_path / "bin" / "lock"
    lock.symlink_to(f"{os.getpid()} Mon Jan 5 10:00:00 2026 | up by somebody since 2026-01-05T10:00:00Z")
    assert "up by somebody since 2026-01-05T10:00:00Z was killed" in deployment.run("down").stderr
    assert not lock.is_symlink()


def test_two_never_clear_at_once(deployment: Deployment, tmp_path: Path) -> None:
    """While one clears, another one stands back: it could remove the lock that the first has just taken."""
    lock = tmp_path / "bin" / "lock"
    lock.symlink_to("1 long ago | up by somebody")
    (tmp_path / "bin" / "lock.clearing").mkdir()
    ran = deployment.run("down")
    assert (ran.returncode, deployment.acts) == (1, [])
    assert f"another script is clearing the lock {lock}" in ran.stderr


def test_a_lock_that_cannot_be_made_is_told(deployment: Deployment, tmp_path: Path) -> None:
    """Something else lies in its place."""
    (tmp_path / "bin" / "lock").mkdir()
    (tmp_path / "bin" / "lock" / "file").touch()
    ran = deployment.run("down")
    assert (ran.returncode, deployment.acts) == (1, [])
    assert "cannot be made; name another place: DEPLOY_LOCK=FILE" in ran.stderr
