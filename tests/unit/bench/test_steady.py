"""Whether a long run is steady."""

import json
from pathlib import Path
from random import Random

import pytest

from scripts.bench.soak import main
from scripts.bench.steady import Sample, rows_of, trend_of, verdict


def samples(*, mb_per_hour: float = 0.0, noise_mb: float = 0.5, files_per_hour: float = 0.0, lag_per_hour: float = 0.0) -> list[Sample]:
    """Ten minutes, a sample every three seconds."""
    random = Random(1)
    hours = [number * 3 / 3600 for number in range(200)]
    return [
        Sample(
            at * 3600,
            100 + mb_per_hour * at + random.uniform(-noise_mb, noise_mb),
            40 + int(files_per_hour * at),
            random.randrange(50) + int(lag_per_hour * at),
        )
        for at in hours
    ]


def test_noise_is_steady() -> None:
    """Memory that moves about, files and a lag that come and go are no findings."""
    assert verdict({"a": trend_of(samples(noise_mb=4)), "b": trend_of(samples())}) == ("soak: steady", [])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mb_per_hour": 30.0}, "memory of a has grown by"),
        ({"files_per_hour": 60.0}, "open files of a have grown from 41 to 48"),
        ({"lag_per_hour": 5000.0}, "the lag of a has grown from"),
    ],
)
def test_growth_is_found(changes: dict[str, float], said: str) -> None:
    """Each of the three is named, with the process, and alone."""
    line, (problem,) = verdict({"a": trend_of(samples(**changes)), "b": trend_of(samples())})
    assert line == "soak: growing, 1 findings"
    assert said in problem


def test_memory_that_falls_is_no_finding() -> None:
    """A process that gives back what it took to start is well."""
    assert verdict({"a": trend_of(samples(mb_per_hour=-60.0))})[1] == []


def test_the_trend_has_units() -> None:
    """The slope is per hour, the drift that of the run."""
    trend = trend_of(samples(mb_per_hour=60.0, noise_mb=0.0))
    assert trend.rss_mb_per_hour == pytest.approx(60)
    assert trend.rss_drift_mb == pytest.approx(9.95)
    assert rows_of({"a": trend._asdict()})[1][:3] == ["a", f"{trend.rss_mb:g}", "+60"]


def test_a_report_of_before_is_shown_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The last line is the verdict, and the exit status follows it."""
    trend = trend_of(samples(mb_per_hour=30.0))
    line, problems = verdict({"execution-service": trend})
    about = {"cpu": "a processor", "cores": 2, "load_before": 0.1}
    report = {"verdict": line, "problems": problems, "processes": {"execution-service": trend._asdict()}, "latency_ms": {"p50": 1.0}, "speed": 2.0}
    path = tmp_path / "soak.json"
    path.write_text(json.dumps(report | {"seconds": 600, "samples": 200, "machine": about, "commit": "abc", "at": "then", "command": "this"}))
    assert main(["--table", str(path), "--markdown"]) == 1
    shown = capsys.readouterr().out.strip().splitlines()
    assert shown[0] == "a processor, 2 cores, load before 0.1; commit abc, then; this: 10 minutes at 2x, 200 samples"
    assert shown[-1] == "soak: growing, 1 findings"


@pytest.mark.parametrize("arguments", [[], ["--minutes", "-1"], ["--minutes", "1", "--speed", "0"]])
def test_wrong_usage(arguments: list[str]) -> None:
    """Without a length there is nothing to run."""
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
