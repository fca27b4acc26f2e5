"""The programs of Prometheus and Alertmanager: on the PATH, else out of the images that the stack runs."""

import os
import re
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pytest

from tests.engine.stack import REHEARSAL, answers
from tests.repo.tree import ROOT

#: The image of the stack that has the program at /bin.
_IMAGES = {"promtool": "prom/prometheus", "prometheus": "prom/prometheus", "amtool": "prom/alertmanager"}


def require_tool(name: str) -> Path:
    """Where a program is; skips the test where it cannot be had."""
    found = _find(name)
    if found is None:
        pytest.skip(f"needs {name}: install it, or have a Docker engine with the image {_IMAGES[name]} of the stack")
    return found


def alertmanager_over(folder: Path) -> list[str | Path]:
    """The command of a real Alertmanager that reads and writes a folder, on this machine's loopback; skips the test where there is none."""
    if installed := shutil.which("alertmanager") or shutil.which("prometheus-alertmanager"):
        return [installed]
    image = _image_of("amtool")
    if not _have(image):
        pytest.skip(f"needs Alertmanager: install it, or have a Docker engine with the image {image} of the stack")
    mounts = [option for each in (folder, ROOT / "monitoring") for option in ("--volume", f"{each}:{each}")]
    user = f"{os.getuid()}:{os.getgid()}"
    return ["docker", "run", "--rm", "--network", "host", "--user", user, *mounts, "--entrypoint", "/bin/alertmanager", image]


def _image_of(name: str) -> str:
    (image,) = re.findall(rf"image: ({_IMAGES[name]}:\S+)", (ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    return str(image)


@cache
def _find(name: str) -> Path | None:
    """On the PATH, under Debian's name too, else copied out of an image."""
    on_path = shutil.which(name) or shutil.which(f"prometheus-{name}")
    return Path(on_path) if on_path else _copied(name)


def _copied(name: str) -> Path | None:
    image = _image_of(name)
    folder = Path(tempfile.gettempdir()) / f"crypto-bot-tools-{os.getuid()}"
    target = folder / f"{name}-{image.rpartition(':')[2]}"
    if target.exists():
        return target
    if not _have(image):
        return None
    folder.mkdir(mode=0o700, exist_ok=True)
    unproven = folder / f"{target.name}.{os.getpid()}"
    container = subprocess.run(["docker", "create", image], capture_output=True, text=True, check=True).stdout.strip()
    subprocess.run(["docker", "cp", "--follow-link", f"{container}:/bin/{name}", unproven], capture_output=True, check=True)
    subprocess.run(["docker", "rm", container], capture_output=True, check=True)
    # One made for another system does not run here.
    return unproven.rename(target) if answers(str(unproven), "--version") else None


def _have(image: str) -> bool:
    """Whether an engine has the image; with TEST_LEVEL=all one is started and stood in for where that can be done."""
    if os.environ.get("TEST_LEVEL") == "all" and (REHEARSAL / "images.sh").exists():
        # Both take their time the first time, and nothing when it is done.
        for command in ((REHEARSAL / "engine.sh", "up"), (REHEARSAL / "images.sh", image)):
            subprocess.run(command, capture_output=True, check=False, timeout=600)
    return answers("docker", "image", "inspect", image)
