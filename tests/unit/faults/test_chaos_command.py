"""The command line of the faults."""

from pathlib import Path

import pytest

from scripts import chaos
from scripts.faults.stage import make_folder


@pytest.mark.parametrize("arguments", [["--minutes", "0"], ["--minutes", "long"], ["--seed", "x"], ["--frobnicate"]])
def test_wrong_usage_ends_with_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The option is named."""
    with pytest.raises(SystemExit) as ended:
        chaos.main(arguments)
    assert ended.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def test_the_plan_is_printed_without_touching_anything(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Seed, acts and every fault with its time."""
    folder = tmp_path / "chaos"
    assert chaos.main(["--minutes", "0.5", "--seed", "7", "--plan", "--folder", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "chaos: seed 7, 0.5 minutes"
    assert sum(line.startswith("act ") for line in lines) == 2
    assert any("s  kill -9 execution-service" in line for line in lines)
    assert not folder.exists()


def test_a_folder_of_somebody_else_is_not_emptied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only a folder of an earlier run is; anything else is refused in one line with status 2."""
    (tmp_path / "mine").write_text("precious", encoding="utf-8")
    assert chaos.main(["--folder", str(tmp_path)]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert (tmp_path / "mine").exists()
    make_folder(tmp_path / "chaos")
    (tmp_path / "chaos" / "old").touch()
    make_folder(tmp_path / "chaos")
    assert not (tmp_path / "chaos" / "old").exists()
