"""Judge a deployment: facts on standard input, findings on standard output; see scripts/lib/deploy-plan.sh.

python -m scripts.operations.deployment --environment production --host-time SECONDS [--scale SERVICE=N]... <facts

Each line is a kind and its fields, apart by the control character 037: problem, warning (subject, text, fix), change (kind, services),
order-path (its services have to stop first), account (what changes), previous (image, id), url (name, address).
"""

import argparse
import itertools
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence

from scripts.operations.deployment_changes import account_changes, changes, previous_images, stops_the_order_path
from scripts.operations.deployment_facts import Facts, parse_facts
from scripts.operations.deployment_settings import findings
from scripts.operations.deployment_urls import urls

SEPARATOR = "\037"
#: Starting a container takes a second or two of it.
CLOCK_TOLERANCE_S = 10.0


def judge(facts: Facts, environment: str, scale: Mapping[str, int], image: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    """Every line, as a kind and its fields."""
    yield from findings(facts, environment, image)
    found = changes(facts, scale)
    for (kind, reason), group in itertools.groupby(sorted(found, key=lambda each: (each.kind, each.reason)), key=lambda each: (each.kind, each.reason)):
        yield "change", kind, ", ".join(each.service for each in group) + (f" ({reason})" if reason else "")
    if stops_the_order_path(found, facts):
        yield ("order-path",)
    yield from (("account", text) for text in account_changes(facts))
    yield from (("previous", name, image_id) for name, image_id in previous_images(facts).items())
    yield from (("url", *each) for each in urls(facts))


def clock_problem(host_s: float, engine_s: float) -> tuple[tuple[str, ...], ...]:
    """A line when this machine and its engine do not agree on the time."""
    off_s = engine_s - host_s
    if abs(off_s) <= CLOCK_TOLERANCE_S:
        return ()
    return (
        (
            "problem",
            "clock",
            f"the engine's clock is {off_s:+.0f} s off this machine's",
            "restart the engine (Docker Desktop: restart), and see that both are set by NTP",
        ),
    )


def _scale(text: str) -> tuple[str, int]:
    name, _, count = text.partition("=")
    return name, int(count)


def main(arguments: Sequence[str]) -> int:
    """Read, judge, write; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m scripts.operations.deployment", description="Judge a deployment by the facts on standard input.")
    parser.add_argument("--environment", choices=("development", "production"), required=True)
    parser.add_argument("--host-time", type=float, required=True, help="seconds since 1970 on the machine that deploys")
    parser.add_argument("--scale", type=_scale, action="append", default=[], help="SERVICE=N")
    given = parser.parse_args(arguments)
    clock = clock_problem(given.host_time, time.time())
    try:
        facts = parse_facts(sys.stdin.read())
    except ValueError as error:
        sys.stderr.write(f"facts on standard input: {error}\n")
        return 1
    for line in (*clock, *judge(facts, given.environment, dict(given.scale), os.environ)):
        sys.stdout.write(SEPARATOR.join(" ".join(field.split()) for field in line) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
