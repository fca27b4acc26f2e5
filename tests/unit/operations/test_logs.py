"""Log lines of all containers, chosen and shown."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts.operations import logs
from scripts.operations.logs import Choice, chosen, main, parse, readable
from tests.repo.tree import ROOT

PAIR = "ETHUSDT-BTCUSDT"


def ours(second: int, level: str = "INFO", event: str = "decision", container: str = "execution-service-1", **fields: Any) -> str:
    """A line of a service as Compose shows it."""
    stamp = f"2026-11-23T06:00:{second:02}"
    line = {"ts": f"{stamp}.5Z", "level": level, "service": "execution-service", "instance": "host-8003", "event": event, **fields}
    return f"{container}  | {stamp}.500000000Z {json.dumps(line)}\n"


def theirs(second: int, text: str, container: str = "crypto-bot-kafka") -> str:
    """A line of another program."""
    return f"{container}  | 2026-11-23T06:00:{second:02}.000000000Z {text}\n"


def shown(written: list[str], *arguments: str) -> list[str]:
    output = io.StringIO()
    assert main(arguments, written, output) == 0
    return output.getvalue().splitlines()


def test_a_line_is_readable() -> None:
    """Time, level, container, event and what it tells; a text of several lines comes below."""
    written = ours(1, "ERROR", "STUCK", pair=PAIR, seconds=1.5, reason="two words", exception="Traceback\n  here", trace_id="18cb5d1f2a3b4c5d")
    assert readable(parse(written.rstrip())).splitlines() == [
        f'2026-11-23T06:00:01.500Z  ERROR     execution-service-1  STUCK  pair={PAIR} seconds=1.5 reason="two words" trace_id=18cb5d1f2a3b4c5d',
        "    exception: Traceback",
        "    exception:   here",
    ]


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("[2026-11-23 06:00:00,123] WARN [Controller] late (kafka.Server)", "WARNING"),
        ('time=2026-11-23T06:00:00Z level=error msg="no"', "ERROR"),
        ("ts=1 caller=main.go lvl=info msg=up", "INFO"),
        ('{"level":"warn","ts":1,"msg":"tls"}', "WARNING"),
        ('{"level":"fatal","msg":"gone"}', "CRITICAL"),
        ("1:M 23 Nov 2026 06:00:00.000 * Ready to accept connections", ""),
        ("an ERROR somewhere in the text", ""),
        ("{broken", ""),
    ],
)
def test_levels_of_others_are_understood(text: str, level: str) -> None:
    """Kafka's, Go programs' and Caddy's; a word within the text is no level."""
    assert parse(theirs(1, text).rstrip()).level == level


@pytest.mark.parametrize(
    ("choice", "events"),
    [
        (Choice(), ["a", "b", "c", "d"]),
        (Choice(level="WARNING"), ["b", "c"]),
        (Choice(level="CRITICAL"), ["c"]),
        (Choice(pair=PAIR), ["a", "b", "d"]),
        (Choice("ERROR", PAIR), []),
    ],
)
def test_level_and_pair_choose(choice: Choice, events: list[str]) -> None:
    """At least the level; the pair as `pair` or as the target of a command or halt."""
    written = [ours(1, event="a", pair=PAIR), ours(2, "WARNING", "b", pair=PAIR), ours(3, "CRITICAL", "c", pair="A-B"), ours(4, event="d", target=PAIR)]
    assert [(line.fields or {})["event"] for line in chosen(written, choice)] == events


def test_lines_that_are_no_json_pass_unless_a_filter_is_there() -> None:
    """Word for word behind time and container; --level keeps those that tell a level, --pair none."""
    written = [theirs(1, "[2026] ERROR x | y"), theirs(2, '  "quoted"  and {braces}', "crypto-bot-redis")]
    assert shown(written) == [
        "2026-11-23T06:00:01.000Z  crypto-bot-kafka  [2026] ERROR x | y",
        '2026-11-23T06:00:02.000Z  crypto-bot-redis    "quoted"  and {braces}',
    ]
    assert shown(written, "--json") == ["[2026] ERROR x | y", '  "quoted"  and {braces}']
    assert len(shown(written, "--level", "ERROR")) == 1
    assert shown(written, "--pair", PAIR) == []


def test_lines_of_replicas_come_in_the_order_of_time() -> None:
    """Compose tells one container after the other."""
    written = [ours(1, event="a"), ours(4, event="d"), ours(2, event="b", container="execution-service-2"), ours(3, event="c", container="execution-service-2")]
    assert [line.split()[3] for line in shown(written)] == ["a", "b", "c", "d"]
    assert [line.split()[3] for line in shown(written, "--tail", "2")] == ["c", "d"]
    assert shown(written, "--tail", "0") == []
    assert [json.loads(line)["event"] for line in shown(written, "--json", "--tail", "1")] == ["d"]
    assert [line.split()[3] for line in shown(written, "--follow")] == ["a", "d", "b", "c"], "what goes on is shown as it comes"


def test_files_of_a_run_without_docker_are_read_too() -> None:
    """There the instance stands for the container, the line's own time for the engine's."""
    assert shown([ours(1, pair=PAIR).partition("Z ")[2]]) == [f"2026-11-23T06:00:01.5Z  INFO      host-8003  decision  pair={PAIR}"]


def test_too_many_lines_to_sort_are_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The newest stay, and whoever asked for more hears of it."""
    monkeypatch.setattr(logs, "MOST_SORTED", 2)
    written = [ours(second, event=str(second)) for second in range(4)]
    assert [line.split()[3] for line in shown(written)] == ["2", "3"]
    assert "older lines are left out, only the last 2" in capsys.readouterr().err
    assert len(shown(written, "--tail", "1")) == 1
    assert capsys.readouterr().err == ""


def test_a_reader_that_has_enough_ends_it(tmp_path: Path) -> None:
    """As `| head` does: without a word, and with status 0."""
    (tmp_path / "lines").write_text(ours(1) * 5000, encoding="utf-8")
    command = f"set -o pipefail; {sys.executable} -m scripts.operations.logs <{tmp_path}/lines | head -1"
    ran = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False, timeout=30)
    assert (ran.returncode, ran.stdout.count("\n"), ran.stderr) == (0, 1, "")
