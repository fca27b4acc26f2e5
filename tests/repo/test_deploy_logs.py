"""`deploy.sh logs` and `deploy.sh trace`: what is asked of Compose, what is shown, and what is refused."""

import json
from pathlib import Path

import pytest

from tests.repo.deployment import COMPOSE, Deployment

PAIR = "ETHUSDT-BTCUSDT"


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    """One that runs, whose containers have said three things."""
    made = Deployment(tmp_path)
    made.runs("prod")
    made.docker.answer("* config --images tools", "crypto-bot-tools:latest\n")
    lines = [
        ("execution-service-1", {"level": "WARNING", "event": "order rejected", "pair": PAIR}),
        ("execution-service-2", {"level": "INFO", "event": "standing by"}),
        ("execution-service-1", {"level": "INFO", "event": "decision", "pair": PAIR}),
    ]
    written = [f"{container}  | 2026-11-23T06:00:0{at}.000000000Z {json.dumps(line)}\n" for at, (container, line) in enumerate(lines)]
    made.docker.answer("* logs *", "".join(written) + "crypto-bot-kafka  | 2026-11-23T06:00:09.000000000Z [2026] ERROR no room (kafka.log)\n")
    return made


def asked_for(deployment: Deployment) -> str:
    """The options of the one `logs` that Compose was asked for, by the files of the environment that runs."""
    (found,) = [line for line in deployment.docker.asked if " logs " in line and " tools " not in line]
    assert found.startswith(f"{COMPOSE}prod.yml logs --no-color --timestamps ")
    return found.partition(" --timestamps ")[2]


@pytest.mark.parametrize(
    ("typed", "asked", "shown"),
    [
        ("logs", "--tail 100", ["order rejected", "standing by", "decision", "no room"]),
        ("logs execution-service -f --tail 5", "--tail 5 --follow execution-service", ["order rejected", "standing by", "decision", "no room"]),
        ("logs execution-service --level warning", "--tail all execution-service", ["order rejected", "no room"]),
        (f"logs --pair {PAIR} --since 10m", "--tail all --since 10m", ["order rejected", "decision"]),
        (f"logs --pair={PAIR} --level=INFO --tail 1 --since=1h30m", "--tail all --since 1h30m", ["decision"]),
        (f"logs -f --pair {PAIR} --tail 7", "--tail 7 --follow", ["order rejected", "decision"]),
    ],
)
def test_options_choose(deployment: Deployment, typed: str, asked: str, shown: list[str]) -> None:
    """Time is Compose's to choose by, level and pair are ours; the last N are counted among the chosen ones, unless it follows."""
    ran = deployment.run(*typed.split())
    assert (ran.returncode, ran.stderr) == (0, "")
    assert asked_for(deployment) == asked
    assert [event for event in ("order rejected", "standing by", "decision", "no room") if event in ran.stdout] == shown
    assert ran.stdout.count("\n") == len(shown)


def test_lines_are_readable_or_as_they_were_written(deployment: Deployment) -> None:
    """Each with its replica, or JSON that programs read on."""
    readable = deployment.run("logs", "--level", "WARNING", "--pair", PAIR).stdout
    assert readable == f"2026-11-23T06:00:00.000Z  WARNING   execution-service-1  order rejected  pair={PAIR}\n"
    assert json.loads(deployment.run("logs", "--level", "WARNING", "--pair", PAIR, "--json").stdout)["event"] == "order rejected"


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("logs --level LOUD", "--level LOUD: no such level; say DEBUG, INFO, WARNING, ERROR or CRITICAL"),
        ("logs --pair ETHUSDT", "--pair ETHUSDT: no pair; say it as in PAIRS, for example ETHUSDT-BTCUSDT"),
        ("logs --pair eth-btc", "--pair eth-btc: no pair"),
        ("logs --since yesterday", "--since yesterday: no duration; say for example 90s, 10m or 1h30m"),
        ("logs --since 10", "--since 10: no duration"),
        ("logs --tail many", "--tail many: say how many lines, or all"),
        ("status --level ERROR", "--level, --since, --tail and --follow go with logs"),
        ("status --json", "--json goes with logs and trace"),
        ("trace", "trace needs an id"),
    ],
)
def test_wrong_usage_is_told(deployment: Deployment, typed: str, said: str) -> None:
    """Status 2, a clear text, and Docker is not asked for anything."""
    ran = deployment.run(*typed.split())
    assert ran.returncode == 2
    assert said in ran.stderr
    assert deployment.docker.asked == []


def test_without_the_tools_image_lines_are_compose_s_own(deployment: Deployment) -> None:
    """What needs choosing says which image to build."""
    deployment.docker.answer("image inspect crypto-bot-tools*", status=1)
    assert "standing by" in deployment.run("logs", "--since", "5m").stdout
    ran = deployment.run("logs", "--level", "ERROR")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "needs the image crypto-bot-tools: scripts/deploy.sh build -- --service tools" in ran.stderr


def test_trace_asks_the_stack_s_own_broker(deployment: Deployment) -> None:
    """In its network, with its settings and secrets; the exit status is that of scripts/trace.py."""
    deployment.docker.answer("* topics python -m scripts.trace *", "trace 18cb5d1f2a3b4c5d\n", status=1)
    ran = deployment.run("trace", "18cb5d1f", "--pair", PAIR, "--json")
    assert (ran.returncode, ran.stdout) == (1, "trace 18cb5d1f2a3b4c5d\n")
    assert deployment.docker.asked[-1].endswith(f"run --rm --no-deps -T topics python -m scripts.trace --pair {PAIR} --json 18cb5d1f")
