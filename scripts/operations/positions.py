"""Tell execution's open positions, one a line: run inside its container, on standard input, so with the standard library alone.

python - [--flat] <scripts/operations/positions.py        --flat says so when there is none
"""

import json
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any


def lines(answer: Mapping[str, Any], *, tell_flat: bool) -> Iterator[str]:
    """One line for each pair that holds something."""
    open_pairs = [each for each in answer["positions"] if any(float(leg["quantity"]) for leg in each["legs"].values())]
    for each in open_pairs:
        legs = ", ".join(f"{leg['quantity']} {leg.get('symbol', name)}" for name, leg in each["legs"].items())
        yield f"  {each['pair']}: {legs}"
    if tell_flat and not open_pairs:
        yield "  none is open"


def main() -> None:
    """Ask the service in this container."""
    with urllib.request.urlopen("http://127.0.0.1:8003/positions", timeout=5) as response:
        answer = json.load(response)
    sys.stdout.writelines(f"{line}\n" for line in lines(answer, tell_flat="--flat" in sys.argv))


if __name__ == "__main__":
    main()
