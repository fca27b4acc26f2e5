"""Run the whole system embedded: `scripts/demo.sh`."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from common.errors import ConfigurationError, CryptoBotError
from scripts.embedded.options import ROOT, USAGE_ERROR, Options, parse
from scripts.embedded.plan import DEMO_PROFILE
from scripts.embedded.recordings import resolve
from scripts.embedded.run import Run
from scripts.embedded.summary import lines_of, summarise, what_it_did
from scripts.embedded.table import Screen

FOLDER = Path(os.environ.get("DEMO_FOLDER") or ROOT / "var" / "demo").absolute()
DEFAULT_LABEL = "default settings"
DEMO_LABEL = f"DEMO PROFILE ({', '.join(f'{name}={value}' for name, value in DEMO_PROFILE.items())})"


def main(arguments: Sequence[str]) -> int:
    """Exit status: 0 all went well, 1 a part failed, 2 wrong usage or configuration."""
    console = Console(soft_wrap=True, highlight=False)
    asked = parse(arguments)
    try:
        return demonstrate(resolve(asked), console)
    except ConfigurationError as error:
        for line in error.problems:
            sys.stderr.write(f"demo: {line}\n")
        return USAGE_ERROR
    except KeyboardInterrupt:
        return 130


def demonstrate(options: Options, console: Console) -> int:
    """Run with the default settings; where these take no trade on klines, again with the demo profile."""
    run = play(options, {}, DEFAULT_LABEL, console)
    label, default = DEFAULT_LABEL, ""
    if options.data == "klines" and not (run.tally.counts["decisions"] or run.problems or run.interrupted):
        default = what_it_did(run)
        console.print(f"the default settings took no trade; once more with the {DEMO_LABEL}")
        run, label = play(options, DEMO_PROFILE, DEMO_LABEL, console), DEMO_LABEL
    summary = summarise(run, label)
    for line in lines_of(summary, run):
        console.print(line)
    if default:
        console.print(f"default     {default}")
    if options.summary:
        options.summary.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return 1 if summary["problems"] else 0


def play(options: Options, profile: Mapping[str, str], label: str, console: Console) -> Run:
    """One embedded run; what fails on the way is among its problems."""
    with Screen(console, f"crypto-bot, paper trading, {label}") as screen:
        run = Run(options, profile, FOLDER, screen.show, screen.say)
        try:
            run.execute()
        except ConfigurationError:
            raise
        except CryptoBotError as error:
            run.problems.append(str(error))
        screen.finish(run)
    return run


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
