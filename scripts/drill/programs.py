"""The programs of Prometheus and Alertmanager: on the PATH, else out of the images that the stack runs."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from scripts.embedded.options import ROOT

#: Puts an engine and stand-ins of the images where there is neither; beside the project where it is rehearsed.
REHEARSAL = ROOT.parent / "shared" / "rehearsal"
#: The image of the stack that has the program at /bin.
IMAGES = {"promtool": "prom/prometheus", "prometheus": "prom/prometheus", "amtool": "prom/alertmanager", "alertmanager": "prom/alertmanager"}
_MAKING_TIMEOUT_S = 600.0
_ANSWER_TIMEOUT_S = 60.0


@cache
def find(name: str, *, may_make: bool) -> Path | None:
    """Where a program is, under Debian's name too; `may_make` has an engine and its image made where that can be done."""
    on_path = shutil.which(name) or shutil.which(f"prometheus-{name}")
    return Path(on_path) if on_path else _copied(name, may_make=may_make)


def alertmanager_over(folders: Sequence[Path], container: str, *, may_make: bool) -> list[str | Path] | None:
    """The command of an Alertmanager that sees these folders, on this machine's loopback.

    It runs in a container of that name where it is not installed: some builds need more files than their program.
    """
    if installed := shutil.which("alertmanager") or shutil.which("prometheus-alertmanager"):
        return [installed]
    image = _image_of("alertmanager")
    if not _have(image, may_make=may_make):
        return None
    mounts = [option for folder in folders for option in ("--volume", f"{folder}:{folder}")]
    user = f"{os.getuid()}:{os.getgid()}"
    return ["docker", "run", "--rm", "--name", container, "--network", "host", "--user", user, *mounts, "--entrypoint", "/bin/alertmanager", image]


def how_to_get(name: str) -> str:
    """What a person does who has not got a program."""
    return f"needs {name}: install it, or have a Docker engine with the image {IMAGES[name]} of the stack"


def _image_of(name: str) -> str:
    (image,) = set(re.findall(rf"image: ({IMAGES[name]}:\S+)", (ROOT / "docker-compose.yml").read_text(encoding="utf-8")))
    return str(image)


def _copied(name: str, *, may_make: bool) -> Path | None:
    image = _image_of(name)
    folder = Path(tempfile.gettempdir()) / f"crypto-bot-tools-{os.getuid()}"
    target = folder / f"{name}-{image.rpartition(':')[2]}"
    if target.exists():
        return target
    if not _have(image, may_make=may_make):
        return None
    folder.mkdir(mode=0o700, exist_ok=True)
    unproven = folder / f"{target.name}.{os.getpid()}"
    container = _run("docker", "create", image).strip()
    _run("docker", "cp", "--follow-link", f"{container}:/bin/{name}", str(unproven))
    _run("docker", "rm", container)
    # One made for another system does not run here.
    return unproven.rename(target) if _answers(str(unproven), "--version") else None


def _have(image: str, *, may_make: bool) -> bool:
    if may_make and (REHEARSAL / "images.sh").exists():
        # Both take their time the first time, and nothing when it is done.
        for command in ((REHEARSAL / "engine.sh", "up"), (REHEARSAL / "images.sh", image)):
            subprocess.run(command, capture_output=True, check=False, timeout=_MAKING_TIMEOUT_S)  # noqa: S603 - our own scripts
    return _answers("docker", "image", "inspect", image)


def _run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603 - constants and a name out of our own file


def _answers(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=_ANSWER_TIMEOUT_S).returncode == 0  # noqa: S603 - as above
    except (OSError, subprocess.TimeoutExpired):
        return False
