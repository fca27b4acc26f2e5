"""The offline calibration report."""

from pathlib import Path

import pandas as pd
import pytest

from scripts.calibrate import main
from tests.unit.kalman_filter.builders import prices

HEADER = "date,open,high,low,close,volume\n"


def write(path: Path, closes: list[float]) -> str:
    """Closes as one-minute klines."""
    dates = pd.date_range("2025-05-10", periods=len(closes), freq="min")
    pd.DataFrame({"date": dates, "close": closes}).to_csv(path, index=False)
    return str(path)


def test_report_has_both_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two files of klines give a line for our start and one for EM, with different noise."""
    rows = list(prices(1, 320))
    y, x = write(tmp_path / "y.csv", [y for _, y in rows]), write(tmp_path / "x.csv", [x for x, _ in rows])
    assert main([y, x, "--iterations", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "320 bars"
    assert [line.split("  ")[0] for line in lines[2:]] == ["scale-free start", "R by EM, 2 steps"]
    assert float(lines[2].split()[2]) != float(lines[3].split()[5])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("y.csv", "nonsense", "no readable klines"),
        ("y.png", "x", "must end in one of"),
        ("y.csv", HEADER + "2025-05-10 00:00:00,1,1,1,1,1\n", "at least 240 are needed"),
        ("y.csv", HEADER + "2025-05-10 00:00:00,1,1,1,-1,1\n", "must be a positive number"),
    ],
)
def test_unusable_files_are_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: str, message: str) -> None:
    """A foreign, short or wrong file ends with status 2 and says what to do."""
    path = tmp_path / name
    path.write_text(content)
    x = write(tmp_path / "x.csv", [1.0] * 10)
    assert main([str(path), x]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_missing_file_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is not there ends with status 2."""
    assert main([str(tmp_path / "no.csv"), str(tmp_path / "no.csv")]) == 2
    assert "no readable klines" in capsys.readouterr().err
