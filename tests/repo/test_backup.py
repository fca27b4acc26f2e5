"""scripts/backup.sh against a stand-in for docker, whose parts are files of the test."""

import io
import tarfile
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from scripts.operations.backup_archive import ArchiveWriter
from tests.repo.stub_docker import StubDocker
from tests.repo.tree import ROOT

SCRIPT = ROOT / "scripts" / "backup.sh"
PARTS = {"execution": "10001:10001", "risk-manager": "10001:10001", "grafana": "472:0", "prometheus": "65534:65534"}
WORK = "* backup python -m scripts.operations.backup "


@pytest.fixture
def docker(tmp_path: Path) -> StubDocker:
    """A stack whose parts hold a file each; what is verified is well, and nothing would be replaced."""
    stub = StubDocker(tmp_path)
    for part in PARTS:
        stream = io.BytesIO()
        writer = ArchiveWriter(stream, part, {"environment": "development"})
        writer.add_bytes(b"content", "file")
        writer.finish()
        (tmp_path / f"{part}.tar").write_bytes(stream.getvalue())
        stub.answer(f"{WORK}save {part} *")
        # The stand-in answers with text; a part is bytes, so its answer is the file itself.
        stub._rules[0] = f"0|{tmp_path / f'{part}.tar'}|{WORK}save {part} *\n"
    return stub


def backup(docker: StubDocker, *arguments: str, folder: Path | None = None) -> CompletedProcess[str]:
    return docker.run(SCRIPT, "--directory", "made", *arguments, folder=folder or docker.folder)


def archives(docker: StubDocker) -> list[str]:
    return sorted(path.name for path in (docker.folder / "made").iterdir())


def old_archive(docker: StubDocker, day: int, environment: str = "development") -> str:
    (docker.folder / "made").mkdir(exist_ok=True)
    name = f"crypto-bot-{environment}-202601{day:02}T000000Z.tar.gz"
    (docker.folder / "made" / name).write_bytes(b"old")
    return name


def test_each_part_is_taken_by_the_owner_of_its_volume(docker: StubDocker) -> None:
    """The archive holds every part and its manifest, was verified, and only its owner can read it; nothing else is left."""
    ran = backup(docker)
    assert ran.returncode == 0, ran.stderr
    path = Path(ran.stdout.strip())
    assert [path.name] == archives(docker)
    assert path.stat().st_mode & 0o077 == 0
    with tarfile.open(path) as tar:
        names = {name.removeprefix("./") for name in tar.getnames()}
    assert {f"{part}/file" for part in PARTS} | {f"manifest/{part}.json" for part in PARTS} <= names
    for part, owner in PARTS.items():
        assert [line for line in docker.asked if f"--user {owner} backup python -m scripts.operations.backup save {part} --environment development" in line]
    assert "scripts.operations.backup verify" in docker.asked[-1]


def test_metrics_can_be_left_out(docker: StubDocker) -> None:
    """They may be large."""
    assert backup(docker, "--no-metrics").returncode == 0
    assert not [line for line in docker.asked if "save prometheus" in line]


def test_only_the_newest_of_an_environment_are_kept(docker: StubDocker) -> None:
    """The oldest go once the new one is whole; the other environment's stay."""
    olds = [old_archive(docker, day) for day in (1, 2, 3)]
    other = old_archive(docker, 1, "production")
    ran = backup(docker, "--keep", "2")
    assert archives(docker) == sorted([olds[2], Path(ran.stdout.strip()).name, other])
    assert backup(docker, "list", "-e", "production").stdout.endswith(f"/{other}\n")


@pytest.mark.parametrize("pattern", [f"{WORK}save grafana *", f"{WORK}verify *"])
def test_half_a_backup_is_none(docker: StubDocker, pattern: str) -> None:
    """When a part fails or the archive is not what was read, no archive is left and no old one removed."""
    olds = [old_archive(docker, day) for day in (1, 2)]
    docker.answer(pattern, "", 1)
    ran = backup(docker, "--keep", "1")
    assert (ran.returncode, ran.stdout, archives(docker)) == (1, "", olds)


def test_two_backups_do_not_meet(docker: StubDocker) -> None:
    """While one is in the making another one ends at once."""
    (docker.folder / "made" / ".making").mkdir(parents=True)
    ran = backup(docker)
    assert ran.returncode == 1
    assert "another backup is in the making" in ran.stderr
    assert archives(docker) == [".making"]


def restores(docker: StubDocker) -> list[str]:
    """What a restore did, in order."""
    words = {
        "verify": "operations.backup verify",
        "stop": " stop execution-service",
        "down": " down",
        "kafka": " --wait-timeout 180 kafka",
        "fit": "operations.backup fit",
    }
    words |= {f"load {part}": f" load {part} " for part in PARTS} | {"topics": "common.topics apply"}
    return [next((word for word, text in words.items() if text in line), "") for line in docker.asked]


def test_a_restore_stops_the_order_path_first(docker: StubDocker) -> None:
    """It verifies, stops execution, then everything, loads each part, fits the ledger to the broker, and leaves the stack down."""
    ran = backup(docker, "restore", f"made/{old_archive(docker, 1)}")
    assert ran.returncode == 0, ran.stderr
    order = [each for each in restores(docker) if each]
    assert order == ["verify", "stop", "down", *(f"load {part}" for part in PARTS), "kafka", "topics", "fit", "down"]
    assert "scripts/deploy.sh -e development up" in ran.stdout


def test_a_restore_fits_the_ledger_to_the_broker_that_is_meant(docker: StubDocker) -> None:
    """With other brokers than one of KRaft they are what starts, and what the next `up` is told to start."""
    ran = backup(docker, "--kafka-mode", "cluster", "restore", f"made/{old_archive(docker, 1)}")
    assert ran.returncode == 0, ran.stderr
    (started,) = [line for line in docker.asked if line.endswith(" kafka")]
    assert "-f docker-compose.dev.yml -f docker/compose.cluster.yml " in started
    assert "scripts/deploy.sh -e development --kafka-mode cluster up" in ran.stdout


def test_what_is_there_is_replaced_only_when_that_is_said(docker: StubDocker) -> None:
    """Without a terminal it takes --yes; before that nothing is stopped."""
    docker.answer(f"{WORK}there *", "execution/trading.db\n")
    archive = f"made/{old_archive(docker, 1)}"
    ran = backup(docker, "restore", archive)
    assert (ran.returncode, [each for each in restores(docker) if each]) == (1, ["verify"])
    assert "say --yes" in ran.stderr
    assert backup(docker, "restore", archive, "--yes").returncode == 0


@pytest.mark.parametrize(("typed", "status"), [("yes\n", 0), ("y\n", 1), ("no\n", 1), ("\n", 1), ("\x04", 1)], ids=["yes", "y", "no", "Enter", "end of input"])
def test_a_terminal_is_asked_before_anything_is_replaced(docker: StubDocker, typed: str, status: int) -> None:
    """Only the whole word goes on; else nothing is stopped."""
    docker.answer(f"{WORK}there *", "execution/trading.db\n")
    archive = docker.folder / "made" / old_archive(docker, 1)
    ran = docker.run_on_terminal(SCRIPT, "--directory", str(archive.parent), "restore", str(archive), typed=typed)
    assert (ran.returncode, "stop" in restores(docker)) == (status, status == 0)
    assert ("backup: nothing was changed" in ran.stderr) == (status == 1)


def test_a_restore_does_not_meet_a_deployment(docker: StubDocker) -> None:
    """While another change of the stack is at work nothing is stopped or replaced."""
    waits = docker.hold("* stop execution-service")
    archive = docker.folder / "made" / old_archive(docker, 1)
    with docker.start(SCRIPT, "restore", str(archive)) as first, waits.open("w", encoding="utf-8"):
        second = backup(docker, "restore", str(archive))
    assert (first.returncode, second.returncode, restores(docker).count("stop")) == (0, 1, 1)
    assert "backup: restore by " in second.stderr


def test_a_bad_archive_stops_nothing(docker: StubDocker) -> None:
    """What does not verify is not restored."""
    docker.answer(f"{WORK}verify *", "", 1)
    ran = backup(docker, "restore", f"made/{old_archive(docker, 1)}", "--yes")
    assert (ran.returncode, [each for each in restores(docker) if each]) == (1, ["verify"])


@pytest.mark.parametrize("pattern", [f"{WORK}load grafana *", f"{WORK}fit *", "* --wait-timeout 180 kafka"])
def test_a_restore_that_breaks_off_says_where(docker: StubDocker, pattern: str) -> None:
    """It ends with status 1 and a sentence."""
    docker.answer(pattern, "", 1)
    ran = backup(docker, "restore", f"made/{old_archive(docker, 1)}")
    assert ran.returncode == 1
    assert ran.stderr.startswith("backup: ") or "\nbackup: " in ran.stderr


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["restore"], "restore needs an archive"),
        (["restore", "gone.tar.gz"], "gone.tar.gz: there is no such archive"),
        (["--keep", "0"], "--keep 0: a whole number of at least 1"),
        (["-e", "staging"], "-e staging: there are development and production"),
        (["destroy"], "destroy: there are create, verify, restore and list"),
        (["--force"], "--force: no such option"),
        (["list", "x"], "list takes no archive"),
    ],
)
def test_wrong_usage(docker: StubDocker, arguments: list[str], problem: str) -> None:
    """Wrong usage is status 2 and a sentence; docker is not asked."""
    ran = backup(docker, *arguments)
    assert (ran.returncode, docker.asked) == (2, [])
    assert problem in ran.stderr


def test_help(docker: StubDocker) -> None:
    """`--help` names every command and option."""
    ran = backup(docker, "--help")
    assert (ran.returncode, docker.asked) == (0, [])
    for word in ("create", "verify ARCHIVE", "restore ARCHIVE", "list", "--directory", "--keep", "--no-metrics", "--yes"):
        assert word in ran.stdout
