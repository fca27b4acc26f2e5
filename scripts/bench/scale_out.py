"""Replicas of the model services that come, go and stand still while twenty pairs tick, on a real broker.

python -m scripts.bench.scale_out [--bootstrap HOST:PORT]

Three filters and two volatility services share the pairs; one of each is added, one killed, one stopped. Then, anew, one of
each of two stands still for longer than its session and wakes up beside its successor; and the only one of each stands still
while another takes its place under its name. After each event it prints the longest
that a tick waited for its hedge ratio and a bar's close for its thresholds; at the end every answer must be there once or in
equal copies, in order, as one undisturbed instance would have given it.

Exit status: 0 all answers right, 1 a gap, a contradiction or a replica that never came, 2 wrong usage.
"""

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

if __name__ == "__main__" and not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from common.errors import ConfigurationError, CryptoBotError
from scripts.bench.model_run import GARCH, KALMAN, ModelRun, Plan, model_run, pair_names, wait_until
from scripts.bench.resources import machine
from scripts.bench.servers import broker
from services.garch_volatility.worker import use_one_thread

#: 220 records a second; enough bars that fits are asked for and take effect while pairs move.
PLAN = Plan(pairs=pair_names(20), ticks_a_bar=10, filled_bars=540, settings={"GARCH_REFIT_BARS": "30"})


def come_and_go(run: ModelRun) -> None:
    """Share, then add one replica of each service, kill one, stop one."""
    for service in (KALMAN, KALMAN, KALMAN, GARCH, GARCH):
        run.add(service)
    run.begin()
    run.event("one of each added")
    for service in run.running:
        run.add(service)
    run.settle()
    for name, number in (("killed", signal.SIGKILL), ("stopped", signal.SIGTERM)):
        run.event(f"one of each {name}")
        for running in run.running.values():
            running.pop(0).signal(number)
        run.settle()
    run.feed.stop()


def stand_still(run: ModelRun) -> None:
    """Pause one replica of each service until another has its pairs, then let it go on."""
    for service in (KALMAN, KALMAN, GARCH, GARCH):
        run.add(service)
    run.begin()
    run.event("one of each stands still")
    paused = [running.pop(0) for running in run.running.values()]
    for replica in paused:
        replica.signal(signal.SIGSTOP)
    run.settle()
    run.event("they wake up")
    for replica in paused:
        run.running[replica.service].append(replica)
        replica.signal(signal.SIGCONT)
    run.settle()
    run.feed.stop()


def take_the_place(run: ModelRun) -> None:
    """Pause the only replica of each service, start another under its name, and let the older go on: it has to end."""
    paused = [run.add(service, instance="only") for service in run.running]
    run.begin()
    for replica in paused:
        replica.signal(signal.SIGSTOP)
    run.event("another of the same name")
    for service in run.running:
        run.running[service] = []
        run.add(service, instance="only")
    run.settle()
    run.event("they wake up")
    for replica in paused:
        replica.signal(signal.SIGCONT)
    for replica in paused:
        wait_until(lambda replica=replica: not replica.is_running, f"the end of the replaced {replica.service}")  # type: ignore[misc]
        if "does another replica have the same INSTANCE?" not in replica.log:
            raise CryptoBotError(f"the replaced {replica.service} does not say why it ended: {replica.log[-500:]}")
    run.feed.stop()


SCENARIOS = (come_and_go, stand_still, take_the_place)


def play(bootstrap: str, scenario: Callable[[ModelRun], None], say: Callable[[str], None]) -> list[str]:
    """One scenario on topics of its own; returns what is wrong with the answers."""
    with model_run(bootstrap, PLAN) as run:
        scenario(run)
        ratios, thresholds = run.answers()
        say(f"{'event':28}{'longest wait of a tick':>24}{'of a close':>16}")
        for span in run.spans(ratios, thresholds):
            say(f"{span.event:28}{span.tick_ms:>21.0f} ms{span.close_ms:>13.0f} ms")
        say(f"{len(run.feed.sent)} inputs; answers given again: {ratios.repeated} hedge ratios, {thresholds.repeated} thresholds")
        return run.problems(ratios, thresholds)


def main(arguments: Sequence[str]) -> int:
    """Play them all; returns the exit status."""
    options = _parser().parse_args(arguments)
    use_one_thread()
    about = machine()
    say(f"{about['cpu']}, {about['cores']} cores, load before {about['load_before']}")
    try:
        with broker(options.bootstrap) as bootstrap:
            problems = [problem for scenario in SCENARIOS for problem in play(bootstrap, scenario, say)]
    except ConfigurationError as error:
        say(*error.problems, to_errors=True)
        return 2
    except CryptoBotError as error:
        say(f"scale_out: {error}", to_errors=True)
        return 1
    say(*problems[:20], f"{len(problems)} problems" if problems else "every answer is right: no gap, no contradiction")
    return 1 if problems else 0


def say(*lines: str, to_errors: bool = False) -> None:
    """Write lines at once."""
    stream = sys.stderr if to_errors else sys.stdout
    stream.write("".join(f"{line}\n" for line in lines))
    stream.flush()


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m scripts.bench.scale_out", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument(
        "--bootstrap", default="", metavar="HOST:PORT", help="broker (default: KAFKA_BOOTSTRAP_SERVERS, else one of its own from ../shared/rehearsal)"
    )
    return made


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
