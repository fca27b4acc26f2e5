"""The command line of a replay."""

import json
from pathlib import Path

import pytest

from scripts import replay
from scripts.sessions.compare import Comparison, Difference


def unequal() -> list[Comparison]:
    return [Comparison("hedge-ratios", equal=3, differing=1, differences=[Difference("A-B bar 1", "beta", 1.0, 2.0)]), Comparison("executions", equal=1)]


@pytest.mark.parametrize("arguments", [["--frobnicate"], ["--differences", "many"]])
def test_wrong_usage_ends_with_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown option or value is told, with the usage."""
    with pytest.raises(SystemExit) as ended:
        replay.main(arguments)
    assert ended.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_unusable_settings_and_files_end_with_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A settings file that says nonsense, is not there or sets a wrong value, and a ledger that is not there: one line each."""
    env = tmp_path / "session.env"
    for text, arguments, says in (
        ("nonsense", ["--env", str(env)], "line 1 is not NAME=value"),
        ("", ["--env", str(tmp_path / "gone.env")], "gone.env: cannot be read"),
        ("SYMBOLS=BTCUSDT", ["--env", str(env)], "SYMBOLS='BTCUSDT'"),
        ("", ["--ledger", str(tmp_path / "gone.db")], "gone.db: does not exist"),
    ):
        env.write_text(text, encoding="utf-8")
        assert replay.main(arguments) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("replay: ")
        assert says in line


def test_the_file_wins_over_the_environment_and_the_command_line_over_both(tmp_path: Path) -> None:
    """Comments and empty lines say nothing."""
    env = tmp_path / "session.env"
    env.write_text("# the session\n\nTOPIC_PREFIX=file-\nSYMBOLS = BTCUSDT,ETHUSDT\n", encoding="utf-8")
    asked = replay.parser().parse_args(["--env", str(env), "--bootstrap", "line:1"])
    settings = replay.settings_of(asked, {"TOPIC_PREFIX": "environment-", "KAFKA_BOOTSTRAP_SERVERS": "environment:1", "LOG_LEVEL": "ERROR"})
    assert settings == {"TOPIC_PREFIX": "file-", "SYMBOLS": "BTCUSDT,ETHUSDT", "KAFKA_BOOTSTRAP_SERVERS": "line:1", "LOG_LEVEL": "ERROR"}


def test_the_report_shows_differences_and_a_verdict() -> None:
    """The last line says how much was compared and how much differs; nothing compared is not equal."""
    lines = replay.report(unequal(), 5)
    assert "hedge-ratios: A-B bar 1: beta: recorded 1.0, replayed 2.0" in lines
    assert lines[-1] == "replay: DIFFERENT, 5 compared, 1 differ"
    assert replay.report([Comparison("executions", equal=1)], 5)[-1] == "replay: equal, 1 compared, 0 differ"
    assert not replay.is_equal([Comparison("executions")])


def test_the_result_is_json() -> None:
    """Programs get the verdict and everything that was counted."""
    found = json.loads(json.dumps(replay.as_json(unequal())))
    assert found["equal"] is False
    assert found["compared"]["hedge-ratios"]["differences"][0]["field"] == "beta"
