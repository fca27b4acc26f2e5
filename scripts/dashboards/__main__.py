"""Write Grafana's dashboards, and into the rules of Prometheus the links that lead to them.

python -m scripts.dashboards            write them
python -m scripts.dashboards --check    status 1 when a file is not current
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from scripts.dashboards.boards import documents, with_links
from scripts.service_list import ROOT

MONITORING = ROOT / "monitoring"
DASHBOARDS = MONITORING / "grafana" / "dashboards"
RULES = MONITORING / "prometheus" / "rules"


def files() -> Iterator[tuple[Path, str]]:
    """Every file that is written, and what it is to hold."""
    for name, document in documents().items():
        yield DASHBOARDS / name, json.dumps(document, indent=2) + "\n"
    for path in sorted(RULES.glob("*.yml")):
        yield path, with_links(path.read_text(encoding="utf-8"))


def main(arguments: Sequence[str]) -> int:
    """Write or check; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m scripts.dashboards", description="Write Grafana's dashboards and the alerts' links to them.")
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 when a file is not current")
    check = parser.parse_args(arguments).check
    try:
        stale = [(path, text) for path, text in files() if not path.exists() or path.read_text(encoding="utf-8") != text]
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if check:
        for path, _ in stale:
            sys.stderr.write(f"{path.relative_to(ROOT)} is not current; run: python -m scripts.dashboards\n")
        return 1 if stale else 0
    for path, text in stale:
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
