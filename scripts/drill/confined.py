"""Runs a service in a mount namespace with the limits of a small container: `python -m scripts.drill.confined BYTES DATA_DIR MODULE`.

The limits are shown, not enforced: a cgroup's files under /sys/fs/cgroup say BYTES of memory and a hundredth of a core, and
DATA_DIR is a disk of its own, 16 MB, 95 % full. What the service then takes of them is its own.
"""

import os
import sys
from collections.abc import Sequence

_DISK_MB, _FULL = 16, 0.95
_SETUP = """
mount -t tmpfs -o size=1m tmpfs /sys/fs/cgroup &&
echo "$1" >/sys/fs/cgroup/memory.max && echo 1000 100000 >/sys/fs/cgroup/cpu.max &&
mkdir -p "$2" && mount -t tmpfs -o size={size}m tmpfs "$2" && head -c {filling} /dev/zero >"$2/filling" &&
exec "$3" -m "$4"
"""


def main(arguments: Sequence[str]) -> int:
    """Never returns, but for wrong usage."""
    if len(arguments) != 3 or not arguments[0].isdigit():
        sys.stderr.write("usage: python -m scripts.drill.confined BYTES DATA_DIR MODULE\n")
        return 2
    memory_bytes, folder, module = arguments
    script = _SETUP.format(size=_DISK_MB, filling=int(_DISK_MB * 2**20 * _FULL))
    command = ["unshare", "--mount", *([] if os.getuid() == 0 else ["--map-root-user"]), "sh", "-c", script, "sh", memory_bytes, folder, sys.executable, module]
    return os.execvp(command[0], command)  # noqa: S606 - our own command


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
