"""What a process may take of its machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from common.io.machine import cpu_limit_cores, disk_bytes, memory_limit_bytes, memory_used_bytes


@pytest.mark.parametrize(
    ("files", "memory", "cores"),
    [
        ({"memory.max": "1048576", "cpu.max": "150000 100000"}, 1_048_576, 1.5),
        ({"memory/memory.limit_in_bytes": "2097152", "cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, 2_097_152, 0.5),
    ],
    ids=["version 2", "version 1"],
)
def test_limits_of_a_container(tmp_path: Path, files: dict[str, str], memory: int, cores: float) -> None:
    """Both versions of control groups are read."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n", encoding="ascii")
    assert memory_limit_bytes(tmp_path) == memory
    assert cpu_limit_cores(tmp_path) == cores


@pytest.mark.parametrize(
    "files",
    [{}, {"memory.max": "max", "cpu.max": "max 100000"}, {"memory/memory.limit_in_bytes": "9223372036854771712", "cpu/cpu.cfs_quota_us": "-1"}],
    ids=["none", "version 2", "version 1"],
)
def test_without_limits_it_is_the_machine_s(tmp_path: Path, files: dict[str, str]) -> None:
    """All memory and every core."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="ascii")
    assert memory_limit_bytes(tmp_path) == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert cpu_limit_cores(tmp_path) == os.cpu_count()


def test_memory_is_counted_with_that_of_all_that_was_started(tmp_path: Path) -> None:
    """Children of any thread, and their children; one that has ended meanwhile counts nothing."""
    tree = {"self": (100, {"1": "11 12", "7": "13"}), "11": (20, {"11": "14"}), "12": (3, {}), "14": (4000, {})}
    for process, (pages, threads) in tree.items():
        (tmp_path / process).mkdir()
        (tmp_path / process / "statm").write_text(f"99999 {pages} 1 1 0 1 0\n", encoding="ascii")
        for thread, children in threads.items():
            (tmp_path / process / "task" / thread).mkdir(parents=True)
            (tmp_path / process / "task" / thread / "children").write_text(children, encoding="ascii")
    assert memory_used_bytes(tmp_path) == 4123 * os.sysconf("SC_PAGE_SIZE")
    assert memory_used_bytes(tmp_path / "nowhere") == 0


def test_a_process_that_ends_while_it_is_looked_at_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its threads are gone by the time they are listed; what is known of the others is told."""

    def gone(folder: Path, _pattern: str) -> list[Path]:
        raise FileNotFoundError(folder)

    monkeypatch.setattr(Path, "glob", gone)
    assert memory_used_bytes() > 0


def test_a_child_counts() -> None:
    """On this machine too."""
    before = memory_used_bytes()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert memory_used_bytes() > before
        child.communicate()


def test_the_disk_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    """It will be on the disk of the nearest one that is."""
    free, size = disk_bytes(tmp_path / "not" / "yet")
    assert 0 <= free <= size
    assert size == disk_bytes(tmp_path)[1]
