"""What the process may take of its machine: the limits of its container, else what the machine has."""

import os
from collections.abc import Iterator
from pathlib import Path

_MEMORY_FILES = ("memory.max", "memory/memory.limit_in_bytes")


def memory_limit_bytes(control_groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Memory that may be taken: the control group's limit (of either version), else the machine's memory; 0 where nobody tells."""
    installed = _installed_bytes()
    for name in _MEMORY_FILES:
        given = _read(control_groups / name)
        if given.isdigit():
            # Version 1 tells a number beyond any memory where there is no limit.
            return min(int(given), installed) if installed else int(given)
    return installed


def family(process: str, processes: Path = Path("/proc")) -> Iterator[str]:
    """Ids of a process and of all that it, or one of them, has started; where nobody tells (not Linux), its own."""
    wanted = [process]
    while wanted:
        yield (found := wanted.pop())
        wanted += _children(processes / found)


def memory_used_bytes(processes: Path = Path("/proc")) -> int:
    """Resident memory of this process and of all that it, or one of them, has started; 0 where nobody tells (not Linux)."""
    told = [_read(processes / each / "statm").split() for each in family("self", processes)]
    return sum(int(numbers[1]) for numbers in told if numbers) * os.sysconf("SC_PAGE_SIZE")


def cpu_limit_cores(control_groups: Path = Path("/sys/fs/cgroup")) -> float:
    """Processor time a second that may be taken: the control group's limit (of either version), else the machine's cores."""
    quota, _, period = _read(control_groups / "cpu.max").partition(" ")
    if not quota:
        quota, period = _read(control_groups / "cpu/cpu.cfs_quota_us"), _read(control_groups / "cpu/cpu.cfs_period_us")
    if quota.isdigit() and period.isdigit():
        return int(quota) / int(period)
    return float(os.cpu_count() or 1)


def disk_bytes(folder: Path) -> tuple[int, int]:
    """Free space for this user and size of the disk that holds a folder, or will hold it."""
    place = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    found = os.statvfs(place)
    return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize


def _installed_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return 0


def _children(process: Path) -> list[str]:
    try:
        return [child for listed in process.glob("task/*/children") for child in _read(listed).split()]
    except OSError:  # It has ended while its threads were listed.
        return []


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
