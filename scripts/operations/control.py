"""Halt, flatten or resume, or tell the halts: run inside risk-manager's container, on standard input, with the standard library alone.

python - halt|flatten|resume --who NAME --why REASON [--pair PAIR] <scripts/operations/control.py
python - state <scripts/operations/control.py
"""

import argparse
import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

COMMANDS = ("halt", "flatten", "resume")
PORT = 8004


def token(environment: Mapping[str, str]) -> str:
    """What the routes ask for: from the named file, else the environment, else what the container made at its first start."""
    file = environment.get("CONTROL_TOKEN_FILE", "")
    if not file and (given := environment.get("CONTROL_TOKEN", "").strip()):
        return given
    return Path(file or f"{environment.get('DATA_DIR', '/app/data')}/control_token").read_text(encoding="utf-8").strip()


def describe(state: Mapping[str, Any]) -> Iterator[str]:
    """Verdicts and halts, a line each."""
    verdicts = {pair: (signal or {}).get("verdict", "no signal yet") for pair, signal in state.get("pairs", {}).items()}
    yield from (f"  {pair}: {verdict}" for pair, verdict in verdicts.items())
    for halt in state.get("halts", ()):
        yield f"  halted: {halt['target']}, {halt['verdict']} by {halt['rule']} ({halt['who']}: {halt['why']})"


def ask(path: str, body: Mapping[str, str] | None = None, *, authorization: str = "", port: int = PORT) -> Any:
    """Ask the service; raises HTTPError with its answer when it refuses."""
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {authorization}"} if authorization else {})}
    data = json.dumps(body).encode() if body is not None else None
    with urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, headers), timeout=10) as response:
        return json.load(response)


def main(arguments: Sequence[str], port: int = PORT) -> int:
    """Send one command, or tell the state; returns the exit status."""
    parser = argparse.ArgumentParser(prog="control", description="Halt, flatten or resume.")
    parser.add_argument("command", choices=(*COMMANDS, "state"))
    parser.add_argument("--pair", default="portfolio")
    parser.add_argument("--who", default="")
    parser.add_argument("--why", default="")
    given = parser.parse_args(arguments)
    try:
        if given.command == "state":
            sys.stdout.writelines(f"{line}\n" for line in describe(ask("/state", port=port)))
            return 0
        body = {"pair": given.pair, "who": given.who, "why": given.why}
        answer = ask(f"/{given.command}", body, authorization=token(os.environ), port=port)
    except urllib.error.HTTPError as error:
        sys.stdout.write(f"{json.load(error).get('error', error)}\n")
        return 1
    except OSError as error:
        sys.stdout.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{answer['kind']} of {answer['pair']}: command {answer['id']}, obeyed {answer['obeyed']}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
