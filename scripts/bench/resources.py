"""What processes take, from /proc, and what machine it is."""

import os
import platform
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

from common.io.machine import family

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20


class Usage(NamedTuple):
    """What a process and its children take."""

    cpu_s: float
    rss_mb: float
    files: int


def usage_of(pid: int) -> Usage:
    """CPU time so far, resident memory and open files of a process with its children; zeros once it has ended."""
    found = [_usage_of_one(each) for each in family(str(pid))]
    return Usage(sum(each.cpu_s for each in found), sum(each.rss_mb for each in found), sum(each.files for each in found))


def _usage_of_one(pid: str) -> Usage:
    folder = Path(f"/proc/{pid}")
    try:
        fields = (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        pages = int((folder / "statm").read_text(encoding="ascii").split()[1])
        files = len(list((folder / "fd").iterdir()))
    except OSError:
        return Usage(0.0, 0.0, 0)
    return Usage((int(fields[11]) + int(fields[12])) / _TICKS_PER_S, pages * _PAGE_MB, files)


def machine() -> dict[str, Any]:
    """What the figures were measured on, and how busy it was before."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def commit(root: Path) -> str:
    """The commit that is checked out, with a `+` when files differ from it; empty without git."""
    told = [_git(root, "rev-parse", "--short=12", "HEAD"), "+" if _git(root, "status", "--porcelain", "--untracked-files=no") else ""]
    return "".join(told) if told[0] else ""


def _git(root: Path, *arguments: str) -> str:
    try:
        return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603, S607 - git, as found
    except OSError:
        return ""
