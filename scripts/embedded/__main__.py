"""Run the whole system embedded: `scripts/demo.sh`."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from common.errors import ConfigurationError, CryptoBotError
from scripts.embedded.options import ROOT, USAGE_ERROR, Options, parse
from scripts.embedded.preview import Preview, preview
from scripts.embedded.plan import DEMO_PROFILE
from scripts.embedded.recordings import resolve
from scripts.embedded.run import Run
from scripts.embedded.summary import lines_of, summarise
from scripts.embedded.table import Screen

FOLDER = ROOT / "var" / "demo"


def main(arguments: Sequence[str]) -> int:
    """Exit status: 0 all went well, 1 a part failed, 2 wrong usage or configuration."""
    console = Console(soft_wrap=True)
    asked = parse(arguments)
    try:
        options = resolve(asked)
        default = preview(options, console.print)
        return play(options, default, console)
    except ConfigurationError as error:
        for line in error.problems:
            print(f"demo: {line}", file=sys.stderr)
        return USAGE_ERROR
    except KeyboardInterrupt:
        return 130


def play(options: Options, default: Preview | None, console: Console) -> int:
    """One embedded run with its summary."""
    demo = default is not None and not default.round_trips and options.data == "klines"
    label = f"DEMO PROFILE ({', '.join(f'{name}={value}' for name, value in DEMO_PROFILE.items())})" if demo else "default settings"
    with Screen(console, f"crypto-bot, paper trading, {label}") as screen:
        run = Run(options, DEMO_PROFILE if demo else {}, FOLDER, screen.show, screen.say)
        try:
            run.execute()
        except ConfigurationError:
            raise
        except CryptoBotError as error:
            run.problems.append(str(error))
        screen.finish(run)
    summary = summarise(run, label)
    for line in lines_of(summary, run):
        console.print(line, highlight=False)
    if demo and default is not None:
        console.print(f"default     {default.sentence()}", highlight=False)
    write(options.summary, summary)
    return 1 if summary["problems"] else 0


def write(path: Path | None, summary: dict[str, Any]) -> None:
    """Write the summary as JSON where it was asked for."""
    if path:
        path.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
